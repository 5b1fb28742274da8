"""`rivulet calibrate`: measure a model's priors, word delay and confidence.

What was measured is written into the model's config.json, unless --dry-run is given.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.commands.clips import load_samples, spread
from rivulet.errors import ConfigError

if TYPE_CHECKING:
    from rivulet.corpora.manifest import Utterance
    from rivulet.decoding.settings import TimingConfig
    from rivulet.recognizer import Recognizer


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "calibrate", help="store a model's priors, word delay, confidence", description=__doc__
    )
    parser.add_argument(
        "model", type=Path, metavar="DIR", help="a checkpoint folder, which is changed"
    )
    parser.add_argument("--dry-run", action="store_true", help="measure only; change no file")
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE.tsv")
    parser.add_argument(
        "--reference", type=Path, metavar="WORDS.ctm", help="measure the delay: see `rivulet align`"
    )
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="fit the beam's confidence on every second utterance, report it on the others; "
        "find how unlikely the words of a segment may be",
    )
    parser.add_argument(
        "--priors",
        action="store_true",
        help="measure how likely each phone is over the manifest; texts are not read",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only N clips, spread evenly")
    parser.add_argument(
        "--decoder", choices=("beam", "greedy"), help="whose delay (the model's default)"
    )
    parser.add_argument(
        "--name", help="what the data is, in words, for the card (the files' names)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, store, and print the numbers with one JSON object as the last line."""
    from rivulet.corpora.manifest import read_manifest
    from rivulet.recognizer import Recognizer

    if args.reference is None and not args.confidence and not args.priors:
        raise ConfigError(
            "0 things to measure; give --priors, --reference WORDS.ctm or --confidence."
        )
    utterances = spread(read_manifest(args.manifest), args.limit)
    numbers: dict[str, Any] = {"calibrate": str(args.model)}
    if args.priors:
        numbers |= _priors(args, utterances)
    if args.reference is not None or args.confidence:
        recognizer = Recognizer.load(args.model, decoder=args.decoder)
        numbers["decoder"] = recognizer.settings.name
        if args.reference is not None:
            numbers |= _delay(args, recognizer, utterances)
        if args.confidence:
            numbers |= _confidence(args, recognizer, utterances)
    kept = "nothing was changed" if args.dry_run else f"stored in {args.model / 'config.json'}"
    print(f"rivulet: {kept}", file=sys.stderr)
    print(json.dumps(numbers))
    return 0


def _priors(args: argparse.Namespace, utterances: "list[Utterance]") -> dict[str, Any]:
    from rivulet import checkpoint
    from rivulet.evaluation.calibration import phone_priors

    loaded = checkpoint.load(args.model)
    priors = phone_priors(loaded, map(load_samples, utterances))
    if not args.dry_run:
        checkpoint.store_beam(args.model, replace(loaded.beam, priors=priors))
    named = dict(zip(loaded.phones.tokens if loaded.phones else (), priors, strict=True))
    print(" ".join(f"{phone} {prior:.2f}" for phone, prior in named.items()))
    return {"clips": len(utterances), "priors": named}


def _delay(
    args: argparse.Namespace, recognizer: "Recognizer", utterances: "list[Utterance]"
) -> dict[str, Any]:
    from rivulet.evaluation.calibration import measure_delay
    from rivulet.evaluation.ctm import read_ctm

    words = read_ctm(args.reference)
    clips = [u for u in utterances if u.id in words]
    if not clips:
        raise ConfigError(
            f"{args.reference} has times of {len(words)} clips and none is in {args.manifest}; "
            "give files that belong together."
        )
    delay = measure_delay(recognizer, ((load_samples(u), words[u.id]) for u in clips))
    name = (
        args.name or f"{delay.words} words of {args.manifest.name}, times of {args.reference.name}"
    )
    if not args.dry_run:
        _store_timing(args.model, recognizer.settings.name, delay.timing(name))
    print(f"{delay.words} words of {len(clips)} clips")
    print(f"start {1000 * delay.start_s:.0f} ms late (spread {1000 * delay.start_spread_s:.0f} ms)")
    print(f"end   {1000 * delay.end_s:.0f} ms late (spread {1000 * delay.end_spread_s:.0f} ms)")
    return {"clips": len(clips), **asdict(delay)}


def _store_timing(model: Path, decoder: str, timing: "TimingConfig") -> None:
    from rivulet import checkpoint

    if decoder == "greedy":
        checkpoint.store_timing(model, timing)
    else:
        beam = checkpoint.load(model).beam
        checkpoint.store_beam(model, replace(beam, timing=timing))


def _confidence(
    args: argparse.Namespace, recognizer: "Recognizer", utterances: "list[Utterance]"
) -> dict[str, Any]:
    from rivulet import checkpoint
    from rivulet.evaluation.calibration import (
        collect_segments,
        evidence_of,
        fit,
        reliability,
        speech_floor,
    )

    segments = [
        collect_segments(recognizer, ((load_samples(u), u.text) for u in utterances[i::2]))
        for i in (0, 1)
    ]
    found = [evidence_of(half) for half in segments]
    floor = speech_floor([*segments[0], *segments[1]])
    name = args.name or f"every second utterance of {args.manifest.name}"
    fitted = fit(found[0], name)
    measured = reliability(found[1], fitted)
    if not args.dry_run:
        beam = checkpoint.load(args.model).beam
        checkpoint.store_beam(args.model, replace(beam, confidence=fitted, min_log_prob=floor))
    print(f"{'confidence':>12} {'words':>7} {'mean':>7} {'hits':>7}")
    for place, group in enumerate(measured.bins):
        tenth = f"{place / 10:.1f}-{(place + 1) / 10:.1f}"
        print(f"{tenth:>12} {group.words:7} {group.confidence:7.3f} {group.hit_rate:7.3f}")
    print(f"expected calibration error {measured.error:.4f}, separation {measured.separation:.3f}")
    print(f"segments below {floor:.3f} nats a frame are no speech")
    return {
        "fitted": asdict(fitted),
        "reliability": asdict(measured),
        "min_log_prob": floor,
    }
