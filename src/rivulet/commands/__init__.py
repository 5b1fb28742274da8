"""The command line's verbs, one module each.

`add_parser` declares the flags, `run` does the work.
"""
