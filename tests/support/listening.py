"""Sessions with a simulated microphone, and what came out of them."""

from rivulet.events import Final
from rivulet.live.microphone import Gap, SignalFormat
from rivulet.live.stream import LiveEvent
from support.microphone import SimulatedMicrophone, babble, looped

MONO = SignalFormat("simulated", 16_000, 1)


def simulated(seconds: float, **settings: object) -> SimulatedMicrophone:
    return SimulatedMicrophone(MONO, looped(babble(16_000, 1)), seconds, **settings)  # type: ignore[arg-type]


def finals(events: list[LiveEvent]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def gaps(events: list[LiveEvent]) -> list[Gap]:
    return [event for event in events if isinstance(event, Gap)]
