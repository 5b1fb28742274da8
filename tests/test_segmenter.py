"""From log-probabilities to events, with made-up log-probabilities: no network, no sound."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ROOT

from rivulet.acoustic.frames import FRAME_S
from rivulet.decoding.confidence import WordEvidence
from rivulet.decoding.decoder import DecodedWord, WrappedDecoder
from rivulet.decoding.greedy import GreedyDecoder
from rivulet.decoding.settings import TimingConfig
from rivulet.endpoint import EndpointConfig
from rivulet.events import Final, Partial
from rivulet.segmenter import Segmenter
from rivulet.tokenizer import BLANK, Tokenizer

LETTERS = Tokenizer((BLANK, "▁", "A", "B"))
ENDPOINT = EndpointConfig(5.0, 0.2, 2.0)
BLOCK = 4  # output frames


def rows(path):
    """Log-probabilities (T, 4) whose best token of each frame is that of `path`."""
    table = np.full((len(path), 4), np.log(0.1), np.float32)
    table[np.arange(len(path)), path] = np.log(0.7)
    return table


def segmenter(**more):
    settings = {"endpoint": ENDPOINT, "timing": TimingConfig()} | more
    return Segmenter(GreedyDecoder(LETTERS), **settings)


def run(segmenter, path):
    """Push whole blocks and end; return the events."""
    events = []
    for begin in range(0, len(path), BLOCK):
        end = min(begin + BLOCK, len(path))
        events += segmenter.push(rows(path[begin:end]), round(end * FRAME_S, 3))
    return events + segmenter.flush(round(len(path) * FRAME_S, 3))


def test_a_pause_ends_a_segment_and_words_have_their_frames():
    first, *_, last = [e for e in run(segmenter(), [2, 0, 3] + [0] * 9 + [2]) if type(e) is Final]
    assert (first.segment, first.text, first.at) == (0, "AB", 8 * FRAME_S)
    assert (first.words[0].start, first.words[0].end) == (0.0, 3 * FRAME_S)
    assert (last.segment, last.text, last.at) == (1, "A", 13 * FRAME_S)


def test_lookahead_and_measured_delay_are_taken_off_word_times():
    late = segmenter(timing=TimingConfig(0.08, 0.04), lookahead=2)
    (final,) = [e for e in run(late, [0] * 4 + [2, 3, 2, 3]) if isinstance(e, Final)]
    assert final.words[0].start == pytest.approx(4 * FRAME_S - 2 * FRAME_S - 0.08)
    assert final.words[0].end == pytest.approx(8 * FRAME_S - 2 * FRAME_S - 0.04)


@given(st.lists(st.integers(0, 3), max_size=200))
def test_asking_changes_nothing_and_partials_come_only_where_something_changed(path):
    asked, quiet = segmenter(), segmenter()
    told, same = [], []
    for begin in range(0, len(path), BLOCK):
        block, at = rows(path[begin : begin + BLOCK]), float(begin)
        told += asked.push(block, at)
        assert asked.partial() == asked.partial()
        same += quiet.push(block, at)
    assert told + asked.flush(1e3) == same + quiet.flush(1e3)
    shown = [(e.segment, e.text, e.stable) for e in told if isinstance(e, Partial)]
    assert all(a != b for a, b in pairwise(shown))


def test_the_network_is_asked_to_begin_anew_after_every_five_seconds_of_silence():
    patient = segmenter()
    asked = []
    for block in range(65):  # 10.4 s
        patient.push(rows([0] * BLOCK), 0.0)
        if patient.wants_reset:
            asked.append((block + 1) * BLOCK * FRAME_S)
    assert asked == pytest.approx([5.0, 10.0], abs=BLOCK * FRAME_S)


class Graded(WrappedDecoder):
    """Words of a mean log-probability that changes with time."""

    def __init__(self, score):
        super().__init__(GreedyDecoder(LETTERS))
        self.score = score

    def _graded(self, words: list[DecodedWord]):
        return [replace(w, evidence=WordEvidence(self.score / 2, self.score / 2, 1)) for w in words]

    def words(self):
        return self._graded(super().words())

    def finish_segment(self, keep_open_word=False):
        return self._graded(super().finish_segment(keep_open_word))


def graded(score):
    return Segmenter(Graded(score), ENDPOINT, TimingConfig(), min_log_prob=-1.0)


SPEECH = [1, 2, 0, 1, 3, 0, 1, 2, 0] + [0] * 11


def test_a_segment_of_unlikely_words_is_dropped_and_what_was_shown_is_taken_back():
    events = run(graded(-1.1), SPEECH)
    assert not [e for e in events if isinstance(e, Final)]
    assert any(e.text for e in events)
    assert (events[-1].text, events[-1].stable) == ("", 0)
    assert all(e.stable == 0 for e in events)


def test_likely_words_are_what_they_were_without_the_threshold():
    assert run(graded(-0.9), SPEECH) == run(segmenter(), SPEECH)


def test_words_that_were_settled_stay_however_unlikely_they_become():
    decoder = Graded(-0.9)
    cut = Segmenter(decoder, ENDPOINT, TimingConfig(), min_log_prob=-1.0)
    first = cut.push(rows(SPEECH[:8]), 0.32)
    assert first[-1].stable
    decoder.score = -3.0
    events = cut.push(rows(SPEECH[8:]), 0.8)
    assert [e.text for e in events if isinstance(e, Final)] == ["A B A"]


def test_a_segmenter_needs_no_pytorch():
    program = "import sys, rivulet.segmenter; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
