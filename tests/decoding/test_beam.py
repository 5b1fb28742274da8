import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import beams
from support.beams import LEXICON, PHONES, settle

from rivulet.decoding.beam import BeamDecoder
from rivulet.decoding.confidence import ConfidenceConfig, WordEvidence
from rivulet.decoding.flashlight import emissions_of
from rivulet.decoding.lm_scorer import LMScorer
from rivulet.decoding.settings import BeamConfig
from rivulet.errors import ConfigError

WIDE = BeamConfig(
    beam_size=2000,
    beam_tokens=8,
    beam_threshold=1000.0,
    beam_token_threshold=1000.0,
    lm_weight=0.7,
    word_insertion_bonus=0.0,
)
NARROW = BeamConfig(
    beam_size=20, beam_tokens=6, beam_threshold=16.0, lm_weight=0.7, word_insertion_bonus=0.0
)


pytestmark = pytest.mark.usefixtures("both_searches")


def noise(frames, seed, sharpness=3.0):
    return beams.noise(frames, seed, PHONES, blank=0.5, sharpness=sharpness)


def spelled(text, hold=1):
    """Log-probabilities that say `text` clearly, each phone for `hold` frames, with blanks."""
    rows = []
    for word in text.split():
        for phone in dict(LEXICON)[word]:
            rows += [PHONES.tokens.index(phone)] * hold + [0]
    logits = np.zeros((len(rows), len(PHONES)), np.float32)
    logits[np.arange(len(rows)), rows] = 8.0
    return beams.log_softmax(logits)


def decode(graph, log_probs, config=WIDE):
    decoder = BeamDecoder(graph, config)
    decoder.push(log_probs)
    return decoder.finish_segment()


@pytest.mark.parametrize("hold", [1, 2, 4])
def test_it_writes_what_is_spelled_however_long_a_phone_lasts(graph, hold):
    text = "BEE A BAA A A BEE BAA"
    words = decode(graph, spelled(text, hold), NARROW)
    assert " ".join(word.text for word in words) == text
    for word, after in itertools.pairwise(words):
        assert word.start < word.end <= after.start
    assert words[0].start == 0
    assert words[0].end == 2 * hold + 1
    assert all(0.0 < word.confidence < 1.0 for word in words)


@pytest.mark.parametrize("seed", range(12))
def test_a_full_beam_finds_the_best_of_all_texts_and_sums_their_alignments(graph, seed):
    """Every word sequence, every alignment of its phones, every score, by hand."""
    log_probs = noise(5, seed)
    rows = log_probs
    before = np.vstack([[0.0] + [-math.inf] * 3, rows[:-1]])
    # a word's last phone may go on: columns after the phones, see DecodingGraph.columns
    emissions = np.stack([emissions_of(*pair) for pair in zip(rows, before, strict=True)])
    texts = [
        words
        for count in range(4)
        for words in itertools.product(range(len(LEXICON)), repeat=count)
    ]
    scores = {words: total_score(graph, emissions, words) for words in texts}
    best = max(scores, key=scores.__getitem__)
    decoder = BeamDecoder(graph, WIDE, alternatives=1)
    decoder.push(log_probs)
    assert [word.text for word in decoder.finish_segment()] == [LEXICON[i][0] for i in best]
    (found,) = decoder.alternatives
    # texts that the n-gram can't tell apart are summed, too; ties are broken by less than 0.01
    everything = np.logaddexp.reduce(list(scores.values()))
    assert scores[best] - 0.01 < found.score < everything + 0.01


def total_score(graph, emissions, words):
    scorer = LMScorer(graph.language_model.scorer)
    state, linguistic = scorer.start(False), 0.0
    for word in words:
        state, score = scorer.score(state, word)
        linguistic += score
    linguistic += scorer.finish(state)[1]
    plain = [[PHONES.tokens.index(phone) for phone in LEXICON[word][1]] for word in words]
    held = [[*sound, sound[-1] + len(PHONES) - 1] for sound in plain]
    spellings = itertools.product(*zip(plain, held, strict=True))
    acoustic = np.logaddexp.reduce([forward(emissions, spelling) for spelling in spellings])
    return acoustic + WIDE.lm_weight * linguistic


