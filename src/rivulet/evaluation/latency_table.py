"""The tables of latencies beside each other, and the document that holds every number of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rivulet.evaluation.latency import ClipLatency
from rivulet.evaluation.latency_report import Distribution, LatencyReport, summarize
from rivulet.evaluation.streaming import ReplayConfig, SystemRuns

WORD_COLUMNS = (
    *("clip", "word", "start_ms", "end_ms", "first_ms", "settled_ms", "final_ms"),
    *("chunk_ms", "block_ms", "lookahead_ms", "compute_ms", "model_ms"),
)
Row = tuple[str, Callable[["Column"], str]]


class Column:
    """One system at one chunk size, as the table reads it."""

    def __init__(self, runs: SystemRuns, index: int) -> None:
        """Take the run at `index`."""
        self.system = runs
        self.run = runs.runs[index]
        self.report: LatencyReport = summarize(self.run.clips)

    @property
    def title(self) -> str:
        """Name and chunk."""
        return f"{self.system.name}, {self.run.chunk_ms} ms"

    @property
    def rtf(self) -> float:
        """Seconds of computing per second of sound."""
        return self.run.compute_s / self.report.seconds


ROWS: tuple[Row, ...] = (
    ("word error rate", lambda c: f"{100 * c.report.wer:.1f} %"),
    (
        "hits / substitutions / deletions / insertions",
        lambda c: " / ".join(
            str(getattr(c.report, name))
            for name in ("hits", "substitutions", "deletions", "insertions")
        ),
    ),
    ("of the hits by chance, left out below", lambda c: str(c.report.early)),
    ("first emission, ms: mean, p50 / p90 / p99", lambda c: _times(c.report.first)),
    ("settled, ms", lambda c: _times(c.report.settled)),
    ("final, ms", lambda c: _times(c.report.final)),
    (
        "of the first emission: chunk + block + lookahead + compute + model, ms",
        lambda c: _parts(c.report.parts_mean_ms),
    ),
    ("start of speech to first word, ms", lambda c: _times(c.report.first_partial)),
    ("end of speech to final, ms", lambda c: _times(c.report.end_of_speech)),
    ("finals that only the end of the sound brought", lambda c: str(c.report.finals_flushed)),
    (
        "words revised: per second / per word / at once",
        lambda c: (
            f"{c.report.revised_per_s:.2f} / {c.report.revised_per_word:.2f} / "
            f"{c.report.longest_revision}"
        ),
    ),
    ("settled words revised", lambda c: str(c.report.settled_revised)),
    ("real-time factor", lambda c: f"{c.rtf:.3f}"),
    ("memory added", lambda c: f"{c.system.added_bytes / 1e6:.0f} MB"),
    ("model files", lambda c: f"{c.system.size_bytes / 1e6:.1f} MB"),
)


def systems_table(done: Sequence[SystemRuns]) -> list[list[str]]:
    """Return the cells of a table, a column for each system at its first chunk size."""
    first = [Column(runs, 0) for runs in done]
    cells = [["", *(column.title for column in first)]]
    return cells + [[name, *(row(column) for column in first)] for name, row in ROWS]


def chunks_table(done: Sequence[SystemRuns]) -> list[list[str]]:
    """Return the cells of a table, a line for each system and chunk size."""
    cells = [["system, chunk", "WER", "first emission, ms: mean, p50 / p90 / p99", "settled p50"]]
    for runs in done:
        for index in range(len(runs.runs)):
            column = Column(runs, index)
            settled = f"{column.report.settled.p50_ms:.0f}"
            wer = f"{100 * column.report.wer:.1f} %"
            cells.append([column.title, wer, _times(column.report.first), settled])
    return cells


def document_of(
    done: Sequence[SystemRuns], replaying: ReplayConfig, machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Return every number; what differs from run to run stands in `machine` alone.

    Args:
        done: the runs of each system.
        replaying: the clock they ran by.
        machine: what to say of the computer.
    """
    systems = {}
    measured = {}
    for runs in done:
        columns = [Column(runs, index) for index in range(len(runs.runs))]
        systems[runs.name] = {
            "model": runs.digest,
            "model_bytes": runs.size_bytes,
            "chunks": {str(c.run.chunk_ms): asdict(c.report) for c in columns},
        }
        measured[runs.name] = {
            "rtf": {str(c.run.chunk_ms): round(c.rtf, 4) for c in columns},
            "added_bytes": runs.added_bytes,
            "load_s": round(runs.load_s, 3),
        }
    clock = {
        "kind": "real" if replaying.real else "virtual",
        "compute_factor": None if replaying.real else replaying.compute_factor,
        "tail_s": replaying.tail_s,
    }
    return {"clock": clock, "systems": systems, "machine": {**machine, "systems": measured}}


def with_words(document: Mapping[str, Any], done: Sequence[SystemRuns]) -> dict[str, Any]:
    """Return `document` with each word of the systems' first runs, a list of `WORD_COLUMNS`."""
    systems = {
        runs.name: {
            **document["systems"][runs.name],
            "words_chunk_ms": runs.runs[0].chunk_ms,
            "words": [row for clip in runs.runs[0].clips for row in _word_rows(clip)],
        }
        for runs in done
    }
    return {**document, "word_columns": WORD_COLUMNS, "systems": systems}


def _word_rows(clip: ClipLatency) -> list[list[Any]]:
    rows = []
    for word in clip.words:
        spoken_ms = (round(1000 * word.reference.start, 3), round(1000 * word.reference.end, 3))
        late_us = (word.first_us, word.settled_us, word.final_us, *asdict(word.parts).values())
        rows.append([clip.clip, word.reference.text, *spoken_ms, *(us / 1000 for us in late_us)])
    return rows


def _parts(parts: dict[str, float]) -> str:
    """Write the parts as a sum; a system that tells nothing about itself has two."""
    shown = list(parts.values())
    if not any(shown[:3]):
        return f"{shown[3]:.0f} compute + {shown[4]:.0f} the rest"
    return " + ".join(f"{part:.0f}" for part in shown).replace("+ -", "- ")


def _times(times: Distribution) -> str:
    if not times.count:
        return "-"
    return f"{times.mean_ms:.0f}, {times.p50_ms:.0f} / {times.p90_ms:.0f} / {times.p99_ms:.0f}"
