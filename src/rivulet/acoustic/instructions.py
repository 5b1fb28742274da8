"""Which vector instructions this processor has: engines choose their kernels by them."""

import functools
import platform
from pathlib import Path

X86 = ("amx_int8", "avx512_bf16", "avx512_vnni", "avx512f", "avx_vnni", "avx2", "avx")
ARM = ("i8mm", "bf16", "asimddp", "asimd")


@functools.cache
def instruction_set() -> str:
    """Name the machine and what it has of `X86` or `ARM`; where Linux does not say, the machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").lower().splitlines()
    except OSError:
        lines = []
    flags = " ".join(line for line in lines if line.startswith(("flags", "features"))).split()
    return " ".join([platform.machine(), *(name for name in (*X86, *ARM) if name in flags)])