def forward(emissions, sounds):
    """Sum over all alignments of CTC (Graves et al. 2006) in a lattice of blanks and phones.

    A word's last token stays for one frame: another one says that its phone goes on.
    """
    lattice, stays = [0], [True]
    for sound in sounds:
        for token in sound:
            lattice += [token, 0]
            stays += [True, True]
        stays[-2] = False
    alpha = np.full(len(lattice), -math.inf)
    alpha[:2] = emissions[0, lattice[:2]]
    for row in emissions[1:]:
        before = alpha
        alpha = np.where(stays, before, -math.inf)
        for s in range(1, len(lattice)):
            alpha[s] = np.logaddexp(alpha[s], before[s - 1])
            if s > 1 and lattice[s] not in (0, lattice[s - 2]):
                alpha[s] = np.logaddexp(alpha[s], before[s - 2])
        alpha = alpha + row[lattice]
    return np.logaddexp.reduce(alpha[-2:])


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 40), max_size=12), seed=st.integers(0, 5))
def test_words_do_not_depend_on_the_cuts(graph, cuts, seed):
    log_probs = noise(180, seed)
    whole = BeamDecoder(graph, NARROW)
    whole.push(log_probs)
    parts = BeamDecoder(graph, NARROW)
    begin = 0
    for cut in [*cuts, 180]:
        parts.push(log_probs[begin : begin + cut])
        parts.words(), parts.settled()  # looking changes nothing
        begin += cut
    assert parts.words() == whole.words()
    assert parts.finish_segment() == whole.finish_segment()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_settled_word_is_never_revised(graph, seed):
    decoder = BeamDecoder(graph, NARROW)
    settled = settle(decoder, noise(400, seed))
    assert len(settled) > 20  # something is settled long before the end
    final = decoder.finish_segment()
    assert [word.text for word in final][: len(settled)] == settled
    times = [time for word in final for time in (word.start, word.end)]
    assert times == sorted(times)


def test_a_word_is_shown_in_the_pause_after_it_though_words_cost(graph):
    decoder = BeamDecoder(graph, dataclasses.replace(NARROW, word_insertion_bonus=-4.0))
    decoder.push(np.concatenate([spelled("BAA"), np.repeat(spelled("BAA")[1:2], 4, axis=0)]))
    assert [word.text for word in decoder.words()] == ["BAA"]
    assert decoder.settled() == 0
    assert [word.text for word in decoder.finish_segment()] == ["BAA"]


@pytest.mark.slow
def test_the_search_holds_little_however_long_the_segment(graph):
    decoder = BeamDecoder(graph, NARROW)
    decoder.push(spelled("BEE A BAA BEE " * 250))
    assert decoder.open_frames < 150
    assert len(decoder.finish_segment()) == 1000


def test_a_segment_may_end_while_a_word_goes_on(graph):
    decoder = BeamDecoder(graph, NARROW)
    text = "BEE A BAA BEE A BAA A"
    log_probs = spelled(text)
    decoder.push(log_probs[:21])
    first = decoder.finish_segment(keep_open_word=True)
    decoder.push(log_probs[21:])
    second = decoder.finish_segment()
    assert first
    assert [word.text for word in first + second] == text.split()
    assert first[-1].end <= second[0].start


def test_what_is_remembered_stays_bounded_though_nobody_pauses(graph):
    decoder = BeamDecoder(graph, NARROW)
    sizes, words = [], []
    for _ in range(12):
        decoder.push(spelled("BEE A BAA BEE " * 10))
        words += decoder.finish_segment(keep_open_word=True)
        sizes.append(decoder.nbytes)
    words += decoder.finish_segment()
    assert [word.text for word in words] == ["BEE", "A", "BAA", "BEE"] * 120
    assert max(sizes[2:]) <= 2 * max(sizes[:2])


def test_what_is_remembered_stays_bounded_in_one_long_segment(graph):
    decoder = BeamDecoder(graph, NARROW)
    sizes = []
    for row in noise(1200, 3):
        decoder.push(row[None])
        sizes.append(decoder.nbytes)
    assert max(sizes[600:]) <= 2 * max(sizes[:100])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_forgetting_changes_nothing(graph, seed, monkeypatch):
    """Words, times, confidences and what is settled, after every frame."""
    log_probs = noise(230, seed, sharpness=1.5)

    def heard():
        decoder = BeamDecoder(graph, NARROW, search="flashlight")
        for row in log_probs:
            decoder.push(row[None])
            yield decoder.words(), decoder.settled()
        yield decoder.finish_segment()

    forgetful = list(heard())
    monkeypatch.setattr(LMScorer, "keep", lambda self, texts: None)
    assert forgetful == list(heard())


