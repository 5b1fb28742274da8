"""How often each n-gram comes in what a back-off model would write, and shorter n-grams that fit.

Kneser-Ney's shorter n-grams are made for contexts in which no longer one is listed; their
probabilities are not those of the words in the text. A pruning needs the latter, to know how much
an n-gram matters (Chelba et al. 2010, "Study on interaction between entropy pruning and Kneser-Ney
smoothing"), and what is left needs shorter n-grams for more contexts than before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rivulet.language.build.arpa import NEVER, BackoffModel, Floats, Ids, with_backoffs

ROUNDS = 40  # at most, until the words' shares stay as they are; of pairs alone a round is quick
STILL = 1e-8
LONGER_ROUNDS, LONGER_STILL = 12, 1e-3  # likewise for longer n-grams
REFITS = 2  # new probabilities change the weights, those the probabilities; more change nothing
FARTHEST = 20.0  # times as probable as before is the most, and one part in as many the least
FULLEST = 0.98  # of a context's probability may be listed, if not more was before
SMALLEST = 1e-12

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Suffixes:
    """Where each n-gram without its first word stands, for each length from 2 on, and if it does.

    prefixes: likewise without its last word, which always stands there.
    """

    places: tuple[Ids, ...]
    there: tuple[Bools, ...]
    prefixes: tuple[Ids, ...]

    @classmethod
    def of(cls, model: BackoffModel) -> "_Suffixes":
        found = [model.find(grams.words[:, 1:]) for grams in model.grams[1:]]
        prefixes = tuple(grams.keys // len(model.vocabulary) for grams in model.grams[1:])
        return cls(tuple(f[0] for f in found), tuple(f[1] for f in found), prefixes)

    def gathered(self, n: int, values: Floats, size: int) -> Floats:
        """Add up `values` of the n-grams at their suffixes, of which there are `size`."""
        there = self.there[n - 2]
        gathered = np.bincount(self.places[n - 2][there], values[there], size)
        return gathered.astype(np.float64)  # whole numbers where there is nothing to add


def marginals(model: BackoffModel) -> list[Floats]:
    """Return for each length how often its n-grams come, as shares of all words, in the long run.

    After the end of a sentence another begins, so <s> comes as often as </s>.
    """
    suffixes = _Suffixes.of(model)
    start, end = _marks(model)
    shares = [_word_shares(model)]
    for grams, prefix in zip(model.grams[1:], suffixes.prefixes, strict=True):
        shares.append(shares[-1][prefix] * 10.0**grams.log_probs)
    for _ in range(LONGER_ROUNDS if model.order > 2 else 0):
        arriving, given = _flow(model, suffixes, shares)
        words, *longer = (
            g + a * 10.0**grams.log_probs
            for a, g, grams in zip(arriving, given, model.grams, strict=True)
        )
        words[start] = 0.0
        words /= words.sum()
        words[start] = words[end]
        moved = np.abs(words - shares[0]).sum()
        shares = [words, *longer]
        if moved < LONGER_STILL:
            break
    return shares


def refit(model: BackoffModel, wanted: Sequence[Floats]) -> BackoffModel:
    """Return the model with shorter n-grams so probable that all come as often as `wanted`.

    What longer n-grams give a word is taken off its share, and the rest is put against how often
    the shorter n-gram is asked; so Kneser and Ney (1995, equation 16) determine their back-off
    distribution. The longest n-grams stay as they are.

    Args:
        model: pruned.
        wanted: for each length the shares (N,) of its n-grams, as the model before had them.
    """
    suffixes = _Suffixes.of(model)
    before = [10.0**grams.log_probs for grams in model.grams]
    for _ in range(REFITS):
        chances = [10.0**grams.log_probs for grams in model.grams]
        for n in range(model.order - 1, 0, -1):
            arriving, given = _flow(model, suffixes, wanted, chances)
            found = (wanted[n - 1] - given[n - 1]) / np.maximum(arriving[n - 1], SMALLEST)
            found = np.clip(found, before[n - 1] / FARTHEST, before[n - 1] * FARTHEST)
            chances[n - 1] = _no_more_than_all(model, n, found, before[n - 1], suffixes)
        model = _renewed(model, chances)
    return model


def _marks(model: BackoffModel) -> tuple[int, int]:
    return model.vocabulary.index("<s>"), model.vocabulary.index("</s>")


def _word_shares(model: BackoffModel) -> Floats:
    """Return how often each word comes, by the pairs alone."""
    start, end = _marks(model)
    chances = 10.0 ** model.grams[0].log_probs
    chances[start] = 0.0
    shares: Floats = chances / chances.sum()
    if model.order == 1:
        return shares
    first, second = model.grams[1].words.T
    weights = 10.0 ** model.grams[0].backoffs
    beyond = 10.0 ** model.grams[1].log_probs - weights[first] * chances[second]
    for _ in range(ROUNDS):
        contexts = shares.copy()
        contexts[start], contexts[end] = shares[end], 0.0
        new = chances * (contexts * weights).sum()
        new += np.bincount(second, contexts[first] * beyond, len(chances))
        new = np.maximum(new, 0.0)
        new[start] = 0.0
        new /= new.sum()
        moved, shares = np.abs(new - shares).sum(), new
        if moved < STILL:
            break
    shares[start] = shares[end]
    return shares


def _flow(
    model: BackoffModel,
    suffixes: _Suffixes,
    shares: Sequence[Floats],
    chances: Sequence[Floats] | None = None,
) -> tuple[list[Floats], list[Floats]]:
    """Return for each length how often its n-grams are asked, and come by longer ones; shares.

    An n-gram is asked when its context is there and no longer n-gram ends in it; what a context
    does not list is handed on to the next shorter one, times its back-off weight.
    """
    order = model.order
    chances = chances or [10.0**grams.log_probs for grams in model.grams]
    end = _marks(model)[1]
    arriving: list[Floats] = [np.zeros(0)] * order
    given: list[Floats] = [np.zeros(0)] * order
    at = np.zeros(0)
    for n in range(order, 0, -1):
        count = len(model.grams[n - 1].keys)
        longer, at = at, _contexts(model, suffixes, shares, n, at)
        if n > 1:
            at[model.grams[n - 2].words[:, -1] == end] = 0.0  # nothing follows but <s>
        asked = at[suffixes.prefixes[n - 2]] if n > 1 else np.full(count, at[0])
        came = np.zeros(count)
        if n < order:
            handed_on = (longer * 10.0 ** model.grams[n - 1].backoffs)[suffixes.prefixes[n - 1]]
            asked = asked - suffixes.gathered(n + 1, handed_on, count)
            came = suffixes.gathered(n + 1, given[n] + arriving[n] * chances[n], count)
        arriving[n - 1], given[n - 1] = np.maximum(asked, 0.0), came
    return arriving, given


def _contexts(
    model: BackoffModel, suffixes: _Suffixes, shares: Sequence[Floats], n: int, longer: Floats
) -> Floats:
    """Return how often each context of n - 1 words is asked for n-grams; `longer`: those of n."""
    if n == model.order:
        return np.array(shares[n - 2])
    handed_on: Floats = longer * 10.0 ** model.grams[n - 1].backoffs
    if n == 1:
        return np.array([handed_on.sum()])
    size = len(model.grams[n - 2].keys)
    unlisted = shares[n - 2] - suffixes.gathered(n, shares[n - 1], size)
    asked: Floats = suffixes.gathered(n, handed_on, size) + np.maximum(unlisted, 0.0)
    return asked


def _no_more_than_all(
    model: BackoffModel, n: int, found: Floats, before: Floats, suffixes: _Suffixes
) -> Floats:
    """Scale what a context lists so that it leaves something over; words alone sum to one."""
    if n == 1:
        found[_marks(model)[0]] = 0.0
        alone: Floats = found / found.sum()
        return alone
    prefix, size = suffixes.prefixes[n - 2], len(model.grams[n - 2].keys)
    most = np.maximum(np.bincount(prefix, before, size), FULLEST)
    total = np.bincount(prefix, found, size)
    scaled: Floats = found / np.maximum(total / most, 1.0)[prefix]
    return scaled


def _renewed(model: BackoffModel, chances: Sequence[Floats]) -> BackoffModel:
    """Return the model with these probabilities and the back-off weights that follow."""
    renewed = BackoffModel(model.vocabulary, ())
    for grams, chance in zip(model.grams, chances, strict=True):
        logs = np.log10(np.maximum(chance, 10.0**NEVER))
        added = (*renewed.grams, replace(grams, log_probs=logs))
        renewed = with_backoffs(BackoffModel(model.vocabulary, added))
    return renewed
