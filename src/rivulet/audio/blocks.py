"""Whatever somebody calls sound, as blocks of samples at a known rate."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from rivulet.audio.reader import AudioFile
from rivulet.errors import AudioError

PIECE_S = 10.0  # seconds of a whole array that are handed over at a time: what memory is taken for

Array = npt.NDArray[Any]
Sound = str | os.PathLike[str] | BinaryIO | Array | Iterable[Array]
"""A path, an open binary file, an array (n,) or (n, channels), or an iterator of such arrays."""


@contextmanager
def open_sound(source: Sound, sample_rate: int | None) -> Iterator[tuple[int, Iterable[Array]]]:
    """Yield the rate of `source` and its blocks; a file is closed afterwards.

    Args:
        source: what to read.
        sample_rate: of arrays, in Hz; None for files, which know their own.

    Raises:
        AudioError: it is no sound, the rate of arrays is missing, or a file cannot be read.
    """
    if isinstance(source, (str, os.PathLike)) or hasattr(source, "read"):
        if sample_rate is not None:
            raise AudioError(f"a file knows its own rate; leave out sample_rate={sample_rate}.")
        with AudioFile(source) as file:  # type: ignore[arg-type]  # it can be read
            yield file.sample_rate, file
        return
    if isinstance(source, (bytes, bytearray, memoryview)) or not isinstance(source, Iterable):
        raise AudioError(
            f"{type(source).__name__} is no sound; give a path, a binary file, an array of "
            "samples, or an iterator of arrays."
        )
    if sample_rate is None:
        raise AudioError("arrays do not know their rate; give it, such as sample_rate=16000.")
    yield sample_rate, _pieces(source, sample_rate) if isinstance(source, np.ndarray) else source


def _pieces(samples: Array, sample_rate: int) -> Iterator[Array]:
    size = int(PIECE_S * sample_rate)
    for begin in range(0, len(samples) if samples.ndim else 1, max(1, size)):
        yield samples[begin : begin + size] if samples.ndim else samples
