"""A process that saves a recording is killed at any moment: at most its last second is lost."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from support import ROOT
from support.recorder import STEP

from rivulet.live.microphone import SignalFormat
from rivulet.live.recording import Recording, RecordingHeader

RATE = 16_000
KILLS = 100


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_hundred_kills_lose_less_than_a_second_each(small, tmp_path):
    header = RecordingHeader.of(small, SignalFormat("x", RATE, 1))
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "support.recorder", str(tmp_path), str(KILLS)],
        input=json.dumps(dataclasses.asdict(header)),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
        check=True,
    )
    written = [int(line) for line in done.stdout.splitlines()]
    assert len(written) == KILLS
    kept = [samples_in(Recording(tmp_path / f"{number}.rvl")) for number in range(KILLS)]
    lost_s = [(n * STEP - m) / RATE for n, m in zip(written, kept, strict=True)]
    assert max(lost_s) <= 1.0 + STEP / RATE  # a record of one second, and the block on its way


def samples_in(recording: Recording) -> int:
    return sum(len(item.block.samples) for item in recording)
