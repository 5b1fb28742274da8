"""rivulet's own WebSocket protocol, `/v1/stream`: events as JSON, resumed after a lost connection.

Every event carries `seq`, counted from 1. A client that comes back names its stream and the last
event it saw; the server says how many samples it heard and sends again what was missed.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rivulet.acoustic.choices import BLOCK_MS
from rivulet.errors import ConfigError
from rivulet.events import Event, Partial, Word
from rivulet.server.protocol import (
    DTYPES,
    MAX_ALTERNATIVES,
    MAX_CHANNELS,
    Action,
    Close,
    Feed,
    Finish,
    Open,
    ProtocolError,
    Resume,
    Samples,
    Send,
    StreamSettings,
    parse_object,
    phrases_of,
    reason_of,
    sample_rate_of,
    whole_number,
)
from rivulet.vosk import GRAMMAR_BOOST
from rivulet.writers import event_to_dict

KEPT_EVENTS = 200  # finals and gaps that a client may have missed
MAX_GAP_S = 60.0  # seconds of lost audio that are heard as silence,
QUIET_S = 5.0  # of which so much is in memory at a time


@dataclass
class SentEvents:
    """The latest events by number, as the text that was sent: all but partials, the latest partial.

    Text takes half of what its objects would, half a megabyte for 200 finals.
    """

    seq: int = 0
    _kept: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    _partial: tuple[int, str] | None = None

    def number(self, event: dict[str, Any]) -> str:
        """Return the event with its number, as JSON, and remember it."""
        self.seq += 1
        text = json.dumps({**event, "seq": self.seq})
        if event["type"] == "partial":
            self._partial = (self.seq, text)
        else:
            self._kept.append((self.seq, text))
            self._partial = None if event["type"] == "final" else self._partial
        return text

    def after(self, seq: int) -> list[str]:
        """Return what came after the event `seq` and still says something."""
        later = [*self._kept, *([self._partial] if self._partial else [])]
        return [text for number, text in later if number > seq]


@dataclass(frozen=True)
class Greeting:
    """What the server says of itself when a stream begins."""

    model: str
    block_ms: int
    latency_ms: int


class NativeProtocol:
    """One stream, over one connection or several."""

    def __init__(self, greeting: Greeting) -> None:
        """Wait for `start`."""
        self._greeting = greeting
        self._settings = StreamSettings()
        self._samples = Samples()
        self._sent = SentEvents()
        self._heard = 0  # samples per channel
        self._partials = True
        self._started = False
        self._ended = False
        self._key = ""

    def receive(self, message: str | bytes) -> list[Action]:
        """Take `start`, `gap`, `finish`, or samples.

        Raises:
            ProtocolError: it is none of them, or in the wrong order.
        """
        if isinstance(message, bytes):
            self._expect_start("audio")
            samples = self._samples.push(message)
            self._heard += len(samples)
            return [Feed(samples)]
        command = parse_object(message)
        kind = command.get("type")
        if kind == "start":
            return self._start(command)
        if kind == "gap":
            return self._gap(command)
        if kind == "finish":
            self._expect_start("finish")
            return [Finish()]
        raise ProtocolError(
            f"a message of type {repr(kind)[:40]} is not known; send start, gap or finish, "
            "and audio in binary messages."
        )

    def opened(self, key: str) -> list[Action]:
        """Greet the client."""
        self._key = key
        return [self._send(self._ready())]

    def resumed(self, after: int) -> list[Action]:
        """Say how much was heard and send again what came after the event `after`."""
        missed: list[Action] = [
            self._send(self._ready()),
            *map(Send, self._sent.after(after)),
        ]
        return [*missed, Close()] if self._ended else missed

    def heard(self, events: Sequence[Event], words: Sequence[Word] = ()) -> list[Action]:
        """Send the events."""
        return [
            Send(self._sent.number(event_to_dict(event)))
            for event in events
            if self._partials or not isinstance(event, Partial)
        ]

    def finished(self, events: Sequence[Event]) -> list[Action]:
        """Send the last events and how long the stream was."""
        seconds = round(self._heard / self._settings.sample_rate, 3)
        self._ended = True
        end = {"type": "end", "samples": self._heard, "seconds": seconds}
        return [*self.heard(events), Send(self._sent.number(end)), Close()]

    def end(self) -> list[Action]:
        """Let the client have what was said so far."""
        return [Finish()] if self._started else []

    def failed(self, error: ProtocolError) -> list[Action]:
        """Say what was wrong, whole, and close with as much of it as fits."""
        message = {"type": "error", "code": error.code, "message": str(error)}
        return [self._send(message), Close(error.code, reason_of(str(error)))]

    def _start(self, command: dict[str, Any]) -> list[Action]:
        if self._started:
            raise ProtocolError("start came a second time; open another connection.")
        if "resume" in command:
            after = whole_number("after", command.get("after", 0), 0, 10**12)
            return [Resume(str(command["resume"])[:64], after)]
        self._settings = settings_of(command)
        encoding = command.get("format", "int16")
        if encoding not in tuple(DTYPES):  # of what cannot be hashed, too
            raise ProtocolError(f"format is {repr(encoding)[:40]}; give int16 or float32.")
        channels = whole_number("channels", command.get("channels", 1), 1, MAX_CHANNELS)
        self._samples = Samples(encoding, channels)
        self._partials = bool(command.get("partials", True))
        self._started = True
        return [Open(self._settings)]

    def _gap(self, command: dict[str, Any]) -> list[Action]:
        """Hear lost samples as silence, so that later words keep their times."""
        self._expect_start("gap")
        rate = self._settings.sample_rate
        count = whole_number("samples", command.get("samples"), 1, int(MAX_GAP_S * rate))
        start_s = self._heard / rate
        self._heard += count
        gap = {
            "type": "gap",
            "start": round(start_s, 3),
            "end": round(self._heard / rate, 3),
            "samples": count,
            "reason": "connection lost",
        }
        quiet = np.zeros(int(QUIET_S * rate), np.int16)
        pieces = (quiet[: count - first] for first in range(0, count, len(quiet)))
        return [Send(self._sent.number(gap)), *map(Feed, pieces)]

    def _ready(self) -> dict[str, Any]:
        block_ms = self._settings.block_ms or self._greeting.block_ms
        return {
            "type": "ready",
            "stream": self._key,
            "samples": self._heard,
            "sample_rate": self._settings.sample_rate,
            "model": self._greeting.model,
            "block_ms": block_ms,
            "latency_ms": self._greeting.latency_ms - self._greeting.block_ms + block_ms,
        }

    def _expect_start(self, what: str) -> None:
        if not self._started:
            raise ProtocolError(f'{what} came before start; send {{"type": "start"}} first.')

    @staticmethod
    def _send(message: dict[str, Any]) -> Send:
        return Send(json.dumps(message))


def settings_of(command: dict[str, Any]) -> StreamSettings:
    """Return what `start` asks of the stream.

    Raises:
        ProtocolError: a value cannot be used.
    """
    block_ms = command.get("block_ms")
    if block_ms is not None and block_ms not in BLOCK_MS:
        raise ProtocolError(f"block_ms is {repr(block_ms)[:40]}; choose one of {BLOCK_MS}.")
    try:
        return StreamSettings(
            sample_rate_of(command.get("sample_rate", 16_000)),
            phrases_of(command.get("hot_words", {}), GRAMMAR_BOOST),
            whole_number("alternatives", command.get("alternatives", 0), 0, MAX_ALTERNATIVES),
            block_ms,
        )
    except ConfigError as error:
        raise ProtocolError(str(error)) from error
