"""What the tagger sees of a word: its row, its ends, how it is usually written."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from rivulet.text.labels import Case

UNKNOWN, END = 0, 1  # rows of the vocabulary: any other word; the end of a segment
SPECIAL = 2
AFFIX_ROWS = 2048  # hashed beginnings and ends of words
PAUSE_EDGES_S = (0.08, 0.2, 0.4, 0.8)  # pauses by length; one more row for not known
PAUSE_ROWS = len(PAUSE_EDGES_S) + 2
CASE_ROWS = len(Case) + 1  # how a word is usually written, the last row if that is not known


@dataclass(frozen=True)
class Vocabulary:
    """The words that have a row of their own, and how words are usually written.

    words: in the order of their rows, in lower case.
    written: words that are usually not in lower case, as they are written: London, NASA, iPhone.
    """

    words: Sequence[str]
    written: Mapping[str, str]

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each word."""
        return {word: row for row, word in enumerate(self.words, SPECIAL)}

    def features(self, word: str) -> tuple[int, int, int, int]:
        """Return a word's rows: vocabulary, beginning, end, usual case."""
        return (
            self.rows.get(word, UNKNOWN),
            _hashed("<" + word[:3]),
            _hashed(word[-3:] + ">"),
            self.usual_case(word),
        )

    def usual_case(self, word: str) -> int:
        """Return how a word is usually written; possessives as their owner."""
        written = self.written.get(word) or self.written.get(word.removesuffix("'s"))
        if written is None:
            return Case.LOWER if word in self.rows else len(Case)
        return case_of(written)


def _hashed(affix: str) -> int:
    """Return the row of a beginning or an end; row 0 is that of a segment's end."""
    return 1 + zlib.crc32(affix.encode()) % (AFFIX_ROWS - 1)


def pause_row(seconds: float | None) -> int:
    """Return the row of a pause before a word; row 0 if it is not known."""
    if seconds is None:
        return 0
    return 1 + sum(seconds >= edge for edge in PAUSE_EDGES_S)


@lru_cache(maxsize=1 << 17)
def case_of(written: str) -> Case:
    """Return how a word is written; what follows an apostrophe counts only if it is a capital."""
    stem, *rest = written.split("'")
    if not stem or any(part[:1].isupper() for part in rest):
        return Case.MIXED
    if stem.islower():
        return Case.LOWER
    if stem.isupper() and len(stem) > 1:
        return Case.UPPER
    return (
        Case.TITLE if stem[0].isupper() and (len(stem) == 1 or stem[1:].islower()) else Case.MIXED
    )
