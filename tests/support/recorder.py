"""Recordings whose writers are killed: `python -m support.recorder FOLDER KILLS`.

The header comes on standard input. A process of its own forks the writers, as one with threads
must not: what a thread holds locked while another forks stays locked in the child. A line of
output for each kill: the blocks that were written for sure.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from rivulet.configs import read_config
from rivulet.live.microphone import Block
from rivulet.live.recording import RecordingHeader, RecordingWriter

STEP = 320  # samples a block, 20 ms


def save_until_killed(path: Path, header: RecordingHeader, told: int) -> None:
    writer = RecordingWriter(path, header)
    rate = header.signal.sample_rate
    samples = np.random.default_rng(0).integers(-9_000, 9_000, (STEP, 1)).astype(np.int16)
    number = 0
    while True:
        writer.write(Block(samples, number * STEP / rate, 0), [], 0.0)
        number += 1
        os.write(told, b".")


def killed(path: Path, header: RecordingHeader, rng: random.Random) -> int:
    """Kill a writer after so many blocks, or a moment later; return how many there were."""
    heard, told = os.pipe()
    child = os.fork()
    if not child:
        save_until_killed(path, header, told)
    os.close(told)
    written, enough = 0, rng.randrange(1, 150)  # up to three seconds of sound
    while written < enough:
        written += len(os.read(heard, enough - written))
    time.sleep(rng.choice((0.0, rng.uniform(0.0, 0.003))))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while said := os.read(heard, 1 << 16):
        written += len(said)
    os.close(heard)
    return written


def main() -> None:
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    header = read_config(RecordingHeader, json.loads(sys.stdin.read()), "the header")
    rng = random.Random(0)
    for number in range(kills):
        sys.stdout.write(f"{killed(folder / f'{number}.rvl', header, rng)}\n")


if __name__ == "__main__":
    main()
