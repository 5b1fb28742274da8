"""Many recordings at once: their streams advance together, so all share one pass over the weights.

Every recording gets the events that it gets alone, bit for bit (`Recognizer.step`).
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy.typing as npt

from rivulet.audio import Sound, open_sound
from rivulet.errors import RivuletError
from rivulet.events import Event, Transcript
from rivulet.recognizer import Recognizer
from rivulet.stream import Stream
from rivulet.text.formatter import formatted

AT_ONCE = 8  # recordings: twice as many take a few percent less time, and memory of their own

Opened: TypeAlias = tuple[int, Iterable[npt.NDArray[Any]]]
"""Hz, and blocks of samples (n,) or (n, channels), as `rivulet.audio.open_sound` gives them."""


@dataclass(frozen=True)
class News:
    """What a recording has come to.

    index: which one, counted from 0 in the order given.
    events: since the last news.
    seconds: heard so far.
    ended: whether this is the last news of it.
    error: why it ended early or never began; what was heard before is in the events.
    """

    index: int
    events: list[Event]
    seconds: float
    ended: bool = False
    error: RivuletError | None = None


@dataclass(frozen=True)
class Outcome:
    """What one recording says, and what ended it early, if something did."""

    transcript: Transcript
    error: RivuletError | None = None


@dataclass
class _Recording:
    """A recording that is open, and how far it was heard."""

    index: int
    stream: Stream
    blocks: Iterator[npt.NDArray[Any]]
    held: ExitStack
    error: RivuletError | None = None
    ended: bool = field(default=False)

    def fill(self, blocks: int) -> None:
        """Hand over sound until so many blocks wait, or to the end."""
        try:
            while not self.ended and self.stream.waiting < blocks:
                samples = next(self.blocks, None)
                if samples is None:
                    self._end()
                else:
                    self.stream.push(samples)
        except RivuletError as error:
            self.error = error
            self._end()

    def _end(self) -> None:
        self.ended = True
        self.stream.end()
        self.held.close()


def advance(
    recognizer: Recognizer,
    sounds: Iterable[AbstractContextManager[Opened]],
    at_once: int = AT_ONCE,
    live: bool = False,
    partials: bool = True,
) -> Iterator[News]:
    """Yield news of recordings as their streams advance.

    Args:
        recognizer: hears them all.
        sounds: each is entered when its turn comes, and left when it was heard. A `RivuletError`
            of entering or reading ends it alone.
        at_once: recordings that are open at a time.
        live: hear what is there at once; a recording is read ahead, for larger steps.
        partials: whether they are among the events; without them a block costs less.
    """
    ahead = recognizer.blocks_ahead
    if at_once > 1:  # as much work for a step, and half the memory
        ahead = -(-ahead // 2)
    waiting = iter(enumerate(sounds))
    opened: list[_Recording] = []
    try:
        while True:
            while len(opened) < at_once and (following := next(waiting, None)):
                begun = _begin(recognizer, *following, partials)
                if isinstance(begun, News):
                    yield begun
                else:
                    opened.append(begun)
            if not opened:
                return
            for recording in opened:
                recording.fill(1 if live else ahead)
            news = recognizer.step([recording.stream for recording in opened], ahead)
            for recording, events in zip(opened, news, strict=True):
                yield _news(recording, events)
            opened = [r for r in opened if r.stream.ready or not r.ended]
    finally:
        for recording in opened:
            recording.held.close()


def transcribe_many(
    recognizer: Recognizer,
    sounds: Iterable[Sound],
    sample_rate: int | None = None,
    at_once: int = AT_ONCE,
) -> Iterator[Outcome]:
    """Yield what recordings say, in their order, several being heard at a time.

    Args:
        recognizer: hears them all.
        sounds: paths, open files, arrays or iterators of arrays, opened when their turn comes.
        sample_rate: of arrays, in Hz; files know their own.
        at_once: recordings that are open at a time.
    """
    collected: dict[int, list[Event]] = {}
    done: dict[int, Outcome] = {}
    following = 0
    opened = (open_sound(sound, sample_rate) for sound in sounds)
    for news in advance(recognizer, opened, at_once, partials=False):
        events = collected.setdefault(news.index, [])
        events += news.events
        if news.ended:
            shown = formatted(collected.pop(news.index))
            done[news.index] = Outcome(Transcript(shown, news.seconds), news.error)
        while following in done:
            yield done.pop(following)
            following += 1


def _begin(
    recognizer: Recognizer, index: int, sound: AbstractContextManager[Opened], partials: bool
) -> _Recording | News:
    """Open a recording, or say why it cannot be."""
    with ExitStack() as held:
        try:
            rate, blocks = held.enter_context(sound)
            stream = recognizer.stream(rate, partials=partials)
        except RivuletError as error:
            return News(index, [], 0.0, ended=True, error=error)
        return _Recording(index, stream, iter(blocks), held.pop_all())


def _news(recording: _Recording, events: list[Event]) -> News:
    stream = recording.stream
    over = recording.ended and not stream.ready
    if over and (stream.seconds or recording.error is None):
        events = events + stream.finish()
    return News(recording.index, events, stream.seconds, over, recording.error if over else None)
