"""N-grams as arrays: a trie from the first word of a context to its last, sorted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.errors import LanguageModelError
from rivulet.language.packed import PackedFile

MOST_ORDER = 6
PROB_BITS = BACKOFF_BITS = 8
MARKS = 3  # <unk>, <s> and </s> follow the words: ids `words`, `words` + 1, `words` + 2
META = 6 + 3 * (MOST_ORDER - 1)  # numbers in the section "meta"
MOST_GROUP_SHIFT = 8
LLOYD_ROUNDS = 20
MOST_PLACES = 10_000  # remembered by a scorer

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.uint32]
UNIGRAM = np.dtype([("prob", "<f4"), ("backoff", "<f4"), ("first", "<u4")])


@dataclass(frozen=True)
class Level:
    """All n-grams of one length, sorted by context, then by last word.

    words: (N,) ids of the last words.
    probs, backoffs: (N,) log10; the longest n-grams back off for nothing.
    first: (N + 1,) where the continuations of each begin in the next level; the longest have none.
    """

    words: Ids
    probs: Floats
    backoffs: Floats
    first: Ids


@dataclass(frozen=True)
class NGramTables:
    """An n-gram model over `words` words and three marks.

    levels: by length; the first has an entry for each word and mark, in order.
    """

    words: int
    levels: tuple[Level, ...]

    @classmethod
    def of_grams(
        cls, words: int, grams: Sequence[tuple[npt.NDArray[np.integer[Any]], Floats, Floats]]
    ) -> "NGramTables":
        """Sort n-grams, for each length (N, n) ids with probabilities and back-offs (N,), log10.

        Raises:
            LanguageModelError: the order is not 2 to 5, or an n-gram lacks its context.
        """
        if not 2 <= len(grams) <= MOST_ORDER:
            raise LanguageModelError(
                f"an n-gram of order {len(grams)} cannot be packed; build one of 2 to {MOST_ORDER}."
            )
        vocabulary = words + MARKS
        keys = np.arange(vocabulary, dtype=np.int64)
        if grams[0][0][:, 0].tolist() != keys.tolist():
            raise LanguageModelError("the single words are not all there and in order.")
        all_keys: list[npt.NDArray[np.int64]] = []
        levels, counts = [], []
        for n, (ids, probs, backoffs) in enumerate(grams, 1):
            context, key = np.zeros(len(ids), np.int64), ids[:, 0].astype(np.int64)
            for column in range(1, n):
                context = _places(all_keys[column - 1], key, n)
                key = context * vocabulary + ids[:, column]
            order = np.argsort(key, kind="stable")
            all_keys.append(key[order])
            if n > 1:
                counts.append(np.bincount(context, minlength=len(all_keys[n - 2])))
            levels.append((ids[order, -1], probs[order], backoffs[order]))
        firsts = [np.concatenate([[0], np.cumsum(count)]) for count in counts]
        firsts.append(np.zeros(len(levels[-1][0]) + 1, np.int64))
        return cls(
            words,
            tuple(
                Level(
                    last.astype(np.uint32),
                    probs.astype(np.float32),
                    backoffs.astype(np.float32),
                    first.astype(np.uint32),
                )
                for (last, probs, backoffs), first in zip(levels, firsts, strict=True)
            ),
        )

    @property
    def order(self) -> int:
        """Return the longest n."""
        return len(self.levels)

    def first_scores(self) -> Floats:
        """Return log10 P(word | <s>) of every word, (words,), added up as KenLM does."""
        unigrams, pairs = self.levels[0], self.levels[1]
        start = self.words + 1
        scores: Floats = unigrams.probs[: self.words] + unigrams.backoffs[start]
        listed = slice(int(unigrams.first[start]), int(unigrams.first[start + 1]))
        known = pairs.words[listed] < self.words
        scores[pairs.words[listed][known]] = pairs.probs[listed][known]
        return scores

    def sections(self) -> dict[str, npt.NDArray[Any]]:
        """Return the n-grams as a packed file holds them, scores in 256 bins a level."""
        word_bits = int(self.words + MARKS - 1).bit_length()
        meta = np.zeros(META, np.uint32)
        meta[:5] = self.words, self.order, word_bits, PROB_BITS, BACKOFF_BITS
        found = {"meta": meta, "unigram": _unigrams(self.levels[0])}
        for n, level in enumerate(self.levels[1:], 2):
            centers, bins = quantize(level.probs, PROB_BITS)
            fields = [(level.words, word_bits), (bins, PROB_BITS)]
            found[f"prob{n}"] = centers
            if n < self.order:
                found[f"back{n}"], bins = quantize(level.backoffs, BACKOFF_BITS)
                shift, found[f"base{n}"], offsets, width = _grouped(level.first)
                fields += [(bins, BACKOFF_BITS), (offsets, width)]
                meta[3 * n + 1 : 3 * n + 3] = width, shift
            meta[3 * n] = len(level.words)
            found[f"gram{n}"] = pack_records(fields, len(level.words) + 1)
        return found

    @classmethod
    def of_sections(cls, file: PackedFile) -> "NGramTables":
        """Return the n-grams that `sections` wrote.

        Raises:
            LanguageModelError: the file is damaged.
        """
        meta = [int(value) for value in file.get("meta", "<u4")]
        words, order, word_bits, prob_bits, backoff_bits = meta[:5]
        unigrams = file.get("unigram", UNIGRAM)
        levels = [
            Level(
                np.arange(words + MARKS, dtype=np.uint32),
                unigrams["prob"][:-1],
                unigrams["backoff"][:-1],
                unigrams["first"],
            )
        ]
        for n in range(2, order + 1):
            count, width, shift = meta[3 * n : 3 * n + 3]
            last = n == order
            widths = [word_bits, prob_bits, *(() if last else (backoff_bits, width))]
            fields = unpack_records(file.get(f"gram{n}", "u1"), widths, count + 1)
            probs = file.get(f"prob{n}", "<f4")[fields[1][:count]]
            if last:
                levels.append(Level(fields[0][:count], probs, np.zeros_like(probs), fields[0][:0]))
                continue
            bases = file.get(f"base{n}", "<u4")
            first = bases[np.arange(count + 1) >> shift] + fields[3]
            backoffs = file.get(f"back{n}", "<f4")[fields[2][:count]]
            levels.append(Level(fields[0][:count], probs, backoffs, first))
        return cls(words, tuple(levels))


class TableScorer:
    """P(word | history) of n-grams in plain Python: what the search in C++ is held to."""

    def __init__(self, tables: NGramTables) -> None:
        """Read `tables`."""
        self._tables = tables
        self._places: dict[tuple[int, ...], int | None] = {}

    @property
    def order(self) -> int:
        """Return the longest n."""
        return self._tables.order

    @property
    def counts(self) -> list[int]:
        """Return the number of n-grams of each length, marks included."""
        return [len(level.words) for level in self._tables.levels]

    def log10_prob(self, history: Sequence[int], word: int) -> float:
        """Return log10 P(word | history), in float32, added up in KenLM's order.

        Args:
            history: ids of the sentence's words so far; ids beyond the model's are unknown words.
            word: likewise; `end` for the end of the sentence.
        """
        unknown, context = self._tables.words, self.order - 1
        before = [min(w, unknown) for w in history[-context:]]
        if len(before) < context:
            before.insert(0, unknown + 1)
        if word != self.end:
            word = min(word, unknown)
        backed_off: list[np.float32] = []
        for start in range(len(before)):
            gram = tuple(before[start:])
            place = self._place(gram)
            if place is None:
                continue
            found = self._next(len(gram) + 1, place, word)
            if found is not None:
                return self._sum(self._tables.levels[len(gram)].probs[found], backed_off)
            backed_off.append(self._tables.levels[len(gram) - 1].backoffs[place])
        return self._sum(self._tables.levels[0].probs[word], backed_off)

    @property
    def end(self) -> int:
        """Return the id of the sentence's end."""
        return self._tables.words + 2

    @staticmethod
    def _sum(prob: np.float32, backed_off: list[np.float32]) -> float:
        for backoff in reversed(backed_off):
            prob = np.float32(prob + backoff)
        return float(prob)

    def _place(self, gram: tuple[int, ...]) -> int | None:
        """Return where `gram` stands in its level; None if it is not listed."""
        if len(self._places) > MOST_PLACES:
            self._places.clear()
        if gram not in self._places:
            place: int | None = gram[0]
            for n, word in enumerate(gram[1:], 2):
                place = None if place is None else self._next(n, place, word)
            self._places[gram] = place
        return self._places[gram]

    def _next(self, n: int, place: int, word: int) -> int | None:
        first, words = self._tables.levels[n - 2].first, self._tables.levels[n - 1].words
        begin, end = int(first[place]), int(first[place + 1])
        at = begin + int(np.searchsorted(words[begin:end], word))
        return at if at < end and words[at] == word else None


