"""Where words that sound alike stand in an archive's index.

Every word asked for may stand as any word that sounds like it, or as two; two words that follow
each other may stand as one. Places are numbers: a file's id and, in the low 32 bits, the word's.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from rivulet.archive.index import Index
from rivulet.archive.query import Query, Span, Term, windows
from rivulet.language.sounds import Alike, SoundTable

Keys = npt.NDArray[np.int64]

FILE_BITS = 32
MOST_PLACES = 300_000  # looked at for one query, the words that sound best first: 0.3 s
MOST_FILES = 500  # looked at closely, those with the least cost
SHORTEST = 3  # phones: what is shorter sounds like too much


@dataclass(frozen=True)
class Places:
    """Where some words stand: first word, word after the last, and cost, of each."""

    first: Keys
    last: Keys
    cost: npt.NDArray[np.float64]

    @classmethod
    def of(cls, parts: "Sequence[Places]") -> "Places":
        """Return all of them."""
        empty = np.zeros(0, np.int64)
        return cls(
            np.concatenate([empty, *(part.first for part in parts)]),
            np.concatenate([empty, *(part.last for part in parts)]),
            np.concatenate([np.zeros(0), *(part.cost for part in parts)]),
        )

    @property
    def files(self) -> Keys:
        """The ids of the files."""
        return np.unique(self.first >> FILE_BITS)

    def least(self, files: Keys) -> npt.NDArray[np.float64]:
        """Return the least cost in each of `files`, which are in order and all have some."""
        inside = self.within(files)
        least = np.full(len(files), np.inf)
        np.minimum.at(least, np.searchsorted(files, inside.first >> FILE_BITS), inside.cost)
        return least

    def within(self, files: Keys) -> "Places":
        """Return those in some files."""
        kept = np.isin(self.first >> FILE_BITS, files)
        return Places(self.first[kept], self.last[kept], self.cost[kept])

    def then(self, other: "Places") -> "Places":
        """Return where `other` follows at once."""
        order = np.argsort(other.first, kind="stable")
        begin = np.searchsorted(other.first[order], self.last, "left")
        counts = np.searchsorted(other.first[order], self.last, "right") - begin
        mine = np.repeat(np.arange(len(self.last)), counts)
        nth = np.arange(len(mine)) - np.repeat(np.cumsum(counts) - counts, counts)
        theirs = order[begin[mine] + nth]
        cost = self.cost[mine] + other.cost[theirs]
        return Places(self.first[mine], other.last[theirs], cost)


class Sounding:
    """Finds by sound in one index; keep it for several queries."""

    def __init__(self, index: Index) -> None:
        """Search in `index`."""
        self._index = index

    def find(self, query: Query) -> list[tuple[float, int, Span]]:
        """Return (cost per phone, file id, words) of what sounds like `query`, the best first."""
        if all(term.prefix and len(term.words) == 1 for term in query.terms):
            return []
        wanted = [_Wanted(self, term) for term in query.terms]
        files: Keys | None = None
        budget = _Budget(self._index)
        parts = [(one, place) for one in wanted for place in range(len(one.words))]
        if len(parts) > 1:  # the rare ones first
            parts.sort(key=lambda part: budget.count(part[0].alternatives[part[1]]))
        for term, place in parts:
            files = term.look(place, budget, files)
        return self._ranked(wanted, files if files is not None else np.zeros(0, np.int64))

    def _ranked(self, wanted: "Sequence[_Wanted]", files: Keys) -> list[tuple[float, int, Span]]:
        phones = sum(term.phones for term in wanted)
        chains = [term.chained() for term in wanted]
        for chain in chains:
            files = np.intersect1d(files, chain.files)
        if len(files) > MOST_FILES:
            cheapest = np.sum([chain.least(files) for chain in chains], axis=0)
            files = np.sort(files[np.argsort(cheapest, kind="stable")[:MOST_FILES]])
        by_file = [_by_file(chain.within(files)) for chain in chains]
        found = [
            (round(span.cost / phones, 3), number, span)
            for number in set(by_file[0]).intersection(*by_file[1:])
            for span in windows([spans[number] for spans in by_file])
        ]
        return sorted(found, key=lambda item: (item[0], item[1], item[2].first))

    def alike(self, word: str, pairs: bool = True) -> "tuple[list[Alike], int]":
        """Return what sounds like `word`, itself included, and how many phones it has."""
        pronounced = self.pronounced(word)
        return self.sounding(pronounced, pairs, word), max(map(len, pronounced))

    def sounding(self, pronounced: Iterable[bytes], pairs: bool, word: str = "") -> list[Alike]:
        """Return what sounds like one of several pronunciations, the best first."""
        best: dict[tuple[str, ...], float] = {(word,): 0.0} if word else {}
        for phones in pronounced:
            if len(phones) < SHORTEST:
                continue
            for alike in self._table.alike(phones, pairs):
                best[alike.words] = min(alike.cost, best.get(alike.words, alike.cost))
        return [Alike(words, cost) for words, cost in sorted(best.items(), key=lambda i: i[1])]

    def pronounced(self, word: str) -> list[bytes]:
        """Return the pronunciations of a word, as the index has them if it has the word."""
        known = self._index.connection.execute("SELECT phones FROM sounds WHERE word = ?", (word,))
        return [phones for (phones,) in known] or self._index.pronouncer.pronounce(word)

    def beginning(self, prefix: str) -> list[Alike]:
        """Return the words that begin with `prefix`."""
        return [Alike((w,), 0.0) for w in dict.fromkeys(self._table.words) if w.startswith(prefix)]

    @cached_property
    def _table(self) -> SoundTable:
        return SoundTable(self._index.connection.execute("SELECT word, phones FROM sounds"))


class _Wanted:
    """One term: what may stand for each of its words, and for each two in a row, and where."""

    def __init__(self, sounding: Sounding, term: Term) -> None:
        self.words = term.words
        self.alternatives: list[list[Alike]] = []
        self.merged: list[list[Alike]] = []
        self.phones = 0
        for word in term.words:
            alike, count = sounding.alike(word)
            self.alternatives.append(alike)
            self.phones += count
        if term.prefix:
            self.alternatives[-1] = sounding.beginning(term.words[-1])
        for one, other in pairwise(term.words):
            both = [
                a + b for a in sounding.pronounced(one)[:1] for b in sounding.pronounced(other)[:1]
            ]
            self.merged.append(sounding.sounding(both, pairs=False))
        self._singles: dict[int, Places] = {}
        self._doubles: dict[int, Places] = {}

    def look(self, place: int, budget: "_Budget", files: Keys | None) -> Keys:
        """Look where word `place` may stand in `files`; return the files where it does."""
        self._singles[place] = budget.places(self.alternatives[place], files)
        covering = [self._singles[place]]
        for begin in (place - 1, place):
            if 0 <= begin < len(self.merged):
                if begin not in self._doubles:
                    self._doubles[begin] = budget.places(self.merged[begin], files)
                covering.append(self._doubles[begin])
        return Places.of(covering).files

    def chained(self) -> Places:
        """Return where the whole term may stand, its words one after the other."""
        reached: list[list[Places]] = [[] for _ in range(len(self.words) + 1)]
        for place in range(len(self.words)):
            steps = [(1, self._singles[place])]
            if place in self._doubles:
                steps.append((2, self._doubles[place]))
            before = Places.of(reached[place])
            for count, step in steps:
                reached[place + count].append(before.then(step) if place else step)
        return Places.of(reached[-1])


class _Budget:
    """Reads places from the index, until so many were read."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._left = MOST_PLACES
        self._counts: dict[str, int] = {}
        self._read: dict[tuple[str, str | None], Keys] = {}

    def count(self, alternatives: Iterable[Alike]) -> int:
        """Return how often any of the words is there; of pairs, the rarer word counts."""
        return sum(min(map(self._count, alike.words)) for alike in alternatives)

    def places(self, alternatives: Iterable[Alike], files: Keys | None) -> Places:
        """Return where the alternatives stand, in `files` if they are given."""
        chosen = None if files is None else json.dumps(files.tolist())
        parts = []
        for alike in alternatives:
            keys = self._keys(alike.words[0], chosen)
            if len(alike.words) == 2 and len(keys):
                keys = _followed(keys, self._keys(alike.words[1], chosen))
            last = keys + len(alike.words)
            parts.append(Places(keys, last, np.full(len(keys), alike.cost)))
        return Places.of([part for part in parts if len(part.first)])

    def _count(self, word: str) -> int:
        if word not in self._counts:
            row = self._index.connection.execute(
                "SELECT cnt FROM counts WHERE term = ?", (word.lower(),)
            ).fetchone()
            self._counts[word] = row[0] if row else 0
        return self._counts[word]

    def _keys(self, word: str, files: str | None) -> Keys:
        """Return where a word stands, in order; nothing if that is too much to read.

        Args:
            word: one token.
            files: ids in JSON, to look only there; None for everywhere.
        """
        mark = word, files
        if mark not in self._read:
            sql = "SELECT doc << 32 | offset FROM places WHERE term = ?"
            values: list[str | int] = [word.lower()]
            if files is not None:
                sql += " AND doc IN (SELECT value FROM json_each(?))"
                values.append(files)
            rows = self._index.connection.execute(f"{sql} LIMIT ?", [*values, self._left + 1])
            keys = np.array(rows.fetchall(), np.int64).reshape(-1)
            self._read[mark] = np.sort(keys) if len(keys) <= self._left else keys[:0]
            self._left -= len(self._read[mark])
        return self._read[mark]


def _followed(keys: Keys, after: Keys) -> Keys:
    """Return those of `keys` after which one of `after`, in order, stands next."""
    if not len(keys) or not len(after):
        return keys[:0]
    if len(keys) > len(after):
        return _present(after - 1, keys)
    return _present(keys + 1, after) - 1


def _present(wanted: Keys, keys: Keys) -> Keys:
    """Return those of `wanted` that are among `keys`, which are in order."""
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    present: Keys = wanted[keys[found] == wanted]
    return present


def _by_file(places: Places) -> dict[int, list[Span]]:
    """Return the spans in each file."""
    found: dict[int, list[Span]] = {}
    mask = (1 << FILE_BITS) - 1
    columns = (places.first.tolist(), places.last.tolist(), places.cost.tolist())
    for first, last, cost in zip(*columns, strict=True):
        found.setdefault(first >> FILE_BITS, []).append(Span(first & mask, last & mask, cost))
    return found
