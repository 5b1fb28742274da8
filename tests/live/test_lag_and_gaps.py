"""Long and slow sessions: lag, lost sound, true times around it, memory."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.listening import MONO, finals, gaps, simulated
from support.microphone import (
    SimulatedMicrophone,
    babble,
    looped,
    speech,
)

from rivulet.events import Alternative, Final, Word
from rivulet.live import listening
from rivulet.live.checks import InputWarning
from rivulet.live.listening import LiveSession, SessionStats
from rivulet.live.microphone import Block
from rivulet.live.stream import LiveEvent, TimeLine
from rivulet.recognizer import Recognizer


@pytest.mark.slow
def test_a_slow_recognizer_reports_its_lag_marks_gaps_in_place_and_stays_bounded(tiny: Recognizer):
    source = simulated(120.0, slowness=2.0, queue_s=4.0)
    session = LiveSession(tiny, source)
    lags = []
    session.on_block = lambda now: lags.append(now.lag_s)
    events = list(session)
    lost = gaps(events)
    assert 10 < len(lost) < 60  # long stretches, not every second block
    assert all(gap.samples == round((gap.end - gap.start) * 16_000) for gap in lost)
    assert source.most_held <= 4 * 16_000
    # a block waits for at most the queue, and each gap is heard as at most 1 s of silence
    assert 2.0 < max(lags) <= 2.0 * (4.0 + 1.0 + 0.2)
    assert max(lags[: len(lags) // 2]) == pytest.approx(max(lags[len(lags) // 2 :]), abs=1.0)
    summary = session.summary
    assert summary.heard_s + summary.dropped_s == pytest.approx(120.0)
    assert session.now_s == pytest.approx(120.0)
    assert summary.gaps == len(lost)
    assert 2_000 <= summary.lag_p99_ms <= 10_400
    assert any(isinstance(event, InputWarning) and event.check == "lost" for event in events)
    assert f"{summary.dropped_s:.2f} s dropped in {len(lost)} gaps" in str(summary)


def test_words_around_a_gap_keep_their_true_times(tiny: Recognizer):
    """Sound, a gap of 4 s, sound: after the gap everything is 4 s later than without it.

    Less than the 5 s after which the network begins anew, at which random weights say something.
    """
    sound = babble(16_000, 1, 8.0)
    silence = np.zeros((4 * 16_000, 1), np.int16)

    def run(lost: int) -> list[LiveEvent]:
        live = listening.LiveStream(tiny, MONO)
        events = live.accept(Block(sound, 8.0))
        if lost:
            events += live.accept(Block(sound, 20.0, queue_lost=lost))
        else:
            events += live.accept(Block(np.concatenate([silence, sound]), 20.0))
        return events + live.finish()

    with_gap, fed = run(len(silence)), run(0)
    (gap,) = gaps(with_gap)
    assert (gap.start, gap.end, gap.samples, gap.reason) == (8.0, 12.0, 64_000, "queue full")
    for events in (with_gap, fed):
        assert not [w for f in finals(events) for w in f.words if 9.0 < w.start < 11.5]
    first = [f for f in finals(with_gap) if f.end < 9.0]
    # a second of the gap is heard: what rests on a block that ends behind it comes 3 s later
    assert first == [
        replace(f, at=round(f.at + 3.0, 3)) if f.at > 9.0 else f for f in finals(fed) if f.end < 9.0
    ]
    late = [word for f in finals(with_gap) for word in f.words if word.start > 12.0]
    assert late
    assert all(word.end <= 20.0 for word in late)
    assert max(word.start for word in late) > 17.0


def test_a_final_keeps_all_it_says_when_its_times_move():
    line = TimeLine()
    line.jump(0.5, 2.0)
    said = Final(
        3,
        "A B",
        (Word("A", 0.1, 0.2, 0.9), Word("B", 0.6, 0.7, 0.8)),
        0.1,
        0.7,
        1.0,
        (Alternative("A B", -1.0), Alternative("A BE", -2.0)),
        ("B",),
    )
    placed = line.place(said)
    assert (placed.start, placed.end, placed.at) == (0.1, 2.7, 3.0)
    assert placed.words[1] == Word("B", 2.6, 2.7, 0.8)
    assert (placed.alternatives, placed.hot_words) == (said.alternatives, said.hot_words)


def test_the_time_line_forgets_what_is_past():
    line = TimeLine()
    for jump in range(1000):
        line.jump(10.0 * jump, 1.0)
        assert line.true(10.0 * jump + 5.0) == 10.0 * jump + 5.0 + jump + 1
        line.forget(10.0 * jump)
    assert len(line) <= 2


def test_lag_percentiles_are_those_of_the_blocks():
    tally = SessionStats()
    for lag_ms in range(1, 101):
        tally.add(Block(np.ones((160, 1), np.int16), 0.0), lag_ms / 1000)
    assert (tally.lag_ms(50.0), tally.lag_ms(99.0)) == (50, 99)
    assert SessionStats().lag_ms(99.0) == 0


def resident_bytes() -> int:
    if sys.platform != "linux":
        pytest.skip("resident memory is read from /proc")
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_an_hour_of_speech_keeps_memory_and_lag_flat(model: Path):
    """Computing takes its real time on the virtual clock. Bound: 16 MiB above the first 5 min."""
    source = SimulatedMicrophone(MONO, looped(speech()), 3600.0, slowness=None)
    session = LiveSession(Recognizer.load(model, block_ms=320), source)
    lags: list[list[float]] = [[], []]
    memory: list[int] = []

    def watch(now: LiveSession) -> None:
        if now.now_s >= 300.0:
            lags[now.now_s > 1950.0].append(now.lag_s)
            if not len(lags[0]) % 3000:
                memory.append(resident_bytes())

    session.on_block = watch
    words = sum(len(event.words) for event in session if isinstance(event, Final))
    assert session.now_s == 3600.0
    assert session.summary.heard_s == 3600.0  # no drops
    assert words > 500
    assert max(memory) - memory[0] < 16 * 2**20
    early, late = (np.percentile(part, 99) for part in lags)
    assert late < max(2 * early, early + 0.1)
    assert source.most_held < 5 * 16_000
