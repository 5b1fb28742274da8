"""The pool: every job has one result, whatever dies; no worker is given more than it takes."""

import os
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess

import pytest
from support import workers

from rivulet.archive import pool as pools
from rivulet.archive.pool import DEATHS, Pool
from rivulet.archive.records import Job, Settings
from rivulet.archive.work import AT_ONCE
from rivulet.decoding.settings import DecoderSettings
from rivulet.errors import ConfigError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")


@pytest.fixture(autouse=True)
def _hear_nothing(monkeypatch):
    monkeypatch.setattr(pools, "serve", workers.serve)


def settings(model="none"):
    return Settings(model, "", DecoderSettings("greedy"))


def jobs(*names):
    return [Job(name, name, 1) for name in names]


def results(tmp_path, given, count=2, model="none"):
    with Pool(settings(model), count, tmp_path / "spool") as pool:
        return [result for result in pool.results(given, len(given)) if result is not None]


def test_every_job_has_one_result_and_no_queue_grows(tmp_path):
    given = jobs(*(f"{n}.wav" for n in range(60)))
    done = results(tmp_path, given)
    assert sorted(r.job.source for r in done) == sorted(job.source for job in given)
    assert all(r.seconds <= AT_ONCE for r in done)  # as many as a worker had at a time
    assert len({r.warnings for r in done}) == 2  # both worked


def test_a_source_with_two_places_has_two_results(tmp_path):
    given = [Job("a.wav", place, 1) for place in ("talks/a.wav", "a.wav")]
    assert sorted(r.job.place for r in results(tmp_path, given, 1)) == ["a.wav", "talks/a.wav"]


def test_jobs_are_asked_for_only_when_there_is_room(tmp_path):
    asked = []

    def endless():
        for job in jobs(*(f"{n}.wav" for n in range(1000))):
            asked.append(job)
            yield job

    with Pool(settings(), 2, tmp_path / "spool") as pool:
        came = 0
        for result in pool.results(endless(), 1000):
            came += result is not None
            assert len(asked) <= came + 2 * AT_ONCE + pools.AT_ONCE
            if came >= 30:
                break


def test_a_file_that_ends_its_worker_fails_alone(tmp_path):
    given = jobs("a.wav", "deadly.wav", *(f"{n}.wav" for n in range(20)))
    done = {r.job.source: r for r in results(tmp_path, given)}
    assert len(done) == len(given)
    assert f"ended {DEATHS} worker processes (SIGSEGV)" in done.pop("deadly.wav").error
    assert all(r.error is None for r in done.values())


def test_workers_that_are_killed_cost_no_result(tmp_path):
    given = jobs(*(f"{n}.wav" for n in range(80)))
    done = []
    with Pool(settings(), 2, tmp_path / "spool") as pool:
        for result in pool.results(given, 80):
            if result is not None:
                done.append(result)
                if len(done) % 20 == 0:
                    os.kill(pool.views[len(done) % 2].pid, signal.SIGKILL)
        assert sum(view.deaths for view in pool.views) >= 3
    assert sorted(r.job.source for r in done) == sorted(job.source for job in given)
    assert all(r.error is None for r in done)


def test_a_worker_that_says_nothing_for_long_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "STALLED_S", 0.2)
    given = jobs("slow.wav", "a.wav")
    with Pool(settings(), 1, tmp_path / "spool") as pool:
        done = {}
        for result in pool.results(given, 2):
            if result is not None:
                done[result.job.source] = result
            elif pool.views[0].deaths:
                monkeypatch.setattr(pools, "STALLED_S", 600.0)
        assert pool.views[0].deaths >= 1
    assert set(done) == {"slow.wav", "a.wav"}
    assert all(r.error is None for r in done.values())


def test_a_model_that_cannot_be_read_is_said_once(tmp_path):
    with pytest.raises(ConfigError, match="there is no model 'missing'"):
        results(tmp_path, jobs("a.wav"), model="missing")


def test_what_workers_are_forked_from_may_take_a_while_to_die(tmp_path, monkeypatch):
    """It was killed, is still there and takes no more requests: twenty of them took no time."""
    usual, begun = ForkServerProcess.start, time.monotonic()

    def start(process):
        if time.monotonic() - begun < 0.5:
            raise ConnectionRefusedError
        usual(process)

    monkeypatch.setattr(ForkServerProcess, "start", start)
    assert len(results(tmp_path, jobs("a.wav"))) == 1


def test_workers_that_never_live_end_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "STARTS", 2)
    with pytest.raises(ConfigError, match=r"in a row ended before they were ready \(SIGKILL\)"):
        results(tmp_path, jobs("a.wav"), model="mortal")


def test_no_process_is_left(tmp_path):
    with Pool(settings(), 2, tmp_path / "spool") as pool:
        pids = [view.pid for view in pool.views]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_less_than_one_worker_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="0 workers"):
        Pool(settings(), 0, tmp_path / "spool")


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ([100, 100], [4, 4]),  # as many files as workers: each is cut, so that both end together
        ([10] * 40, [1] * 36 + [4] * 4),  # many files: only the last ones are cut
    ],
)
def test_long_files_are_cut_only_where_a_worker_would_be_alone_with_them(tmp_path, sizes, wanted):
    given = [Job(f"{n}.wav", f"{n}.wav", size) for n, size in enumerate(sizes)]
    with Pool(settings(), 2, tmp_path / "spool") as pool:
        done = [r for r in pool.results(given, sum(sizes)) if r is not None]
    parts = {r.job.source: r.job.parts for r in done}
    told = [parts[job.source] for job in given]
    assert told[:30] == wanted[:30]
    assert told[-1] == 4
