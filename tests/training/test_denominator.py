"""The denominator equals a sum over every path, and its gradient the numeric one."""

import itertools
import math
import os
import subprocess
import sys

import pytest
import torch

from rivulet.training.denominator import Denominator, phone_ngram

SEQUENCES = [[1, 2, 3], [1, 1, 2], [3, 2], [2]]
TOKENS = 4


def random_log_probs(batch: int, length: int, tokens: int, seed: int = 0) -> torch.Tensor:
    """Return (batch, length, tokens) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, tokens, generator=generator).double().log_softmax(-1)


def probability(ngram: torch.Tensor, sequence: list[int]) -> float:
    """Return what the n-gram gives to `sequence` and its end, gram by gram."""
    padded = [0] * (ngram.ndim - 1) + sequence + [0]
    grams = (tuple(padded[i : i + ngram.ndim]) for i in range(len(sequence) + 1))
    return math.prod(float(ngram[gram]) for gram in grams)


def over_every_path(ngram: torch.Tensor, log_probs: torch.Tensor) -> float:
    """Add up all alignments of (T, V) frames, each as likely as the phones it merges to."""
    total = 0.0
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        phones = [token for token, _ in itertools.groupby(path) if token]
        frames = sum(float(log_probs[t, token]) for t, token in enumerate(path))
        total += probability(ngram, phones) * math.exp(frames)
    return math.log(total)


@pytest.mark.parametrize("order", [3, 4])
def test_denominator_is_the_sum_over_every_path(order: int) -> None:
    ngram = phone_ngram(SEQUENCES, TOKENS, order).double()
    for length in (1, 2, 5):
        log_probs = random_log_probs(2, length, TOKENS)
        steps = torch.tensor([length, max(1, length - 1)])
        found = Denominator.of(ngram)(log_probs, steps)
        for row, count in enumerate(steps):
            assert float(found[row]) == pytest.approx(
                over_every_path(ngram, log_probs[row, :count]), abs=1e-9
            )


@pytest.mark.parametrize("order", [3, 4])
def test_gradient_is_the_numeric_one(order: int) -> None:
    denominator = Denominator.of(phone_ngram(SEQUENCES, TOKENS, order).double())
    log_probs = random_log_probs(3, 5, TOKENS).requires_grad_()
    steps = torch.tensor([5, 3, 1])
    assert torch.autograd.gradcheck(lambda x: denominator(x, steps), log_probs)


def test_occupancies_sum_to_one_until_the_end_and_to_nothing_after_it() -> None:
    denominator = Denominator.of(phone_ngram(SEQUENCES, TOKENS, 3))
    log_probs = random_log_probs(2, 30, TOKENS).float().requires_grad_()
    denominator(log_probs, torch.tensor([30, 11])).sum().backward()
    assert log_probs.grad is not None
    per_frame = log_probs.grad.sum(2)
    assert torch.allclose(per_frame[0], torch.ones(30), atol=1e-4)
    assert torch.allclose(per_frame[1, :11], torch.ones(11), atol=1e-4)
    assert not log_probs.grad[1, 11:].any()


def test_certain_frames_do_not_underflow() -> None:
    denominator = Denominator.of(phone_ngram(SEQUENCES, TOKENS, 3))
    certain = torch.full((1, 400, TOKENS), -90.0)
    path = torch.arange(400) % TOKENS
    certain[0, torch.arange(400), path] = 0.0
    log_probs = certain.requires_grad_()
    value = denominator(log_probs, torch.tensor([400])).sum()
    value.backward()
    assert torch.isfinite(value)
    assert log_probs.grad is not None
    assert torch.allclose(log_probs.grad[0].max(1).values, torch.ones(400), atol=1e-3)


def test_text_that_is_certain_leaves_mmi_only_its_ngram() -> None:
    ngram = phone_ngram(SEQUENCES, TOKENS, 3)
    certain = torch.full((1, 3, TOKENS), -60.0)
    for t, token in enumerate([1, 2, 3]):
        certain[0, t, token] = 0.0
    found = Denominator.of(ngram)(certain, torch.tensor([3]))
    assert float(found) == pytest.approx(math.log(probability(ngram, [1, 2, 3])), abs=1e-4)


@pytest.mark.parametrize("order", [3, 4])
def test_ngram_sums_to_one_after_every_history_and_favors_what_it_saw(order: int) -> None:
    ngram = phone_ngram(SEQUENCES, TOKENS, order)
    assert torch.allclose(ngram.sum(-1), torch.ones(ngram.shape[:-1]), atol=1e-6)
    start = (0,) * (order - 1)
    assert ngram[start].argmax() == 1  # two of four utterances begin so
    assert probability(ngram, [1, 2, 3]) > probability(ngram, [3, 1, 2])
    assert (ngram > 0).all()


ON_A_MADE_UP_GPU = """
import torch
from triton.runtime import interpreter

patch = interpreter._patch_lang_tensor

def patched(tensor, scope):
    patch(tensor, scope)  # int() of an array of one is an error since NumPy 2.4
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

interpreter._patch_lang_tensor = patched

from rivulet.training.denominator import FLOOR, Denominator, phone_ngram
from rivulet.training.denominator_cuda import Kernels

torch.manual_seed(1)
phones = torch.randint(1, 7, (40, 12)).tolist()
denominator = Denominator.of(phone_ngram(phones, 7, 3))
log_probs = torch.randn(3, 9, 7).log_softmax(-1).requires_grad_()
steps = torch.tensor([9, 7, 1])
expected = denominator(log_probs, steps)
expected.sum().backward()
kernels = Kernels(denominator.leave, denominator.end, FLOOR)
total, occupancies = kernels.run(log_probs.detach(), steps, True)
assert torch.allclose(total, expected, atol=1e-5), (total, expected)
assert torch.allclose(occupancies, log_probs.grad, atol=1e-5)
print("equal")
"""


@pytest.mark.slow
def test_kernels_for_a_gpu_give_the_same_when_triton_interprets_them() -> None:
    pytest.importorskip("triton")
    run = subprocess.run(
        [sys.executable, "-c", ON_A_MADE_UP_GPU],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "equal", run.stderr
