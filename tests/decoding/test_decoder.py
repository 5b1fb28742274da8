from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivulet.decoding.greedy import GreedyDecoder
from rivulet.tokenizer import BLANK, Tokenizer

LETTERS = Tokenizer((BLANK, "▁", "A", "B"))
PIECES = Tokenizer((BLANK, "▁A", "▁B", "C", "D"))
PATHS = st.lists(st.integers(0, 3), max_size=60)


def rows(path, size=4, probability=0.7):
    """Log-probabilities whose best token of each frame is that of `path`."""
    other = (1.0 - probability) / (size - 1)
    table = np.full((len(path), size), other, np.float32)
    for frame, token in enumerate(path):
        table[frame, token] = probability
    return np.log(table)


def decoded(path, tokenizer=LETTERS):
    decoder = GreedyDecoder(tokenizer)
    decoder.push(rows(path, len(tokenizer)))
    return decoder


@given(PATHS)
def test_repetitions_merge_and_blanks_vanish(path):
    expected = tuple(token for token, _ in groupby(path) if token)
    assert decoded(path).hypothesis().tokens == expected


@pytest.mark.slow
@given(PATHS, st.lists(st.integers(0, 60), max_size=8))
def test_chunking_changes_nothing(path, cuts):
    pieces = GreedyDecoder(LETTERS)
    edges = [0, *sorted(min(c, len(path)) for c in cuts), len(path)]
    for a, b in pairwise(edges):
        pieces.push(rows(path)[a:b])
        pieces.words()
    assert pieces == decoded(path)


@pytest.mark.slow
@given(PATHS, PATHS)
def test_settled_words_stay_whatever_follows(path, more):
    decoder = decoded(path)
    settled = decoder.words()[: decoder.settled()]
    decoder.push(rows(more))
    assert decoder.words()[: len(settled)] == settled


@pytest.mark.slow
@given(PATHS, st.lists(st.integers(1, 4), max_size=30))
def test_segments_lose_and_repeat_nothing(path, more):
    """Words closed by an endpoint and words after it are the words of the whole."""
    whole = decoded([*path, 0, 1, *[t % 4 for t in more]])
    parts = decoded([*path, 0, 1])
    first = parts.finish_segment()
    parts.push(rows([t % 4 for t in more]))
    assert first + parts.finish_segment() == whole.words()


def test_an_open_word_can_move_to_the_next_segment():
    decoder = decoded([2, 0, 1, 3, 0])
    assert [w.text for w in decoder.finish_segment(keep_open_word=True)] == ["A"]
    decoder.push(rows([2]))
    assert [w.text for w in decoder.finish_segment()] == ["BA"]


def test_one_endless_word_is_let_go():
    decoder = decoded([2, 3, 2, 3])
    assert [w.text for w in decoder.finish_segment(keep_open_word=True)] == ["ABAB"]
    assert decoder.finish_segment() == []


def test_a_run_across_an_endpoint_is_not_written_twice():
    decoder = decoded([2, 2])
    decoder.finish_segment()
    decoder.push(rows([2, 0, 2]))
    assert [w.text for w in decoder.words()] == ["A"]
    assert decoder.hypothesis().frames == (4,)


def test_words_have_frames_and_the_mean_of_their_tokens():
    decoder = GreedyDecoder(LETTERS)
    decoder.push(rows([0, 2, 2, 0, 3], probability=0.9))
    decoder.push(rows([1, 0, 3], probability=0.6))
    first, second = decoder.words()
    assert (first.text, first.start, first.end) == ("AB", 1, 5)
    assert first.confidence == pytest.approx(0.9)
    assert (second.text, second.start, second.end) == ("B", 7, 8)
    assert second.confidence == pytest.approx(0.6)
    assert decoder.settled() == 1
    assert decoder.hypothesis().score == pytest.approx(5 * -0.10536 + 3 * -0.51083, abs=1e-4)


def test_a_piece_that_begins_a_word_settles_the_one_before():
    decoder = decoded([1, 3, 0], PIECES)
    assert (decoder.settled(), [w.text for w in decoder.words()]) == (0, ["AC"])
    decoder.push(rows([2], 5))
    assert (decoder.settled(), [w.text for w in decoder.words()]) == (1, ["AC", "B"])


def test_blanks_and_boundaries_are_silent():
    decoder = GreedyDecoder(LETTERS)
    heard = []
    for token in (0, 2, 1, 0, 3):
        decoder.push(rows([token]))
        heard.append(decoder.silent)
    assert heard == [True, False, True, True, False]
