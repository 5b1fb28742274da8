"""Live streams on one server, by a real clock on this machine: `python benchmarks/server_load.py`.

Every client sends speech in pieces of 100 ms as it would be spoken. The lag of an event is the time
from sending the sample it rests on (`at`) to receiving it: queue, computing and sockets, without
what the model waits for by its design. `--attack` adds clients that misbehave.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from rivulet.audio import SAMPLE_RATE, load

ROOT = Path(__file__).parents[1]
PIECE_S = 0.1
PAUSE_S = 1.0  # between clips
SPARE = 32  # streams more than the clients need; what misbehaves may take some
TICKS = os.sysconf("SC_CLK_TCK")  # a second in /proc/PID/stat
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Server:
    """A server process and its address."""

    process: "subprocess.Popen[str]"
    port: int

    def cpu_s(self) -> float:
        """CPU seconds so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mb(self) -> float:
        """Resident memory in MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * PAGE / 1e6

    def files(self) -> int:
        """Open files and sockets."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@dataclass
class Tally:
    """What the clients of one run saw."""

    lags_s: list[float] = field(default_factory=list)
    words: int = 0
    refused: int = 0


@contextmanager
def serving(streams: int, flags: list[str]) -> Iterator[Server]:
    """Start a server with room for `streams`, and end it."""
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--streams", str(streams), "--log-level", "error", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout
    found = re.search(r":(\d+)/", process.stdout.readline())
    assert found, "the server did not start"
    try:
        yield Server(process, int(found[1]))
    finally:
        process.terminate()
        process.wait(30)


def speech() -> np.ndarray:
    """The project's own clips with pauses between them, int16 (n,) at 16 kHz."""
    clips = [load(path) for path in sorted((ROOT / "data" / "samples").glob("*.flac"))]
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE), np.float32)
    parts = itertools.chain.from_iterable((clip, pause) for clip in clips)
    return (np.concatenate(list(parts)) * 32767).astype("<i2")


async def client(port: int, sound: np.ndarray, seconds: float, tally: Tally, offset: float) -> None:
    """Speak for `seconds`, beginning `offset` seconds into a piece."""
    await asyncio.sleep(offset)
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", ping_timeout=None) as socket:
        await socket.send(json.dumps({"type": "start", "sample_rate": SAMPLE_RATE}))
        if json.loads(await socket.recv())["type"] != "ready":
            tally.refused += 1
            return
        sent: list[float] = []  # when each piece was sent
        listening = asyncio.ensure_future(_listen(socket, sent, tally))
        await _speak(socket, sound, seconds, sent)
        await asyncio.wait_for(listening, 60.0)


async def _speak(socket: object, sound: np.ndarray, seconds: float, sent: list[float]) -> None:
    size = int(PIECE_S * SAMPLE_RATE)
    place = random.randrange(len(sound))
    began = time.monotonic()
    for number in range(int(seconds / PIECE_S)):
        await asyncio.sleep(max(0.0, began + number * PIECE_S - time.monotonic()))
        piece = sound.take(range(place, place + size), mode="wrap")
        sent.append(time.monotonic())
        await socket.send(piece.tobytes())  # type: ignore[attr-defined]
        place += size
    await socket.send('{"type": "finish"}')  # type: ignore[attr-defined]


async def _listen(socket: object, sent: list[float], tally: Tally) -> None:
    async for message in socket:  # type: ignore[attr-defined]
        now = time.monotonic()
        event = json.loads(message)
        if event["type"] == "partial":
            piece = min(len(sent) - 1, int((event["at"] - 1e-6) / PIECE_S))
            tally.lags_s.append(now - sent[piece])
        elif event["type"] == "final":
            tally.words += len(event["words"])


async def silent(port: int, seconds: float) -> None:
    """Open and send nothing."""
    with suppress(OSError, WebSocketException):
        async with connect(f"ws://127.0.0.1:{port}/", open_timeout=30):
            await asyncio.sleep(seconds)


async def broken(port: int, content: bytes, close: bool, seconds: float) -> None:
    """Send bytes that are no request, or half of one; then close one half, or wait."""
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(content)
        if close:
            writer.write_eof()
        await asyncio.sleep(seconds)
        writer.close()


async def malformed(port: int, seconds: float) -> None:
    """Send fuzz, oversized messages and wrong JSON to both protocols, again and again."""
    dice = random.Random(port)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        path = dice.choice(["/", "/v1/stream"])
        message: str | bytes = dice.choice(
            [
                dice.randbytes(999),
                "[" * 9999,
                "{}",
                bytes(2 << 20),
                '{"config": {"sample_rate": -1}}',
            ]
        )
        with suppress(OSError, WebSocketException):
            async with connect(f"ws://127.0.0.1:{port}{path}", open_timeout=30) as socket:
                await socket.send(message)
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)


def attackers(port: int, seconds: float) -> list[asyncio.Future[None]]:
    """Begin 1,000 silent connections, and some of every other kind."""
    half = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    upload = (
        half.replace(b"GET /", b"POST /v1/audio/transcriptions") + b"Content-Length: 99999\r\n\r\n"
    )
    kinds = [silent(port, seconds) for _ in range(1000)]
    kinds += [broken(port, content, close, seconds)
              for content in (b"", half, upload, random.randbytes(5000), b"\0" * 200_000)
              for close in (False, True) for _ in range(5)]  # fmt: skip
    kinds += [malformed(port, seconds) for _ in range(5)]
    return [asyncio.ensure_future(kind) for kind in kinds]


async def measure(server: Server, streams: int, seconds: float, attack: bool) -> dict[str, float]:
    """Run `streams` clients for `seconds`; return what was seen."""
    sound, tally = speech(), Tally()
    cpu_s, began = server.cpu_s(), time.monotonic()
    others = attackers(server.port, seconds) if attack else []
    offsets = [PIECE_S * i / streams for i in range(streams)]
    await asyncio.gather(*(client(server.port, sound, seconds, tally, o) for o in offsets))
    cpu_share = (server.cpu_s() - cpu_s) / (time.monotonic() - began)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    p50, p99 = np.percentile(tally.lags_s, [50, 99]) if tally.lags_s else (np.nan, np.nan)
    return {
        "streams": streams,
        "attack": attack,
        "p50_ms": round(1000 * float(p50), 1),
        "p99_ms": round(1000 * float(p99), 1),
        "events": len(tally.lags_s),
        "words": tally.words,
        "refused": tally.refused,
        "server_cores": round(cpu_share, 3),
        "rss_mb": round(server.rss_mb(), 1),
        "files": server.files(),
    }


def main() -> None:
    """Print a line per run and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", default="1,10,20,40", help="streams at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run (%(default)s)")
    parser.add_argument("--attack", action="store_true", help="each run again, under attack")
    parser.add_argument("--soak", type=int, default=1, metavar="N", help="each run N times")
    parser.add_argument("flags", nargs="*", help="of `rivulet serve`, after --")
    args = parser.parse_args()
    counts = [int(count) for count in args.streams.split(",")]
    rows = []
    with serving(max(counts) + SPARE, args.flags) as server:
        for count, _, attack in itertools.product(
            counts, range(args.soak), (False, True) if args.attack else (False,)
        ):
            row = asyncio.run(measure(server, count, args.seconds, attack))
            rows.append(row)
            print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    result = {"bench": "server load", "machine": machine, "flags": args.flags, "rows": rows}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
