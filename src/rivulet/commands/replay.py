"""`rivulet replay talk.rvl`: run a recording again and prove that every event is the same."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.commands.flags import add_text_flags, new_formatters, shown_for
from rivulet.errors import CheckpointError, RecordingError
from rivulet.text.subtitles import SubtitleLayout
from rivulet.writers import FORMATS

if TYPE_CHECKING:
    from rivulet.live.recording import Recording
    from rivulet.live.replay import ReplayReport
    from rivulet.recognizer import Recognizer


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("replay", help="run a recording again", description=__doc__)
    parser.add_argument("recording", type=Path, metavar="PATH", help="made by listen --save")
    parser.add_argument("-m", "--model", help="name or folder (the name in the recording)")
    parser.add_argument(
        "--clock",
        choices=("fast", "real"),
        default="fast",
        help="real: at the speed it happened (%(default)s)",
    )
    parser.add_argument("-t", "--format", choices=FORMATS, default="txt", help="(%(default)s)")
    parser.add_argument("--wav", type=Path, metavar="PATH", help="only write its sound to a file")
    add_text_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay; return 0 if every event is identical.

    Raises:
        RecordingError: an event differs, the file is damaged, or the model is another.
    """
    from rivulet.live.recording import Recording

    recording = Recording(args.recording)
    if args.wav is not None:
        from rivulet.live.wav import export_wav

        seconds = export_wav(recording, args.wav)
        sys.stderr.write(f"rivulet: {seconds:.1f} s of sound written to {args.wav}\n")
        return 0
    return _replay(args, recording)


def _replay(args: argparse.Namespace, recording: "Recording") -> int:
    from rivulet.live.console import Transcript
    from rivulet.live.recording import arithmetic
    from rivulet.live.replay import ReplayReport, replay

    recognizer = _recognizer(args.model, recording)
    here = arithmetic(recognizer)
    if recording.header.made_on != here:
        sys.stderr.write(
            f"rivulet: the recording was made on {recording.header.made_on} and this is {here}; "
            "sums may differ in the last bit\n"
        )
    report = ReplayReport()
    formatter = new_formatters(args)()
    layout = SubtitleLayout(args.line_width, args.max_lines)
    transcript = Transcript(args.format, sys.stdout, recording.header.signal.device, layout)
    try:
        for event in replay(recording, recognizer, report, real_clock=args.clock == "real"):
            transcript.write(shown_for(event, formatter))
    finally:
        transcript.close(report.seconds)
    sys.stderr.write(f"rivulet: {_ending(report)}\n")
    if report.difference is not None:
        raise RecordingError(_difference(report, recording, here))
    sys.stderr.write(f"rivulet: all {report.events} events are identical\n")
    return 0


def _recognizer(wanted: str | None, recording: "Recording") -> "Recognizer":
    """Load the model asked for, or look for the recording's own by its digest, then its name."""
    from rivulet.checkpoint import DEFAULT_NAME
    from rivulet.recognizer import Recognizer

    runs: Any = {"engine": recording.header.engine, "threads": recording.header.threads}
    if wanted is None:
        with contextlib.suppress(CheckpointError):
            usual = Recognizer.load(DEFAULT_NAME, **runs)
            if usual.checkpoint.digest == recording.header.digest:
                return usual
    try:
        return Recognizer.load(wanted or recording.header.model, **runs)
    except CheckpointError as error:
        raise RecordingError(
            f"the model of {recording.path}, {recording.header.model!r} of sha256 "
            f"{recording.header.digest[:12]}…, is not here ({error}); give its folder with -m."
        ) from error


def _ending(report: "ReplayReport") -> str:
    if not report.complete:
        return (
            "the recording was cut off, killed or for want of room on the disk; "
            f"{report.seconds:.1f} s were recovered"
        )
    return f"{report.seconds:.1f} s replayed; the recording ended so: {report.reason}"


def _difference(report: "ReplayReport", recording: "Recording", here: str) -> str:
    assert report.difference is not None
    difference = report.difference
    elsewhere = recording.header.made_on != here
    return (
        f"the replay differs at {difference.at_s:.2f} s: recorded "
        f"{json.dumps(difference.recorded)}, replayed {json.dumps(difference.replayed)}; "
        + (
            f"the recording was made on {recording.header.made_on} and this is {here}, "
            "whose sums may differ in the last bit."
            if elsewhere
            else "rivulet has changed since, or this is a bug: please report it with the recording."
        )
    )
