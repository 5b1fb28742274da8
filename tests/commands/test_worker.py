import os
import signal

import numpy as np
import pytest
from support import SAMPLES
from support.sounds import write_sound

from rivulet.audio import load
from rivulet.commands.worker import Worker
from rivulet.errors import AudioError

CLIP = str(SAMPLES / "slt.flac")


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.stop()


def test_the_process_gives_what_the_library_gives(worker):
    for name in ("slt", "awb"):
        with worker.open(str(SAMPLES / f"{name}.flac")) as audio:
            assert audio.declared_s > 3.0
            assert np.array_equal(np.concatenate(list(audio)), load(SAMPLES / f"{name}.flac"))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_crash_costs_one_file(worker):
    audio = worker.open(CLIP)
    os.kill(worker.pid, signal.SIGSEGV)
    with audio, pytest.raises(AudioError, match=r"ended the decoder \(signal SIGSEGV\)"):
        list(audio)
    with worker.open(CLIP) as audio:
        assert sum(map(len, audio)) == 59_520


def test_errors_and_warnings_come_through(worker, tmp_path):
    with pytest.raises(AudioError, match="does not exist"):
        worker.open(str(tmp_path / "none.wav"))
    path = write_sound(tmp_path / "cut.wav", load(CLIP))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with worker.open(str(path)) as audio, pytest.raises(AudioError, match="is truncated"):
        list(audio)
    opposite = np.stack([load(CLIP), -load(CLIP)], axis=1)
    warnings = []
    with worker.open(
        str(write_sound(tmp_path / "opp.wav", opposite)), None, warnings.append
    ) as audio:
        assert np.abs(np.concatenate(list(audio))).max() > 0.1
    assert "mean cancels" in warnings[0]


def test_a_file_left_in_the_middle_does_not_disturb_the_next(worker):
    with worker.open(CLIP) as audio:
        next(iter(audio))
    with worker.open(CLIP) as audio:
        assert sum(map(len, audio)) == 59_520
