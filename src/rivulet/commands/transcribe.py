"""`rivulet transcribe FILE...`: sound files to text."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from rivulet.commands.flags import (
    add_decoder_flags,
    add_endpoint_flags,
    add_model_flags,
    add_text_flags,
    load_recognizer,
    new_formatters,
)
from rivulet.commands.outputs import STANDARD_INPUT, Job, plan, written_whole
from rivulet.errors import AudioError, ConfigError, RivuletError
from rivulet.text.subtitles import SubtitleLayout
from rivulet.writers import FORMATS, FormattingWriter, JsonWriter, Writer, open_writer

if TYPE_CHECKING:
    from rich.progress import Progress

    from rivulet.audio import AudioFile
    from rivulet.commands.worker import Worker, WorkerFile
    from rivulet.recognizer import Recognizer

TERMINATED = 128 + signal.SIGTERM  # exit status, as a shell gives it


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
    parser.add_argument(
        "--track", type=int, metavar="N", help="which sound track, from 1 (the default one)"
    )
    add_model_flags(parser)
    add_decoder_flags(parser)
    add_endpoint_flags(parser)
    add_text_flags(parser)
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
        _say(f"{done} of {len(jobs)} files are done already; --overwrite does them again.")
    readable = _readable(waiting, args.track)
    batch = _Batch(args, several and args.format == "json" and args.output is None)
    if readable:
        with _terminable():
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
            _say(str(error))
    return found


class _Batch:
    """Files one after the other, by one recognizer; a file that fails does not stop the others."""

    def __init__(self, args: argparse.Namespace, together: bool) -> None:
        """Prepare; `together` if the files make one JSON document."""
        self.failures = 0
        self._args = args
        self._together = together
        self._shared = len(args.files) > 1 and args.output is None
        self._documents: list[dict[str, Any]] = []
        self._layout = SubtitleLayout(args.line_width, args.max_lines)
        self._new_formatter = new_formatters(args)

    def run(self, jobs: Sequence[Job]) -> None:
        """Transcribe the files; what is finished is written, whatever ends the batch."""
        from rich.console import Console
        from rich.progress import Progress

        from rivulet.commands.worker import Worker

        worker = Worker()
        console = Console(stderr=True)
        try:
            if len(jobs) > 1:
                worker.start()  # imports its modules while the model is read
            recognizer = load_recognizer(self._args)
            with Progress(
                console=console, disable=not console.is_terminal, transient=True
            ) as progress:
                for job in jobs:
                    self._one(job, recognizer, worker if len(jobs) > 1 else None, progress)
        finally:
            worker.stop()
            if self._together:
                json.dump(self._documents, sys.stdout, indent=2)
                sys.stdout.write("\n")

    def _one(
        self, job: Job, recognizer: "Recognizer", worker: "Worker | None", progress: "Progress"
    ) -> None:
        broken: RivuletError | None = None
        try:
            with (
                _sound(job.name, self._args.track, worker) as audio,
                self._writer(job) as writer,
            ):
                shown = FormattingWriter(writer, self._new_formatter())
                broken = _transcribe(recognizer, audio, shown, progress)
        except RivuletError as error:
            broken = error
        if broken is not None:
            self.failures += 1
            _say(str(broken))

    @contextmanager
    def _writer(self, job: Job) -> Iterator[Writer]:
        """Yield where the events go: a file, the common document, or standard output."""
        if job.output is not None:
            with written_whole(job.output) as out:
                yield open_writer(self._args.format, out, job.name, False, self._layout)
        elif self._together:
            yield JsonWriter(self._documents.append, job.name)
        else:
            yield open_writer(self._args.format, sys.stdout, job.name, self._shared, self._layout)


def _transcribe(
    recognizer: "Recognizer",
    audio: "AudioFile | WorkerFile",
    writer: Writer,
    progress: "Progress",
) -> AudioError | None:
    """Run one file through a stream; return what ended it early, if something was decoded.

    Raises:
        AudioError: nothing could be decoded.
    """
    task = progress.add_task(Path(audio.name).name, total=audio.declared_s)
    stream = recognizer.stream(audio.sample_rate)
    heard = 0
    broken: AudioError | None = None
    try:
        for samples in audio:
            for event in stream.accept(samples):
                writer.write(event)
            heard += len(samples)
            progress.update(task, completed=heard / audio.sample_rate)
    except AudioError as error:
        broken = error
    finally:
        progress.remove_task(task)
    if broken and not heard:
        raise broken
    for event in stream.finish():
        writer.write(event)
    writer.close(heard / audio.sample_rate)
    return broken


def _sound(name: str, track: int | None, worker: "Worker | None") -> "AudioFile | WorkerFile":
    """Open a file, in the process for it if there is one."""
    from rivulet.audio import AudioFile

    if name == STANDARD_INPUT:
        return AudioFile(sys.stdin.buffer, track, _warn)
    return worker.open(name, track, _warn) if worker else AudioFile(name, track, _warn)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let a terminate signal end the program tidily: no half file, no process left."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    try:
        before: Callable[[int, FrameType | None], Any] | int | None
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(sentence: str) -> None:
    print(f"rivulet: {sentence}", file=sys.stderr)


def _warn(sentence: str) -> None:
    _say(f"warning: {sentence}")
