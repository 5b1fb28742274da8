"""A checkpoint's weights as the graphs want them: numpy only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.acoustic.engine import FloatArray

Weights = Mapping[str, npt.NDArray[np.floating[Any]]]
"""Float32, or float16, which becomes float32 where it is copied to."""

CELL_INPUT, CELL_RECURRENT, CELL_BIAS = ".weight_ih_l0", ".weight_hh_l0", ".bias_l0"
BIASES = (".bias_ih_l0", ".bias_hh_l0")
GATES = {3: (1, 0, 2), 4: (0, 3, 1, 2), 1: (0,)}  # torch's gates in ONNX's order: GRU, LSTM, RNN
GROUP = 32  # weights of a row that share a scale in 8 bits
ZERO = 128  # the byte that stands for 0
LARGEST = 127  # steps on either side of it
QUANTIZED, SCALES = ".bytes", ".scales"  # what follows the name of a weight in 8 bits


def dft_matrix(size: int) -> FloatArray:
    """Return the DFT of a real signal, (size, 2 * (size // 2 + 1)): cosines, then sines."""
    turns = np.outer(np.arange(size), np.arange(size // 2 + 1)) % size * (2.0 * np.pi / size)
    return np.concatenate([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Pieces:
    """An array of `shape` as the views that it is made of, so that it is copied only once."""

    shape: tuple[int, ...]
    views: Sequence[npt.NDArray[Any]]
    dtype: type[np.generic] = np.float32

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return sum(view.size for view in self.views) * np.dtype(self.dtype).itemsize

    def copied_to(self, memory: Any) -> npt.NDArray[Any]:
        """Return the array in `memory`, which has its bytes or more."""
        count = sum(view.size for view in self.views)
        flat = np.frombuffer(memory, self.dtype, count)
        begin = 0
        for view in self.views:
            flat[begin : begin + view.size].reshape(view.shape)[...] = view
            begin += view.size
        return flat.reshape(self.shape)


def whole(array: npt.NDArray[Any]) -> Pieces:
    """Return an array in one piece."""
    dtype = np.float32 if array.dtype == np.float16 else array.dtype.type
    return Pieces(array.shape, [array], dtype)


def for_operators(weights: Weights) -> Iterator[tuple[str, Pieces]]:
    """Yield names and arrays in the layout of ONNX's GRU, LSTM, RNN, MatMul and Conv operators.

    weights: named and laid out as torch does.
    """
    for name, array in weights.items():
        if name.endswith((CELL_INPUT, CELL_RECURRENT)):
            yield name, Pieces((1, *array.shape), _by_gates(array, array.shape[1]))
        elif name.endswith(BIASES[0]):
            cell = name.removesuffix(BIASES[0])
            width = weights[cell + CELL_RECURRENT].shape[1]
            both = [*_by_gates(array, width), *_by_gates(weights[cell + BIASES[1]], width)]
            yield cell + CELL_BIAS, Pieces((1, 2 * len(array)), both)
        elif not name.endswith(BIASES[1]):
            yield name, whole(array.T if array.ndim == 2 else array)


def _by_gates(array: npt.NDArray[Any], width: int) -> list[npt.NDArray[Any]]:
    """Return the gates in ONNX's order, of (gates * width, ...)."""
    gates = array.reshape(-1, width, *array.shape[1:])
    return [gates[gate] for gate in GATES[len(gates)]]


def in_8_bits(weights: Weights) -> Iterator[tuple[str, Pieces]]:
    """Yield matrices as bytes with a scale for every 32 weights of a row, all else as it is.

    The layout is that of ONNX Runtime's MatMulNBits: (rows, groups, 32) and (rows * groups,).
    """
    for name, array in weights.items():
        if array.ndim != 2:
            yield name, whole(array)
            continue
        rows, columns = array.shape
        array = array.astype(np.float32)
        padded = np.pad(array, ((0, 0), (0, -columns % GROUP))).reshape(rows, -1, GROUP)
        scales = np.abs(padded).max(axis=2, keepdims=True) / LARGEST
        steps = padded / np.where(scales, scales, 1.0)
        yield name + QUANTIZED, whole((np.rint(steps) + ZERO).astype(np.uint8))
        yield name + SCALES, whole(scales.reshape(-1))
