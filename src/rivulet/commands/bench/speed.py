"""`rivulet bench speed`: what a stream, or many at once, cost on this machine."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.commands.flags import (
    add_decoder_flags,
    add_endpoint_flags,
    add_model_flags,
    fill_model_flags,
    load_recognizer,
)
from rivulet.errors import ConfigError

if TYPE_CHECKING:
    from rivulet.evaluation.speed import SpeedReport, StartReport
    from rivulet.recognizer import Recognizer

CROWDS = (1, 2, 4, 8, 16, 32, 64, 128)  # streams at once
CROWD_S = 20.0  # seconds of sound of each


def add_parser(kinds: Any) -> None:
    """Declare the command."""
    speed = kinds.add_parser(
        "speed",
        help="real-time factor, time per block, memory, start-up, streams a core",
        description=__doc__,
    )
    speed.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="speech, repeated until --seconds"
    )
    speed.add_argument(
        "--seconds", type=float, default=600.0, help="sound of one stream (%(default)s)"
    )
    speed.add_argument(
        "--streams",
        metavar="N,N",
        default=",".join(map(str, CROWDS)),
        help="live streams in one process, advanced together (%(default)s)",
    )
    speed.add_argument(
        "--against",
        metavar="REV|ENGINE|whisper=DIR",
        help="run the files through a revision, an engine or faster-whisper as well, in turns",
    )
    speed.add_argument(
        "--rounds", type=int, default=3, help="of --against (%(default)s); medians count"
    )
    speed.add_argument(
        "--plot", type=Path, metavar="PATH", help="draw streams a core, and the parts of a block"
    )
    add_model_flags(speed)
    add_decoder_flags(speed)
    add_endpoint_flags(speed)
    speed.set_defaults(run=run_speed)


def run_speed(args: argparse.Namespace) -> int:
    """Measure and print a table and, as the last line, one JSON object."""
    from rivulet.evaluation.speed import measure_speed, measure_start, this_machine

    fill_model_flags(args)
    crowds = _crowds(args.streams)
    recognizer = load_recognizer(args)
    report = measure_speed(recognizer, args.files, args.seconds)
    start = measure_start(args.files[0], _loading(args))
    machine = this_machine(args.threads)
    numbers: dict[str, Any] = {"rtf": round(report.rtf, 5), **asdict(report)}
    numbers |= {"start": asdict(start), "machine": asdict(machine)}
    _print_rows(_stream_rows(report) | _start_rows(start))
    numbers["network"] = _network(recognizer, crowds, args.threads)
    numbers["crowds"] = _measure_crowds(recognizer, args.files, crowds)
    if args.against:
        numbers["against"] = _against(args)
    place = f"{machine.processor}, {machine.cores} cores, {machine.threads} thread(s)"
    _print_rows({"machine": f"{place}, commit {machine.commit}"})
    if args.plot:
        _plot(numbers, args.plot)
    print(json.dumps({"bench": "speed", "model": recognizer.checkpoint.digest[:12], **numbers}))
    return 0


def _crowds(told: str) -> list[int]:
    """Read numbers of streams.

    Raises:
        ConfigError: one is none.
    """
    if not all(part.strip().isdigit() and int(part) > 0 for part in told.split(",")):
        raise ConfigError(f"--streams {told} is no list of numbers above 0, such as 1,8,64.")
    return [int(part) for part in told.split(",")]


def _loading(args: argparse.Namespace) -> dict[str, Any]:
    names = ("model", "block_ms", "decoder", "engine", "threads")
    return {name: getattr(args, name) for name in names}


def _print_rows(rows: dict[str, str]) -> None:
    for name, value in rows.items():
        print(f"{name:26} {value}", flush=True)


def _stream_rows(report: "SpeedReport") -> dict[str, str]:
    parts = ", ".join(f"{name} {ms:.2f}" for name, ms in report.parts.items())
    return {
        "sound": f"{report.audio_s:.1f} s, {report.words} words",
        "real-time factor": f"{report.rtf:.4f}",
        f"a block of {report.block_ms} ms": (
            f"p50 {report.block_p50_ms:.2f} ms, p99 {report.block_p99_ms:.2f} ms, "
            f"longest {report.block_max_ms:.1f} ms"
        ),
        "parts of a mean block": f"{parts} ms",
        "algorithmic latency": f"{report.latency_ms} ms (block + lookahead + window)",
        "state of a stream": f"{report.state_bytes / 1000:.1f} kB",
        "peak memory": f"{report.peak_bytes / 1e6:.0f} MB",
    }


def _start_rows(start: "StartReport") -> dict[str, str]:
    return {
        "start to the first words": (
            f"{start.words_s:.2f} s of CPU (imported {start.import_s:.2f}, "
            f"loaded {start.load_s:.2f})"
        ),
        "memory up to there": (
            f"{start.words_bytes / 1e6:.0f} MB (imported {start.import_bytes / 1e6:.0f}, "
            f"loaded {start.load_bytes / 1e6:.0f})"
        ),
    }


def _network(recognizer: "Recognizer", crowds: list[int], threads: int) -> dict[str, Any]:
    """Measure the network alone and the machine, and print how far the one is from the other."""
    from rivulet.acoustic.frames import output_frames
    from rivulet.evaluation.limits import measure_limits, work_of
    from rivulet.evaluation.speed import measure_network

    engine = recognizer.checkpoint.engine
    frames = output_frames(recognizer.block_ms)
    work = work_of(recognizer.checkpoint.config, engine.name, frames)
    limits = measure_limits(work, threads)
    _print_rows(
        {
            "work of a block": (
                f"{work.multiplications / 1e6:.1f} M multiplications, "
                f"{work.bytes_read / 1e6:.1f} MB of weights read"
            ),
            "this machine": (
                f"{limits.multiplications / 1e9:.0f} G float32 multiplications and "
                f"{limits.bandwidth / 1e9:.0f} GB a second"
            ),
        }
    )
    rows = []
    for streams in crowds:
        took, least = measure_network(engine, frames, streams), limits.block_s(work, streams)
        rows.append({"streams": streams, "block_s": took, "distance": took / least})
        print(
            f"  network, {streams:3} streams     {1000 * took / streams:.3f} ms a stream and "
            f"block, {took / least:.1f} x the limit",
            flush=True,
        )
    return {"work": asdict(work), "limits": asdict(limits), "blocks": rows}


def _measure_crowds(
    recognizer: "Recognizer", files: list[Path], crowds: list[int]
) -> list[dict[str, Any]]:
    from rivulet.evaluation.speed import measure_streams

    rows = []
    for streams in crowds:
        report = measure_streams(recognizer, files, CROWD_S, streams)
        rows.append({**asdict(report), "streams_per_core": report.streams_per_core})
        print(
            f"  {streams:3} live streams         a core carries {report.streams_per_core:.0f}; a "
            f"block of all p50 {report.round_p50_ms:.1f} ms, p99 {report.round_p99_ms:.1f} ms"
            f"{'' if report.keeps_up else ': they do not keep up'}",
            flush=True,
        )
    return rows


def _against(args: argparse.Namespace) -> dict[str, Any]:
    """Run whole programs in turns and print what this one takes of the other's."""
    from rivulet.evaluation.rivals import measure, rival, this_program

    flags = ["--decoder", args.decoder] if args.decoder else []
    own = [*flags, "--engine", args.engine, "--block-ms", str(args.block_ms)]
    with rival(args.against, flags) as other:
        mine, theirs = measure([this_program(own), other], args.files, args.rounds)
    ratios = {
        "cpu": mine.cpu_s / theirs.cpu_s,
        "memory": mine.peak_bytes / theirs.peak_bytes,
    }
    _print_rows(
        {
            f"against {args.against}": (
                f"{mine.cpu_s:.2f} of {theirs.cpu_s:.2f} s of CPU: {ratios['cpu']:.3f} x; "
                f"{mine.peak_bytes / 1e6:.0f} of {theirs.peak_bytes / 1e6:.0f} MB: "
                f"{ratios['memory']:.2f} x ({args.rounds} rounds in turns, whole programs)"
            )
        }
    )
    return {"name": args.against, "own": asdict(mine), "other": asdict(theirs), "ratios": ratios}


def _plot(numbers: dict[str, Any], path: Path) -> None:
    from rivulet.evaluation.plots import DPI, draw_speed

    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist; make it first.")
    draw_speed(numbers).savefig(path, dpi=DPI, metadata={"Software": None})
