"""The one place where streams are advanced: a few threads, and who comes first.

Live audio comes before audio that is ahead of real time (files, clients that catch up), and nobody
computes more than a piece at a time, so that a fast client does not hold up the others.
"""

import asyncio
import heapq
import itertools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import numpy.typing as npt

from rivulet.events import Event, Final
from rivulet.recognizer import Stream
from rivulet.server.metrics import Metrics

PIECE_S = 0.5  # seconds of audio that are computed without a break
LIVE, LATER = 0, 1  # who comes first

Job = Callable[[], Any]


@dataclass(order=True)
class Waiting:
    """A job in the queue: by urgency, then in the order it came."""

    urgency: int
    number: int
    job: Job = field(compare=False)
    answer: asyncio.Future[Any] = field(compare=False)
    started: bool = field(default=False, compare=False)
    since: float = field(default_factory=time.monotonic, compare=False)


class Advancer:
    """Worker threads and the queue before them."""

    def __init__(self, metrics: Metrics, workers: int | None = None) -> None:
        """Use `workers` threads, as many as there are cores if None."""
        self._metrics = metrics
        self._workers = workers or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._workers, "rivulet-advance")
        self._waiting: list[Waiting] = []
        self._order = itertools.count()
        self._busy = 0
        metrics.queued.set_function(lambda: len(self._waiting))

    async def accept(
        self, stream: Stream, samples: npt.NDArray[Any], rate: int, live: Callable[[], bool]
    ) -> list[Event]:
        """Let `stream` hear samples, (n,) or (n, channels), at `rate` Hz; return their events.

        `live` is asked before each piece whether it is in a hurry.

        Raises:
            RivuletError: as `Stream.accept`.
        """
        events: list[Event] = []
        size = max(1, int(PIECE_S * rate))
        for first in range(0, len(samples), size):
            piece = samples[first : first + size]
            events += await self.call(partial(stream.accept, piece), live())
            self._metrics.audio_s.inc(len(piece) / rate)
        self._count(events)
        return events

    async def finish(self, stream: Stream, live: bool) -> list[Event]:
        """Decode `stream` to its last sample; return the last events."""
        events: list[Event] = await self.call(stream.finish, live)
        self._count(events)
        return events

    async def call(self, job: Job, live: bool = True) -> Any:
        """Return what `job` returns in a worker thread.

        A job that has started cannot be stopped: who is canceled waits for its end, so that nobody
        closes what it still uses.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = Waiting(LIVE if live else LATER, next(self._order), job, answer)
        heapq.heappush(self._waiting, waiting)
        self._start_some()
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if not waiting.started:
                answer.cancel()
            elif not answer.done():
                with anyio.CancelScope(shield=True):
                    await asyncio.wait({answer})
            raise

    @property
    def behind_s(self) -> float:
        """Seconds that the oldest piece of live audio has been waiting."""
        oldest = self._waiting[0] if self._waiting else None
        return time.monotonic() - oldest.since if oldest and oldest.urgency == LIVE else 0.0

    def close(self) -> None:
        """Let the threads end; what waits is not computed."""
        for waiting in self._waiting:
            waiting.answer.cancel()
        self._waiting.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start_some(self) -> None:
        loop = asyncio.get_running_loop()
        while self._busy < self._workers and self._waiting:
            waiting = heapq.heappop(self._waiting)
            if waiting.answer.cancelled():
                continue
            self._busy += 1
            waiting.started = True
            running = loop.run_in_executor(self._pool, self._timed, waiting.job)
            running.add_done_callback(partial(self._done, waiting.answer))

    def _done(self, answer: asyncio.Future[Any], done: asyncio.Future[Any]) -> None:
        self._busy -= 1
        if not answer.done():
            if (error := done.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(done.result())
        self._start_some()

    def _timed(self, job: Job) -> Any:
        began = time.perf_counter()
        try:
            return job()
        finally:
            self._metrics.compute_s.inc(time.perf_counter() - began)

    def _count(self, events: Sequence[Event]) -> None:
        words = sum(len(event.words) for event in events if isinstance(event, Final))
        self._metrics.words.inc(words)
