"""Clients of `server_load.py` that cost little: frames made beforehand, one process, raw sockets.

A WebSocket frame with a mask of zeros is its own content, so a piece of sound is sent as it lies.
"""

import asyncio
import functools
import itertools
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rivulet.audio import SAMPLE_RATE, load

ROOT = Path(__file__).parents[1]
PIECE_S = 0.1
PAUSE_S = 1.0  # between clips
PATIENCE_S = 60.0  # for the last results
UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10  # RFC 6455, section 11.8
AT = re.compile(rb'"at": ([0-9.]+)')


def frame(opcode: int, content: bytes) -> bytes:
    """Return one whole message of a client (RFC 6455, section 5.2)."""
    size = len(content)
    length = bytes([128 + size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([128 + opcode]) + length + bytes(4) + content


def speech() -> list[bytes]:
    """The project's own clips with pauses between them, as frames of `PIECE_S`."""
    clips = [load(path) for path in sorted((ROOT / "data" / "samples").glob("*.flac"))]
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE), np.float32)
    parts = itertools.chain.from_iterable((clip, pause) for clip in clips)
    sound = (np.concatenate(list(parts)) * 32767).astype("<i2")
    size = int(PIECE_S * SAMPLE_RATE)
    whole = len(sound) // size * size
    return [frame(BINARY, piece.tobytes()) for piece in np.split(sound[:whole], whole // size)]


@dataclass
class Tally:
    """What the clients saw since it was emptied last."""

    lags_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)  # of the clients themselves
    words: int = 0
    refused: int = 0
    lost: int = 0

    def clear(self) -> None:
        """Begin anew."""
        self.__init__()  # type: ignore[misc]


class Speaker(asyncio.Protocol):
    """One client: speaks in real time until it is told to finish."""

    def __init__(self, pieces: list[bytes], tally: Tally, max_s: float) -> None:
        """Speak `pieces` again and again, from one of them on."""
        self._pieces = pieces
        self._tally = tally
        self._count = int(max_s / PIECE_S)
        self._begin_at = random.randrange(len(pieces))
        self._sent: list[float] = []  # when each piece was
        self._buffer = bytearray()
        self._open = False
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a stream."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(UPGRADE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it, unless it was the end."""
        self._tally.lost += self._open and not self._ended
        if not self.done.done():
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take what the server said."""
        self._buffer += data
        if self._buffer.startswith(b"HTTP"):
            if b"\r\n\r\n" not in self._buffer:
                return
            self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
            self._transport.write(frame(TEXT, b'{"type": "start", "sample_rate": 16000}'))
        for opcode, content in self._frames():
            self._take(opcode, content)

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while len(self._buffer) >= 2:
            size, first = self._buffer[1] & 127, 2
            if size >= 126:
                first = 4 if size == 126 else 10
                size = int.from_bytes(self._buffer[2:first], "big")
            if len(self._buffer) < first + size:
                return
            opcode, content = self._buffer[0] & 15, bytes(self._buffer[first : first + size])
            del self._buffer[: first + size]
            yield opcode, content

    def _take(self, opcode: int, content: bytes) -> None:
        if opcode == PING:
            self._transport.write(frame(PONG, content))
        elif opcode == TEXT and content.startswith(b'{"type": "partial"'):
            found = AT.search(content)
            assert found
            piece = min(len(self._sent) - 1, int((float(found[1]) - 1e-6) / PIECE_S))
            self._tally.lags_s.append(self._loop.time() - self._sent[piece])
        elif opcode == TEXT:
            self._answer(json.loads(content))
        elif opcode == CLOSE:
            self._transport.close()

    def _answer(self, event: dict[str, object]) -> None:
        if event["type"] == "ready":
            self._open = True
            self._began = self._loop.time()
            self._speak()
        elif event["type"] == "final":
            self._tally.words += len(event["words"])  # type: ignore[arg-type]
        elif event["type"] == "end":
            self._ended = True
        elif event["type"] == "error":
            self._tally.refused += 1

    def _speak(self) -> None:
        number = len(self._sent)
        now = self._loop.time()
        if self._transport.is_closing():
            return
        if number >= self._count:
            self._transport.write(frame(TEXT, b'{"type": "finish"}'))
            return
        self._tally.late_s.append(now - self._began - number * PIECE_S)
        self._sent.append(now)
        self._transport.write(self._pieces[(self._begin_at + number) % len(self._pieces)])
        self._loop.call_at(self._began + (number + 1) * PIECE_S, self._speak)


async def speak(port: int, pieces: list[bytes], seconds: float, tally: Tally, wait: float) -> None:
    """Be one client after `wait` seconds, for so many seconds; come back if the server ends it."""
    await asyncio.sleep(wait)
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > PIECE_S:
        _, speaker = await loop.create_connection(
            functools.partial(Speaker, pieces, tally, left), "127.0.0.1", port
        )
        await asyncio.wait_for(speaker.done, left + PATIENCE_S)
        await asyncio.sleep(PIECE_S)
