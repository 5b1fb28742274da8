"""Smaller back-off models: fewer words, and no n-gram that the shorter context predicts as well."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rivulet.language.build.arpa import NOT_WORDS, BackoffModel, Floats, Grams, with_backoffs
from rivulet.language.build.marginals import marginals, refit

Kept = npt.NDArray[np.bool_]


def keep_words(model: BackoffModel, words: Collection[str]) -> BackoffModel:
    """Return the model over those of its words that are among `words`.

    What the others had is shared among the words left, in proportion.
    """
    chosen = NOT_WORDS.union(words)
    keep = np.array([word in chosen for word in model.vocabulary])
    ids = np.cumsum(keep) - 1
    vocabulary = tuple(np.array(model.vocabulary, dtype=object)[keep])
    smaller = BackoffModel(vocabulary, ())
    for grams in model.grams:
        kept = keep[grams.words].all(axis=1)
        smaller = _with_longer(smaller, ids[grams.words[kept]], grams.log_probs[kept])
    return smaller


def shrink(model: BackoffModel, threshold: float) -> BackoffModel:
    """Prune, and fit the shorter n-grams to the contexts that lost their longer ones."""
    shares = marginals(model)
    pruned = entropy_prune(model, threshold, shares)
    places = [model.find(grams.words)[0] for grams in pruned.grams]
    return refit(pruned, [share[place] for share, place in zip(shares, places, strict=False)])


def entropy_prune(
    model: BackoffModel, threshold: float, shares: Sequence[Floats] | None = None
) -> BackoffModel:
    """Drop every n-gram without which the model's perplexity grows by less than `threshold`.

    The growth is relative, 1e-8 being a light pruning, and each n-gram is judged alone (Stolcke
    1998, "Entropy-based pruning of backoff language models", equations 8 to 10). Contexts of what
    is kept are kept.

    Args:
        model: with back-off weights that follow from its probabilities.
        threshold: 0 to 1.
        shares: its `marginals`; None computes them.
    """
    shares = shares or marginals(model)
    kept: list[Kept] = []
    for n in range(model.order, 1, -1):
        keep = growth_without(model, n, shares[n - 2]) >= threshold
        if kept:
            longer = model.grams[n].words[kept[0]]
            keep[model.find(longer[:, :-1])[0]] = True
        kept.insert(0, keep)
    smaller = BackoffModel(model.vocabulary, ())
    for grams, keep in zip(model.grams, [np.ones(len(model.vocabulary), bool), *kept], strict=True):
        smaller = _with_longer(smaller, grams.words[keep], grams.log_probs[keep])
    return smaller


def growth_without(model: BackoffModel, n: int, contexts: Floats) -> Floats:
    """Return by how much the perplexity grows without each n-gram, (N,), relative.

    contexts: how often each n-1-gram comes.
    """
    grams = model.grams[n - 1]
    prefix = grams.keys // len(model.vocabulary)
    shorter = replace(model, grams=model.grams[: n - 1])
    own, by_shorter = 10.0**grams.log_probs, 10.0 ** shorter.log_probs(grams.words[:, 1:])
    size = len(contexts)
    left = np.maximum(1.0 - np.bincount(prefix, own, size), 1e-12)[prefix]
    share = np.maximum(1.0 - np.bincount(prefix, by_shorter, size), 1e-12)[prefix]
    backoff, new_backoff = left / share, (left + own) / (share + by_shorter)
    change = own * np.log(by_shorter * new_backoff / own) + left * np.log(new_backoff / backoff)
    growth: Floats = np.expm1(-contexts[prefix] * change)
    return growth


def _with_longer(model: BackoffModel, words: npt.NDArray[np.int64], logs: Floats) -> BackoffModel:
    """Add the next longer n-grams, whose prefixes must be there; renew the back-off weights."""
    if not model.grams:  # what dropped words had goes to the others
        logs = logs - np.log10((10.0**logs).sum())
    place, there = model.find(words[:, :-1])
    if not there.any():
        return model  # nothing so long is left, and nothing longer
    keys = (place * len(model.vocabulary) + words[:, -1])[there]
    order = np.argsort(keys)
    grams = Grams(keys[order], words[there][order], logs[there][order], np.zeros(len(order)))
    return with_backoffs(BackoffModel(model.vocabulary, (*model.grams, grams)))
