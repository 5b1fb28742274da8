"""Live streams on one server, by a real clock on this machine: `python benchmarks/server_load.py`.

Every client sends speech in pieces of 100 ms as it would be spoken. The lag of an event is the time
from sending the sample it rests on (`at`) to receiving it: queue, computing and sockets, without
what the model waits for by its design. `--attack` runs each count again beside 1,000 silent clients
and some of every other kind that misbehaves. `--every 60` prints a line a minute.

Clients and attackers are processes of their own; `client_cores` is what the speaking ones took, and
`client_late_ms` (99th percentile) how late they sent. `streams_a_core` is the audio that was heard
over the server's CPU time: where it is saturated, what a core carries, whoever else computes.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil
from load_client import PIECE_S, Tally, speak, speech

ROOT = Path(__file__).parents[1]
SPARE = 32  # streams more than the clients need; what misbehaves may take some
WARM_S = 10.0  # until all clients speak and a little longer
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
Row = dict[str, float]


@dataclass
class Server:
    """A server, of one process or several, and its address."""

    process: psutil.Process
    port: int

    def _each(self, ask: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        for process in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += ask(process)
        return total

    def cpu_s(self) -> float:
        """CPU seconds so far, user and system."""
        return self._each(lambda process: sum(process.cpu_times()[:2]))

    def memory_mb(self) -> float:
        """Memory in MB; what processes share counts once."""
        return self._each(lambda process: process.memory_full_info().pss) / 1e6

    def audio_s(self) -> float:
        """Seconds of audio heard so far."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60.0) as answer:
            found = re.search(rb"^rivulet_audio_seconds_total (\S+)$", answer.read(), re.MULTILINE)
        assert found
        return float(found[1])

    def files(self) -> int:
        """Open files and sockets."""
        return int(self._each(lambda process: process.num_fds()))


@contextmanager
def serving(streams: int, flags: list[str]) -> Iterator[Server]:
    """Start a server with room for `streams`, and end it."""
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--streams", str(streams), "--log-level", "error", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout
    found = re.search(r":(\d+)/", process.stdout.readline())
    assert found, "the server did not start"
    try:
        yield Server(psutil.Process(process.pid), int(found[1]))
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def attackers(port: int, seconds: float, nice: int) -> Iterator[None]:
    """Let clients misbehave, at a niceness of their own."""
    command = [sys.executable, str(ROOT / "benchmarks" / "attackers.py"), str(port), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT)
    psutil.Process(process.pid).nice(nice)
    try:
        assert process.stdout
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


class Meter:
    """What happens between two looks."""

    def __init__(self, server: Server, tally: Tally) -> None:
        """Begin to look."""
        self._server, self._tally = server, tally
        self._own = psutil.Process()
        self.reset()

    def reset(self) -> None:
        """Forget what was."""
        self._tally.clear()
        self._began = time.monotonic()
        self._cpu_s, self._own_s = self._server.cpu_s(), sum(self._own.cpu_times()[:2])
        self._audio_s = self._server.audio_s()

    def read(self) -> Row:
        """Return what was seen since the last look, and begin anew."""
        seconds = time.monotonic() - self._began
        tally, server = self._tally, self._server
        cpu_s = server.cpu_s() - self._cpu_s
        lags = np.array(tally.lags_s or [np.nan]) * 1000
        row = {
            "p50_ms": round(float(np.percentile(lags, 50)), 1),
            "p99_ms": round(float(np.percentile(lags, 99)), 1),
            "max_ms": round(float(lags.max()), 1),
            "events": len(tally.lags_s),
            "words": tally.words,
            "refused": tally.refused,
            "lost": tally.lost,
            "server_cores": round(cpu_s / seconds, 3),
            "streams_a_core": round((server.audio_s() - self._audio_s) / cpu_s, 1),
            "client_cores": round((sum(self._own.cpu_times()[:2]) - self._own_s) / seconds, 3),
            "client_late_ms": round(1000 * float(np.percentile(tally.late_s or [np.nan], 99)), 1),
            "memory_mb": round(server.memory_mb(), 1),
            "files": server.files(),
        }
        self.reset()
        return row


async def measure(server: Server, streams: int, seconds: float, every_s: float) -> list[Row]:
    """Let `streams` clients speak for `seconds` after they all began; return what was seen."""
    pieces, tally = speech(), Tally()
    starts = [(WARM_S / 2) * i / streams + PIECE_S * (i % 7) / 7 for i in range(streams)]
    clients = [speak(server.port, pieces, seconds + WARM_S, tally, wait) for wait in starts]
    running = asyncio.gather(*clients)
    await asyncio.sleep(WARM_S)
    meter = Meter(server, tally)
    rows = []
    for _ in range(max(1, round(seconds / every_s))):
        await asyncio.sleep(min(seconds, every_s))
        rows.append(meter.read())
        if every_s < seconds:
            print(time.strftime("%H:%M"), shown(rows[-1]), flush=True)
    with suppress(OSError, asyncio.TimeoutError):
        await running
    return rows


def shown(row: Row) -> str:
    """Return a line."""
    return "  ".join(f"{name} {value}" for name, value in row.items())


def main() -> None:
    """Print a line per run and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", default="1,10,20,40", help="streams at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run (%(default)s)")
    parser.add_argument("--every", type=float, default=1e9, metavar="S", help="a line so often")
    parser.add_argument("--attack", action="store_true", help="each run again, under attack")
    parser.add_argument("--attack-nice", type=int, default=0, help="attackers' (%(default)s)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="each run N times")
    parser.add_argument("flags", nargs="*", help="of `rivulet serve`, after --")
    args = parser.parse_args()
    counts = [int(count) for count in args.streams.split(",")]
    rows = []
    with serving(max(counts) + SPARE, args.flags) as server:
        for count, _, attack in itertools.product(
            counts, range(args.repeat), (False, True) if args.attack else (False,)
        ):
            with ExitStack() as stack:
                if attack:
                    seconds = args.seconds + 2 * WARM_S
                    stack.enter_context(attackers(server.port, seconds, args.attack_nice))
                seen = asyncio.run(measure(server, count, args.seconds, args.every))
            named = [{"streams": count, "attack": attack, **row} for row in seen]
            rows += named
            print(shown(named[-1]), flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    result = {"bench": "server load", "machine": machine, "flags": args.flags, "rows": rows}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
