"""`rivulet bench speed`: what a stream costs on this machine."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rivulet.commands.common import add_endpoint_flags, add_model_flags, load_recognizer


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("bench", help="measure speed", description=__doc__)
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    speed = kinds.add_parser(
        "speed", help="real-time factor, time per block, memory, start-up", description=__doc__
    )
    speed.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="speech, repeated until --seconds"
    )
    speed.add_argument(
        "--seconds", type=float, default=3600.0, help="sound in all (%(default)s: one hour)"
    )
    add_model_flags(speed)
    add_endpoint_flags(speed)
    speed.set_defaults(run=run_speed)


def run_speed(args: argparse.Namespace) -> int:
    """Measure and print a table and, as the last line, one JSON object."""
    from rivulet.benchmark import measure_speed, measure_start, this_machine

    start_s = measure_start(args.model)
    recognizer = load_recognizer(args)
    report = measure_speed(recognizer, args.files, args.seconds, start_s)
    machine = this_machine()
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
