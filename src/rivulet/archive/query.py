"""What is searched for: words, "phrases in quotes", prefixes*; and where they stand in a file."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

from rivulet.errors import ConfigError
from rivulet.text.normalize import normalize

NEAR_WORDS = 10  # at most so many other words between those that are searched for
MOST_WORDS = 16  # of a query: nobody needs more, and the windows stay cheap
_UNIT = re.compile(r'"([^"]*)"(\*?)|([^"\s]+)')


@dataclass(frozen=True)
class Term:
    """Words that follow one another; `prefix`: the last may go on."""

    words: tuple[str, ...]
    prefix: bool = False

    @property
    def expression(self) -> str:
        """The same for FTS5."""
        return f'"{" ".join(self.words)}"{"*" if self.prefix else ""}'

    def spans(self, tokens: Sequence[str]) -> "list[Span]":
        """Return where the term stands in a file's words."""
        first, count = self.words[0], len(self.words)
        whole = self.words[:-1] if self.prefix else self.words
        found = []
        for at, word in enumerate(tokens):
            if word != first and not (self.prefix and count == 1 and word.startswith(first)):
                continue
            there = tuple(tokens[at : at + count])
            fits = len(there) == count and there[: len(whole)] == whole
            if fits and (not self.prefix or there[-1].startswith(self.words[-1])):
                found.append(Span(at, at + count))
        return found


@dataclass(frozen=True)
class Query:
    """Terms that must stand near each other, in any order."""

    terms: tuple[Term, ...]

    @classmethod
    def parse(cls, text: str) -> "Query":
        """Read a query.

        Raises:
            ConfigError: a quote is open, there is no word, or there are too many.
        """
        if text.count('"') % 2:
            raise ConfigError(f"{text!r} has {text.count(chr(34))} quotes; close the phrase.")
        found = []
        for phrase, star, word in _UNIT.findall(text):
            words = normalize(phrase or word).split()
            if any(re.search("[A-Z]", one) for one in words):
                found.append(Term(tuple(words), bool(star) or word.endswith("*")))
        count = sum(len(term.words) for term in found)
        if not 1 <= count <= MOST_WORDS:
            raise ConfigError(
                f"{text!r} has {count} words of letters; search for 1 to {MOST_WORDS}, numbers "
                "as they are spoken."
            )
        return cls(tuple(found))

    @property
    def expression(self) -> str:
        """The same for FTS5."""
        terms = " ".join(term.expression for term in self.terms)
        return terms if len(self.terms) == 1 else f"NEAR({terms}, {NEAR_WORDS})"


@dataclass(frozen=True)
class Span:
    """Words [first, last) of a file, and by how much they differ in sound from what was asked."""

    first: int
    last: int
    cost: float = 0.0


def windows(places: Sequence[Iterable[Span]]) -> list[Span]:
    """Return where one span of every term stands within `NEAR_WORDS` others, none overlapping."""
    if len(places) == 1:
        return _apart(places[0])
    ordered = sorted(
        ((span, term) for term, spans in enumerate(places) for span in spans),
        key=lambda item: (item[0].first, item[0].last, item[1]),
    )
    found = []
    latest: dict[int, Span] = {}
    for span, term in ordered:
        latest[term] = span
        if len(latest) < len(places):
            continue
        inside = sorted(latest.values(), key=attrgetter("first"))
        overlap = any(a.last > b.first for a, b in pairwise(inside))
        whole = Span(inside[0].first, max(s.last for s in inside), sum(s.cost for s in inside))
        others = whole.last - whole.first - sum(s.last - s.first for s in inside)
        if not overlap and others <= NEAR_WORDS:
            found.append(whole)
            latest = {}
    return found


def _apart(spans: Iterable[Span]) -> list[Span]:
    """Return spans that do not overlap, the cheapest of those that do, in their order."""
    kept: list[Span] = []
    taken: set[int] = set()
    for span in sorted(spans, key=attrgetter("cost", "first")):
        words = range(span.first, span.last)
        if taken.isdisjoint(words):
            taken.update(words)
            kept.append(span)
    return sorted(kept, key=attrgetter("first"))
