"""Files to texts, several at a time; what fails does not stop the others."""

import argparse
import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.commands.flags import load_recognizer, new_formatters
from rivulet.commands.outputs import STANDARD_INPUT, InTurn, Job, written_whole
from rivulet.errors import RivuletError
from rivulet.text.subtitles import SubtitleLayout
from rivulet.writers import FormattingWriter, JsonWriter, Writer, open_writer

if TYPE_CHECKING:
    from rich.progress import Progress

    from rivulet.audio import AudioFile, Samples
    from rivulet.commands.worker import Worker, WorkerFile
    from rivulet.recognizer import Recognizer
    from rivulet.together import News


class Batch:
    """Files through one recognizer, their texts in the order of the files."""

    def __init__(self, args: argparse.Namespace, together: bool) -> None:
        """Prepare; `together` if the files make one JSON document."""
        self.failures = 0
        self._args = args
        self._together = together
        self._shared = len(args.files) > 1 and args.output is None
        self._documents: list[dict[str, Any]] = []  # {} of files that fail
        self._layout = SubtitleLayout(args.line_width, args.max_lines)
        self._new_formatter = new_formatters(args)
        self._turns = InTurn(sys.stdout)

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
                for crowd, live in _crowds(jobs):
                    opener = worker if len(jobs) > 1 else None
                    self._hear(crowd, live, recognizer, opener, progress)
        finally:
            worker.stop()
            if self._together:
                json.dump([made for made in self._documents if made], sys.stdout, indent=2)
                sys.stdout.write("\n")

    def _hear(
        self,
        jobs: Sequence[Job],
        live: bool,
        recognizer: "Recognizer",
        worker: "Worker | None",
        progress: "Progress",
    ) -> None:
        """Advance files together and hand their events to their texts."""
        from rivulet.together import AT_ONCE, advance

        texts = [_Text(job, self._written(job)) for job in jobs]
        sounds = (_opened(text, self._args.track, worker, progress) for text in texts)
        try:
            at_once = 1 if live else min(AT_ONCE, len(jobs))
            for news in advance(recognizer, sounds, at_once, live, self._args.format == "jsonl"):
                self._take(texts[news.index], news)
        finally:
            for text in reversed(texts):  # so that the one whose turn it is ends last
                text.sink.close()

    def _take(self, text: "_Text", news: "News") -> None:
        error = news.error
        try:
            if not text.failed:
                text.take(news)
        except RivuletError as failure:
            error = failure
        if error is not None and not text.failed:
            text.failed = True
            self.failures += 1
            say(str(error))

    def _written(self, job: Job) -> Generator[None, "News", None]:
        """Take the news of a file and write its text, to the end or not at all.

        Raises:
            RivuletError: it cannot be written, or nothing could be heard.
        """
        with self._writer(job) as writer:
            shown = FormattingWriter(writer, self._new_formatter())
            ended = False
            while not ended:
                news = yield
                if news.error is not None and not news.seconds:
                    raise news.error
                for event in news.events:
                    shown.write(event)
                ended = news.ended
            shown.close(news.seconds)

    @contextmanager
    def _writer(self, job: Job) -> Iterator[Writer]:
        """Yield where the events go: a file, the common document, or standard output."""
        if job.output is not None:
            with written_whole(job.output) as out:
                yield open_writer(self._args.format, out, job.name, False, self._layout)
        elif self._together:
            self._documents.append({})
            yield JsonWriter(self._documents[-1].update, job.name)
        else:
            with self._turns.turn() as out:
                yield open_writer(self._args.format, out, job.name, self._shared, self._layout)


class _Text:
    """What becomes of one file: `sink` is given its news once it was opened."""

    def __init__(self, job: Job, sink: Generator[None, "News", None]) -> None:
        self.job, self.sink = job, sink
        self.begun = self.failed = False

    def begin(self) -> None:
        """Open what is written to."""
        next(self.sink)
        self.begun = True

    def take(self, news: "News") -> None:
        """Write what is new.

        Raises:
            RivuletError: it cannot be written, or nothing could be heard.
        """
        if not self.begun:  # it was never opened
            assert news.error is not None
            raise news.error
        with suppress(StopIteration):
            self.sink.send(news)


@contextmanager
def _opened(
    text: _Text, track: int | None, worker: "Worker | None", progress: "Progress"
) -> "Iterator[tuple[int, Iterable[Samples]]]":
    """Open a file and where its text goes; yield its rate and its blocks."""
    with _sound(text.job.name, track, worker) as audio:
        text.begin()
        task = progress.add_task(Path(audio.name).name, total=audio.declared_s)
        try:
            tell = partial(progress.update, task)
            yield audio.sample_rate, _blocks(text, audio, lambda s: tell(completed=s))
        finally:
            progress.remove_task(task)


def _blocks(
    text: _Text, audio: "AudioFile | WorkerFile", tell: Callable[[float], None]
) -> "Iterator[Samples]":
    """Yield the blocks of a file while its text can be written, and tell how many seconds."""
    heard = 0
    for samples in audio:
        if text.failed:
            return
        yield samples
        heard += len(samples)
        tell(heard / audio.sample_rate)


def _crowds(jobs: Sequence[Job]) -> Iterator[tuple[list[Job], bool]]:
    """Yield files that go together, and apart what may be live and must not hold up others."""
    for together, group in groupby(jobs, key=_is_recorded):
        if together:
            yield list(group), False
        else:
            yield from (([job], True) for job in group)


def _is_recorded(job: Job) -> bool:
    return job.name != STANDARD_INPUT and Path(job.name).is_file()


def _sound(
    name: str, track: int | None, worker: "Worker | None"
) -> "AbstractContextManager[AudioFile | WorkerFile]":
    """Open a file, in the process for it if there is one."""
    from rivulet.audio import AudioFile

    if name == STANDARD_INPUT:
        return AudioFile(sys.stdin.buffer, track, _warn)
    return worker.open(name, track, _warn) if worker else AudioFile(name, track, _warn)


def say(sentence: str) -> None:
    """Tell the user."""
    print(f"rivulet: {sentence}", file=sys.stderr)


def _warn(sentence: str) -> None:
    say(f"warning: {sentence}")
