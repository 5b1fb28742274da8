"""`find`: what an archive says about some words: file, time, context; exact before near."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from rivulet.archive.index import Index, IndexedFile
from rivulet.archive.query import Query, Span, windows
from rivulet.archive.sounding import Sounding

CONTEXT_WORDS = 8  # shown before and after
LEAD_S = 0.5  # a link plays from a little earlier, so that the first word is whole

Kind = Literal["exact", "near"]


@dataclass(frozen=True)
class Hit:
    """Words that were found.

    place: of the file's text in the archive. source: the path or URL that was transcribed.
    start, end: seconds. kind: "exact", or "near" for what sounds like it. likeness: of its sound,
    1 for the same. confidence: the recognizer's, of the least certain word, in [0, 1].
    before, match, after: what people read there.
    """

    place: str
    source: str
    start: float
    end: float
    kind: Kind
    likeness: float
    confidence: float
    before: str
    match: str
    after: str

    @property
    def link(self) -> str:
        """A URL that plays from there, where what opens it knows media fragments."""
        source = self.source if "://" in self.source else Path(self.source).absolute().as_uri()
        return f"{source.partition('#')[0]}#t={max(0.0, self.start - LEAD_S):.1f}"


@dataclass(frozen=True)
class Answer:
    """What was found.

    hits: the best, exact ones first. files: how many files have the exact words.
    more: whether there are further hits.
    """

    hits: tuple[Hit, ...]
    files: int
    more: bool


def find(index: Index, query: Query, limit: int = 20, a_file: int = 3, near: bool = True) -> Answer:
    """Find words: files with the exact words by relevance (BM25), then what sounds like them.

    Args:
        index: of the archive.
        query: what to find.
        limit: hits at most.
        a_file: hits of each kind in one file at most.
        near: whether words that only sound like those of the query count.
    """
    rows = index.connection.execute(
        "SELECT rowid FROM spoken WHERE spoken MATCH ? ORDER BY rank", (query.expression,)
    ).fetchall()
    numbers = [number for (number,) in rows]
    hits = list(islice(_exact(index, query, numbers, a_file), limit + 1))
    if near and len(hits) <= limit:
        hits += islice(_near(index, query, a_file), limit + 1 - len(hits))
    return Answer(tuple(hits[:limit]), len(numbers), len(hits) > limit)


def _exact(index: Index, query: Query, numbers: Iterable[int], a_file: int) -> Iterator[Hit]:
    for number in numbers:
        file = index.file(number)
        for span in windows([term.spans(file.tokens) for term in query.terms])[:a_file]:
            yield _hit(file, span, "exact", 1.0)


def _near(index: Index, query: Query, a_file: int) -> Iterator[Hit]:
    counts: dict[int, int] = {}
    for cost, number, span in Sounding(index).find(query):
        counts[number] = counts.get(number, 0) + 1
        if counts[number] > a_file:
            continue
        file = index.file(number)
        exact = windows([term.spans(file.tokens) for term in query.terms])
        if all(span.last <= other.first or other.last <= span.first for other in exact):
            yield _hit(file, span, "near", 1.0 - cost)
        else:
            counts[number] -= 1


def _hit(file: IndexedFile, span: Span, kind: Kind, likeness: float) -> Hit:
    inside = [i for i, t in enumerate(file.shown) if t.first < span.last and t.last > span.first]
    first, last = (inside[0], inside[-1] + 1) if inside else (0, 0)  # fillers may be left out
    texts = [token.text for token in file.shown]
    words = file.words[span.first : span.last]
    return Hit(
        file.place,
        file.source,
        words[0].start,
        words[-1].end,
        kind,
        round(likeness, 3),
        min(word.confidence for word in words),
        " ".join(texts[max(0, first - CONTEXT_WORDS) : first]),
        " ".join(texts[first:last]) or " ".join(word.text.lower() for word in words),
        " ".join(texts[last : last + CONTEXT_WORDS]),
    )
