# ruff: noqa: T201 (a script prints)
"""Spoiled inputs, many: `python -m tests.fuzz.fuzz sound --count 10000 --seed 1`.

Inputs run in processes of their own, a few seconds each. What ends one, hangs, takes a gigabyte or
raises anything but a RivuletError is written to tests/fuzz/crashes, where the tests find it. Runs
of other seeds make other inputs; the last line is a JSON object with the counts.

`--total 1000000 --log FILE` spreads so many over all targets by what they cost, in rounds; begun
again with the same log it goes on where it was.
"""

import argparse
import hashlib
import json
import logging
import mmap
import os
import random
import resource
import signal
import sys
import time
import traceback
import zlib
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from fuzz.targets import TARGETS

from rivulet.errors import RivuletError

CRASHES = Path(__file__).parent / "crashes"
HANG_S = 10  # of computing: on a busy machine the clock says little
ASLEEP_S = 120  # of anything
MAX_BYTES = 1 << 30
PIECE_S = 10.0  # of computing in one process; then another goes on, so that what leaks is let go
ROUNDS = 25
SHARES = {  # inputs of each target in a thousand: the cheap ones take most
    "sound": 8, "pipe": 6, "recording": 8, "manifest": 70, "arpa": 40, "lexicon": 70,
    "hotwords": 110, "text": 40, "config": 1, "weights": 1, "events": 316, "vosk": 150,
    "native": 150, "wyoming": 15, "form": 15,
}  # fmt: skip


def keep(target: str, content: bytes, why: str) -> str:
    """Write an input down that failed; return what is said of it."""
    digest = hashlib.sha256(content).hexdigest()[:12]
    folder = CRASHES / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / digest).write_bytes(content)
    return f"{target}/{digest}: {why}"


def made(target: str, seed: int, number: int) -> bytes:
    """Return one input."""
    key = seed << 64 | zlib.crc32(target.encode()) << 32 | number
    return TARGETS[target].make(random.Random(key))


def piece(target: str, seed: int, numbers: range, at: mmap.mmap) -> None:
    """Run inputs for a while; `at` holds the number of the one that runs, and how many failed."""
    quiet()
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + MAX_BYTES, resource.RLIM_INFINITY))
    for sign in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(sign, signal.SIG_DFL)
    run = TARGETS[target].run
    end = time.process_time() + PIECE_S
    for number in numbers:
        at[:8] = number.to_bytes(8, "little")
        if time.process_time() > end:
            return
        content = made(target, seed, number)
        signal.alarm(ASLEEP_S)
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
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
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    at[:8] = numbers.stop.to_bytes(8, "little")


def quiet() -> None:
    """Let libraries say nothing of each spoiled input."""
    import av.logging

    av.logging.set_level(None)
    logging.disable()


def prepare(target: str) -> None:
    """Make the seed corpus and import what the target needs, before the processes part."""
    with suppress(Exception):
        TARGETS[target].run(made(target, 0, 0))


def fuzz(target: str, numbers: range, seed: int, seconds: float) -> dict[str, object]:
    """Run the inputs of these numbers, or as many as fit into the time."""
    prepare(target)
    at = mmap.mmap(-1, 16)
    begun, number, died = time.monotonic(), numbers.start, 0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    while number < numbers.stop and time.monotonic() - begun < seconds:
        child = os.fork()
        if not child:
            piece(target, seed, range(number, numbers.stop), at)
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        number = int.from_bytes(at[:8], "little")
        if status:
            content = made(target, seed, number)
            print(keep(target, content, f"signal {os.WTERMSIG(status)}"), flush=True)
            died, number = died + 1, number + 1
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = children.ru_utime + children.ru_stime - used.ru_utime - used.ru_stime
    return {
        "target": target,
        "seed": seed,
        "inputs": number - numbers.start,
        "failed": died + int.from_bytes(at[8:16], "little"),
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(cpu_s, 1),
        "peak_mib": round(children.ru_maxrss / 1024),
    }


def spread(total: int, seed: int, log: Path) -> list[dict[str, object]]:
    """Run `total` inputs over all targets, in rounds; return the sum of each target."""
    known = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(run["round"], run["target"]) for run in known}
    for turn in range(ROUNDS):
        for target, share in SHARES.items():
            if (turn, target) in done:
                continue
            count = max(1, round(total * share / sum(SHARES.values()) / ROUNDS))
            run = {
                "round": turn,
                **fuzz(target, range(turn * count, turn * count + count), seed, 1e9),
            }
            known.append(run)
            with log.open("a", encoding="ascii") as file:
                file.write(json.dumps(run) + "\n")
    return [summed(target, [r for r in known if r["target"] == target]) for target in SHARES]


def summed(target: str, runs: list[dict[str, object]]) -> dict[str, object]:
    """Add the rounds of one target."""
    counts = {key: sum(run[key] for run in runs) for key in ("inputs", "failed")}  # type: ignore[misc]
    times = {key: round(sum(r[key] for r in runs), 1) for key in ("seconds", "cpu_seconds")}  # type: ignore[misc,call-overload]
    return {"target": target, **counts, **times, "peak_mib": max(run["peak_mib"] for run in runs)}  # type: ignore[type-var]


def run() -> int:
    """Read the flags and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=" ".join(TARGETS))
    parser.add_argument("--count", type=int, default=10_000, help="inputs a target (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="at most so long a target")
    parser.add_argument("--total", type=int, help="spread so many over all targets")
    parser.add_argument("--log", type=Path, default=Path("fuzz.jsonl"), help="of --total")
    args = parser.parse_args()
    quiet()
    done = spread(args.total, args.seed, args.log) if args.total else []
    for target in [] if args.total else args.targets or TARGETS:
        done.append(fuzz(target, range(args.count), args.seed, args.seconds))
        print(json.dumps(done[-1]), flush=True)
    print(json.dumps({"inputs": sum(d["inputs"] for d in done), "runs": done}))  # type: ignore[misc]
    return int(any(d["failed"] for d in done))


if __name__ == "__main__":
    sys.exit(run())
