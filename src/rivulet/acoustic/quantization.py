"""Weights in fewer bits: whole numbers, and one scale for each row of a matrix."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SCALE = ".scale"  # follows the name of the array that it belongs to
SMALLEST = 1e-12
CLIPPED = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # shares of a row's largest value that are tried

FloatArray = npt.NDArray[np.float32]


def quantize(weights: Mapping[str, FloatArray], bits: int) -> dict[str, npt.NDArray[Any]]:
    """Return matrices as int8 of at most `bits` bits with their scales, vectors as float16.

    bits: 2 to 8. A row's scale is the one of a few that leaves the smallest squared error: with few
    bits, rare large values are better clipped.
    """
    stored: dict[str, npt.NDArray[Any]] = {}
    for name, array in weights.items():
        if array.ndim < 2:
            stored[name] = array.astype(np.float16)
        else:
            rows, scale = _quantize_rows(array.reshape(len(array), -1).astype(np.float32), bits)
            stored[name], stored[name + SCALE] = rows.reshape(array.shape), scale
    return stored


def _quantize_rows(rows: FloatArray, bits: int) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """(N, K) → (N, K) int8 and scales (N, 1)."""
    largest = 2 ** (bits - 1) - 1
    span = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.float32(SMALLEST)) / largest
    scales = np.stack([span * np.float32(share) for share in CLIPPED])  # (tries, N, 1)
    numbers = np.clip(np.rint(rows / scales), -largest, largest)
    errors = np.square(numbers * scales - rows).sum(axis=2, keepdims=True)
    best = errors.argmin(axis=0)[None]  # (1, N, 1)
    chosen = np.take_along_axis(numbers, best, axis=0)[0]
    return chosen.astype(np.int8), np.take_along_axis(scales, best, axis=0)[0]


@dataclass(frozen=True)
class StoredWeights(Mapping[str, npt.NDArray[np.floating[Any]]]):
    """Weights as float16 where they are stored so, else in float32, each when it is asked for.

    So they are never all in memory twice, as stored and as numbers.
    """

    stored: Mapping[str, npt.NDArray[Any]]

    def __getitem__(self, name: str) -> npt.NDArray[np.floating[Any]]:
        """Return one array."""
        array = self.stored[name]
        if name + SCALE in self.stored:
            rows = array.reshape(len(array), -1).astype(np.float32)
            value: FloatArray = (rows * self.stored[name + SCALE]).reshape(array.shape)
            return value
        return array if array.dtype == np.float16 else array.astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the weights, not of their scales."""
        return (name for name in self.stored if not name.endswith(SCALE))

    def __len__(self) -> int:
        """Count the weights."""
        return sum(1 for _ in self)
