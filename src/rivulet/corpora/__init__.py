"""Lists of utterances, and where speech with known text comes from."""
