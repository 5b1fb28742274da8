"""Clients that misbehave, for `server_load.py --attack`: `benchmarks/attackers.py PORT SECONDS`."""

import asyncio
import random
import sys
from contextlib import suppress

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

SILENT = 1000
HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = HALF.replace(b"GET /", b"POST /v1/audio/transcriptions") + b"Content-Length: 99999\r\n\r\n"
UPGRADE = HALF + (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def silent(port: int, opened: set[int], number: int) -> None:
    """Open and send nothing, again and again; `opened` are those that are open."""
    while True:
        with suppress(OSError, WebSocketException):
            async with connect(f"ws://127.0.0.1:{port}/", open_timeout=30) as socket:
                opened.add(number)
                await socket.wait_closed()
        opened.discard(number)
        await asyncio.sleep(1.0)


async def broken(port: int, content: bytes, close: bool) -> None:
    """Send bytes that are no request, or half of one; close one half, or wait; again and again."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(content)
            if close:
                writer.write_eof()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(), 10.0)
            writer.close()
        await asyncio.sleep(1.0)


async def slow(port: int) -> None:
    """Send a request a byte a second."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in UPGRADE:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1.0)


async def deaf(port: int) -> None:
    """Speak without a pause and read nothing."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(UPGRADE)
            for _ in range(10_000):
                writer.write(b"\x89\xfd\0\0\0\0" + bytes(125))  # a ping
                await writer.drain()
        await asyncio.sleep(1.0)


async def malformed(port: int, dice: random.Random) -> None:
    """Send fuzz, oversized messages and wrong JSON to both protocols, again and again."""
    kinds = (
        lambda: dice.randbytes(999),
        lambda: "[" * 9999,
        lambda: "{}",
        lambda: bytes(2 << 20),
        lambda: '{"config": {"sample_rate": -1}}',
        lambda: '{"type": "start", "channels": 99}',
    )
    while True:
        path = dice.choice(["/", "/v1/stream"])
        with suppress(OSError, WebSocketException):
            async with connect(f"ws://127.0.0.1:{port}{path}", open_timeout=30) as socket:
                await socket.send(dice.choice(kinds)())
                if dice.random() < 0.3:
                    socket.transport.abort()
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)


async def attack(port: int, seconds: float) -> None:
    """Let all of them loose; for so many seconds from when the silent ones are connected."""
    dice = random.Random(0)
    opened: set[int] = set()
    contents = (b"", HALF, UPLOAD, dice.randbytes(5000), b"\0" * 200_000, UPGRADE + b"\x82\xff" * 9)
    clients = [asyncio.ensure_future(silent(port, opened, i)) for i in range(SILENT)]
    for content in contents:
        for close in (False, True):
            clients += [asyncio.ensure_future(broken(port, content, close)) for _ in range(5)]
    clients += [asyncio.ensure_future(slow(port)) for _ in range(5)]
    clients += [asyncio.ensure_future(deaf(port)) for _ in range(2)]
    clients += [asyncio.ensure_future(malformed(port, dice)) for _ in range(5)]
    while len(opened) < SILENT:
        await asyncio.sleep(0.1)
    print("attacking", flush=True)
    await asyncio.sleep(seconds)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(attack(int(sys.argv[1]), float(sys.argv[2])))
