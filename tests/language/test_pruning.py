"""Smaller n-gram models: what is dropped is what costs least, and probabilities stay such."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.language import TinyModel

from rivulet.language.build import arpa, pruning, ready
from rivulet.language.build.marginals import marginals, refit

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
SENTENCES = ["THE CAT SAT", "THE CAT SAT ON THE MAT", "A DOG SAT", "THE DOG RAN", "A CAT RAN ON"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("pruning") / "tiny.arpa"
    return arpa.read(TinyModel(SENTENCES, 3).write(path))


def ids(model, length):
    return np.array(list(itertools.product(range(len(model.vocabulary)), repeat=length)))


def sums(model, length):
    """The sum of all words' probabilities after every context of `length` - 1 words."""
    chances = 10.0 ** model.log_probs(ids(model, length))
    return chances.reshape(-1, len(model.vocabulary)).sum(axis=1)


def rounded(model):
    """The model with its probabilities rounded up to the next power of ten, or nearly one."""
    parts = [
        replace(part, log_probs=np.minimum(np.ceil(part.log_probs), -0.01)) for part in model.grams
    ]
    return arpa.BackoffModel(model.vocabulary, tuple(parts))


def overfull(model):
    """Contexts whose listed words have a probability of one or more, by length."""
    return [
        int((np.bincount(p.keys // len(model.vocabulary), 10.0**p.log_probs) >= 1.0).sum())
        for p in model.grams
    ]


def grams(model, n):
    """The n-grams of length `n`; none where the model is shorter."""
    parts = model.grams[n - 1 : n]
    return {tuple(np.array(model.vocabulary)[words]) for part in parts for words in part.words}


def without(model, n, place):
    """The model without one n-gram, the back-off weights renewed; the definition, step by step."""
    smaller = arpa.BackoffModel(model.vocabulary, ())
    for order, part in enumerate(model.grams, 1):
        keep = np.ones(len(part.keys), dtype=bool)
        if order == n:
            keep[place] = False
        kept = arpa.Grams(
            part.keys[keep], part.words[keep], part.log_probs[keep], part.backoffs[keep]
        )
        smaller = arpa.with_backoffs(arpa.BackoffModel(model.vocabulary, (*smaller.grams, kept)))
    return smaller


def test_the_growth_is_the_relative_entropy_of_the_model_without_the_ngram(model):
    model = pruning.entropy_prune(model, 0.0)  # its weights follow from its probabilities
    chances = marginals(model)[1]
    growth = pruning.growth_without(model, 3, chances)
    for place, words in enumerate(model.grams[2].words):
        every = np.column_stack(
            [np.tile(words[:2], (len(model.vocabulary), 1)), np.arange(len(model.vocabulary))]
        )
        before, after = model.log_probs(every), without(model, 3, place).log_probs(every)
        distance = (10.0**before * (before - after)).sum() * np.log(10.0)
        context = chances[model.find(words[None, :2])[0][0]]
        assert growth[place] == pytest.approx(np.expm1(context * distance), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.001, 0.01, 0.1])
def test_a_pruned_model_sums_to_one_and_keeps_the_rest_as_it_was(model, threshold):
    pruned = pruning.entropy_prune(model, threshold)
    assert sum(pruned.counts) < sum(model.counts)
    assert pruned.counts[0] == model.counts[0]
    for length in (1, 2, 3):
        assert sums(pruned, length) == pytest.approx(1.0, abs=1e-6)
    for part in pruned.grams:
        assert part.log_probs == pytest.approx(model.log_probs(part.words), abs=1e-4)


def test_rounded_scores_are_scaled_so_that_all_words_sum_to_one(model):
    coarse = rounded(model)
    assert min(overfull(coarse)) > 0
    assert sums(coarse, 3).max() > 1.1
    scaled = arpa.normalized(coarse)
    for length in (1, 2, 3):
        assert sums(scaled, length) == pytest.approx(1.0, abs=1e-6)
    listed = scaled.grams[2]
    assert (listed.log_probs < 0.0).all()
    same = coarse.find(listed.words[:, :2])[0]  # what a context lists keeps its proportions
    for place in np.unique(same):
        change = (listed.log_probs - coarse.grams[2].log_probs)[same == place]
        assert change == pytest.approx(change[0])


@pytest.mark.parametrize("change", [arpa.normalized, lambda coarse: coarse])
@pytest.mark.parametrize("threshold", [0.0, 0.001, 0.01, 0.1])
def test_a_rounded_model_sums_to_one_when_it_is_pruned(model, change, threshold):
    """A context that is over-full, and not scaled before, is scaled when its weight is renewed."""
    coarse = change(rounded(model))
    assert pruning.entropy_prune(coarse, 0.0).counts == model.counts
    for pruned in (
        pruning.entropy_prune(coarse, threshold),
        pruning.shrink(coarse, threshold),
        pruning.keep_words(coarse, {"THE", "CAT", "SAT", "ON"}),
    ):
        assert sum(overfull(pruned)[1:]) == 0
        for length in (1, 2, 3):
            assert sums(pruned, length) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_the_shipped_small_model_sums_to_one_when_it_is_pruned():
    """Its scores lie in few bins, and thousands of its contexts are over-full."""
    model = ready.read(CHECKPOINTS / "tiny" / "lm")
    assert min(overfull(model)[1:]) > 1000
    pruned = pruning.shrink(arpa.normalized(model), 1e-6)
    assert pruned.counts[2] < 0.5 * model.counts[2]
    every = np.arange(len(model.vocabulary))
    rng = np.random.default_rng(1)
    for n in (1, 2):
        contexts = pruned.grams[n - 1].words
        for context in contexts[rng.integers(len(contexts), size=20)]:
            asked = np.column_stack([np.tile(context, (len(every), 1)), every])
            assert (10.0 ** pruned.log_probs(asked)).sum() == pytest.approx(1.0, abs=1e-3)


def test_the_begin_of_a_sentence_has_no_share_of_the_words(model, tmp_path):
    """KenLM's lmplz gives <s> probability 1, which would halve all words' when they are scaled."""
    arpa.write(model, tmp_path / "own.arpa")
    own = (tmp_path / "own.arpa").read_text()
    (tmp_path / "lmplz.arpa").write_text(own.replace("-99\t<s>", "0\t<s>"))
    assert (tmp_path / "lmplz.arpa").read_text() != own
    one, other = (arpa.read(tmp_path / f"{name}.arpa") for name in ("own", "lmplz"))
    assert other.grams[0].log_probs == pytest.approx(one.grams[0].log_probs)
    a, b = (pruning.shrink(read, 0.02) for read in (one, other))
    assert a.log_probs(ids(a, 2)) == pytest.approx(b.log_probs(ids(b, 2)))


def pair_shares(model):
    """How often each pair of words comes, by the chain of all pairs: shares of all words but <s>.

    Shape (vocabulary, vocabulary).
    """
    size = len(model.vocabulary)
    start, end = (model.vocabulary.index(mark) for mark in ("<s>", "</s>"))
    chances = 10.0 ** model.log_probs(ids(model, 3)).reshape(size, size, size)
    chances[:, end] = np.eye(size)[start]  # after a sentence another begins
    shares = np.full((size, size), 1.0 / size**2)
    for _ in range(500):
        shares = np.einsum("uv,uvw->vw", shares, chances)
        shares /= shares.sum()
    return shares / (1.0 - shares.sum(axis=0)[start])


def test_marginals_are_what_the_model_writes_in_the_long_run(model):
    model = pruning.entropy_prune(model, 0.0)  # its weights follow from its probabilities
    truth = pair_shares(model)
    words, pairs, _ = marginals(model)
    start = model.vocabulary.index("<s>")
    assert words.sum() - words[start] == pytest.approx(1.0)
    assert words == pytest.approx(truth.sum(axis=1), rel=0.02, abs=1e-3)
    first, second = model.grams[1].words.T
    assert pairs == pytest.approx(truth[first, second], rel=0.02, abs=1e-3)


def test_shorter_ngrams_make_up_for_the_longer_ones_that_are_dropped(model):
    """The words come as often as before, and the probabilities are such."""
    wanted = marginals(model)
    pruned = pruning.entropy_prune(model, 0.02, wanted)
    places = [model.find(grams.words)[0] for grams in pruned.grams]
    kept = [share[place] for share, place in zip(wanted, places, strict=False)]
    fitted = refit(pruned, kept)
    for length in (1, 2, 3):
        assert sums(fitted, length) == pytest.approx(1.0, abs=1e-6)
    before, after = (np.abs(marginals(m)[0] - wanted[0]).sum() for m in (pruned, fitted))
    assert after < 0.6 * before
    shrunk = pruning.shrink(model, 0.02)
    for one, other in zip(shrunk.grams, fitted.grams, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs)


def test_more_pruning_keeps_less_and_every_context_of_what_is_kept(model):
    kept = [pruning.entropy_prune(model, threshold) for threshold in (0.0, 0.01, 0.02, 0.05)]
    for n in (2, 3):
        for larger, smaller in itertools.pairwise(kept):
            assert grams(smaller, n) <= grams(larger, n)
    for smaller in kept:
        assert {gram[:2] for gram in grams(smaller, 3)} <= grams(smaller, 2)
    assert kept[0].counts == model.counts


def test_fewer_words_share_the_probability_of_the_others(model):
    smaller = pruning.keep_words(model, {"THE", "CAT", "SAT"})
    assert set(smaller.words) == {"THE", "CAT", "SAT"}
    for length in (1, 2, 3):
        assert sums(smaller, length) == pytest.approx(1.0, abs=1e-6)
    chances, before = smaller.chances, model.chances
    assert chances["THE"] / chances["CAT"] == pytest.approx(before["THE"] / before["CAT"])
    assert ("THE", "CAT", "SAT") in grams(smaller, 3)
