"""What words gain by their pieces: made-up log_probs of pieces beside those of phones."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import beams
from support.beams import PHONES, settle, sure

from rivulet.decoding.beam import BeamDecoder
from rivulet.decoding.subwords import FLOOR, FRAMES, FRAMES_A_LETTER, LONGEST, SubwordScorer
from rivulet.tokenizer import BLANK, Tokenizer

PIECES = Tokenizer((BLANK, "▁B", "EE", "▁BEE", "▁A", "AA"))
WORDS = ("BEE", "BAA", "QUIZ")
PHONES_ALONE = beams.BEAM
BEAM = dataclasses.replace(PHONES_ALONE, subword_weight=0.5, subword_bonus=2.0)


pytestmark = pytest.mark.usefixtures("both_searches")


def rows(*named, frames=1):
    """Log-probabilities (pieces,) of frames: -20 but for those named, {piece: log-probability}."""
    found = [np.full(len(PIECES), -20.0, np.float32) for _ in range(frames)]
    for frame, values in named:
        for piece, value in values.items():
            found[frame][PIECES.tokens.index(piece)] = value
    return found


def scorer(*named, frames=1, weight=0.5, score=2.0):
    made = SubwordScorer(WORDS, PIECES, weight, score)
    made.push(rows(*named, frames=frames))
    return made


def test_a_word_gains_the_best_of_each_of_its_pieces():
    heard = scorer((0, {"▁B": -1.0}), (1, {"▁B": -3.0}), (2, {"AA": -0.5}), frames=3)
    assert heard.bonus(WORDS.index("BAA")) == pytest.approx(0.5 * (-1.0 - 0.5) + 2 * 2.0)


def test_a_piece_that_was_not_written_costs_no_more_than_the_floor():
    assert scorer().bonus(WORDS.index("BEE")) == pytest.approx(0.5 * FLOOR + 2.0)


def test_a_word_that_no_pieces_spell_gains_nothing():
    assert scorer().bonus(WORDS.index("QUIZ")) == 0.0


def test_a_piece_counts_in_the_time_of_the_word_only():
    reach = FRAMES + FRAMES_A_LETTER * len("BEE")
    assert reach < LONGEST
    now, never = 0.5 * -1.0 + 2.0, 0.5 * FLOOR + 2.0
    for age, gain in ((0, now), (reach - 1, now), (reach, never)):
        heard = scorer((LONGEST - 1 - age, {"▁BEE": -1.0}), frames=LONGEST)
        assert heard.bonus(WORDS.index("BEE")) == pytest.approx(gain)


def test_what_was_asked_in_one_frame_is_not_the_answer_in_the_next():
    heard = scorer()
    before = heard.bonus(0)
    heard.push(rows((0, {"▁BEE": -0.1})))
    assert heard.bonus(0) > before


def said(phones, pieces):
    """Log-probabilities (frames, columns) that favor one piece and one phone a frame."""
    return np.concatenate([sure(PIECES, pieces), sure(PHONES, phones, by=3.0)], axis=1)


def decode(graph, log_probs, config=BEAM):
    decoder = BeamDecoder(graph, config, pieces=PIECES)
    decoder.push(log_probs)
    return [word.text for word in decoder.finish_segment()]


@pytest.mark.parametrize(("pieces", "text"), [(["▁BEE"], "BEE"), (["▁B", "AA"], "BAA")])
def test_pieces_decide_where_the_phones_do_not(graph, pieces, text):
    """B and then a vowel that may be either; what the pieces wrote by then is the word."""
    log_probs = said(["B", None, None], [*pieces, None, None][:3])
    log_probs[1, len(PIECES) :] = [-9.0, math.log(0.5), -9.0, math.log(0.5)]
    assert decode(graph, log_probs) == [text]
    other_pieces = log_probs.copy()
    other_pieces[:, : len(PIECES)] = 0.0
    alone = decode(graph, log_probs, PHONES_ALONE)
    assert alone == decode(graph, other_pieces, PHONES_ALONE)


def test_pieces_written_in_frames_that_the_search_skips_count(graph):
    """Where the phones say nothing at all for long, frames are not searched."""
    silence = np.full((6, len(PHONES)), -12.0, np.float32)
    silence[:, 0] = -1e-4
    vowel = np.array([[-9.0, math.log(0.5), -9.0, math.log(0.5)]], np.float32)
    phones = np.concatenate([said(["B"], [None])[:, len(PIECES) :], silence, vowel, silence])
    for pieces, text in ((["▁BEE", None], "BEE"), (["▁B", "AA"], "BAA")):
        written = said([None] * len(phones), [None] * 3 + pieces + [None] * (len(phones) - 5))
        log_probs = np.concatenate([written[:, : len(PIECES)], phones], axis=1)
        assert decode(graph, log_probs) == [text]


def noise(frames, seed):
    return beams.noise(frames, seed, PIECES, PHONES, blank=0.5, sharpness=3.0)


def decoder_of(graph):
    narrow = dataclasses.replace(BEAM, beam_size=20, beam_threshold=16.0)
    return BeamDecoder(graph, narrow, pieces=PIECES)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(0, 1000))
def test_chunks_change_nothing_though_pieces_count(graph, cuts, seed):
    log_probs = noise(sum(cuts), seed)
    whole, parts = decoder_of(graph), decoder_of(graph)
    whole.push(log_probs)
    for part in np.split(log_probs, np.cumsum(cuts)[:-1]):
        parts.push(part)
        parts.words(), parts.settled()  # looking changes nothing
    assert parts.words() == whole.words()
    assert parts.finish_segment() == whole.finish_segment()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_settled_word_is_never_revised_though_pieces_count(graph, seed):
    decoder = decoder_of(graph)
    settled = settle(decoder, noise(400, seed))
    assert len(settled) > 20
    promised = [word.text for word in decoder.finish_segment(keep_open_word=True)]
    assert promised[: len(settled)] == settled
    assert decoder.open_frames < 150


def test_a_search_that_begins_anew_remembers_the_pieces(graph):
    """What is open when a segment is cut is searched again, pieces and all."""
    decoder = decoder_of(graph)
    # two vowels that only the pieces tell apart
    unsure = said(["B", None, None], ["▁B", "AA", None])
    unsure[1, len(PIECES) :] = [-9.0, math.log(0.5), -9.0, math.log(0.5)]
    clear = said(["AA", None], ["▁A", None])
    decoder.push(np.concatenate([clear, clear, clear, unsure]))
    first = decoder.finish_segment(keep_open_word=True)
    assert first
    texts = [word.text for word in (*first, *decoder.finish_segment())]
    assert texts == ["A", "A", "A", "BAA"]
