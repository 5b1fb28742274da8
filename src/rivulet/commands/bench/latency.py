"""`rivulet bench latency`: how late every word is, and why, for rivulet and for other systems."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.commands.bench.systems import (
    add_system_flags,
    check_folder,
    dump,
    print_markdown,
    read_systems,
)
from rivulet.commands.clips import add_clip_flags, load_samples, read_clips
from rivulet.commands.flags import add_endpoint_flags, add_model_flags
from rivulet.corpora.manifest import Utterance
from rivulet.errors import AlignmentError, ConfigError
from rivulet.evaluation.ctm import SpokenWord, check_text, read_ctm

if TYPE_CHECKING:
    from rivulet.evaluation.latency import ClipLatency
    from rivulet.evaluation.latency_report import LatencyReport
    from rivulet.evaluation.streaming import Clip, ReplayConfig, SystemRuns

CHUNKS = "20,40,80,160,320"
ALIGNED = "PocketSphinx forced alignment"
WORD_COLUMNS = (
    *("clip", "word", "start_ms", "end_ms", "first_ms", "settled_ms", "final_ms"),
    *("chunk_ms", "block_ms", "lookahead_ms", "compute_ms", "model_ms"),
)
Row = tuple[str, Callable[["Column"], str]]


class Column:
    """One system at one chunk size, as the table reads it."""

    def __init__(self, runs: "SystemRuns", index: int) -> None:
        """Take the run at `index`."""
        from rivulet.evaluation.latency_report import summarize

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


def add_parser(kinds: Any) -> None:
    """Declare the command and `bench plot`."""
    parser = kinds.add_parser("latency", help="how late every word is", description=__doc__)
    add_clip_flags(parser)
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="WORDS.ctm",
        help="true word times; without it PocketSphinx aligns the clips now",
    )
    parser.add_argument("--chunk-ms", default=CHUNKS, metavar="MS,MS", help="(%(default)s)")
    parser.add_argument("--clock", choices=("virtual", "real"), default="virtual")
    parser.add_argument(
        "--compute-factor",
        type=float,
        default=0.0,
        metavar="F",
        help="on the virtual clock a second of sound costs F seconds of computing (%(default)s)",
    )
    add_system_flags(parser)
    parser.add_argument(
        "--tail",
        type=float,
        default=2.0,
        metavar="S",
        help="background noise after each clip, so that an endpoint can come (%(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="every number and every word")
    parser.add_argument("--plot", type=Path, metavar="PATH.png", help="PATH-cdf.png and two more")
    add_model_flags(parser)
    add_endpoint_flags(parser)
    parser.set_defaults(run=run)
    plot = kinds.add_parser("plot", help="the pictures of a `bench latency --json` file")
    plot.add_argument("document", type=Path, metavar="FILE.json")
    plot.add_argument("-o", "--output", type=Path, required=True, metavar="PATH.png")
    plot.set_defaults(run=run_plot)


def run(args: argparse.Namespace) -> int:
    """Replay, print the tables, write what was asked for; the last line is one JSON object."""
    from rivulet.evaluation.plots import draw_all
    from rivulet.evaluation.streaming import ReplayConfig, run_apart

    chunks = _chunks(args.chunk_ms)
    replaying = ReplayConfig(chunks, args.clock == "real", args.compute_factor, args.tail)
    if args.jobs < 1 or (args.jobs > 1 and args.clock == "real"):
        raise ConfigError(
            f"--jobs {args.jobs} cannot be used; give at least 1, and 1 on the real clock."
        )
    configs = read_systems(args, watched=True)
    for path in (args.json, args.plot):
        check_folder(path)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # systems run in processes of their own
    clips, reference = _clips(args)
    print(
        f"{len(configs)} systems x {len(clips)} clips x {len(chunks)} chunk sizes", file=sys.stderr
    )
    with ThreadPoolExecutor(args.jobs) as pool:  # each system runs in a process of its own
        done = list(pool.map(lambda config: run_apart(config, clips, replaying), configs))
    _print_tables(done)
    document = _document(args, replaying, reference, done)
    full = {**document, "word_columns": WORD_COLUMNS, "systems": _with_words(document, done)}
    if args.json is not None:
        args.json.write_text(dump(full) + "\n", encoding="utf-8")
    if args.plot is not None:
        for made in draw_all(json.loads(dump(full)), args.plot):
            print(made, file=sys.stderr)
    print(dump(document))
    return 0


def run_plot(args: argparse.Namespace) -> int:
    """Draw the pictures again."""
    from rivulet.evaluation.plots import draw_all

    try:
        document = json.loads(args.document.read_text(encoding="utf-8"))
        if document["bench"] != "latency" or "word_columns" not in document:
            raise KeyError("bench")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{args.document} is no document of `rivulet bench latency --json` "
            f"({type(error).__name__}); make one with it."
        ) from error
    for made in draw_all(document, args.output):
        print(made)
    return 0


def _chunks(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--chunk-ms {text!r} is no list of whole numbers; write for example 20,80,320."
        ) from error


def _clips(args: argparse.Namespace) -> "tuple[list[Clip], dict[str, Any]]":
    """Return the clips that have true word times, and a description of these times."""
    from rivulet.evaluation.streaming import Clip

    wanted = read_clips(args)
    source = str(args.reference.name) if args.reference else ALIGNED
    times = _read_times(args.reference, wanted) if args.reference else None
    clips = []
    for clip in wanted:
        if times is not None and clip.id not in times:
            continue
        samples = load_samples(clip)
        reference = _align(samples, clip) if times is None else times[clip.id]
        if reference:
            clips.append(Clip(clip.id, samples, reference))
    if not clips:
        raise AlignmentError(
            f"0 of {len(wanted)} clips have true word times in {source}; "
            "name the clips as in the manifest, or make the times with `rivulet align`."
        )
    left_out = len(wanted) - len(clips)
    if left_out:
        print(f"rivulet: {left_out} clips have no true word times, left out", file=sys.stderr)
    words = sum(len(clip.reference) for clip in clips)
    return clips, {"source": source, "clips": len(clips), "left_out": left_out, "words": words}


def _read_times(path: Path, clips: list[Utterance]) -> dict[str, tuple[SpokenWord, ...]]:
    times = read_ctm(path)
    for clip in clips:
        if clip.id in times:
            check_text(clip.id, times[clip.id], clip.text)
    return times


def _align(samples: Any, clip: Utterance) -> tuple[SpokenWord, ...]:
    """Return the true times by forced alignment; nothing if the words cannot be placed."""
    from rivulet.evaluation.alignment import shared_aligner

    try:
        return shared_aligner().align(samples, clip.text)
    except AlignmentError as error:
        print(f"rivulet: {clip.id}: {error}", file=sys.stderr)
        return ()


def _document(
    args: argparse.Namespace,
    replaying: "ReplayConfig",
    reference: dict[str, Any],
    done: "list[SystemRuns]",
) -> dict[str, Any]:
    """Every number; what differs from run to run stands in `machine` alone."""
    from rivulet.evaluation.speed import this_machine

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
        "kind": args.clock,
        "compute_factor": None if replaying.real else replaying.compute_factor,
        "tail_s": replaying.tail_s,
    }
    machine = {**asdict(this_machine()), "threads": args.threads, "systems": measured}
    return {
        "bench": "latency",
        "clock": clock,
        "reference": reference,
        "systems": systems,
        "machine": machine,
    }


def _with_words(document: dict[str, Any], done: "list[SystemRuns]") -> dict[str, Any]:
    """Add to every system the words of its first run, one list of `WORD_COLUMNS` each."""
    return {
        runs.name: {
            **document["systems"][runs.name],
            "words_chunk_ms": runs.runs[0].chunk_ms,
            "words": [row for clip in runs.runs[0].clips for row in _word_rows(clip)],
        }
        for runs in done
    }


def _word_rows(clip: "ClipLatency") -> list[list[Any]]:
    rows = []
    for word in clip.words:
        spoken_ms = (round(1000 * word.reference.start, 3), round(1000 * word.reference.end, 3))
        late_us = (word.first_us, word.settled_us, word.final_us, *asdict(word.parts).values())
        rows.append([clip.clip, word.reference.text, *spoken_ms, *(us / 1000 for us in late_us)])
    return rows


def _print_tables(done: "list[SystemRuns]") -> None:
    """One column per system at its first chunk size; then the chunk sizes, a line each."""
    first = [Column(runs, 0) for runs in done]
    cells = [["", *(column.title for column in first)]]
    cells += [[name, *(row(column) for column in first)] for name, row in ROWS]
    print_markdown(cells)
    print()
    cells = [["system, chunk", "WER", "first emission, ms: mean, p50 / p90 / p99", "settled p50"]]
    for runs in done:
        for index in range(len(runs.runs)):
            column = Column(runs, index)
            settled = f"{column.report.settled.p50_ms:.0f}"
            wer = f"{100 * column.report.wer:.1f} %"
            cells.append([column.title, wer, _times(column.report.first), settled])
    print_markdown(cells)


def _parts(parts: dict[str, float]) -> str:
    """Write the parts as a sum; a system that tells nothing about itself has two."""
    shown = list(parts.values())
    if not any(shown[:3]):
        return f"{shown[3]:.0f} compute + {shown[4]:.0f} the rest"
    return " + ".join(f"{part:.0f}" for part in shown).replace("+ -", "- ")


def _times(times: Any) -> str:
    if not times.count:
        return "-"
    return f"{times.mean_ms:.0f}, {times.p50_ms:.0f} / {times.p90_ms:.0f} / {times.p99_ms:.0f}"
