"""`rivulet transcribe FILE...`: sound files to text."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rivulet.commands.batch import Batch, say
from rivulet.commands.flags import add_recognizer_flags, add_track_flag
from rivulet.commands.outputs import STANDARD_INPUT, Job, plan
from rivulet.commands.signals import terminable
from rivulet.errors import AudioError, ConfigError, RivuletError
from rivulet.writers import FORMATS


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("transcribe", help="sound files to text", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="sound files; - is standard input")
    parser.add_argument("-t", "--format", choices=FORMATS, default="txt", help="(%(default)s)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH|DIR",
        help="a file; for several inputs a folder, where what is done already is left out",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace texts that are there already"
    )
    add_track_flag(parser)
    add_recognizer_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Transcribe every file; return 1 if one failed, the others are done all the same."""
    several = len(args.files) > 1
    if several and args.output is None and args.format in ("srt", "vtt"):
        raise ConfigError(
            f"{len(args.files)} files make {len(args.files)} {args.format} files; name a folder "
            "with --output."
        )
    jobs = plan(args.files, args.output, args.format, args.overwrite)
    waiting = [job for job in jobs if args.overwrite or not job.done]
    if len(waiting) < len(jobs):
        done = len(jobs) - len(waiting)
        say(f"{done} of {len(jobs)} files are done already; --overwrite does them again.")
    readable = _readable(waiting, args.track)
    batch = Batch(args, several and args.format == "json" and args.output is None)
    if readable:
        with terminable():
            batch.run(readable)
    return 1 if len(readable) < len(waiting) or batch.failures else 0


def _readable(jobs: Sequence[Job], track: int | None) -> list[Job]:
    """Return the jobs whose files are there, and say at once which are not.

    A single file is opened too: what it lacks is said before the model is read. Of many each is
    opened by the worker, which may crash.
    """
    from rivulet.audio import AudioFile
    from rivulet.audio.sources import check_path

    found = []
    for job in jobs:
        try:
            if job.name != STANDARD_INPUT:
                check_path(Path(job.name))
                if len(jobs) == 1 and Path(job.name).is_file():
                    AudioFile(job.name, track).close()
            elif sys.stdin is None:
                raise AudioError("standard input is closed; give a file, or a pipe and -.")
            found.append(job)
        except RivuletError as error:  # noqa: PERF203 (a few files)
            say(str(error))
    return found
