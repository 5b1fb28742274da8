"""The arrays of a safetensors file, each read when it is asked for.

The library maps the file, and every page that was looked at then counts as memory of the process.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

DTYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8}  # those that checkpoints hold
MAX_HEADER = 100_000_000  # bytes, as in the library: more is no header


class TensorFile(Mapping[str, npt.NDArray[Any]]):
    """Name → array; the format is that of https://huggingface.co/docs/safetensors."""

    def __init__(self, path: Path) -> None:
        """Read the header of `path`.

        Raises:
            ValueError: it is no safetensors file.
        """
        self._path = path
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = file.read(size) if 2 <= size <= MAX_HEADER else b""
            if not 2 <= size == len(header):
                raise ValueError(f"{path.name} has {len(header)} of {size} bytes of a header")
            self._entries = json.loads(header)
        self._entries.pop("__metadata__", None)
        self._begin = 8 + size

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Read one array."""
        entry = self._entries[name]
        count = math.prod(entry["shape"])
        offset = self._begin + entry["data_offsets"][0]
        kind = DTYPES[entry["dtype"]]
        array = np.fromfile(self._path, kind, count, offset=offset).reshape(entry["shape"])
        return cast(npt.NDArray[Any], array)

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Count the arrays."""
        return len(self._entries)
