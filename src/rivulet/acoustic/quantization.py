"""Weights in fewer bits: whole numbers, and one scale for each row of a matrix."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SCALE = ".scale"  # follows the name of the array that it belongs to
SMALLEST = 1e-12
DAMPING = 0.01  # of the inputs' mean square, added to each: what was never heard may come, too
TOGETHER = 64  # columns whose errors are handed on to the rest in one product
CLIPPED = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # shares of a row's largest value that are tried

FloatArray = npt.NDArray[np.float32]


def quantize(
    weights: Mapping[str, FloatArray], bits: int, moments: Mapping[str, FloatArray] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return matrices as int8 of at most `bits` bits with their scales, vectors as float16.

    Args:
        weights: by name; all that follows the first dimension is one.
        bits: 2 to 8. A row's scale is the one of a few that leaves the smallest squared error: with
            few bits, rare large values are better clipped.
        moments: for some of the matrices (N, K) what their inputs are like, (K, K): the mean of
            each input times each other. These are rounded so that their outputs stay.
    """
    stored: dict[str, npt.NDArray[Any]] = {}
    for name, array in weights.items():
        if array.ndim < 2:
            stored[name] = array.astype(np.float16)
            continue
        rows = array.reshape(len(array), -1).astype(np.float32)
        known = (moments or {}).get(name)
        scale = _scales(rows, bits, np.ones(rows.shape[1]) if known is None else np.diag(known))
        numbers = _rounded(rows, scale, bits) if known is None else _fed(rows, scale, bits, known)
        rows_first = np.ascontiguousarray(numbers.astype(np.int8))  # as files want them
        stored[name] = rows_first.reshape(array.shape)
        stored[name + SCALE] = scale
    return stored


def _rounded(rows: npt.NDArray[Any], scales: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    largest = 2 ** (bits - 1) - 1
    numbers: npt.NDArray[Any] = np.clip(np.rint(rows / scales), -largest, largest)
    return numbers


def _scales(rows: FloatArray, bits: int, weight: npt.NDArray[Any]) -> FloatArray:
    """Return the scales (N, 1) of rows (N, K); each column's squared errors count `weight` (K,)."""
    largest = 2 ** (bits - 1) - 1
    span = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.float32(SMALLEST)) / largest
    scales = np.stack([span * np.float32(share) for share in CLIPPED])  # (tries, N, 1)
    off = [np.square(_rounded(rows, scale, bits) * scale - rows) for scale in scales]
    errors = np.stack([(one * weight).sum(axis=1, keepdims=True) for one in off])
    best = errors.argmin(axis=0)[None]  # (1, N, 1)
    chosen: FloatArray = np.take_along_axis(scales, best, axis=0)[0]
    return chosen


def _fed(
    rows: FloatArray, scale: FloatArray, bits: int, moments: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Round rows (N, K) column by column; the columns to come make up for each one's error.

    GPTQ (Frantar et al. 2022, arXiv 2210.17323, algorithm 1), the loudest inputs first.
    """
    count = rows.shape[1]
    order = np.argsort(-np.diag(moments), kind="stable")
    damped = moments.astype(np.float64)[np.ix_(order, order)]
    damped[np.diag_indices(count)] += DAMPING * np.diag(moments).mean() + SMALLEST
    feedback = np.linalg.cholesky(np.linalg.inv(damped)).T  # upper
    left = rows[:, order].astype(np.float64)
    numbers = np.empty_like(left)
    for begin in range(0, count, TOGETHER):
        end = min(begin + TOGETHER, count)
        errors = np.zeros((len(rows), end - begin))
        for j in range(begin, end):
            numbers[:, j] = _rounded(left[:, j], scale[:, 0], bits)
            error = (left[:, j] - numbers[:, j] * scale[:, 0]) / feedback[j, j]
            left[:, j + 1 : end] -= np.outer(error, feedback[j, j + 1 : end])
            errors[:, j - begin] = error
        left[:, end:] -= errors @ feedback[begin:end, end:]
    return numbers[:, np.argsort(order)]


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
