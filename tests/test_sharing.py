"""One recognizer, many streams: threads, processes and asyncio give what one stream alone gives."""

import asyncio
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import ROOT
from support.processes import events_of as heard_by
from support.processes import hear

from rivulet.recognizer import Recognizer

STREAMS, THREADS = 64, 8


def events_of(recognizer, samples):
    stream = recognizer.stream()
    events = []
    for start in range(0, len(samples), 4_000):
        events += stream.accept(samples[start : start + 4_000])
    return events + stream.finish()


@pytest.mark.slow
def test_64_streams_in_8_threads_give_what_one_gives(small, babble):
    alone = events_of(small, babble)
    assert alone
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(lambda _: events_of(small, babble), range(STREAMS)))
    assert all(events == alone for events in together)


@pytest.mark.slow
def test_streams_in_asyncio_give_what_one_gives(small, babble):
    async def all_of_them():
        calls = (asyncio.to_thread(events_of, small, babble) for _ in range(8))
        return await asyncio.gather(*calls)

    assert asyncio.run(all_of_them()) == [events_of(small, babble)] * 8


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_forked_after_loading_gives_the_same(small, babble):
    alone = events_of(small, babble)
    child = os.fork()
    if not child:
        os._exit(0 if events_of(small, babble) == alone else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert events_of(small, babble) == alone


@pytest.fixture(scope="module")
def tiny():
    """A shipped model, with its language model."""
    return Recognizer.load("tiny")


@pytest.mark.slow
def test_streams_in_threads_share_the_language_model_of_a_beam(tiny):
    alone = heard_by(tiny)
    assert any(event.words for event in alone)
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(lambda _: heard_by(tiny), range(2 * THREADS)))
    assert all(events == alone for events in together)


@pytest.mark.slow
def test_spawned_processes_hear_the_same_and_share_the_files_of_a_model(tiny):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        heard = pool.map(hear, ["tiny", "tiny"], chunksize=1)
    for events, files in heard:
        assert events == heard_by(tiny)
        if sys.platform == "linux":
            assert [f for f in files if f.resident], "nothing is mapped"
            assert not [f for f in files if f.own], files


@pytest.mark.slow
def test_a_recognizer_starts_no_storm_of_threads():
    program = (
        "import threading, numpy, psutil\n"
        "from rivulet import Recognizer\n"
        "stream = Recognizer.load('tiny').stream()\n"
        "stream.accept(numpy.zeros(32_000, numpy.float32))\n"
        "print(psutil.Process().num_threads())"
    )
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**env, "PYTHONPATH": str(ROOT / "src")},
        check=True,
    )
    assert int(done.stdout.split()[-1]) <= 2 * (os.cpu_count() or 1) + 4
