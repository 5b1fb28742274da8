"""Words: the n-gram over them, the lexicon, and how unknown ones sound."""
