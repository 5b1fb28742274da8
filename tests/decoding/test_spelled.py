"""Words outside the lexicon: made-up log_probs of pieces beside those of phones."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import beams
from support.beams import BEAM, LEXICON, PHONES, graph_of, sure

from rivulet.decoding.beam import BeamDecoder
from rivulet.decoding.spelled import (
    PAUSE_FRAMES,
    OpenVocabularyConfig,
    OpenVocabularyDecoder,
    Speller,
)
from rivulet.errors import ConfigError
from rivulet.tokenizer import BLANK, Tokenizer

PIECES = Tokenizer((BLANK, "▁ZO", "LTAN", "▁A", "▁BAA", "▁BEE", "BEE"))
BAD = OpenVocabularyConfig(certainty=-0.5, agreement=-0.5, letters=4)
ANY = OpenVocabularyConfig(certainty=-100.0, agreement=0.0, letters=1)
ODD = (("IY", "IY", "AA", "AA", "B"), ("▁ZO", None, "LTAN", None, None))  # phones that fit no word


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return graph_of(tmp_path_factory.mktemp("lm"))


def said(text, by=6.0, odd=ODD):
    """Log-probabilities of a text in which ZOLTAN sounds like no word of the lexicon."""
    phones, pieces = [], []
    for word in text.split():
        if word == "ZOLTAN":
            sounds, spelled = odd
        else:
            sounds = dict(LEXICON)[word]
            spelled = ["▁BEE", "BEE"] if word == "BEEBEE" else [f"▁{word}"]
            spelled += [None] * (len(sounds) - len(spelled))
        phones += [name for sound in sounds for name in (sound, None)]
        pieces += [name for piece in spelled for name in (piece, None)]
    return torch.cat([sure(PIECES, pieces, by), sure(PHONES, phones)], dim=1)


def noise(frames, seed):
    return beams.noise(frames, seed, PIECES, PHONES, blank=0.7, sharpness=2.0)


def beam_of(graph):
    return BeamDecoder(graph, BEAM, pieces=PIECES)


def decoder_of(graph, config=BAD):
    return OpenVocabularyDecoder(beam_of(graph), PIECES, graph.known, config)


def read(decoder, log_probs):
    decoder.push(log_probs)
    return decoder.finish_segment()


@pytest.mark.parametrize("text", ["BEE A ZOLTAN BEE A", "ZOLTAN BEE", "BAA ZOLTAN", "ZOLTAN"])
def test_a_spelled_name_stands_where_the_words_of_the_lexicon_fit_badly(graph, text):
    words = read(decoder_of(graph), said(text))
    assert " ".join(word.text for word in words) == text
    assert [word.spelled for word in words] == [word.text == "ZOLTAN" for word in words]
    name = next(word for word in words if word.spelled)
    assert 0.9 < name.confidence < 1.0
    for word, after in itertools.pairwise(words):
        assert word.start < word.end <= after.start


def test_other_words_keep_their_times_and_confidence(graph):
    log_probs = said("BEE A ZOLTAN BEE A")
    plain, words = read(beam_of(graph), log_probs), read(decoder_of(graph), log_probs)
    assert [w for w in words if not w.spelled] == [w for w in plain if w in words]
    name = next(word for word in words if word.spelled)
    covered = [word for word in plain if word not in words]
    assert covered
    assert (name.start, name.end) == (covered[0].start, covered[-1].end)


def test_a_known_word_is_never_replaced(graph):
    """Not even by another known word that the pieces are surer of."""
    log_probs = said("BEE A BEEBEE BAA A")
    log_probs[:, : len(PIECES)] = said("BAA A BEEBEE BEE A")[:, : len(PIECES)]
    assert read(decoder_of(graph, ANY), log_probs) == read(beam_of(graph), log_probs)


def test_words_that_fit_well_stay(graph):
    fitting = (("B", "IY", "AA", "B", "AA"), ODD[1])
    log_probs = said("BEE ZOLTAN BEE", odd=fitting)
    assert read(decoder_of(graph), log_probs) == read(beam_of(graph), log_probs)


@pytest.mark.parametrize(
    "change", [{"certainty": -0.001}, {"letters": 7}, {"agreement": -50.0}], ids=str
)
def test_each_threshold_keeps_the_words_of_the_lexicon(graph, change):
    log_probs = said("BEE ZOLTAN BEE")
    strict = decoder_of(graph, dataclasses.replace(BAD, **change))
    assert read(strict, log_probs) == read(beam_of(graph), log_probs)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 40), max_size=12), seed=st.integers(0, 5))
def test_words_do_not_depend_on_the_cuts_nor_on_who_asks(graph, cuts, seed):
    log_probs = noise(180, seed)
    whole, parts = decoder_of(graph, ANY), decoder_of(graph, ANY)
    whole.push(log_probs)
    begin = 0
    for cut in [*cuts, 180]:
        parts.push(log_probs[begin : begin + cut])
        parts.words(), parts.settled()
        begin += cut
    assert parts.words() == whole.words()
    assert parts.settled() == whole.settled()
    assert parts.finish_segment() == whole.finish_segment()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("every", [1, 4, 7])
def test_a_settled_word_is_never_revised(graph, seed, every):
    decoder = decoder_of(graph, ANY)
    settled, spelled = [], 0
    for rows in torch.split(noise(400, seed), every):
        decoder.push(rows)
        words = [word.text for word in decoder.words()]
        assert words[: len(settled)] == settled
        assert decoder.settled() >= len(settled)
        settled = words[: decoder.settled()]
        spelled = sum(word.spelled for word in decoder.words()[: decoder.settled()])
    assert len(settled) > 20
    assert spelled > 3  # the test is about these
    final = decoder.finish_segment()
    assert [word.text for word in final][: len(settled)] == settled
    times = [time for word in final for time in (word.start, word.end)]
    assert times == sorted(times)


@pytest.mark.parametrize("seed", range(4))
def test_settled_words_stay_when_a_segment_ends_in_the_middle(graph, seed):
    decoder = decoder_of(graph, ANY)
    ended = []
    for rows in torch.split(noise(400, seed), 50):
        decoder.push(rows)
        settled = decoder.words()[: decoder.settled()]
        words = decoder.finish_segment(keep_open_word=True)
        assert [w.text for w in words[: len(settled)]] == [w.text for w in settled]
        ended += words
    ended += decoder.finish_segment()
    assert any(word.spelled for word in ended)
    assert all(word.start < word.end for word in ended)
    starts = [word.start for word in ended]
    assert starts == sorted(starts)


def test_what_is_remembered_goes_with_the_segment(graph):
    decoder = decoder_of(graph, ANY)
    for seed in range(5):
        decoder.push(noise(200, seed))
        decoder.finish_segment(keep_open_word=True)
        assert len(decoder._speller.closed) < 60
    decoder.finish_segment()
    assert (decoder._speller.closed, decoder._made) == ([], [])


def test_pieces_after_a_pause_begin_another_word():
    speller = Speller(PIECES)
    speller.push(sure(PIECES, ["▁ZO", "▁ZO", *[None] * PAUSE_FRAMES, "LTAN", None]))
    speller.close()
    assert [(w.text, w.start, w.end, w.whole) for w in speller.closed] == [
        ("ZO", 0, 2, True),
        ("LTAN", 2 + PAUSE_FRAMES, 3 + PAUSE_FRAMES, False),
    ]


def test_certainty_is_the_mean_of_the_pieces_at_their_highest():
    rows = torch.log_softmax(torch.zeros(3, len(PIECES)), dim=-1)
    for frame, (piece, chance) in enumerate([(1, 0.4), (1, 0.8), (2, 0.5)]):
        rows[frame] = math.log((1.0 - chance) / (len(PIECES) - 1))
        rows[frame, piece] = math.log(chance)
    speller = Speller(PIECES)
    speller.push(rows)
    speller.close()
    (word,) = speller.closed
    assert word.text == "ZOLTAN"
    assert word.certainty == pytest.approx((math.log(0.8) + math.log(0.5)) / 2)


def test_thresholds_are_checked():
    with pytest.raises(ConfigError, match=r"certainty is 0.5; use at most 0"):
        OpenVocabularyConfig(certainty=0.5)
    with pytest.raises(ConfigError, match="letters is 0"):
        OpenVocabularyConfig(letters=0)
