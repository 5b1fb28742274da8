"""A server in a thread of the test's process, on a free port of this machine."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rivulet.audio import SAMPLE_RATE, load
from rivulet.events import Event, Final
from rivulet.recognizer import Recognizer
from rivulet.server.app import App, Settings
from rivulet.server.running import Address, Server

START_S = 20.0


@contextmanager
def serving(
    recognizer: Recognizer, settings: Settings | None = None, wyoming: bool = False, port: int = 0
) -> Iterator[Server]:
    """Yield a server that listens; it ends gracefully afterwards."""
    app = App(recognizer, settings or Settings())
    server = Server(app, Address(port=port, wyoming_port=0 if wyoming else None))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        for _ in range(int(START_S / 0.01)):
            if server.started or not thread.is_alive():
                break
            thread.join(0.01)
        yield server
    finally:
        server.should_exit = True
        thread.join(START_S)
        assert not thread.is_alive()


def transcribed(recognizer: Recognizer, path: Path) -> list[Final]:
    """What `rivulet transcribe` makes of a file."""
    return heard(recognizer, load(path), SAMPLE_RATE)


def heard(recognizer: Recognizer, samples: np.ndarray, rate: int) -> list[Final]:
    """What a stream makes of samples."""
    stream = recognizer.stream(rate)
    events: list[Event] = [*stream.accept(samples), *stream.finish()]
    return [event for event in events if isinstance(event, Final)]


def text_of(finals: list[Final]) -> str:
    return " ".join(final.text for final in finals)


def pcm16(samples: np.ndarray) -> bytes:
    return (samples * 32767).clip(-32768, 32767).astype("<i2").tobytes()
