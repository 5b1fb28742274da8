"""The one place where streams are advanced: in company, in order, live ones first."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rivulet.errors import AudioError
from rivulet.events import DisplayToken, Event
from rivulet.recognizer import Recognizer
from rivulet.server.advancing import Advancer, Signal
from rivulet.server.metrics import Metrics


def run(workers: int, body: Callable[[Advancer], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        advancer = Advancer(Metrics(), workers)
        try:
            return await asyncio.wait_for(body(advancer), 60.0)
        finally:
            advancer.close()

    return asyncio.run(main())


def new(recognizer: Recognizer) -> Signal:
    return Signal(recognizer.stream(), recognizer)


def alone(recognizer: Recognizer, samples: np.ndarray) -> list[Event]:
    stream = recognizer.stream()
    return [*stream.accept(samples), *stream.finish()]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_many_streams_have_the_events_they_have_alone(
    small: Recognizer, babble: np.ndarray, workers: int
) -> None:
    sounds = [np.roll(babble, 3000 * n)[: 40_000 + 7000 * n] for n in range(7)]

    async def speak(advancer: Advancer, sound: np.ndarray) -> list[Event]:
        signal, events = new(small), []
        for piece in np.array_split(sound, 9):
            events += await advancer.accept(signal, piece, lambda: True)
            await asyncio.sleep(0)
        return [*events, *await advancer.accept(signal, None, lambda: True)]

    async def body(advancer: Advancer) -> list[list[Event]]:
        return list(await asyncio.gather(*(speak(advancer, sound) for sound in sounds)))

    assert run(workers, body) == [alone(small, sound) for sound in sounds]


@pytest.mark.slow
def test_streams_that_come_together_share_steps(
    small: Recognizer, babble: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    step = Recognizer.step

    def counted(self: Recognizer, streams: Any) -> Any:
        sizes.append(len(streams))
        return step(self, streams)

    monkeypatch.setattr(Recognizer, "step", counted)

    async def body(advancer: Advancer) -> None:
        pieces = (advancer.accept(new(small), babble, lambda: True) for _ in range(8))
        await asyncio.gather(*pieces)

    run(1, body)
    assert max(sizes) >= 7  # the first may go alone


@pytest.mark.slow
def test_what_is_live_comes_before_what_is_ahead(small: Recognizer, babble: np.ndarray) -> None:
    done: list[str] = []

    async def speak(advancer: Advancer, name: str, live: bool) -> None:
        await advancer.accept(new(small), babble, lambda: live)
        done.append(name)

    async def body(advancer: Advancer) -> None:
        files = [asyncio.ensure_future(speak(advancer, "file", False)) for _ in range(3)]
        await asyncio.sleep(0)
        live = asyncio.ensure_future(speak(advancer, "live", True))
        await asyncio.gather(*files, live)

    run(1, body)
    assert done[0] == "live"


@pytest.mark.slow
def test_an_error_of_one_stream_is_its_own(small: Recognizer, babble: np.ndarray) -> None:
    async def body(advancer: Advancer) -> list[Any]:
        broken = np.full(1600, np.nan, np.float32)
        sounds = [babble, broken, babble]
        pieces = (advancer.accept(new(small), s, lambda: True) for s in sounds)
        return list(await asyncio.gather(*pieces, return_exceptions=True))

    good, error, other = run(1, body)
    assert isinstance(error, AudioError)
    assert good == other == small.stream().accept(babble)


def test_a_job_of_a_canceled_client_is_waited_for(small: Recognizer) -> None:
    order: list[str] = []

    async def body(advancer: Advancer) -> None:
        def job() -> None:
            time.sleep(0.2)
            order.append("job")

        task = asyncio.ensure_future(advancer.call(job))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        order.append("canceled")

    run(1, body)
    assert order == ["job", "canceled"]


def test_events_are_shown_by_the_streams_own_formatter(
    small: Recognizer, babble: np.ndarray
) -> None:
    class Marked:
        """Shows every event as the number of events so far."""

        count = 0

        def push(self, event: Event) -> Event:
            self.count += 1
            return replace(event, tokens=(DisplayToken(str(self.count), 0, 0),))

    async def body(advancer: Advancer) -> list[Event]:
        signal = Signal(small.stream(), small, Marked())
        events = await advancer.accept(signal, babble, lambda: True)
        return events + await advancer.accept(signal, None, lambda: True)

    events = run(1, body)
    assert [event.display for event in events] == [str(n + 1) for n in range(len(events))]
