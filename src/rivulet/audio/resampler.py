"""The stateful resampler to mono float32 at 16 kHz."""

from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from rivulet.audio.mixing import Downmix, Samples
from rivulet.errors import AudioError

SAMPLE_RATE = 16_000  # Hz, what the features expect
RATE_RANGE_HZ = (4_000, 384_000)  # below, speech is unintelligible; above, nothing records


class Resampler:
    """Any rate and channel count → mono float32 (n,) at 16 kHz, with state (soxr HQ)."""

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        """Resample from `sample_rate` Hz.

        Raises:
            AudioError: the rate is outside 4 to 384 kHz.
        """
        low, high = RATE_RANGE_HZ
        if not low <= sample_rate <= high:
            raise AudioError(
                f"a sample rate of {sample_rate} Hz is outside {low} to {high} Hz; "
                "give the true rate of the samples, or resample them to 16000 Hz first."
            )
        self.sample_rate = int(sample_rate)
        self._downmix = Downmix(self.sample_rate)
        self._soxr = (
            soxr.ResampleStream(self.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            if self.sample_rate != SAMPLE_RATE
            else None
        )

    @property
    def cancelled(self) -> bool:
        """Whether the channels' mean cancelled somewhere, so that a single channel was taken."""
        return self._downmix.cancelled

    def push(self, samples: npt.NDArray[Any]) -> Samples:
        """Return the 16 kHz samples (m,) that `samples`, (n,) or (n, channels), complete.

        Raises:
            AudioError: the samples are not finite, far outside [-1, 1], of another dtype or shape,
                or of another number of channels than before; the state stays as it was.
        """
        mono = self._downmix.push(samples)
        if self._soxr is None:
            return mono
        resampled: Samples = self._soxr.resample_chunk(mono)
        return resampled

    def flush(self) -> Samples:
        """Return the samples still inside the filter; the resampler cannot be used after."""
        if self._soxr is None:
            return np.zeros(0, np.float32)
        rest: Samples = self._soxr.resample_chunk(np.zeros(0, np.float32), last=True)
        return rest
