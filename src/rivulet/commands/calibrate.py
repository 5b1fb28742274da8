"""`rivulet calibrate`: measure how late a model shows words, and store it in its checkpoint."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rivulet.commands.clips import load_samples
from rivulet.errors import ConfigError


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "calibrate", help="store a model's word delay", description=__doc__
    )
    parser.add_argument("model", type=Path, metavar="DIR", help="a checkpoint folder")
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE.tsv")
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="WORDS.ctm", help="see `rivulet align`"
    )
    parser.add_argument(
        "--name", help="what the reference is, in words, for the card (the files' names)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, store, and print the numbers with one JSON object as the last line."""
    from rivulet import checkpoint
    from rivulet.alignment import measure_delay
    from rivulet.ctm import read_ctm
    from rivulet.recognizer import Recognizer
    from rivulet.training.manifest import read_manifest

    loaded = checkpoint.load(args.model)
    words = read_ctm(args.reference)
    clips = [u for u in read_manifest(args.manifest) if u.id in words]
    if not clips:
        raise ConfigError(
            f"{args.reference} has times of {len(words)} clips and none is in {args.manifest}; "
            "give files that belong together."
        )
    delay = measure_delay(Recognizer(loaded), ((load_samples(u), words[u.id]) for u in clips))
    name = (
        args.name or f"{delay.words} words of {args.manifest.name}, times of {args.reference.name}"
    )
    checkpoint.store_timing(args.model, delay.timing(name))
    print(f"{delay.words} words of {len(clips)} clips")
    print(f"start {1000 * delay.start_s:.0f} ms late (spread {1000 * delay.start_spread_s:.0f} ms)")
    print(f"end   {1000 * delay.end_s:.0f} ms late (spread {1000 * delay.end_spread_s:.0f} ms)")
    print(json.dumps({"calibrate": str(args.model), "clips": len(clips), **asdict(delay)}))
    return 0
