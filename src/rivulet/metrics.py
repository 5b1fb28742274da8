"""WER and CER, and how far chance moves them: pure functions over words and characters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
import numpy.typing as npt

RESAMPLES = 2000  # of the bootstrap; the ends of the interval then move by a few percent of it
CONFIDENCE = (2.5, 97.5)  # percentiles between which lie 95 %


@dataclass(frozen=True)
class ErrorCounts:
    """Edit operations of the cheapest alignment of a hypothesis with its reference."""

    substitutions: int
    deletions: int
    insertions: int
    reference: int

    @property
    def errors(self) -> int:
        """Number of operations."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Operations per reference item; 0 where the reference is empty and the hypothesis too."""
        return self.errors / self.reference if self.reference else float(self.errors > 0)


def error_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Align `hypothesis` with `reference`, both words (jiwer)."""
    if not reference:
        return ErrorCounts(0, 0, len(hypothesis), 0)
    out = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    return ErrorCounts(out.substitutions, out.deletions, out.insertions, len(reference))


def character_counts(reference: str, hypothesis: str) -> ErrorCounts:
    """Align `hypothesis` with `reference`, character by character, spaces counted (jiwer)."""
    if not reference:
        return ErrorCounts(0, 0, len(hypothesis), 0)
    out = jiwer.process_characters(reference, hypothesis)
    return ErrorCounts(out.substitutions, out.deletions, out.insertions, len(reference))


@dataclass(frozen=True)
class WordAlignment:
    """The cheapest alignment of a hypothesis with its reference, the one that WER counts.

    hits, substitutions: pairs (index in the reference, index in the hypothesis).
    deletions: indices in the reference.
    insertions: indices in the hypothesis.
    """

    hits: tuple[tuple[int, int], ...]
    substitutions: tuple[tuple[int, int], ...]
    deletions: tuple[int, ...]
    insertions: tuple[int, ...]


def match_words(reference: Sequence[str], hypothesis: Sequence[str]) -> WordAlignment:
    """Align two lists of words by edit distance (jiwer)."""
    if not reference or not hypothesis:
        nothing = tuple(range(len(reference))), tuple(range(len(hypothesis)))
        return WordAlignment((), (), *nothing)
    pairs: dict[str, list[tuple[int, int]]] = {"equal": [], "substitute": []}
    deletions: list[int] = []
    insertions: list[int] = []
    for part in jiwer.process_words(" ".join(reference), " ".join(hypothesis)).alignments[0]:
        i = range(part.ref_start_idx, part.ref_end_idx)
        j = range(part.hyp_start_idx, part.hyp_end_idx)
        if part.type == "delete":
            deletions.extend(i)
        elif part.type == "insert":
            insertions.extend(j)
        else:
            pairs[part.type].extend(zip(i, j, strict=True))
    hits, substitutions = tuple(pairs["equal"]), tuple(pairs["substitute"])
    return WordAlignment(hits, substitutions, tuple(deletions), tuple(insertions))


def add_counts(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Return the sum of several alignments."""
    several = list(counts)
    return ErrorCounts(
        sum(c.substitutions for c in several),
        sum(c.deletions for c in several),
        sum(c.insertions for c in several),
        sum(c.reference for c in several),
    )


def resampled_rates(units: Sequence[ErrorCounts]) -> npt.NDArray[np.float64]:
    """Return the error rates (RESAMPLES,) of as many draws of n units out of n, with replacement.

    Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance
    evaluation". The draws depend on n alone, so rates of two recognizers on the same units are
    pairs.
    """
    errors = np.array([unit.errors for unit in units])
    words = np.array([unit.reference for unit in units])
    draws = np.random.default_rng(0)
    rates = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        drawn = draws.integers(len(units), size=len(units))
        rates[index] = errors[drawn].sum() / max(1, words[drawn].sum())
    return rates


def interval_95(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends between which lie 95 % of the values (n,)."""
    low, high = np.percentile(values, CONFIDENCE)
    return float(low), float(high)
