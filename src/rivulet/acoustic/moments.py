"""What the inputs of every matrix of a network are like over some speech, for few bits a weight."""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from rivulet.acoustic.arrays import Weights
from rivulet.acoustic.model import AcousticModel


class _Sums:
    """Products of inputs added up, by the name of the matrix."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, inputs: Tensor) -> None:
        """Add inputs (..., K)."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        product = (rows.T @ rows).double()
        self._sums[name] = product + self._sums.get(name, torch.zeros_like(product))
        self._counts[name] = self._counts.get(name, 0) + len(rows)

    def means(self) -> Weights:
        """Return (K, K) for each matrix."""
        return {
            name: (total / self._counts[name]).float().numpy() for name, total in self._sums.items()
        }


def input_moments(model: AcousticModel, utterances: Iterable[Tensor]) -> Weights:
    """Return, for each matrix of `model`, the mean product of its inputs with one another, (K, K).

    Args:
        model: its cells may be of any kind; convolutions of single channels are left out.
        utterances: normalized frames (1, T, n_mels) of each, T a multiple of 4.
    """
    sums = _Sums()
    hooks = [
        module.register_forward_hook(partial(_note, sums, name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.RNNBase | nn.Conv2d)
    ]
    try:
        with torch.inference_mode():
            for frames in utterances:
                model(frames, model.initial_state(1))
    finally:
        for hook in hooks:
            hook.remove()
    return sums.means()


def _note(
    sums: _Sums, name: str, module: nn.Module, inputs: tuple[Tensor, ...], outputs: object
) -> None:
    """Add what a layer saw, as its matrices see it."""
    if isinstance(module, nn.RNNBase):
        hidden = outputs[0]  # type: ignore[index]  # (1, T, hidden)
        sums.add(f"{name}.weight_ih_l0", inputs[0])
        sums.add(f"{name}.weight_hh_l0", functional.pad(hidden[:, :-1], (0, 0, 1, 0)))
    elif isinstance(module, nn.Conv2d):
        patches = functional.unfold(inputs[0], module.kernel_size, stride=module.stride)
        sums.add(f"{name}.weight", patches.transpose(1, 2))
    else:
        sums.add(f"{name}.weight", inputs[0])
