"""From log-probabilities to words: greedy, or a beam with lexicon and language model."""
