"""A file or a part of one on its way through a company: read, stepped by others, and finished."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rivulet.archive import sources
from rivulet.archive.parts import Heard, Levels, PartStream, Span, cut, pause_needed_s
from rivulet.archive.records import Job, Result, Settings
from rivulet.audio import SAMPLE_RATE, AudioFile, Samples
from rivulet.errors import RivuletError
from rivulet.events import Event, Final
from rivulet.recognizer import Recognizer
from rivulet.stream import Stream
from rivulet.text.formatter import Formatter
from rivulet.text.language import WrittenLanguage

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


class FileMember:
    """A file from its bytes on; a long one is put aside instead of being heard."""

    def __init__(
        self,
        job: Job,
        recognizer: Recognizer,
        settings: Settings,
        display: Display,
        spool: Path | None,
    ) -> None:
        """Begin with nothing read; None for `spool`: it is not cut."""
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
        self._aside: Aside | None = None
        self._finals: list[Final] = []
        self._warnings: list[str] = []
        self._error: str | None = None
        self._samples = 0

    @property
    def seconds(self) -> float:
        """Sound that was read."""
        return self._samples / SAMPLE_RATE

    def feed(self) -> None:
        """Read until a block is ready, or so much was put aside, or the sound ends."""
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
            self._aside = self._files.enter_context(Aside(self._spool, self._job))
        else:
            self.stream = self._recognizer.stream()
        return iter(audio)

    def _end(self, error: str | None) -> None:
        self._error = error
        self.ended = True
        if self.stream is not None:
            self.stream.end()

    def take(self, events: Sequence[Event]) -> None:
        """Keep the finals of a step."""
        self._finals += [event for event in events if isinstance(event, Final)]

    def outcome(self) -> Outcome:
        """Return its result, or where its sound lies and how it is cut."""
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
        """Let go of its files."""
        self._files.close()


class Aside:
    """The sound of a long file, put aside while its pauses are looked for."""

    def __init__(self, spool: Path, job: Job) -> None:
        """Open a file of this process in `spool`."""
        name = hashlib.sha256(os.fsencode(job.place)).hexdigest()[:24]
        self._path = spool / f"{name}-{os.getpid()}.f32"  # of a killed run none may be left
        self._file = self._path.open("wb")
        self._levels = Levels()
        self._samples = 0

    def push(self, samples: Samples) -> None:
        """Put samples aside, (n,) at 16 kHz."""
        self._file.write(np.ascontiguousarray(samples, np.float32).tobytes())
        self._levels.push(samples)
        self._samples += len(samples)

    def outcome(self, whole: Result, recognizer: Recognizer) -> Spooled:
        """Cut what was put aside."""
        self._file.flush()
        pauses = self._levels.pauses(pause_needed_s(recognizer.endpoint))
        spans = cut(self._samples, pauses, recognizer, whole.job.parts)
        return Spooled(whole, str(self._path), spans)

    def __enter__(self) -> "Aside":
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; it stays."""
        self._file.close()


class PartMember:
    """A span of a file that was put aside."""

    def __init__(self, part: Part, recognizer: Recognizer) -> None:
        """Map the sound that was put aside."""
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
        """Sound that was heard of it."""
        return (self._at - self._part.span.start) / SAMPLE_RATE

    def feed(self) -> None:
        """Push sound until a step has all the blocks that it takes."""
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
        """Return what was heard, to be joined to its neighbors."""
        if self._part.last:
            self.stream.take(self.stream.finish())
        heard = Heard(self._part.span, tuple(self.stream.finals), tuple(self.stream.marks))
        return HeardPart(self._part, heard)

    def close(self) -> None:
        """Let go of the map."""
        del self._sound


def sha256(source: str) -> str | None:
    """Return the digest of a local file, None for what is none."""
    with suppress(OSError, ValueError), open(source, "rb") as file:
        digest = hashlib.sha256()
        while content := file.read(HASHED):
            digest.update(content)
        return digest.hexdigest()
    return None
