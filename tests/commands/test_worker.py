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


@pytest.mark.slow
def test_the_process_gives_what_the_library_gives(worker):
    for name in ("slt", "awb"):
        with worker.open(str(SAMPLES / f"{name}.flac")) as audio:
            assert audio.declared_s > 3.0
            assert np.array_equal(np.concatenate(list(audio)), load(SAMPLES / f"{name}.flac"))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_crash_costs_one_file(worker):
    audio = worker.open(CLIP)
    os.kill(worker.pid, signal.SIGSEGV)
    with audio, pytest.raises(AudioError, match=r"ended the decoder \(signal SIGSEGV\)"):
        list(audio)
    with worker.open(CLIP) as audio:
        assert sum(map(len, audio)) == 59_520


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_file_left_in_the_middle_does_not_disturb_the_next(worker):
    with worker.open(CLIP) as audio:
        next(iter(audio))
    with worker.open(CLIP) as audio:
        assert sum(map(len, audio)) == 59_520


NAMES = ("slt", "awb", "rms", "slt")


def alternately(files):
    """The blocks of several files, one of each in turn."""
    heard = [[] for _ in files]
    running = dict(enumerate(map(iter, files)))
    while running:
        for index, blocks in list(running.items()):
            block = next(blocks, None)
            if block is None:
                del running[index]
            else:
                heard[index].append(block)
        yield heard


def are_whole(heard, names=NAMES):
    sounds = [np.concatenate(blocks) for blocks in heard]
    return all(map(np.array_equal, sounds, [load(SAMPLES / f"{name}.flac") for name in names]))


@pytest.mark.slow
def test_several_files_are_read_in_turns(worker):
    files = [worker.open(str(SAMPLES / f"{name}.flac")) for name in NAMES]
    *_, heard = alternately(files)
    assert are_whole(heard)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_crash_loses_no_sample_of_the_files_that_were_open(worker):
    files = [worker.open(str(SAMPLES / f"{name}.flac")) for name in NAMES]
    heard = []
    for turn, so_far in enumerate(alternately(files)):
        heard = so_far
        if turn == 2:
            os.kill(worker.pid, signal.SIGKILL)
    assert are_whole(heard)


CRASHING = """
import os, signal, sys

def crash(event, arguments):
    if event == "open" and str(arguments[0]).endswith("crash.wav"):
        os.kill(os.getpid(), signal.SIGSEGV)

sys.addaudithook(crash)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_file_that_crashes_twice_is_given_up_and_no_other(worker, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(CRASHING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    bad = write_sound(tmp_path / "crash.wav", load(CLIP))
    running = [iter(worker.open(str(SAMPLES / f"{name}.flac"))) for name in NAMES[:2]]
    heard = [[next(blocks)] for blocks in running]
    first = worker.pid
    with pytest.raises(AudioError, match=r"crash.wav ended the decoder \(signal SIGSEGV\)"):
        worker.open(str(bad))
    assert worker.pid != first
    for blocks, rest in zip(heard, running, strict=True):
        blocks += rest
    assert are_whole(heard, NAMES[:2])
