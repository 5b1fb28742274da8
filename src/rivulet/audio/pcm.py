"""Samples as whole numbers of 16 bits and back: one scale, so the way there and back is exact."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FULL_SCALE = 32768  # int16 reaches from -32768 to 32767; a float of 1 is one step beyond


def from_int16(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """Return samples of any shape as float32 in [-1, 1)."""
    floats: npt.NDArray[np.float32] = samples.astype(np.float32) / np.float32(FULL_SCALE)
    return floats


def to_int16(samples: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Return floats of any shape as the nearest of 16 bits; what is louder is clipped."""
    scaled = np.rint(np.asarray(samples, np.float32) * np.float32(FULL_SCALE))
    whole: npt.NDArray[np.int16] = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return whole


def to_bytes(samples: npt.NDArray[Any]) -> bytes:
    """Return floats (n,) as 16-bit little-endian PCM."""
    return to_int16(samples).astype("<i2").tobytes()


def write_wav(path: Path, samples: npt.NDArray[Any], sample_rate: int) -> Path:
    """Write floats (n,) as a WAV of one channel; return its path."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, sample_rate, 0, "NONE", ""))  # 1 channel of 2 bytes
        file.writeframes(to_bytes(samples))
    return path
