"""Thresholds of the tagger's marks, tuned on text that was kept out of its training.

The likeliest label is not the one that makes F1 largest: a rare mark is worth saying at less than
even odds. So each mark's logit gets a bias.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from rivulet.text.labels import Mark
from rivulet.text.words import Vocabulary
from rivulet.training.tagger import TaggerNetwork
from rivulet.training.tagger_data import (
    END_TYPE,
    Array,
    Corpus,
    Noise,
    draw_pauses,
    feature_table,
    spoil,
    with_segments,
)

FloatArray = npt.NDArray[np.float32]
TUNED = (Mark.COMMA, Mark.PERIOD, Mark.QUESTION)  # an exclamation mark goes with the period
STEPS = np.arange(-0.8, 1.21, 0.1)  # that are tried
STREAMS = 16  # side by side
ERRORS = 0.15


def tuned_bias(
    network: TaggerNetwork, vocabulary: Vocabulary, held: Corpus, similar: Array, seed: int = 1
) -> FloatArray:
    """Return what to add to each mark's logit so that the mean F1 of the marks is largest.

    The mean is over the held-out words alone, with pauses, and with pauses and errors.
    """
    rng = np.random.default_rng(seed)
    wrong = spoil(held, Noise.of(ERRORS), similar, rng)
    texts = [(held, np.zeros(len(held.types), np.int32))]
    for text in (held, wrong):
        after = draw_pauses(text.marks, rng)
        texts.append(with_segments(text, after, network.lookahead))
    features = feature_table(held.spellings, vocabulary)
    said = [logits(network, features, text, before) for text, before in texts]
    truth = [merged(text.marks[text.types != END_TYPE]) for text, _ in texts]
    return best_bias(said, truth)


def logits(network: TaggerNetwork, features: Array, text: Corpus, before: Array) -> FloatArray:
    """Return the logits (words, marks) of a text's words, its segment ends left out."""
    length = -(-len(text.types) // STREAMS)
    late, short = network.lookahead, STREAMS * length - len(text.types)
    types = np.pad(text.types, (0, short)).reshape(STREAMS, -1)
    pauses = np.pad(before, (0, short)).reshape(STREAMS, -1)
    rows = np.concatenate([features[types], pauses[..., None]], axis=-1)
    rows = np.pad(rows, ((0, 0), (0, late), (0, 0)))
    with torch.inference_mode():
        found, _, _ = network(torch.from_numpy(rows).long(), None, network.begin(STREAMS))
    flat = found[:, late:, : len(Mark)].reshape(-1, len(Mark)).numpy()[: len(text.types)]
    return np.asarray(flat[text.types != END_TYPE], np.float32)


def merged(marks: Array) -> Array:
    """Return marks with the exclamation mark as a period."""
    return np.where(marks == Mark.EXCLAMATION, Mark.PERIOD, marks).astype(np.int32)


def best_bias(said: Sequence[FloatArray], truth: Sequence[Array]) -> FloatArray:
    """Return the bias of each mark, found one after the other, twice."""
    bias = np.zeros(len(Mark), np.float32)
    for mark in (*TUNED, *TUNED):
        tried = [_with(bias, mark, float(step)) for step in STEPS]
        worth = [
            sum(mean_f1(one + added, marks) for one, marks in zip(said, truth, strict=True))
            for added in tried
        ]
        bias = tried[int(np.argmax(worth))]
    return bias


def mean_f1(scores: FloatArray, marks: Array) -> float:
    """Return the mean F1 of comma, period and question mark."""
    answers = merged(scores.argmax(axis=1).astype(np.int32))
    hits = np.bincount(marks[answers == marks], minlength=len(Mark))
    both = np.bincount(answers, minlength=len(Mark)) + np.bincount(marks, minlength=len(Mark))
    return float(np.mean([2 * hits[mark] / max(both[mark], 1) for mark in TUNED]))


def _with(bias: FloatArray, mark: Mark, value: float) -> FloatArray:
    """Return biases with that of a mark changed; the exclamation mark follows the period."""
    changed: FloatArray = bias.copy()
    changed[mark] = value
    changed[Mark.EXCLAMATION] = changed[Mark.PERIOD]
    return changed
