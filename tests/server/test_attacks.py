"""Clients that misbehave, many at once: the others don't notice, and nothing stays behind."""

import asyncio
import gc
import json
import os
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from support.serving import heard, pcm16, serving
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from rivulet.recognizer import Recognizer
from rivulet.server.app import Settings
from rivulet.server.running import Server
from rivulet.server.settings import Limits

SILENT = 200
HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE = HALF + (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FRAMES = [
    b"\x82\xff" + b"\xff" * 8,  # a frame of 2^64 - 1 bytes
    b"\x82\x05hello",  # not masked
    b"\xff\xff\xff\xff",  # reserved bits
    b"\x81\x84\0\0\0\0\xff\xff\xff\xff",  # text that is not UTF-8
    b"\x89\xfe\xff\xff" + b"\0" * 200,  # a ping that is too long
    b"\x80\x80\0\0\0\0",  # goes on with nothing
]


async def silent(server: Server) -> None:
    async with connect(f"ws://localhost:{server.address.port}/"):
        await asyncio.sleep(60.0)


async def raw(server: Server, content: bytes, end: bool) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
    writer.write(content)
    if end:
        writer.write_eof()
    await asyncio.sleep(60.0)


async def fuzz(server: Server, seed: int) -> None:
    dice = random.Random(seed)
    while True:
        path = dice.choice(["/", "/v1/stream", "/v1/nowhere"])
        with suppress(OSError, WebSocketException):
            async with connect(f"ws://localhost:{server.address.port}{path}") as client:
                await client.send(dice.choice([dice.randbytes(99), "[" * 999, '{"type": "start"}']))
                await client.send(dice.randbytes(dice.randrange(3000)))
                if dice.random() < 0.5:
                    client.transport.abort()
        await asyncio.sleep(0.02)


async def good(server: Server, sound: bytes) -> list[str]:
    """A client that speaks in real time; return the texts of its finals."""
    async with connect(f"ws://localhost:{server.address.port}/v1/stream") as client:
        await client.send('{"type": "start", "partials": false}')
        for first in range(0, len(sound), 3200):
            await client.send(sound[first : first + 3200])
            await asyncio.sleep(0.02)
        await client.send('{"type": "finish"}')
        events = [json.loads(message) async for message in client]
    return [event["text"] for event in events if event["type"] == "final"]


async def under_attack(server: Server, sound: bytes) -> list[list[str]]:
    attacks: list[Any] = [silent(server) for _ in range(SILENT)]
    for content in (b"", HALF, os.urandom(2000), *(UPGRADE + frame for frame in FRAMES)):
        attacks += [raw(server, content, end) for end in (False, True)]
    attacks += [fuzz(server, seed) for seed in range(4)]
    running = [asyncio.ensure_future(attack) for attack in attacks]
    await asyncio.sleep(0.5)
    texts = await asyncio.gather(*(good(server, sound) for _ in range(3)))
    for attack in running:
        attack.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return list(texts)


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_others_do_not_notice_and_nothing_stays_behind(
    small: Recognizer, babble: np.ndarray
) -> None:
    sound = pcm16(babble)
    expected = [final.text for final in heard(small, np.frombuffer(sound, "<i2"), 16_000)]
    with serving(small, Settings(Limits(streams=64, resume_s=0.5))) as server:
        asyncio.run(good(server, sound[:3200]))
        gc.collect()
        before = open_files()
        texts = asyncio.run(under_attack(server, sound))
        assert texts == [expected] * 3
        app = server.app
        assert eventually(lambda: len(app.connections) == 0)
        assert eventually(lambda: len(app.streams) == 0)
        assert eventually(lambda: b"streams_parked 0.0" in app.metrics.render())
        assert eventually(lambda: not server.server_state.tasks)
        assert eventually(lambda: open_files() <= before), (before, open_files())


@pytest.mark.parametrize(
    "frames",
    [
        b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 5000,  # a message of empty pieces
        (b"\x89\xfd\0\0\0\0" + bytes(125)) * 100,  # pings, whose pongs nobody reads
    ],
)
def test_what_would_fill_the_memory_is_ended(
    small: Recognizer, monkeypatch: pytest.MonkeyPatch, frames: bytes
) -> None:
    monkeypatch.setattr("rivulet.server.running.UNSENT_BYTES", 4096)
    with (
        serving(small) as server,
        socket.create_connection(("127.0.0.1", server.address.port)) as client,
    ):
        client.settimeout(20.0)
        client.sendall(UPGRADE)
        with pytest.raises(ConnectionError):
            send_for_ever(client, frames)


def send_for_ever(client: socket.socket, frames: bytes) -> None:
    for _ in range(100_000):
        client.sendall(frames)
