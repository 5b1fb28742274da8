"""The one place where streams are advanced: a few threads, many streams in one step of the network.

Live audio comes before audio that is ahead of real time (files, clients that catch up). Every turn
advances a stream by one block, so that a fast client does not hold up the others; what came while
the threads were busy goes together in their next turn.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import numpy.typing as npt

from rivulet.acoustic.batching import LARGEST
from rivulet.errors import RivuletError
from rivulet.events import Event, Final
from rivulet.recognizer import Recognizer
from rivulet.server.metrics import Metrics
from rivulet.stream import Stream
from rivulet.writers import Formatter

AT_ONCE = 16_000  # samples whose filtering costs less than the way to a thread and back

Job = Callable[[], Any]
Turn = Callable[[], None]


@dataclass
class Call:
    """A job for a thread that advances no stream."""

    job: Job
    answer: asyncio.Future[Any]
    since: float = field(default_factory=time.monotonic)
    started: bool = False


@dataclass
class Signal:
    """A stream, the recognizer that it belongs to, and how its events are shown."""

    stream: Stream
    recognizer: Recognizer
    formatter: Formatter | None = None

    def shown(self, events: Iterable[Event]) -> Iterable[Event]:
        """Return the events as they are shown."""
        return events if self.formatter is None else map(self.formatter.push, events)


@dataclass
class Work:
    """A signal on its way through a message, or to its end if `samples` is None."""

    signal: Signal
    samples: npt.NDArray[Any] | None
    answer: asyncio.Future[list[Event]]
    is_live: Callable[[], bool]
    since: float = field(default_factory=time.monotonic)
    pushed: bool = False
    events: list[Event] = field(default_factory=list)
    error: Exception | None = None

    @property
    def stream(self) -> Stream:
        """The stream to advance."""
        return self.signal.stream

    def push(self) -> None:
        """Hand the samples to the stream, once."""
        if self.pushed:
            return
        self.pushed = True
        try:
            if self.samples is None:
                self.stream.end()
            else:
                self.stream.push(self.samples)
        except RivuletError as error:
            self.error = error

    def finish(self) -> None:
        """Take the last events where the stream ends, in a worker thread."""
        if self.samples is None and not self.stream.ready and self.error is None:
            self.take(self.stream.finish())

    def take(self, events: Iterable[Event]) -> None:
        """Keep new events as they are shown, in a worker thread."""
        self.events += self.signal.shown(events)

    @property
    def done(self) -> bool:
        """Whether nothing is left to compute."""
        return self.error is not None or not self.stream.ready


class Advancer:
    """Worker threads and the queues before them."""

    def __init__(self, metrics: Metrics, workers: int | None = None) -> None:
        """Use `workers` threads, as many as there are cores if None."""
        self._metrics = metrics
        self._idle = workers or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._idle, "rivulet-advance")
        self._calls: tuple[deque[Call], deque[Call]] = (deque(), deque())  # live ones, others
        self._works: tuple[deque[Work], deque[Work]] = (deque(), deque())
        metrics.queued.set_function(self._count_waiting)

    async def accept(
        self,
        signal: Signal,
        samples: npt.NDArray[Any] | None,
        is_live: Callable[[], bool],
    ) -> list[Event]:
        """Let `signal` hear samples or, for None, its end; return its events.

        `is_live` is asked before each block whether it is in a hurry.

        Raises:
            RivuletError: as `Stream.accept`.
        """
        answer: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()
        work = Work(signal, samples, answer, is_live)
        if samples is not None and len(samples) <= AT_ONCE:
            work.push()
            if work.error is not None:
                raise work.error
            if work.done:
                return []
        self._works[not is_live()].append(work)
        self._start_some()
        events = await answer
        words = sum(len(event.words) for event in events if isinstance(event, Final))
        self._metrics.words.inc(words)
        return events

    def count_audio(self, seconds: float) -> None:
        """Count what was heard."""
        self._metrics.audio_s.inc(seconds)

    async def call(self, job: Job, live: bool = True) -> Any:
        """Return what `job` returns in a worker thread.

        A job that has started cannot be stopped: who is canceled waits for its end, so that nobody
        closes what it still uses.
        """
        call = Call(job, asyncio.get_running_loop().create_future())
        self._calls[not live].append(call)
        self._start_some()
        try:
            return await asyncio.shield(call.answer)
        except asyncio.CancelledError:
            if not call.started:
                call.answer.cancel()
            elif not call.answer.done():
                with anyio.CancelScope(shield=True):
                    await asyncio.wait({call.answer})
            raise

    @property
    def behind_s(self) -> float:
        """Seconds that the oldest piece of live audio has been waiting."""
        oldest = min(
            (queue[0].since for queue in (self._works[0], self._calls[0]) if queue), default=None
        )
        return 0.0 if oldest is None else time.monotonic() - oldest

    def _count_waiting(self) -> int:
        return sum(len(queue) for queue in (*self._calls, *self._works))

    def close(self) -> None:
        """Let the threads end; what waits is not computed."""
        for queue in (*self._calls, *self._works):
            for waiting in queue:
                waiting.answer.cancel()
            queue.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start_some(self) -> None:
        while self._idle and (turn := self._next_turn()):
            self._idle -= 1
            turn()

    def _next_turn(self) -> Turn | None:
        """Return what a thread should do next: what is live first, calls before blocks."""
        for calls, works in zip(self._calls, self._works, strict=True):
            while calls:
                call = calls.popleft()
                if not call.answer.cancelled():
                    return partial(self._begin_call, call)
            if batch := self._batch(works):
                return partial(self._begin_batch, batch)
        return None

    def _batch(self, works: deque[Work]) -> list[Work]:
        """Take what can go together in one step: a share for each idle thread."""
        share = min(LARGEST, -(-len(works) // max(1, self._idle)))
        batch: list[Work] = []
        for _ in range(len(works)):
            work = works.popleft()
            if work.answer.cancelled():
                continue
            company = not batch or work.stream.runs_on == batch[0].stream.runs_on
            if company and len(batch) < share:
                batch.append(work)
            else:
                works.append(work)
        return batch

    def _begin_call(self, call: Call) -> None:
        call.started = True
        self._run(partial(self._timed, call.job), partial(self._end_call, call))

    def _end_call(self, call: Call, done: asyncio.Future[Any]) -> None:
        if call.answer.done():
            return
        if (error := done.exception()) is not None:
            call.answer.set_exception(error)
        else:
            call.answer.set_result(done.result())

    def _begin_batch(self, batch: list[Work]) -> None:
        self._run(partial(self._timed, partial(_advance, batch)), partial(self._end_batch, batch))

    def _end_batch(self, batch: list[Work], done: asyncio.Future[Any]) -> None:
        failure = done.exception()
        for work in batch:
            if work.answer.done():
                continue
            if (error := failure or work.error) is not None:
                work.answer.set_exception(error)
            elif work.done:
                work.answer.set_result(work.events)
            else:
                work.since = time.monotonic()
                self._works[not work.is_live()].append(work)

    def _run(self, job: Job, then: Callable[[asyncio.Future[Any]], None]) -> None:
        def ended(done: asyncio.Future[Any]) -> None:
            self._idle += 1
            then(done)
            self._start_some()

        running = asyncio.get_running_loop().run_in_executor(self._pool, job)
        running.add_done_callback(ended)

    def _timed(self, job: Job) -> Any:
        began = time.perf_counter()
        try:
            return job()
        finally:
            self._metrics.compute_s.inc(time.perf_counter() - began)


def _advance(batch: Sequence[Work]) -> None:
    """Advance every stream by a block, in one step of the network."""
    for work in batch:
        work.push()
    ready = [work for work in batch if work.error is None and work.stream.ready]
    if ready:
        events = ready[0].signal.recognizer.step([work.stream for work in ready])
        for work, new in zip(ready, events, strict=True):
            work.take(new)
    for work in batch:
        work.finish()
