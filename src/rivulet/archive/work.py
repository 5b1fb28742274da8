"""Jobs → results, in one process: several files are advanced together by one recognizer.

A pool's worker and a Ray actor run the same `Company`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from rivulet.archive.members import (
    Display,
    FileMember,
    HeardPart,
    Outcome,
    Part,
    PartMember,
    Spooled,
    Task,
)
from rivulet.archive.records import Job, Result, Settings
from rivulet.errors import AudioError
from rivulet.events import Event
from rivulet.recognizer import Recognizer
from rivulet.stream import Stream

AT_ONCE = 8  # files that one process advances together: more gain little and lose more at a kill


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
            self._members.append(PartMember(task, self._recognizer))
        else:
            self._members.append(
                FileMember(task, self._recognizer, self._settings, self._display, self._spool)
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
