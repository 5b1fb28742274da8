import math

import pytest
from support.beams import graph_of

from rivulet.decoding.hotwords import ContextGraph, Hotword
from rivulet.decoding.lm_scorer import LMScorer


@pytest.fixture
def graph(tmp_path):
    return graph_of(tmp_path)


def test_histories_that_the_ngram_cannot_tell_apart_are_one_state(graph):
    scorer = LMScorer(graph.language_model.scorer)
    a, b, c = (graph.words.index(word) for word in ("A", "BEE", "BAA"))

    def after(*words):
        state = scorer.start(False)
        return walk(scorer, state, words)

    start = scorer.start(False)
    assert walk(scorer, start, (a, b)) is walk(scorer, start, (c, b))  # order 2: one word counts
    assert walk(scorer, start, (a, b)) is not walk(scorer, start, (b, a))


def walk(scorer, state, words):
    for word in words:
        state, _ = scorer.score(state, word)
    return state


def test_scores_are_natural_logarithms_of_the_file(graph):
    scorer = LMScorer(graph.language_model.scorer)
    bee = graph.words.index("BEE")
    state, score = scorer.score(scorer.start(False), bee)
    assert score == pytest.approx(-0.3 * math.log(10.0), abs=2e-3)  # the bigram <s> BEE
    _, score = scorer.finish(state)
    assert score == pytest.approx(-0.8 * math.log(10.0), abs=2e-3)


def test_a_hot_phrase_is_paid_word_by_word_and_pays_back_when_it_breaks_off():
    tree = ContextGraph((Hotword("x", "x", (1, 2, 3), 6.0), Hotword("y", "y", (2, 4), 1.0)))
    place, gain = tree.step((), 1)
    assert (place, gain) == ((1,), 2.0)
    place, gain = tree.step(place, 2)
    assert (place, gain) == ((1, 2), 2.0)
    assert tree.step(place, 3) == ((), 2.0)  # 6 in all, and nothing is owed any more
    assert tree.step(place, 9) == ((), -4.0)
    assert tree.step(place, 4) == ((), -3.0)  # x broke off, but y, which began inside it, is whole
    assert tree.penalty(place) == 4.0
    assert tree.step((), 9) == ((), 0.0)
