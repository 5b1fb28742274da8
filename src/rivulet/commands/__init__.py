"""The command line's verbs: `add_parser` declares the flags, `run` does the work."""
