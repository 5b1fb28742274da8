"""`LiveStream`: blocks of a device → events, gaps and findings. No I/O, no thread, no clock.

LiveSession and replaying both run through it, which is why a replay can be exact.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from rivulet.events import Event, Partial
from rivulet.live.checks import InputMonitor, InputWarning
from rivulet.live.microphone import Block, Gap, GapReason, SignalFormat
from rivulet.recognizer import Recognizer
from rivulet.writers import event_to_dict

GAP_SILENCE_S = (
    1.0  # of a gap, so much is heard as silence and ends the segment; time jumps the rest
)

LiveEvent = Event | Gap | InputWarning


@dataclass
class TimeLine:
    """Seconds of the stream → seconds of the session, which counts the sound that was jumped."""

    _jumps: list[tuple[float, float]] = field(default_factory=list)  # (stream time, total jumped)

    def __len__(self) -> int:
        """Return how many jumps are remembered."""
        return len(self._jumps)

    def jump(self, at_s: float, seconds: float) -> None:
        """After `at_s` of the stream the session is `seconds` further on."""
        self._jumps.append((at_s, self._total + seconds))

    @property
    def _total(self) -> float:
        return self._jumps[-1][1] if self._jumps else 0.0

    def true(self, stream_s: float) -> float:
        """Return the time in the session, rounded to milliseconds as all times are."""
        jumped = 0.0
        for at_s, total in self._jumps:
            if at_s > stream_s:
                break
            jumped = total
        return round(stream_s + jumped, 3)

    def forget(self, before_s: float) -> None:
        """Drop what only times before `before_s` need, so that memory stays bounded."""
        while len(self._jumps) > 1 and self._jumps[1][0] <= before_s:
            del self._jumps[0]

    def place(self, event: Event) -> Event:
        """Return the event with its times in the session."""
        words = tuple(
            replace(word, start=self.true(word.start), end=self.true(word.end))
            for word in event.words
        )
        if isinstance(event, Partial):
            return replace(event, words=words, at=self.true(event.at))
        placed = replace(
            event,
            words=words,
            start=self.true(event.start),
            end=self.true(event.end),
            at=self.true(event.at),
        )
        self.forget(event.start)
        return placed


class LiveStream:
    """One session's sound: lost samples are counted and keep their place in time."""

    def __init__(self, recognizer: Recognizer, signal: SignalFormat) -> None:
        """Begin at time 0."""
        self.signal = signal
        self.doctor = InputMonitor(signal)
        self._stream = recognizer.stream(signal.sample_rate)
        self._time = TimeLine()
        self._position = 0  # samples per channel of the session
        self._fed = 0  # samples per channel given to the stream

    @property
    def now_s(self) -> float:
        """Seconds of the session so far, lost sound included."""
        return self._position / self.signal.sample_rate

    def accept(self, block: Block) -> list[LiveEvent]:
        """Hear one block and return what it brings to light, a gap before it first."""
        events: list[LiveEvent] = self._gap(block) if block.lost else []
        events += self.doctor.push(block)
        self._position += len(block.samples)
        return events + self._hear(block.samples)

    def finish(self) -> list[LiveEvent]:
        """Decode to the last sample and return the last events."""
        return [self._time.place(event) for event in self._stream.finish()]

    def _hear(self, samples: Any) -> list[LiveEvent]:
        self._fed += len(samples)
        return [self._time.place(event) for event in self._stream.accept(samples)]

    def _gap(self, block: Block) -> list[LiveEvent]:
        rate = self.signal.sample_rate
        start = self._position
        self._position += block.lost
        gap = Gap(round(start / rate, 3), round(self.now_s, 3), block.lost, _gap_reason(block))
        silent = min(block.lost, int(GAP_SILENCE_S * rate))
        events = self._hear(np.zeros(silent, np.int16))
        if block.lost > silent:
            self._time.jump(self._fed / rate, (block.lost - silent) / rate)
        return [gap, *events]


def live_event_to_dict(event: LiveEvent) -> dict[str, Any]:
    """Return any event as plain data, `"type"` first."""
    if isinstance(event, Gap):
        return {"type": "gap", **asdict(event)}
    if isinstance(event, InputWarning):
        return {"type": "warning", **asdict(event)}
    return event_to_dict(event)


def _gap_reason(block: Block) -> GapReason:
    if block.asleep_lost:
        return "machine asleep"
    if block.queue_lost and block.overflow_lost:
        return "queue full and device overflow"
    return "queue full" if block.queue_lost else "device overflow"
