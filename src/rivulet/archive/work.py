"""Jobs → results, in one process: several files are advanced together by one recognizer.

A pool's worker and a Ray actor run the same `Company`.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from rivulet.archive import sources
from rivulet.archive.parts import Heard, Levels, PartStream, Span, cut, pause_needed_s
from rivulet.archive.records import Job, Result, Settings
from rivulet.audio import SAMPLE_RATE, AudioFile, Samples
from rivulet.errors import AudioError, RivuletError
from rivulet.events import Event, Final
from rivulet.recognizer import Recognizer
from rivulet.stream import Stream
from rivulet.text.formatter import Formatter
from rivulet.text.language import WrittenLanguage

AT_ONCE = 8  # files that one process advances together: more gain little and lose more at a kill
LONG_S = 600.0  # a file as long as this is cut into parts where it pauses
SPOOLED_BLOCKS = 20  # of 0.5 s that are put aside while the others are advanced by one block
FED_S = 10.0  # seconds of sound that a part is given at a time
HASHED = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Spooled:
    """A long file whose sound was put aside, float32 at 16 kHz in `path`, to be heard in `spans`.

    whole: its result but for the segments.
    """

    whole: Result
    path: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Part:
    """A span of a spooled file, which has so many `samples` in all."""

    job: Job
    path: str
    span: Span
    samples: int

    @property
    def last(self) -> bool:
        """Whether it ends the file."""
        return self.span.stop == self.samples


@dataclass(frozen=True)
class HeardPart:
    """What came of a part."""

    part: Part
    heard: Heard


Task = Job | Part
Outcome = Result | Spooled | HeardPart


def recognizer_of(settings: Settings) -> Recognizer:
    """Load what the settings describe.

    Raises:
        CheckpointError: the model is missing or altered.
        ConfigError: the settings do not fit it.
    """
    recognizer = Recognizer.load(
        settings.model,
        settings.block_ms,
        settings.endpoint,
        settings.decoder.name,
        settings.engine,
    )
    if recognizer.settings == settings.decoder:
        return recognizer
    return recognizer.with_settings(settings.decoder)


class Display:
    """Gives finals what is shown for them, as the settings say."""

    def __init__(self, settings: Settings) -> None:
        """Read the language, unless text is raw."""
        self._config = settings.text
        self._language = WrittenLanguage.load(settings.language) if settings.text else None

    def shown(self, finals: Iterable[Final]) -> tuple[Final, ...]:
        """Return the finals of one whole file with what is shown for them."""
        if self._language is None:
            return tuple(finals)
        formatter = Formatter(self._language, self._config)
        pushed = (formatter.push(final) for final in finals)
        return tuple(final for final in pushed if isinstance(final, Final))


class _Member(Protocol):
    """One of a company: feed it, step its stream if there is one, and take what came of it."""

    ended: bool
    elapsed_s: float

    @property
    def task(self) -> Task:
        """What it is."""

    @property
    def stream(self) -> Stream | None:
        """What hears it, if anything does."""

    @property
    def seconds(self) -> float:
        """Sound that was heard of it."""

    def feed(self) -> None:
        """Read until a block is ready or the sound ends."""

    def take(self, events: Sequence[Event]) -> None:
        """Take what a step made of it."""

    def outcome(self) -> Outcome:
        """Finish."""

    def close(self) -> None:
        """Let go of files."""


class Company:
    """The files that a process advances together; a file that fails stops no other."""

    def __init__(
        self, recognizer: Recognizer, settings: Settings, spool: Path | None = None
    ) -> None:
        """Begin with none.

        Args:
            recognizer: of the settings.
            settings: what is to be written.
            spool: where the sound of long files is put aside; None: no file is cut.
        """
        self._recognizer = recognizer
        self._settings = settings
        self._spool = spool
        self._display = Display(settings)
        self._members: list[_Member] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._members)

    def add(self, task: Task) -> None:
        """Begin a file or a part."""
        if isinstance(task, Part):
            self._members.append(_PartMember(task, self._recognizer))
        else:
            self._members.append(
                _FileMember(task, self._recognizer, self._settings, self._display, self._spool)
            )

    def heard(self) -> dict[str, float]:
        """Return the seconds heard of each, by its source; the parts of a file count together."""
        heard: dict[str, float] = {}
        for member in self._members:
            source = member.task.job.source if isinstance(member.task, Part) else member.task.source
            heard[source] = heard.get(source, 0.0) + member.seconds
        return heard

    def step(self) -> list[Outcome]:
        """Advance each by some blocks, and return what came of those that ended."""
        for member in self._members:
            begun = time.process_time()
            member.feed()
            member.elapsed_s += time.process_time() - begun
        self._advance()
        done = [member for member in self._members if member.ended and not _ready(member)]
        self._members = [member for member in self._members if member not in done]
        return [_finished(member) for member in done]

    def _advance(self) -> None:
        stepped = [(member, member.stream) for member in self._members if member.stream]
        begun = time.process_time()
        ahead = self._recognizer.blocks_ahead
        events = self._recognizer.step([stream for _, stream in stepped], ahead)
        for (member, _), those in zip(stepped, events, strict=True):
            member.take(those)
        share = (time.process_time() - begun) / max(1, len(stepped))
        for member, _ in stepped:
            member.elapsed_s += share


def _ready(member: _Member) -> bool:
    return member.stream is not None and member.stream.ready


def _finished(member: _Member) -> Outcome:
    begun = time.process_time()
    try:
        outcome = member.outcome()
    finally:
        member.close()
    elapsed_s = member.elapsed_s + time.process_time() - begun
    if isinstance(outcome, Spooled):
        return replace(outcome, whole=replace(outcome.whole, elapsed_s=elapsed_s))
    if isinstance(outcome, HeardPart):
        return replace(outcome, heard=replace(outcome.heard, elapsed_s=elapsed_s))
    return replace(outcome, elapsed_s=elapsed_s)


class _FileMember:
    """A file from its bytes on; a long one is put aside instead of being heard."""

    def __init__(
        self,
        job: Job,
        recognizer: Recognizer,
        settings: Settings,
        display: Display,
        spool: Path | None,
    ) -> None:
        self.task = job
        self.stream: Stream | None = None
        self.ended = False
        self.elapsed_s = 0.0
        self._job = job
        self._recognizer = recognizer
        self._display = display
        self._track = settings.track
        self._spool = spool
        self._files = ExitStack()
        self._blocks: Iterator[Samples] | None = None
        self._aside: _Aside | None = None
        self._finals: list[Final] = []
        self._warnings: list[str] = []
        self._error: str | None = None
        self._samples = 0

    @property
    def seconds(self) -> float:
        return self._samples / SAMPLE_RATE

    def feed(self) -> None:
        if self.ended:
            return
        try:
            self._read()
        except RivuletError as error:
            self._end(str(error))
        except (MemoryError, OSError, ValueError) as error:  # of a file that is not as it seems
            self._end(f"{self._job.source} cannot be read ({error}); make a fresh copy of it.")

    def _read(self) -> None:
        if self._blocks is None:
            self._blocks = self._open()
        for _ in range(SPOOLED_BLOCKS):
            if self.stream is not None and self.stream.waiting >= self._recognizer.blocks_ahead:
                return
            block = next(self._blocks, None)
            if block is None:
                self._end(None)
                return
            self._samples += len(block)
            if self._aside is not None:
                self._aside.push(block)
            elif self.stream is not None:
                self.stream.push(block)

    def _open(self) -> Iterator[Samples]:
        source = self._files.enter_context(sources.opened(self._job.source))
        audio = self._files.enter_context(AudioFile(source, self._track, self._warnings.append))
        long = self._job.parts > 1 and (audio.declared_s or 0.0) >= LONG_S
        if long and self._spool is not None:
            self._aside = self._files.enter_context(_Aside(self._spool, self._job))
        else:
            self.stream = self._recognizer.stream()
        return iter(audio)

    def _end(self, error: str | None) -> None:
        self._error = error
        self.ended = True
        if self.stream is not None:
            self.stream.end()

    def take(self, events: Sequence[Event]) -> None:
        self._finals += [event for event in events if isinstance(event, Final)]

    def outcome(self) -> Outcome:
        if self.stream is not None:
            self.take(self.stream.finish())
        result = Result(
            self._job,
            self._display.shown(self._finals),
            self.seconds,
            error=self._error,
            warnings=tuple(self._warnings),
            digest=sha256(self._job.source),
        )
        if self._aside is None or not self._samples:
            return result
        return self._aside.outcome(result, self._recognizer)

    def close(self) -> None:
        self._files.close()


class _Aside:
    """The sound of a long file, put aside while its pauses are looked for."""

    def __init__(self, spool: Path, job: Job) -> None:
        name = hashlib.sha256(os.fsencode(job.source)).hexdigest()[:24]
        self._path = spool / f"{name}-{os.getpid()}.f32"  # of a killed run none may be left
        self._file = self._path.open("wb")
        self._levels = Levels()
        self._samples = 0

    def push(self, samples: Samples) -> None:
        self._file.write(np.ascontiguousarray(samples, np.float32).tobytes())
        self._levels.push(samples)
        self._samples += len(samples)

    def outcome(self, whole: Result, recognizer: Recognizer) -> Spooled:
        self._file.flush()
        pauses = self._levels.pauses(pause_needed_s(recognizer.endpoint))
        spans = cut(self._samples, pauses, recognizer, whole.job.parts)
        return Spooled(whole, str(self._path), spans)

    def __enter__(self) -> "_Aside":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _PartMember:
    """A span of a file that was put aside."""

    def __init__(self, part: Part, recognizer: Recognizer) -> None:
        self.task = part
        self.ended = False
        self.elapsed_s = 0.0
        self.stream: PartStream = PartStream(recognizer, part.span)
        self._part = part
        self._ahead = recognizer.blocks_ahead
        self._sound = np.memmap(part.path, np.float32, "r")
        self._at = part.span.start

    @property
    def seconds(self) -> float:
        return (self._at - self._part.span.start) / SAMPLE_RATE

    def feed(self) -> None:
        while self.stream.waiting < self._ahead and not self.ended:
            upto = min(self._at + int(FED_S * SAMPLE_RATE), self._part.span.stop)
            if upto > self._at:
                self.stream.push(np.array(self._sound[self._at : upto]))
            self._at = upto
            self.ended = upto == self._part.span.stop
        if self.ended and self._part.last:
            self.stream.end()

    def take(self, events: Sequence[Event]) -> None:
        """The stream keeps its finals itself."""

    def outcome(self) -> Outcome:
        if self._part.last:
            self.stream.take(self.stream.finish())
        heard = Heard(self._part.span, tuple(self.stream.finals), tuple(self.stream.marks))
        return HeardPart(self._part, heard)

    def close(self) -> None:
        del self._sound


def sha256(source: str) -> str | None:
    """Return the digest of a local file, None for what is none."""
    with suppress(OSError, ValueError), open(source, "rb") as file:
        digest = hashlib.sha256()
        while content := file.read(HASHED):
            digest.update(content)
        return digest.hexdigest()
    return None


class Transcriber:
    """Loads a recognizer once; `run` turns any number of jobs into results."""

    def __init__(self, settings: Settings) -> None:
        """Load.

        Raises:
            CheckpointError: the model is missing or altered.
            ConfigError: the settings do not fit it.
        """
        self._settings = settings
        self._recognizer = recognizer_of(settings)

    def run(
        self, jobs: Iterable[Job], seen: Callable[[dict[str, float]], None] | None = None
    ) -> Iterator[Result]:
        """Yield results as files end, in any order; jobs are asked for when there is room.

        Args:
            jobs: what is to be done.
            seen: is told now and then how many seconds were heard of which source.
        """
        company = Company(self._recognizer, self._settings)
        waiting = iter(jobs)
        more = True
        while more or len(company):
            while more and len(company) < AT_ONCE:
                job = next(waiting, None)
                more = job is not None
                if job is not None:
                    company.add(job)
            for outcome in company.step():
                if not isinstance(outcome, Result):
                    raise AudioError(f"{outcome} is no result; nothing is cut here.")
                yield outcome
            if seen:
                seen(company.heard())
