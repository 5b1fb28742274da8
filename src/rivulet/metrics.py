"""WER and CER: pure functions over words and characters."""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer


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
        """Operations per reference item; 0 where the reference is empty and nothing was said."""
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
