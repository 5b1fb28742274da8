"""`rivulet bench latency`: how late every word is, and why, for rivulet and for other systems."""

import argparse
import json
import os
import sys
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
    from rivulet.evaluation.streaming import Clip

CHUNKS = "20,40,80,160,320"
ALIGNED = "PocketSphinx forced alignment"


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
    from rivulet.evaluation import latency_table
    from rivulet.evaluation.plots import draw_all
    from rivulet.evaluation.speed import this_machine
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
    print_markdown(latency_table.systems_table(done))
    print()
    print_markdown(latency_table.chunks_table(done))
    machine = {**asdict(this_machine()), "threads": args.threads}
    measured = latency_table.document_of(done, replaying, machine)
    document = {"bench": "latency", "reference": reference, **measured}
    full = latency_table.with_words(document, done)
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
