"""In which precision this machine trains."""

from typing import Any

import torch


def bfloat16_is_quick(device: torch.device) -> bool:
    """Whether products in bfloat16 take no longer than in float32.

    Not so on a CPU without AVX-512, where torch 2.11 emulates them: 8 times as long on an AMD EPYC
    with AVX2 (512 x 1536 weights, 256 rows: 3.9 instead of 29 · 10^9 multiplications a second).
    """
    return device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability()


def autocast(device: torch.device) -> Any:
    """Return the context in which the network trains: bfloat16 where it is quick."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_quick(device))