def _places(keys: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], n: int) -> Any:
    places = np.searchsorted(keys, wanted)
    found = places < len(keys)
    found[found] = keys[places[found]] == wanted[found]
    if not found.all():
        raise LanguageModelError(
            f"{int((~found).sum())} {n}-grams lack their first words among the shorter ones; "
            "make the model with a tool that keeps contexts, such as lmplz."
        )
    return places


def quantize(values: Floats, bits: int) -> tuple[Floats, npt.NDArray[np.uint32]]:
    """Return (2 ** bits,) centers and the bin of each value; exact if the values are as few.

    Centers begin with as many values in each bin and are moved to the means of what is nearest
    (Lloyd 1982); 0 keeps a bin of its own, since most back-off weights are 0.
    """
    most = 1 << bits
    distinct = np.unique(values)
    if len(distinct) <= most:
        centers = np.zeros(most, np.float32)
        centers[: len(distinct)] = distinct
        return centers, np.searchsorted(distinct, values).astype(np.uint32)
    ordered = np.sort(values[values != 0.0]).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    edges = np.linspace(0, len(ordered), most).astype(np.int64)  # one bin less: 0 has its own
    for _ in range(LLOYD_ROUNDS):
        edges = np.unique(edges)
        means = (sums[edges[1:]] - sums[edges[:-1]]) / np.diff(edges)
        middles = (means[1:] + means[:-1]) / 2
        edges = np.concatenate([[0], np.searchsorted(ordered, middles), [len(ordered)]])
    centers = np.sort(np.concatenate([means, [0.0]])).astype(np.float32)
    bins = np.searchsorted((centers[1:] + centers[:-1]) / 2, values).astype(np.uint32)
    zero = int(np.searchsorted(centers, 0.0))
    bins[values == 0.0] = zero
    return np.pad(centers, (0, most - len(centers))), bins


