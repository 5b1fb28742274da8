"""How an archive goes, on a terminal and in a log, and its summary."""

import io
import json

import pytest
from rich.console import Console

from rivulet.archive.ledger import Plan
from rivulet.archive.pool import WorkerView
from rivulet.archive.progress import Progress, Tally, clock
from rivulet.archive.records import Job, Result
from rivulet.archive.summary import Summary, kind_of

PLAN = Plan(new=4, size=400)


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def done(number, seconds=60.0, error=None):
    return Result(Job(f"/in/{number}.wav", f"{number}.wav", 100), (), seconds, 1.0, error)


def test_time_left_is_that_of_the_bytes_that_are_left():
    tally = Tally(PLAN, 0.0)
    assert tally.left_s(5.0) is None
    tally.add(done(0))
    assert tally.left_s(10.0) == pytest.approx(30.0)
    assert tally.speed(10.0) == pytest.approx(6.0)


def test_where_no_size_is_known_files_count():
    tally = Tally(Plan(new=4), 0.0)
    tally.add(Result(Job("https://x/a.wav", "a.wav", -1)))
    assert tally.left_s(10.0) == pytest.approx(30.0)


def shown(terminal):
    out, now = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=terminal, width=100, legacy_windows=False)
    with Progress(PLAN, console, now) as progress:
        for minute in range(1, 4):
            now.seconds = minute * 60.0
            progress.done(done(minute, error="3.wav is empty." if minute == 3 else None))
            progress.show([WorkerView("1", 7, {"/in/long.wav": 30.0}, 2)])
            progress.show([WorkerView("1", 7, {"/in/long.wav": 31.0}, 2)])
    return out.getvalue()


def test_a_log_gets_a_line_a_minute():
    lines = shown(terminal=False).splitlines()
    assert lines[0].startswith("rivulet: 1 of 4 files, 0.02 h, 1.5 × real time, 0:03:00 left")
    assert lines[2] == "rivulet: 3.wav is empty."
    assert len(lines) == 4
    assert "1 failed" in lines[3]


def test_a_terminal_gets_a_table_of_workers():
    text = shown(terminal=True)
    assert "longest under way" in text
    assert "/in/long.wav" in text
    assert "3/4" in text


@pytest.mark.slow
def test_the_summary_counts_and_draws(tmp_path):
    pytest.importorskip("matplotlib")
    now = Clock()
    summary = Summary(tmp_path, now)
    for number in range(3):
        now.seconds += 10.0
        summary.add(done(number))
    summary.add(done(3, 0.0, "/in/3.wav is empty (0 bytes); record or copy it again."))
    told = summary.close(PLAN)
    assert told.startswith(
        "4 files, 1 failed (errors.jsonl), 0.05 h of sound and 0 words in 0:00:30"
    )
    numbers = json.loads((tmp_path / "summary.json").read_text())
    assert numbers["errors"] == {"is empty": 1}
    assert numbers["left"] == 0
    assert (tmp_path / "summary.png").stat().st_size > 1000


def test_errors_of_one_kind_count_together():
    sentences = [
        ("/a/b.wav", "/a/b.wav is truncated: its header says 3.00 s and only 1.00 s are there."),
        ("/a/c.wav", "/a/c.wav is truncated: its header says 9.00 s and only 1.50 s are there."),
    ]
    assert {kind_of(error, source) for source, error in sentences} == {"is truncated"}
    assert kind_of("/a/b.wav", "/a/b.wav") == "something else"


def test_clock():
    assert clock(3725.4) == "1:02:05"
