"""`rivulet bench speed`: what a stream, or many at once, cost on this machine."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rivulet.commands.flags import (
    add_decoder_flags,
    add_endpoint_flags,
    add_model_flags,
    fill_model_flags,
    load_recognizer,
)


def add_parser(kinds: Any) -> None:
    """Declare the command."""
    speed = kinds.add_parser(
        "speed", help="real-time factor, time per block, memory, start-up", description=__doc__
    )
    speed.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="speech, repeated until --seconds"
    )
    speed.add_argument(
        "--seconds", type=float, default=3600.0, help="sound in all (%(default)s: one hour)"
    )
    speed.add_argument(
        "--streams", type=int, metavar="N", help="N live streams in one process, taking turns"
    )
    add_model_flags(speed)
    add_decoder_flags(speed)
    add_endpoint_flags(speed)
    speed.set_defaults(run=run_speed)


def run_speed(args: argparse.Namespace) -> int:
    """Measure and print a table and, as the last line, one JSON object."""
    from rivulet.evaluation.speed import measure_speed, measure_start, this_machine

    if args.streams is not None:
        return _run_streams(args)
    fill_model_flags(args)
    start_s = measure_start(args.model)
    recognizer = load_recognizer(args)
    report = measure_speed(recognizer, args.files, args.seconds, start_s)
    machine = this_machine(args.threads)
    rows = {
        "sound": f"{report.audio_s:.1f} s, {report.words} words",
        "real-time factor": f"{report.rtf:.4f} on {machine.threads} thread(s)",
        f"time per {report.block_ms} ms block": (
            f"p50 {report.block_p50_ms:.2f} ms, p99 {report.block_p99_ms:.2f} ms"
        ),
        "algorithmic latency": f"{report.latency_ms} ms (block + lookahead + window)",
        "stream state": f"{report.state_bytes / 1000:.1f} kB",
        "peak memory": f"{report.peak_bytes / 1e6:.0f} MB",
        "start-up": f"{report.start_s:.2f} s (import and load in a fresh process)",
        "machine": f"{machine.processor}, {machine.cores} cores, commit {machine.commit}",
    }
    for name, value in rows.items():
        print(f"{name:24} {value}")
    numbers = {"rtf": round(report.rtf, 5), **asdict(report), "machine": asdict(machine)}
    print(json.dumps({"bench": "speed", "model": recognizer.checkpoint.digest[:12], **numbers}))
    return 0


def _run_streams(args: argparse.Namespace) -> int:
    """Measure many streams and print how many live ones a core carries."""
    from rivulet.evaluation.speed import measure_streams, this_machine

    recognizer = load_recognizer(args)
    report = measure_streams(recognizer, args.files, args.seconds, args.streams)
    machine = this_machine(args.threads)
    print(f"{report.streams} streams, {report.audio_s:.0f} s of sound in all")
    print(f"real-time factor of one stream   {report.compute_s / report.audio_s:.4f}")
    print(
        f"a {report.block_ms} ms block of every stream  p50 {report.round_p50_ms:.1f} ms, "
        f"p99 {report.round_p99_ms:.1f} ms: they {'keep' if report.keeps_up else 'do not keep'} up"
    )
    print(f"streams that a core carries      {report.streams_per_core:.1f}")
    print(f"state of all streams             {report.state_bytes / 1000:.1f} kB")
    numbers = {
        **asdict(report),
        "keeps_up": report.keeps_up,
        "streams_per_core": round(report.streams_per_core, 2),
        "machine": asdict(machine),
    }
    print(json.dumps({"bench": "streams", "model": recognizer.checkpoint.digest[:12], **numbers}))
    return 0
