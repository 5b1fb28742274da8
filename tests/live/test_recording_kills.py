"""A process that saves a recording is killed at any moment: at most its last second is lost."""

import os
import random
import signal
import time

import numpy as np
import pytest

from rivulet.live.microphone import Block, SignalFormat
from rivulet.live.recording import Recording, RecordingHeader, RecordingWriter

RATE, STEP = 16_000, 320  # 20 ms a block
KILLS = 100


def save_until_killed(path, header, told):
    writer = RecordingWriter(path, header)
    samples = np.random.default_rng(0).integers(-9_000, 9_000, (STEP, 1)).astype(np.int16)
    number = 0
    while True:
        writer.write(Block(samples, number * STEP / RATE, 0), [], 0.0)
        number += 1
        os.write(told, b".")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_hundred_kills_lose_less_than_a_second_each(small, tmp_path):
    header = RecordingHeader.of(small, SignalFormat("x", RATE, 1))
    rng = random.Random(0)
    lost_s = []
    for number in range(KILLS):
        path = tmp_path / f"{number}.rvl"
        heard, told = os.pipe()
        child = os.fork()
        if not child:
            save_until_killed(path, header, told)
        os.close(told)
        os.read(heard, 1)  # it has begun
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        written = 1
        while said := os.read(heard, 1 << 16):
            written += len(said)
        os.close(heard)
        kept = sum(len(item.block.samples) for item in Recording(path))
        lost_s.append((written * STEP - kept) / RATE)
        path.unlink()
    assert max(lost_s) <= 1.0 + STEP / RATE  # a record of one second, and the block on its way
