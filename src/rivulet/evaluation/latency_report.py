"""Many clips' latencies put together: percentiles, a histogram, means of the parts, stability."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from rivulet.evaluation.latency import ClipLatency, Parts, WordLatency

BIN_MS = 100  # width of a bar of the histogram


@dataclass(frozen=True)
class Distribution:
    """A set of times in milliseconds; all 0 where `count` is 0."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float

    @classmethod
    def of(cls, times_us: Sequence[int]) -> "Distribution":
        """Summarize microseconds (n,), percentiles interpolated linearly."""
        if not times_us:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        p50, p90, p99 = np.percentile(times_us, [50, 90, 99])
        numbers = (float(np.mean(times_us)), float(p50), float(p90), float(p99))
        return cls(len(times_us), *(round(number / 1000, 3) for number in numbers))


@dataclass(frozen=True)
class LatencyReport:
    """All clips of one system at one chunk size; times in milliseconds.

    wer: word errors per reference word, 0 to 1 and above.
    early: those of the hits that were shown before they were said: chance, not in any time.
    histogram: words by first emission, (lower edge in ms, count), bins of 100 ms.
    parts_mean_ms: mean of each part of the first emission; their sum is `first.mean_ms`.
    revised_per_s: per second of sound; `revised_per_word` per word of the transcripts.
    finals_flushed: finals that came only because the sound ended; not in `end_of_speech`.
    """

    clips: int
    seconds: float
    reference_words: int
    hits: int
    early: int
    substitutions: int
    deletions: int
    insertions: int
    wer: float
    first: Distribution
    settled: Distribution
    final: Distribution
    histogram: tuple[tuple[int, int], ...]
    parts_mean_ms: dict[str, float]
    first_partial: Distribution
    end_of_speech: Distribution
    finals_flushed: int
    updates: int
    revised: int
    grown: int
    revised_per_s: float
    revised_per_word: float
    longest_revision: int
    settled_revised: int


def summarize(clips: Sequence[ClipLatency]) -> LatencyReport:
    """Put clips together, n ≥ 1; every word counts once."""
    words = [word for clip in clips for word in clip.words]
    reference, hypothesis = (
        sum(c.reference_words for c in clips),
        sum(c.hypothesis_words for c in clips),
    )
    errors = sum(c.substitutions + c.deletions + c.insertions for c in clips)
    seconds = sum(c.seconds for c in clips)
    revised = sum(c.stability.revised for c in clips)
    return LatencyReport(
        clips=len(clips),
        seconds=round(seconds, 3),
        reference_words=reference,
        hits=len(words) + sum(c.early for c in clips),
        early=sum(c.early for c in clips),
        substitutions=sum(c.substitutions for c in clips),
        deletions=sum(c.deletions for c in clips),
        insertions=sum(c.insertions for c in clips),
        wer=round(errors / reference, 5),
        first=Distribution.of([w.first_us for w in words]),
        settled=Distribution.of([w.settled_us for w in words]),
        final=Distribution.of([w.final_us for w in words]),
        histogram=_histogram([w.first_us for w in words]),
        parts_mean_ms=_mean_parts(words),
        first_partial=Distribution.of(
            [c.first_partial_us for c in clips if c.first_partial_us is not None]
        ),
        end_of_speech=Distribution.of([late for c in clips for late in c.finals_us]),
        finals_flushed=sum(c.flushed for c in clips),
        updates=sum(c.stability.updates for c in clips),
        revised=revised,
        grown=sum(c.stability.grown for c in clips),
        revised_per_s=round(revised / seconds, 4),
        revised_per_word=round(revised / max(1, hypothesis), 4),
        longest_revision=max(c.stability.longest for c in clips),
        settled_revised=sum(c.stability.settled_revised for c in clips),
    )


def _histogram(times_us: Sequence[int]) -> tuple[tuple[int, int], ...]:
    counts = Counter(time // 1000 // BIN_MS * BIN_MS for time in times_us)
    return tuple(sorted(counts.items()))


def _mean_parts(words: Sequence[WordLatency]) -> dict[str, float]:
    names = [field.name for field in fields(Parts)]
    return {
        name.removesuffix("_us"): round(
            sum(getattr(w.parts, name) for w in words) / max(1, len(words)) / 1000, 3
        )
        for name in names
    }
