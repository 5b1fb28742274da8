"""N-grams for models that must be small: columns of numbers that xz can shrink.

A packed file is made to be searched where it lies, and hardly shrinks. Here every property of the
n-grams has a section of its own, and words are numbered by how frequent they are, so that the
words that follow a context, sorted, lie close together: only the steps from one to the next are
written. Scores have few bins. What follows from the lexicon, such as its tree, is left out.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.errors import LanguageModelError
from rivulet.language.packed import PackedFile
from rivulet.language.tables import MARKS, MOST_ORDER, Floats, NGramTables, quantize

META = "c.meta"
STEP = 0.01  # log10 of a single word's probability; coarser, the frequent words would suffer
PROB_BITS = 4  # of a longer n-gram's probability: of these 3 cost a percent of perplexity, 4 none
BACKOFF_BITS = (8, 3)  # of a single word's back-off weight, of a longer n-gram's
MOST_PLANES = 4

Ints = npt.NDArray[np.int64]


def columns(tables: NGramTables) -> dict[str, npt.NDArray[Any]]:
    """Return the sections of `tables`.

    c.meta holds the number of words, the order, and the n-grams of each length from 2 on; single
    the probabilities of the words. For each length there are bins of the back-off weight (backN,
    offN), from 2 on of the probability (probN, binN), how many n-grams have each context (manyN)
    and the steps between their words' ranks (stepN).
    """
    counts = [len(level.words) for level in tables.levels[1:]]
    found: dict[str, npt.NDArray[Any]] = {
        META: np.array([tables.words, tables.order, *counts], np.uint32)
    }
    single = np.rint(tables.levels[0].probs / -STEP).astype(np.int64)
    found["single"] = _planes(single)
    rank = _ranks(single)
    place = np.arange(tables.words + MARKS)  # of each n-gram of the length before, in this file
    order = place
    for n, level in enumerate(tables.levels, 1):
        if n > 1:
            first = tables.levels[n - 2].first[: len(place) + 1].astype(np.int64)
            many: Ints = first[1:] - first[:-1]
            context = np.repeat(place, many)
            order = np.lexsort((rank[level.words], context))
            found[f"many{n}"] = _planes(many[np.argsort(place)])
            found[f"step{n}"] = _planes(_steps(context[order], rank[level.words][order]))
            place = np.empty(len(order), np.int64)
            place[order] = np.arange(len(order))
            found[f"prob{n}"], found[f"bin{n}"] = _binned(level.probs[order], PROB_BITS)
        if n < tables.order:
            bits = BACKOFF_BITS[min(n, 2) - 1]
            found[f"back{n}"], found[f"off{n}"] = _binned(level.backoffs[order], bits)
    return found


def of_columns(file: PackedFile) -> NGramTables:
    """Return the n-grams that `columns` wrote.

    Raises:
        LanguageModelError: the file is damaged.
    """
    words, order, *counts = (int(number) for number in file.get(META, "<u4"))
    if not 2 <= order <= MOST_ORDER or len(counts) != order - 1:
        raise LanguageModelError(f"n-grams of order {order} in columns are damaged; get them again")
    rows = np.arange(words + MARKS, dtype=np.int64)[:, None]
    single = _numbers(file, "single", len(rows))
    probs = (single * -STEP).astype(np.float32)
    grams = [(rows, probs, _scores(file, "back1", "off1", len(rows)))]
    by_rank = np.argsort(_ranks(single))
    for n, count in enumerate(counts, 2):
        many = _numbers(file, f"many{n}", len(rows))
        if int(many.sum()) != count:
            raise LanguageModelError(
                f"{count} {n}-grams are announced and {int(many.sum())} listed; get the model again"
            )
        context = np.repeat(np.arange(len(rows)), many)
        steps = _numbers(file, f"step{n}", count)
        total = np.cumsum(steps)
        begins = np.concatenate([[0], np.cumsum(many)])[:-1]  # of each context's n-grams
        before = np.concatenate([[0], total])[begins]
        reached = total - before[context]
        if count and int(reached.max()) >= len(by_rank):
            raise LanguageModelError(f"a {n}-gram ends in no word; get the model again.")
        rows = np.column_stack([rows[context], by_rank[reached]])
        probs = _scores(file, f"prob{n}", f"bin{n}", count)
        last = n == order
        backoffs = np.zeros_like(probs) if last else _scores(file, f"back{n}", f"off{n}", count)
        grams.append((rows, probs, backoffs))
    return NGramTables.of_grams(words, grams)


def _binned(scores: Floats, bits: int) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Return the values of the bins, and the bin of each score."""
    centers, chosen = quantize(scores, bits)
    return centers, chosen.astype(np.uint8)


def _scores(file: PackedFile, values: str, bins: str, count: int) -> Floats:
    """Return the (count,) scores that `_binned` put into bins."""
    centers, chosen = file.get(values, "<f4"), file.get(bins, "u1")
    if len(chosen) != count or (count and int(chosen.max()) >= len(centers)):
        raise LanguageModelError(f"the section {bins} is damaged; get the language model again.")
    scores: Floats = centers[chosen]
    return scores


def _ranks(single: Ints) -> Ints:
    """Return the place of each word among all, the most probable first."""
    rank = np.empty(len(single), np.int64)
    rank[np.argsort(single, kind="stable")] = np.arange(len(single))
    return rank


def _steps(context: Ints, ranks: Ints) -> Ints:
    """Return how far each rank lies beyond the one before in its context, or beyond 0."""
    steps = np.diff(ranks, prepend=0)
    begins = np.diff(context, prepend=-1) != 0
    steps[begins] = ranks[begins]
    return steps


def _planes(numbers: Ints) -> npt.NDArray[np.uint8]:
    """Return the lowest bytes of all numbers, then the next ones, as many as are needed."""
    largest = int(numbers.max()) if len(numbers) else 0
    count = max(1, -(-largest.bit_length() // 8))
    return np.concatenate([(numbers >> (8 * k)).astype(np.uint8) for k in range(count)])


def _numbers(file: PackedFile, name: str, count: int) -> Ints:
    """Return the (count,) numbers that `_planes` took apart."""
    planes = file.get(name, "u1")
    if len(planes) % max(1, count) or len(planes) > MOST_PLANES * count:
        raise LanguageModelError(f"the section {name} is damaged; get the language model again.")
    numbers = np.zeros(count, np.int64)
    for k, part in enumerate(planes.astype(np.int64).reshape(-1, max(1, count))):
        numbers += part << (8 * k)
    return numbers