def test_a_phone_far_less_likely_than_another_is_not_tried(graph):
    """B IY and, at -7 nats each, AA for IY; the n-gram and a boost want BAA."""
    said = np.full((2, len(PHONES)), -20.0, np.float32)
    said[0, PHONES.tokens.index("B")] = said[1, PHONES.tokens.index("IY")] = 0.0
    said[1, PHONES.tokens.index("AA")] = -7.0
    hot = graph.with_hot_words({"BAA": 20.0})
    for threshold, text in ((6.0, "BEE"), (8.0, "BAA")):
        config = dataclasses.replace(NARROW, beam_token_threshold=threshold)
        assert [word.text for word in decode(hot, said, config)] == [text]


def test_what_was_called_settled_goes_with_its_segment(graph):
    for seed in range(6):
        decoder = BeamDecoder(graph, NARROW)
        decoder.push(noise(170, seed))
        promised = [word.text for word in decoder.words()][: decoder.settled()]
        kept = [word.text for word in decoder.finish_segment(keep_open_word=True)]
        assert kept == promised
        assert kept


def test_the_next_segment_begins_anew(graph):
    decoder = BeamDecoder(graph, NARROW)
    decoder.push(spelled("BEE A"))
    assert [word.text for word in decoder.finish_segment()] == ["BEE", "A"]
    assert (decoder.words(), decoder.settled()) == ([], 0)
    decoder.push(spelled("BAA"))
    (word,) = decoder.finish_segment()
    assert (word.text, word.start) == ("BAA", len(spelled("BEE A")))
    assert decoder.finish_segment() == []


def test_alternatives_are_ordered_and_begin_with_the_words(graph):
    decoder = BeamDecoder(graph, WIDE, alternatives=5)
    decoder.push(noise(12, 3))
    text = " ".join(word.text for word in decoder.finish_segment())
    given_ = decoder.alternatives
    assert given_[0].text == text
    assert len({other.text for other in given_}) == len(given_) == 5
    assert [other.score for other in given_] == sorted((o.score for o in given_), reverse=True)


def test_a_hot_word_wins_against_a_likelier_one(graph):
    said = spelled("BEE BEE")
    said[1:4] = beams.log_softmax(np.zeros((3, len(PHONES)), np.float32))
    plain = [word.text for word in decode(graph, said)]
    hot = [word.text for word in decode(graph.with_hot_words({"BAA": 8.0}), said)]
    assert "BAA" not in plain
    assert "BAA" in hot


def test_a_hot_word_that_nobody_knows_can_be_written(graph):
    """Its pronunciation is guessed; here AA B IY, which the lexicon spells as A BEE."""
    said = spelled("A BEE")
    assert [word.text for word in decode(graph, said)] == ["A", "BEE"]
    sounds = graph.language_model.pronounce("OBBY")
    assert sounds[0] == ("AA", "B", "IY")
    hot = graph.with_hot_words({"Obby": 12.0})
    assert [word.text for word in decode(hot, said)] == ["OBBY"]


def test_confidence_grows_with_agreement():
    config = ConfidenceConfig()
    good = WordEvidence(agreement=0.0, sharpness=-0.05, phones=4)
    bad = WordEvidence(agreement=-3.0, sharpness=-0.8, phones=4)
    assert 0.0 < bad.confidence(config) < 0.5 < good.confidence(config) < 1.0


def test_priors_are_taken_off_what_the_network_says(graph):
    """Decoding with priors is decoding of posterior over prior, the blank's ratio being 1."""
    log_probs = noise(12, 3)
    priors = np.array([-0.3, -2.0, -1.5, -4.0], np.float32)
    config = dataclasses.replace(NARROW, prior_weight=0.5)
    decoder = BeamDecoder(graph, config, priors=priors.tolist())
    decoder.push(log_probs)
    shifted = log_probs + np.float32(0.5) * (priors[0] - priors)
    assert decoder.finish_segment() == decode(graph, shifted, NARROW)
    assert decoder.silent == (int(log_probs[-1].argmax()) == 0)  # silence is the network's word


def test_priors_must_fit_the_phones(graph):
    with pytest.raises(ConfigError, match="3 priors do not fit 4 phones"):
        BeamDecoder(graph, NARROW, priors=(-1.0, -2.0, -3.0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam_size": 0},
        {"beam_tokens": 101},
        {"subword_weight": -0.1},
        {"subword_bonus": 1.0, "lm_weight": 0.0},
        {"beam_threshold": 0.0},
        {"beam_token_threshold": 0.0},
        {"lm_weight": -1.0},
        {"prior_weight": -0.1},
    ],
)
def test_beam_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        BeamConfig(**wrong)
