"""Kill `rivulet transcribe` at random moments and look at what it leaves.

    python benchmarks/kills.py --kills 200 --files 50

A batch is begun, killed after a random time, and begun again on the same folder until it ends.
After every kill each text that is there must be whole: equal to what an undisturbed run writes. In
the end no text may be missing. The last line is a JSON object.
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
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLES = sorted((ROOT / "data" / "samples").glob("*.flac"))
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def batch(files: list[Path], folder: Path) -> subprocess.Popen[bytes]:
    """Begin to transcribe."""
    command = [sys.executable, str(ROOT / "cli.py"), "transcribe", *map(str, files)]
    command += ["--decoder", "greedy", "--model", "tiny", "--output", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def copies(folder: Path, count: int) -> list[Path]:
    """So many sound files."""
    made = [folder / f"{number:03}.flac" for number in range(count)]
    for number, path in enumerate(made):
        shutil.copy(SAMPLES[number % len(SAMPLES)], path)
    return made


def texts(folder: Path) -> dict[str, bytes]:
    """What is there, by name; hidden parts are no texts."""
    return {p.name: p.read_bytes() for p in folder.glob("*") if not p.name.startswith(".")}


def run(kills: int, count: int, seed: int, seconds: float) -> dict[str, object]:
    """Kill so often, or as often as the time allows."""
    rng = random.Random(seed)
    work = Path(tempfile.mkdtemp(prefix="kills-"))
    files = copies(work, count)
    done = batch(files, work / "whole")
    begun = time.monotonic()
    done.communicate()
    usual_s = time.monotonic() - begun
    expected = texts(work / "whole")
    assert len(expected) == count, f"{len(expected)} of {count} texts"
    half = lost = killed = batches = 0
    begun = time.monotonic()
    while killed < kills and time.monotonic() - begun < seconds:
        folder = work / f"killed-{batches}"
        batches += 1
        while True:
            process = batch(files, folder)
            try:
                wait_s = rng.uniform(0.0, 1.2 * usual_s) if killed < kills else None
                said = process.communicate(timeout=wait_s)
            except subprocess.TimeoutExpired:
                process.send_signal(rng.choice(SIGNALS))
                process.communicate()
                killed += 1
                found = texts(folder) if folder.is_dir() else {}
                half += sum(expected[name] != text for name, text in found.items())
                if killed >= kills or time.monotonic() - begun > seconds:
                    batch(files, folder).communicate()
                    break
            else:
                if process.returncode:
                    print(f"a batch ended with status {process.returncode}: {said[1][-300:]!r}")
                break
        lost += len(expected.keys() - texts(folder).keys())
        half += sum(expected[name] != text for name, text in texts(folder).items())
        shutil.rmtree(folder)
    shutil.rmtree(work)
    return {
        "kills": killed,
        "batches": batches,
        "files": count,
        "half": half,
        "lost": lost,
        "undisturbed_s": round(usual_s, 1),
        "seconds": round(time.monotonic() - begun, 1),
        "machine": f"{os.cpu_count()} CPUs",
    }


def main() -> int:
    """Read the flags and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="at most so long")
    args = parser.parse_args()
    result = run(args.kills, args.files, args.seed, args.seconds)
    print(json.dumps(result))
    return int(bool(result["half"] or result["lost"]))


if __name__ == "__main__":
    sys.exit(main())
