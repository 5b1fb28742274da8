"""What moves the weights: AdamW, or Muon for the matrices and AdamW for the rest."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn

from rivulet.training.heads import HeadedModel

BETAS = (0.9, 0.98)
Optimizers = tuple[torch.optim.Optimizer, ...]


def make_optimizers(model: HeadedModel, kind: str, rate: float, weight_decay: float) -> Optimizers:
    """Return the optimizers that share the weights of `model` among them.

    `kind` is `adamw`, or `muon`: the momentum of each matrix below the heads is made orthogonal
    before it is added (Jordan et al. 2024), with steps as long as AdamW's, so that both have one
    learning rate (Liu et al. 2025, arXiv 2502.16982, section 2.2). Vectors, convolutions and heads
    stay with AdamW.
    """
    matrices = list(_matrices(model)) if kind == "muon" else []
    taken = {id(weight) for weight in matrices}
    rest = [weight for weight in model.parameters() if id(weight) not in taken]
    adamw = torch.optim.AdamW(rest, rate, betas=BETAS, weight_decay=weight_decay, fused=True)
    if not matrices:
        return (adamw,)
    muon = torch.optim.Muon(matrices, rate, weight_decay, adjust_lr_fn="match_rms_adamw")
    return (adamw, muon)


def step_all(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    """Move all weights by their gradients at learning rate `rate`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()


def moments(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """Return what the optimizers remember, as `optimizer.weight.moment` by numbers and name."""
    states: list[dict[int, dict[str, Any]]] = [o.state_dict()["state"] for o in optimizers]
    named = (
        (f"{number}.{weight}.{moment}", value)
        for number, state in enumerate(states)
        for weight, values in state.items()
        for moment, value in values.items()
    )
    return dict(named)


def restore_moments(
    optimizers: Sequence[torch.optim.Optimizer], tensors: dict[str, torch.Tensor]
) -> None:
    """Take over what `moments` gave, full or half precision."""
    states: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in optimizers]
    for name, tensor in tensors.items():
        number, weight, moment = name.split(".", 2)
        states[int(number)].setdefault(int(weight), {})[moment] = tensor.float()
    for optimizer, state in zip(optimizers, states, strict=True):
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def _matrices(model: HeadedModel) -> Iterator[nn.Parameter]:
    """The matrices that meet a whole layer: of the recurrent cells, and of the subsampling."""
    modules = [*model.acoustic.layers, model.acoustic.subsampling.project]
    for weight in chain.from_iterable(module.parameters() for module in modules):
        if weight.ndim == 2:
            yield weight
