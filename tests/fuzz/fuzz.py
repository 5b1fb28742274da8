# ruff: noqa: T201 (a script prints)
"""Spoiled inputs, many: `python -m tests.fuzz.fuzz sound --count 10000 --seed 1`.

Each piece of inputs runs in a process of its own. What ends it, hangs, takes a gigabyte or raises
anything but a RivuletError is written to tests/fuzz/crashes, where the tests find it. Runs of other
seeds make other inputs; the last line is a JSON object with the counts.
"""

import argparse
import hashlib
import json
import mmap
import os
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from fuzz.targets import TARGETS

from rivulet.errors import RivuletError

CRASHES = Path(__file__).parent / "crashes"
HANG_S = 10
MAX_BYTES = 1 << 30
PIECE = 200  # inputs to a process


def keep(target: str, content: bytes, why: str) -> str:
    """Write an input down that failed; return what is said of it."""
    digest = hashlib.sha256(content).hexdigest()[:12]
    folder = CRASHES / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / digest).write_bytes(content)
    return f"{target}/{digest}: {why}"


def piece(target: str, seed: int, numbers: range, at: mmap.mmap) -> None:
    """Run inputs; `at` holds the number of the one that runs, and how many failed."""
    import av.logging

    av.logging.set_level(None)
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + MAX_BYTES, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    made, run = TARGETS[target].make, TARGETS[target].run
    for number in numbers:
        content = made(random.Random(f"{target}-{seed}-{number}"))
        at[:8] = number.to_bytes(8, "little")
        signal.alarm(HANG_S)
        try:
            run(content)
        except RivuletError as error:
            if "\n" in str(error).strip():
                print(keep(target, content, f"two lines: {error}"), flush=True)
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            why = f"{type(error).__name__} {str(error)[:100]} at {where.filename}:{where.lineno}"
            print(keep(target, content, why), flush=True)
            at[8:16] = (int.from_bytes(at[8:16], "little") + 1).to_bytes(8, "little")
        signal.alarm(0)


def fuzz(target: str, count: int, seed: int, seconds: float) -> dict[str, object]:
    """Run `count` inputs, or as many as fit into the time."""
    TARGETS[target].make(random.Random(seed))  # makes the seed corpus before the processes part
    at = mmap.mmap(-1, 16)
    begun, number, died = time.monotonic(), 0, 0
    while number < count and time.monotonic() - begun < seconds:
        numbers = range(number, min(count, number + PIECE))
        child = os.fork()
        if not child:
            piece(target, seed, numbers, at)
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            failed = int.from_bytes(at[:8], "little")
            content = TARGETS[target].make(random.Random(f"{target}-{seed}-{failed}"))
            print(keep(target, content, f"signal {os.WTERMSIG(status)}"), flush=True)
            died, number = died + 1, failed + 1
        else:
            number = numbers.stop
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "target": target,
        "seed": seed,
        "inputs": number,
        "failed": died + int.from_bytes(at[8:16], "little"),
        "seconds": round(time.monotonic() - begun, 1),
        "peak_mib": round(peak),
    }


def run() -> int:
    """Read the flags and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=" ".join(TARGETS))
    parser.add_argument("--count", type=int, default=10_000, help="inputs a target (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="at most so long a target")
    args = parser.parse_args()
    done = []
    for target in args.targets or TARGETS:
        done.append(fuzz(target, args.count, args.seed, args.seconds))
        print(json.dumps(done[-1]), flush=True)
    print(json.dumps({"inputs": sum(d["inputs"] for d in done), "runs": done}))
    return int(any(d["failed"] for d in done))


if __name__ == "__main__":
    sys.exit(run())
