"""Random kills of an archive's processes: in the end all must be as an undisturbed run makes it.

    python benchmarks/archive_kills.py --kills 200

Small files go through `rivulet archive` again and again. At random moments a worker, the process
that workers are forked from, or the driver is killed (SIGKILL); a driver that died is started anew
with the same command. When a run comes to its end, its texts and its table are compared with those
of the undisturbed run, and the next round begins in another folder. The last line is one JSON
object.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
WORKERS = 0.8  # of the others are workers', where there are any
DRIVERS = 0.15  # of the kills, at the least, are the driver's
IGNORED = ("real_time_factor",)  # the only column that may differ from run to run


def main() -> int:
    """Run rounds until there were so many kills; return 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--longest-wait", type=float, default=2.0, metavar="S")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    killed: Counter[str] = Counter()
    rounds = differing = drivers = 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_inputs(work / "talks", args.files)
        wanted = undisturbed(work, args.workers)
        while sum(killed.values()) < args.kills:
            rounds += 1
            out = work / f"round{rounds}"
            drivers += one_round(command(work, out, args.workers), killed, rng, args)
            same = state_of(out) == wanted
            differing += not same
            print(f"round {rounds}: {dict(killed)}, {'same' if same else 'DIFFERS'}", flush=True)
            if same:
                shutil.rmtree(out)
    report = {
        "kills": sum(killed.values()), "killed": dict(killed), "rounds": rounds,
        "files": args.files, "drivers_started": drivers, "rounds_that_differ": differing,
        "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip
    print(json.dumps(report))
    return 1 if differing else 0


def make_inputs(folder: Path, count: int) -> None:
    """Make `count` inputs in three folders, one of them broken, one empty."""
    samples = sorted((ROOT / "data" / "samples").glob("*.flac"))
    for number in range(count):
        path = folder / f"day {number % 3}" / f"{number:03}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(samples[number % len(samples)], path)
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / "empty.mp3").touch()


def command(work: Path, out: Path, workers: int) -> list[str]:
    """Return the command that makes an archive in `out`."""
    how = ["--model", "tiny", "--workers", str(workers)]
    return [
        sys.executable,
        str(ROOT / "cli.py"),
        "archive",
        str(work / "talks"),
        "-o",
        str(out),
        *how,
    ]


def undisturbed(work: Path, workers: int) -> dict[str, object]:
    """Run once without kills; return what is there then."""
    done = subprocess.run(command(work, work / "calm", workers), stderr=subprocess.PIPE, text=True)
    if done.returncode != 1:  # two inputs fail
        raise SystemExit(f"the undisturbed run ended with {done.returncode}: {done.stderr}")
    return state_of(work / "calm")


def one_round(
    words: list[str], killed: Counter[str], rng: random.Random, args: argparse.Namespace
) -> int:
    """Start drivers until one comes to its end; return how many were started."""
    for started in range(1, 1000):
        log = (Path(words[3]).parent / "log.txt").open("a")
        driver = subprocess.Popen(words, stderr=log)
        while driver.poll() is None and sum(killed.values()) < args.kills:
            with suppress(subprocess.TimeoutExpired):
                driver.wait(timeout=rng.uniform(0.0, args.longest_wait))
                break
            kill_one(driver.pid, killed, rng)
        status = driver.wait()
        log.close()
        if status in (0, 1) and is_over(Path(words[5])):  # 0: what failed had failed before
            return started
        if status != -signal.SIGKILL:
            raise SystemExit(f"a driver ended with {status}: {Path(log.name).read_text()[-2000:]}")
    raise SystemExit("1000 drivers came to no end")


def is_over(out: Path) -> bool:
    """Whether the last run left nothing to do."""
    summary = out / "summary.json"
    return summary.is_file() and json.loads(summary.read_text())["left"] == 0


def kill_one(driver: int, killed: Counter[str], rng: random.Random) -> None:
    """Kill the driver, now and then, or one of the processes below it, where there are any."""
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        below = psutil.Process(driver).children(recursive=True)
        kills_driver = rng.random() < DRIVERS
        if not below and not kills_driver:
            return
        if kills_driver:
            os.kill(driver, signal.SIGKILL)
            killed["driver"] += 1
            return
        workers = [process for process in below if process.ppid() != driver]
        chosen = rng.choice(workers if workers and rng.random() < WORKERS else below)
        kind = "worker" if chosen in workers else "process that starts workers"
        chosen.kill()
        killed[kind] += 1


def state_of(out: Path) -> dict[str, object]:
    """Return every text and every row of the table, and the errors."""
    import pyarrow.parquet as pq

    texts = {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("talks/**/*.jsonl"))}
    rows = pq.read_table(out / "results.parquet").drop_columns(list(IGNORED)).to_pylist()
    errors = sorted((out / "errors.jsonl").read_text().splitlines())
    return {"texts": texts, "rows": rows, "errors": errors}


if __name__ == "__main__":
    sys.exit(main())
