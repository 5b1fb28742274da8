"""How soon a server serves again after SIGKILL: `python benchmarks/server_restart.py -- FLAGS`.

Measured is the time from starting `rivulet serve`, on the port of the one that was killed, to the
`ready` of a stream, with clients of the old one still connected.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).parents[1]
PORT = 27_400
PATIENCE_S = 60.0


def serve(flags: list[str]) -> "subprocess.Popen[bytes]":
    """Start a server."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), "serve", "--port", str(PORT), *flags],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )


def first_reply() -> ClientConnection:
    """Ask for a stream until there is one; return its connection."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with suppress(OSError, WebSocketException, TimeoutError):
            socket = connect(f"ws://localhost:{PORT}/v1/stream")
            socket.send('{"type": "start"}')
            if json.loads(socket.recv())["type"] == "ready":
                return socket
        time.sleep(0.01)
    raise SystemExit(f"no server within {PATIENCE_S:.0f} s")


def main() -> None:
    """Print the seconds of every start, and their median as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("flags", nargs="*", help="of `rivulet serve`, after --")
    args = parser.parse_args()
    seconds, cpu = [], []
    for _ in range(args.rounds):
        began = time.monotonic()
        server = serve(args.flags)
        first_reply()
        seconds.append(time.monotonic() - began)
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
        cpu.append(sum(sum(process.cpu_times()[:2]) for process in processes))
        print(f"{seconds[-1]:.2f} s, {cpu[-1]:.2f} s of CPU", flush=True)
        server.kill()
        server.wait()
    for process in processes[1:]:
        with suppress(psutil.Error):
            process.wait(PATIENCE_S)
    median = {"seconds": float(np.median(seconds)), "cpu_s": float(np.median(cpu))}
    print(json.dumps({"bench": "server restart", "flags": args.flags, **median}))


if __name__ == "__main__":
    main()
