"""`rivulet align`: when each word of a known text was said, a CTM for `rivulet bench latency`."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.commands.clips import add_clip_flags, load_samples, read_clips
from rivulet.corpora.manifest import Utterance, write_manifest
from rivulet.errors import AlignmentError, ConfigError, RivuletError
from rivulet.evaluation.ctm import SpokenWord, write_ctm
from rivulet.text.normalize import normalize

if TYPE_CHECKING:
    from rivulet.evaluation.alignment import Aligner, Deviation

SENTENCES = (
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG",
    "HE HAD WRITTEN A NUMBER OF BOOKS HIMSELF",
    "PLEASE CALL STELLA AND ASK HER TO BRING THESE THINGS",
    "IT'S A DOG'S LIFE SAID THE OLD MAN",
    "SHE HAD YOUR DARK SUIT IN GREASY WASH WATER ALL YEAR",
    "THE WATER IN THIS LAKE IS COLDER THAN IT LOOKS",
    "NOBODY KNEW WHICH ROAD WOULD TAKE THEM HOME BEFORE NIGHT",
    "TURN THE LIGHT OFF WHEN YOU LEAVE THE KITCHEN",
    "SEVEN SMALL SHIPS SAILED SLOWLY PAST THE HARBOR WALL",
    "WE COULD HEAR THE RAIN ON THE ROOF ALL AFTERNOON",
)


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("align", help="times of known words (CTM)", description=__doc__)
    add_clip_flags(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="WORDS.ctm|DIR")
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--speak",
        type=Path,
        metavar="TEXT",
        help="say each line of TEXT and write clips, manifest.tsv and exact words.ctm to DIR",
    )
    other.add_argument(
        "--check", action="store_true", help="how good the aligner is, on speech of exact times"
    )
    parser.add_argument(
        "--voice",
        action="append",
        metavar="NAME",
        help="of --speak and --check, such as flite:slt or espeak:en-us; may be repeated",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Align, speak or check; return 1 if a clip could not be aligned, the others are written."""
    if args.check:
        return _check(args)
    if args.output is None:
        raise ConfigError("there is no place for the times; name a file with --output WORDS.ctm.")
    return _speak(args) if args.speak else _align(args)


def _align(args: argparse.Namespace) -> int:
    from rivulet.evaluation.alignment import Aligner

    clips = read_clips(args)
    if not args.output.parent.is_dir():
        raise ConfigError(f"the folder {args.output.parent} does not exist; make it first.")
    aligner = Aligner()
    found: dict[str, tuple[SpokenWord, ...]] = {}
    for clip in clips:
        try:
            found[clip.id] = aligner.align(load_samples(clip), clip.text)
        except RivuletError as error:  # noqa: PERF203 (a clip takes a while, a try nothing)
            print(f"rivulet: {clip.id}: {error}", file=sys.stderr)
    count = write_ctm(args.output, found, "PocketSphinx forced alignment, by `rivulet align`")
    failed = len(clips) - len(found)
    print(f"{args.output}: {count} words in {len(found)} clips, {failed} clips not aligned")
    summary = {"words": count, "clips": len(found), "failed": failed}
    print(json.dumps({**summary, "words_spelled_by_guess": len(aligner.guessed)}))
    return 1 if failed else 0


def _speak(args: argparse.Namespace) -> int:
    """Write clips that a synthesizer says, with its own word times."""
    from rivulet.audio import SAMPLE_RATE
    from rivulet.audio.pcm import write_wav
    from rivulet.evaluation.synthesis import speak

    if not args.speak.is_file():
        raise ConfigError(f"{args.speak} does not exist; give a text with one sentence a line.")
    lines = [normalize(line) for line in args.speak.read_text(encoding="utf-8").splitlines()]
    args.output.mkdir(parents=True, exist_ok=True)
    utterances: list[Utterance] = []
    times: dict[str, tuple[SpokenWord, ...]] = {}
    for voice in args.voice or ["flite:slt"]:
        for number, text in enumerate((line for line in lines if line), 1):
            made = speak(text, voice)
            name = f"{voice.replace(':', '-')}-{number:03}"
            path = args.output / f"{name}.wav"
            write_wav(path, made.samples, SAMPLE_RATE)
            seconds = len(made.samples) / SAMPLE_RATE
            utterances.append(Utterance(name, path.absolute(), seconds, voice, text, voice))
            times[name] = made.words
    if not utterances:
        raise ConfigError(f"{args.speak} has 0 words; give a text with one sentence a line.")
    write_manifest(args.output / "manifest.tsv", utterances)
    count = write_ctm(args.output / "words.ctm", times, "exact, from the synthesizer")
    print(f"{args.output}: {len(utterances)} clips, {count} words with exact times")
    return 0


def _check(args: argparse.Namespace) -> int:
    """Compare the aligner with exact times, voice by voice."""
    from rivulet.evaluation.alignment import Aligner
    from rivulet.evaluation.synthesis import voices

    aligner = Aligner()
    rows: dict[str, Any] = {}
    print(
        f"{'voice':14} {'words':>5} {'failed':>6}  {'start: median':>13} {'mean':>5} {'p90':>5} "
        f"{'<50 ms':>6}  {'end: median':>11} {'mean':>5} {'p90':>5} {'<50 ms':>6}"
    )
    for voice in args.voice or voices():
        words, failed, start, end = check_voice(aligner, voice)
        print(f"{voice:14} {words:5} {failed:6}  {_row(start, 13)}  {_row(end, 11)}")
        sides = {"start": start and asdict(start), "end": end and asdict(end)}
        rows[voice] = {"words": words, "clips_failed": failed, **sides}
    print("median: aligner less truth; mean and p90: size of the difference; all in ms")
    print(json.dumps({"align": "check", "clips_per_voice": len(SENTENCES), "voices": rows}))
    return 0


def check_voice(
    aligner: "Aligner", voice: str
) -> tuple[int, int, "Deviation | None", "Deviation | None"]:
    """Align what `voice` says; return words, clips that failed, and how far starts and ends lie."""
    from rivulet.evaluation.alignment import deviation
    from rivulet.evaluation.synthesis import speak

    pairs: list[tuple[SpokenWord, SpokenWord]] = []
    failed = 0
    for text in SENTENCES:
        try:
            clip = speak(text, voice)
            pairs += zip(aligner.align(clip.samples, text), clip.words, strict=True)
        except AlignmentError:  # noqa: PERF203 (counted)
            failed += 1
    if not pairs:
        return 0, failed, None, None
    start = deviation([a.start for a, _ in pairs], [b.start for _, b in pairs])
    end = deviation([a.end for a, _ in pairs], [b.end for _, b in pairs])
    return len(pairs), failed, start, end


def _row(side: "Deviation | None", width: int) -> str:
    if side is None:
        return f"{'-':>{width}} {'-':>5} {'-':>5} {'-':>6}"
    numbers = [1000 * value for value in (side.median_s, side.mean_abs_s, side.p90_abs_s)]
    share = f"{100 * side.within_50ms:.0f}%"
    return f"{numbers[0]:{width}.0f} {numbers[1]:5.0f} {numbers[2]:5.0f} {share:>6}"
