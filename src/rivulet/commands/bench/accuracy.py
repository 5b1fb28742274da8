"""`rivulet bench accuracy`: word error rates of several systems on the same clips, in one run."""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.commands.bench.earlier import clip_rows, clip_seconds, read_earlier
from rivulet.commands.bench.systems import (
    add_system_flags,
    check_folder,
    dump,
    print_markdown,
    read_systems,
)
from rivulet.commands.clips import add_clip_flags, named_clips, spread
from rivulet.commands.flags import add_endpoint_flags, add_model_flags
from rivulet.corpora.manifest import Utterance
from rivulet.errors import ConfigError

if TYPE_CHECKING:
    from rivulet.evaluation.accuracy import Accuracy, SystemTranscripts

ALL = "all"


def add_parser(kinds: Any) -> None:
    """Declare the command."""
    parser = kinds.add_parser("accuracy", help="word error rates side by side", description=__doc__)
    add_clip_flags(parser)
    parser.add_argument(
        "--part",
        action="append",
        metavar="NAME",
        help="only clips whose path begins with this folder; may be repeated",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth clip")
    parser.add_argument("--chunk-ms", type=int, default=160, metavar="MS", help="(%(default)s)")
    add_system_flags(parser)
    parser.add_argument(
        "--resample",
        choices=("utterance", "speaker"),
        default="utterance",
        help="what the 95 %% intervals draw by chance: utterances say how sure the rates are for "
        "these speakers, speakers for others (%(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="every number and every clip")
    parser.add_argument(
        "--reuse",
        type=Path,
        metavar="PATH",
        help="a file that --json wrote: systems that read the same clips there do not run again, "
        "but for rivulet",
    )
    add_model_flags(parser)
    add_endpoint_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Hear all clips, print the table; the last line is one JSON object. 1 if a clip failed."""
    from rivulet.evaluation.accuracy import hear_apart

    if args.jobs < 1:
        raise ConfigError(f"--jobs {args.jobs} cannot be used; give at least 1.")
    if not 1 <= args.chunk_ms <= 60_000:
        raise ConfigError(f"a chunk of {args.chunk_ms} ms cannot be used; give 1 to 60000 ms.")
    check_folder(args.json)
    configs = read_systems(args, watched=False)
    clips = _clips(args)
    earlier = read_earlier(args.reuse, clips) if args.reuse else {}
    # rivulet's model and flags may have changed under the same name
    fresh = [c for c in configs if c.name == "rivulet" or c.label not in earlier]
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # systems run in processes of their own
    print(f"{len(fresh)} systems x {len(clips)} clips", file=sys.stderr)
    with ThreadPoolExecutor(args.jobs) as pool:
        now = list(pool.map(lambda config: hear_apart(config, clips, args.chunk_ms), fresh))
    by_name = {**earlier, **{system.name: system for system in now}}
    done = [by_name[config.label] for config in configs]
    failed = _report_failures(clips, done)
    parts = _compare(clips, done, args.resample)
    _print_table(clips, done, parts)
    document = _document(args, clips, done, parts)
    if args.json is not None:
        text = dump({**document, "clips": clip_rows(clips, done), "clips_s": clip_seconds(done)})
        args.json.write_text(text + "\n", encoding="utf-8")
    print(dump(document))
    return 1 if failed else 0


def _clips(args: argparse.Namespace) -> list[Utterance]:
    """Return the clips that the flags leave."""
    clips = named_clips(args)
    there = list(dict.fromkeys(clip.set_name for clip in clips))
    for part in args.part or []:
        if part not in there:
            raise ConfigError(
                f"there is no part {part!r} among {len(clips)} clips; use {', '.join(there)}."
            )
    if args.every < 1:
        raise ConfigError(f"--every {args.every} cannot be used; give 1 or more.")
    chosen = [clip for clip in clips if not args.part or clip.set_name in args.part]
    left = spread(chosen[:: args.every], args.limit)
    nameless = sum(not clip.speaker for clip in left)
    if args.resample == "speaker" and nameless:
        raise ConfigError(
            f"{nameless} of {len(left)} clips name no speaker; use --resample utterance."
        )
    return left


def _report_failures(clips: Sequence[Utterance], done: "Sequence[SystemTranscripts]") -> int:
    """Name every clip that a system could not transcribe; return how many there are."""
    failed = [
        (system.name, clip.id, transcript.failure)
        for system in done
        for clip, transcript in zip(clips, system.clips, strict=True)
        if transcript.failure
    ]
    for name, clip_id, why in failed:
        print(f"rivulet: {name} failed on {clip_id}: {why}", file=sys.stderr)
    return len(failed)


def _compare(
    clips: Sequence[Utterance], done: "Sequence[SystemTranscripts]", unit: Any
) -> "dict[str, list[Accuracy]]":
    """Return the accuracies of all systems by part, and on all clips as the last."""
    from rivulet.evaluation.accuracy import compare

    names = dict.fromkeys(clip.set_name for clip in clips)
    parts = {name: compare(clips, done, unit, name) for name in names}
    return {**parts, ALL: compare(clips, done, unit)}


def _print_table(
    clips: Sequence[Utterance],
    done: "Sequence[SystemTranscripts]",
    parts: "dict[str, list[Accuracy]]",
) -> None:
    """Print a line per part; then who failed how often, and who is better where."""
    first = done[0].name
    head = ["part", "clips", "words"]
    for system in done:
        head += [f"{system.name}: WER %, 95 %", "sub / del / ins", "real-time factor"]
    head += [f"{first} − {system.name}, 95 %" for system in done[1:]]
    cells = [head]
    for name, accuracies in parts.items():
        count = sum(name in (ALL, clip.set_name) for clip in clips)
        cells.append([name, str(count), str(accuracies[0].words.reference)])
        for accuracy in accuracies:
            cells[-1] += _cells(accuracy)
        cells[-1] += [_percent(a.delta, a.delta_interval, "+.1f") for a in accuracies[1:]]
    print_markdown(cells)
    counts = zip(done, parts[ALL], strict=True)
    failures = ", ".join(f"{system.name} {accuracy.failed}" for system, accuracy in counts)
    print(f"\nclips that failed, all their words counted as deletions: {failures}")
    of_parts = [accuracies for name, accuracies in parts.items() if name != ALL]
    for index, system in enumerate(done[1:], 1):
        rows = [accuracies[index] for accuracies in of_parts]
        fewer, surely = (
            sum((a.delta or 0.0) < 0.0 for a in rows),
            sum(a.significantly_worse for a in rows),
        )
        print(
            f"{first} makes fewer errors than {system.name} on {fewer} of {len(rows)} parts, "
            f"with 95 % confidence on {surely}"
        )


def _cells(accuracy: "Accuracy") -> list[str]:
    words = accuracy.words
    return [
        _percent(accuracy.wer if words.reference else None, accuracy.interval),
        f"{words.substitutions} / {words.deletions} / {words.insertions}",
        "-" if accuracy.rtf is None else f"{accuracy.rtf:.3f}",
    ]


def _percent(rate: float | None, interval: tuple[float, float] | None, form: str = ".1f") -> str:
    """Write a rate and its interval in percent; - for what is not known."""
    if rate is None:
        return "-"
    ends = "-" if interval is None else " to ".join(f"{100 * end:{form}}" for end in interval)
    return f"{100 * rate:{form}} ({ends})"


def _document(
    args: argparse.Namespace,
    clips: Sequence[Utterance],
    done: "Sequence[SystemTranscripts]",
    parts: "dict[str, list[Accuracy]]",
) -> dict[str, Any]:
    """Every number; what differs from run to run stands in `machine` alone."""
    from rivulet.evaluation.speed import this_machine
    from rivulet.metrics import RESAMPLES

    names = [system.name for system in done]
    numbers = {
        part: {name: _numbers(one) for name, one in zip(names, accuracies, strict=True)}
        for part, accuracies in parts.items()
    }
    measured = {
        system.name: {
            "rtf": {part: _rounded(accuracies[index].rtf) for part, accuracies in parts.items()},
            "load_s": round(system.load_s, 3),
            "added_bytes": system.added_bytes,
        }
        for index, system in enumerate(done)
    }
    machine = {**asdict(this_machine()), "threads": args.threads, "jobs": args.jobs}
    return {
        "bench": "accuracy",
        "manifest": args.manifest.name if args.manifest else None,
        "clips_used": len(clips),
        "chunk_ms": args.chunk_ms,
        "interval": {"percent": 95, "drawn": args.resample, "resamples": RESAMPLES},
        "systems": {
            system.name: {"model": system.digest, "model_bytes": system.size_bytes}
            for system in done
        },
        "all": numbers.pop(ALL),
        "parts": numbers,
        "machine": {**machine, "systems": measured},
    }


def _numbers(accuracy: "Accuracy") -> dict[str, Any]:
    known = accuracy.words.reference > 0
    return {
        **asdict(accuracy.words),
        "wer": _rounded(accuracy.wer) if known else None,
        "wer_95": _rounded_pair(accuracy.interval),
        "delta": _rounded(accuracy.delta),
        "delta_95": _rounded_pair(accuracy.delta_interval),
        "failed": accuracy.failed,
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 5)


def _rounded_pair(pair: tuple[float, float] | None) -> list[float] | None:
    return None if pair is None else [round(number, 5) for number in pair]
