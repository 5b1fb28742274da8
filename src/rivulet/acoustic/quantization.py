"""Weights in fewer bits: whole numbers, and one scale for each row of a matrix."""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"  # follows the name of the tensor that it belongs to
SMALLEST = 1e-12
CLIPPED = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # shares of a row's largest value that are tried


def quantize(weights: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Return matrices as int8 of at most `bits` bits with their scales, vectors as float16.

    bits: 2 to 8. A row's scale is the one of a few that leaves the smallest squared error: with few
    bits, rare large values are better clipped.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if tensor.dim() < 2:
            stored[name] = tensor.to(torch.float16).contiguous()
        else:
            rows, scale = _quantize_rows(tensor.flatten(1).float(), bits)
            stored[name], stored[name + SCALE] = rows.reshape(tensor.shape), scale
    return stored


def _quantize_rows(rows: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """(N, K) → (N, K) int8 and scales (N, 1)."""
    largest = 2 ** (bits - 1) - 1
    span = rows.abs().amax(dim=1, keepdim=True).clamp_min(SMALLEST) / largest
    scales = torch.stack([span * share for share in CLIPPED])  # (tries, N, 1)
    numbers = (rows / scales).round().clamp(-largest, largest)
    errors = (numbers * scales - rows).square().sum(dim=2, keepdim=True)
    best = errors.argmin(dim=0, keepdim=True)  # (1, N, 1)
    chosen = numbers.gather(0, best.expand(1, *rows.shape))[0]
    return chosen.to(torch.int8), scales.gather(0, best)[0].contiguous()


def dequantize(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all weights in float32, quantized or not."""
    weights: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith(SCALE):
            continue
        scale = stored.get(name + SCALE)
        value = tensor.float()
        weights[name] = value if scale is None else (value.flatten(1) * scale).view_as(value)
    return weights
