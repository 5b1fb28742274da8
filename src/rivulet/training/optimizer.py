"""What moves the weights: AdamW, or Muon for the matrices and AdamW for the rest."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn

from rivulet.training.heads import HeadedModel
from rivulet.training.precision import bfloat16_is_quick

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
    kind_of_muon = torch.optim.Muon if bfloat16_is_quick(matrices[0].device) else Float32Muon
    muon = kind_of_muon(matrices, rate, weight_decay, adjust_lr_fn="match_rms_adamw")
    return (adamw, muon)


class Float32Muon(torch.optim.Muon):
    """torch's Muon, which makes matrices orthogonal in bfloat16, in float32."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the weights, as torch does with `adjust_lr_fn="match_rms_adamw"`."""
        for group in self.param_groups:
            rate, decay, kept = group["lr"], group["weight_decay"], group["momentum"]
            for weight in (w for w in group["params"] if w.grad is not None):
                state = self.state[weight]
                mean = state.setdefault("momentum_buffer", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 1.0 - kept)
                update = _orthogonal(
                    weight.grad.lerp(mean, kept), group["ns_coefficients"], group["ns_steps"]
                )
                weight.mul_(1.0 - rate * decay)
                weight.add_(update, alpha=-rate * 0.2 * max(weight.shape) ** 0.5)


def _orthogonal(
    matrix: torch.Tensor, coefficients: tuple[float, float, float], steps: int
) -> torch.Tensor:
    """Bring all singular values of (m, n) near 1 by Newton and Schulz's iteration (Jordan 2024)."""
    a, b, c = coefficients
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


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
