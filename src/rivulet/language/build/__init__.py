"""Making language models, lexicons and letter-to-sound models; recognition needs none of it."""
