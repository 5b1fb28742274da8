"""Who holds a stream: opened, heard, parked while its client is away, resumed, let go."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from rivulet.events import Event, Word
from rivulet.recognizer import Recognizer
from rivulet.server.advancing import Advancer, Signal
from rivulet.server.metrics import Metrics
from rivulet.server.protocol import POLICY, TRY_LATER, ProtocolError, StreamSettings
from rivulet.server.settings import Limits
from rivulet.server.siblings import Siblings
from rivulet.writers import Formatter

OVERLOAD_S = 1.5  # live audio that waits so long says that the machine is full before its limit
AHEAD_S = 2.0  # a client that sent so much more than real time no longer comes first


def configure(recognizer: Recognizer, settings: StreamSettings) -> Recognizer:
    """Return the recognizer that a client asked for.

    Raises:
        ConfigError: hot words cannot be used.
    """
    if settings.block_ms:
        recognizer = replace(recognizer, block_ms=settings.block_ms)
    if settings.alternatives:
        recognizer = recognizer.with_alternatives(settings.alternatives)
    if not settings.hot_words:
        return recognizer
    own = dict(recognizer.settings.hot_words)  # what the server was started with
    return recognizer.with_hot_words({**own, **settings.hot_words})


@dataclass
class LiveStream:
    """A client's stream and how much it heard."""

    key: str
    signal: Signal
    sample_rate: int
    advancer: Advancer
    limit_s: float
    samples: int = 0  # per channel
    began: float = field(default_factory=time.monotonic)

    async def accept(self, samples: npt.NDArray[Any]) -> list[Event]:
        """Hear samples at the client's rate; return their events.

        Raises:
            ProtocolError: the stream is longer than the server allows.
            AudioError: the samples are not finite.
        """
        if (self.samples + len(samples)) / self.sample_rate > self.limit_s:
            raise ProtocolError(
                f"a stream of more than {self.limit_s:.0f} s of audio is not taken; "
                "finish it and begin another."
            )
        self.samples += len(samples)
        self.advancer.count_audio(len(samples) / self.sample_rate)
        return await self.advancer.accept(self.signal, samples, self._in_time)

    async def finish(self) -> list[Event]:
        """Decode to the last sample; return the last events."""
        return await self.advancer.accept(self.signal, None, self._in_time)

    def words(self) -> Sequence[Word]:
        """Return the open segment's words with their times."""
        return self.signal.stream.words()

    def _in_time(self) -> bool:
        """Whether it is not ahead of real time."""
        return self.samples / self.sample_rate <= time.monotonic() - self.began + AHEAD_S


@dataclass
class Parked:
    """A stream whose client is away: what its connection knew, and when it is given up."""

    live: LiveStream
    memory: Any
    timer: asyncio.TimerHandle


class Streams:
    """All streams of a server."""

    def __init__(
        self,
        recognizer: Recognizer,
        limits: Limits,
        metrics: Metrics,
        advancer: Advancer,
        new_formatter: Callable[[], Formatter | None] = lambda: None,
        siblings: Siblings | None = None,
    ) -> None:
        """Hold none yet.

        new_formatter: makes what says how a stream's events are shown.
        siblings: the other processes of the server, which share its limits.
        """
        self.recognizer = recognizer
        self.limits = limits
        self.metrics = metrics
        self.advancer = advancer
        self._new_formatter = new_formatter
        self.siblings = siblings or Siblings()
        self._held: dict[str, Callable[[], None]] = {}  # key → asks its connection to let it go
        self._parked: dict[str, Parked] = {}
        metrics.streams.set_function(lambda: len(self._held))
        metrics.parked.set_function(lambda: len(self._parked))

    def __len__(self) -> int:
        """Count the streams that are being heard."""
        return len(self._held)

    async def open(self, settings: StreamSettings, leave: Callable[[], None]) -> LiveStream:
        """Begin a stream; `leave` is called when its client came back over another connection.

        Raises:
            ProtocolError: the server is full.
            RivuletError: the settings cannot be used.
        """
        self._check_room()
        key = self.siblings.sign(secrets.token_urlsafe(16))
        self._hold(key, leave)
        while self._parked and self._all() + self.siblings.total("parked") > self.limits.streams:
            self._give_up(next(iter(self._parked)))
        try:
            signal = await self.advancer.call(lambda: self.signal(settings))
        except BaseException:
            self.close(key)
            raise
        return LiveStream(key, signal, settings.sample_rate, self.advancer, self.limits.length_s)

    def _check_room(self) -> None:
        """Refuse a stream that would have to wait, or that would make the others wait."""
        if self._all() >= self.limits.streams:
            self.metrics.refused.labels("full").inc()
            raise ProtocolError(
                f"all {self.limits.streams} streams are taken; try again later, or raise "
                "--streams.",
                TRY_LATER,
            )
        behind_s = self.advancer.behind_s
        if behind_s > OVERLOAD_S:
            self.metrics.refused.labels("overload").inc()
            raise ProtocolError(
                f"the server is {behind_s:.1f} s behind with {self._all()} streams; "
                "try again later.",
                TRY_LATER,
            )

    def close(self, key: str) -> None:
        """Let a stream go; letting it go twice is harmless."""
        self._held.pop(key, None)
        self._tell()

    def park(self, live: LiveStream, memory: Any) -> None:
        """Keep a stream for a client that may come back, and what its connection knew."""
        self.close(live.key)
        timer = asyncio.get_running_loop().call_later(self.limits.resume_s, self._give_up, live.key)
        self._parked[live.key] = Parked(live, memory, timer)
        self._tell()

    async def resume(self, key: str, leave: Callable[[], None]) -> tuple[LiveStream, Any]:
        """Return a stream whose client came back, and what its connection knew.

        Raises:
            ProtocolError: it is not known, or no longer, or the server is full.
        """
        if key in self._held:
            await self._wait_for_parking(key)
        parked = self._parked.get(key)
        if parked is None:
            raise ProtocolError(
                f"the stream to resume is not known, or was away for more than "
                f"{self.limits.resume_s:.0f} s; begin another.",
                POLICY,
            )
        self._check_room()
        del self._parked[key]
        parked.timer.cancel()
        self._hold(key, leave)
        self.metrics.resumed.inc()
        return parked.live, parked.memory

    async def _wait_for_parking(self, key: str) -> None:
        """Take the stream from a connection that does not know yet that it is lost."""
        self._held[key]()
        deadline = time.monotonic() + self.limits.send_s
        while key in self._held and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    def forget_parked(self) -> None:
        """Give up all streams whose clients are away."""
        for key in list(self._parked):
            self._give_up(key)

    def _give_up(self, key: str) -> None:
        parked = self._parked.pop(key, None)
        if parked is not None:
            parked.timer.cancel()
            self.metrics.dropped.labels("not resumed").inc()
            self._tell()

    def _hold(self, key: str, leave: Callable[[], None]) -> None:
        self._held[key] = leave
        self._tell()

    def _tell(self) -> None:
        """Let the other processes know."""
        self.siblings.tell("streams", len(self._held))
        self.siblings.tell("parked", len(self._parked))

    def _all(self) -> int:
        """Count the streams that are being heard in all processes."""
        return self.siblings.total("streams")

    def signal(self, settings: StreamSettings) -> Signal:
        """Return a new stream with what belongs to it; hot words take a fifth of a second.

        Raises:
            RivuletError: the settings cannot be used.
        """
        recognizer = configure(self.recognizer, settings)
        formatter = self._new_formatter() if settings.formatted else None
        return Signal(recognizer.stream(settings.sample_rate), recognizer, formatter)
