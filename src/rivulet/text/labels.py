"""What the tagger says about a word: the mark after it and the case of its letters."""

from enum import IntEnum


class Mark(IntEnum):
    """The punctuation mark after a word."""

    NONE = 0
    COMMA = 1
    PERIOD = 2
    QUESTION = 3
    EXCLAMATION = 4

    @property
    def sign(self) -> str:
        """The mark as it is written."""
        return ("", ",", ".", "?", "!")[self]

    @property
    def ends_sentence(self) -> bool:
        """Whether the next word begins a sentence."""
        return self >= Mark.PERIOD


class Case(IntEnum):
    """How a word is written inside a sentence."""

    LOWER = 0
    TITLE = 1
    UPPER = 2
    MIXED = 3
