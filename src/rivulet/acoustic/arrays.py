"""A checkpoint's weights as the graphs want them: numpy only."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.acoustic.engine import FloatArray

Weights = Mapping[str, npt.NDArray[np.float32]]

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


def for_operators(weights: Weights) -> Iterator[tuple[str, FloatArray]]:
    """Yield names and arrays in the layout of ONNX's GRU, LSTM, RNN, MatMul and Conv operators.

    weights: float32, named and laid out as torch does.
    """
    for name, array in weights.items():
        if name.endswith((CELL_INPUT, CELL_RECURRENT)):
            yield name, _by_gates(array)[None]
        elif name.endswith(BIASES[0]):
            cell = name.removesuffix(BIASES[0])
            both = [array, weights[cell + BIASES[1]]]
            width = weights[cell + CELL_RECURRENT].shape[1]
            yield cell + CELL_BIAS, np.concatenate([_by_gates(bias, width) for bias in both])[None]
        elif not name.endswith(BIASES[1]):
            yield name, np.ascontiguousarray(array.T) if array.ndim == 2 else array


def _by_gates(array: FloatArray, width: int | None = None) -> FloatArray:
    """Reorder the gates along the first axis: (gates * width, ...)."""
    gates = array.reshape(-1, width or array.shape[1], *array.shape[1:])
    return gates[list(GATES[len(gates)])].reshape(array.shape)


def in_8_bits(weights: Weights) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield matrices as bytes with a scale for every 32 weights of a row, all else as it is.

    The layout is that of ONNX Runtime's MatMulNBits: (rows, groups, 32) and (rows * groups,).
    """
    for name, array in weights.items():
        if array.ndim != 2:
            yield name, array
            continue
        rows, columns = array.shape
        padded = np.pad(array, ((0, 0), (0, -columns % GROUP))).reshape(rows, -1, GROUP)
        scales = np.abs(padded).max(axis=2, keepdims=True) / LARGEST
        steps = padded / np.where(scales, scales, 1.0)
        yield name + QUANTIZED, (np.rint(steps) + ZERO).astype(np.uint8)
        yield name + SCALES, scales.reshape(-1)