def pack_records(fields: Sequence[tuple[npt.NDArray[Any], int]], count: int) -> npt.NDArray[Any]:
    """Return `count` records of bit fields, the first field lowest; missing values are 0.

    Eight records fill as many bytes as a record has bits, so eight are written at a time.
    """
    bits = sum(width for _, width in fields)
    if bits > 57:  # a record is read with one load of 8 bytes, from any bit of the first
        raise LanguageModelError(f"n-grams of {bits} bits do not fit the format's 57.")
    groups = -(-count // 8)
    values = np.zeros(groups * 8, np.uint64)
    place = 0
    for field, width in fields:
        values[: len(field)] |= field.astype(np.uint64) << np.uint64(place)
        place += width
    packed = np.zeros((groups, bits), np.uint8)
    for i, column in enumerate(values.reshape(groups, 8).T):
        byte, shift = divmod(i * bits, 8)
        moved = column << np.uint64(shift)
        for k in range(-(-(shift + bits) // 8)):
            packed[:, byte + k] |= (moved >> np.uint64(8 * k)).astype(np.uint8)
    return np.concatenate([packed.reshape(-1), np.zeros(8, np.uint8)])


def unpack_records(
    packed: npt.NDArray[np.uint8], widths: Sequence[int], count: int, first_bit: int = 0
) -> list[npt.NDArray[np.uint32]]:
    """Return the fields of `count` records that `pack_records` wrote, or KenLM."""
    bits = sum(widths)
    start = np.arange(count, dtype=np.int64) * bits + first_bit
    if count and int(start[-1]) // 8 + 8 > len(packed):
        raise LanguageModelError("the n-grams of a language model are cut short; get it again.")
    values = np.zeros(count, np.uint64)
    for k in range(8):
        values |= packed[(start >> 3) + k].astype(np.uint64) << np.uint64(8 * k)
    values >>= (start & 7).astype(np.uint64)
    fields = []
    for width in widths:
        fields.append((values & np.uint64((1 << width) - 1)).astype(np.uint32))
        values >>= np.uint64(width)
    return fields


def _unigrams(level: Level) -> npt.NDArray[Any]:
    rows = np.zeros(len(level.words) + 1, UNIGRAM)
    rows["prob"][:-1] = level.probs
    rows["backoff"][:-1] = level.backoffs
    rows["first"] = level.first
    return rows


def _grouped(first: Ids) -> tuple[int, Ids, Ids, int]:
    """Return shift, bases, offsets and their bits, so that they take the least room."""
    found: list[tuple[float, int, Ids, Ids, int]] = []
    for shift in range(MOST_GROUP_SHIFT + 1):
        bases = first[:: 1 << shift]
        offsets = first - np.repeat(bases, 1 << shift)[: len(first)]
        width = int(offsets.max()).bit_length()
        found.append((len(first) * width / 8 + 4 * len(bases), shift, bases, offsets, width))
    _, shift, bases, offsets, width = min(found, key=lambda way: way[0])
    return shift, bases, offsets, width
