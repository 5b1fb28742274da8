"""Channels to one: their mean, or a single channel while the mean cancels."""

from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.audio.pcm import from_int16
from rivulet.errors import AudioError

Samples = npt.NDArray[np.float32]

MAX_CHANNELS = 64  # of an array handed over; more is an array of shape (channels, n)
MAX_PEAK = 16.0  # 24 dB above full scale; int16 values handed over as floats lie far above
WINDOW_S = 0.02  # energies are compared once per window
MEMORY_S = 1.0  # over which the energies are averaged
CANCELLED = 0.1  # mean's energy, of that of unrelated channels: below, one channel is taken
RESTORED = 0.3  # above, the mean is taken again


def to_floats(samples: npt.NDArray[Any]) -> Samples:
    """Check samples at the border and return a float32 copy, (n,) or (n, channels), in [-1, 1].

    Raises:
        AudioError: the dtype is neither float nor int16, the shape is not (n,) or (n, channels), or
            a value is not finite or far outside [-1, 1].
    """
    samples = np.asarray(samples)
    if samples.dtype == np.int16:
        floats = from_int16(samples)
    elif samples.dtype.kind == "f":
        floats = samples.astype(np.float32)  # always a copy: a caller may reuse its buffer
    else:
        raise AudioError(f"samples are {samples.dtype}; give float32 in [-1, 1] or int16.")
    _check_shape(floats)
    _check_values(floats)
    return floats


def _check_shape(floats: Samples) -> None:
    if floats.ndim not in (1, 2):
        raise AudioError(f"samples have {floats.ndim} dimensions; give (n,) or (n, channels).")
    if floats.ndim == 2 and floats.shape[1] == 0:
        raise AudioError(
            f"samples have shape {floats.shape}, so 0 channels; give (n,) or (n, channels)."
        )
    if floats.ndim == 2 and floats.shape[1] > MAX_CHANNELS:
        raise AudioError(
            f"samples have shape {floats.shape}, so {floats.shape[1]} channels, and at most "
            f"{MAX_CHANNELS} can be; give (n,) or (n, channels), for example samples.T of what "
            "torchaudio reads."
        )


def _check_values(floats: Samples) -> None:
    if not floats.size:
        return
    peak = float(np.abs(floats).max())
    if peak <= MAX_PEAK:
        return
    bad = np.flatnonzero(~np.isfinite(floats))
    if bad.size:
        channels = floats.shape[1] if floats.ndim == 2 else 1
        raise AudioError(
            f"{bad.size} of {floats.size} samples are NaN or infinite, the first at "
            f"{bad[0] // channels}; repair the source, nothing after them was decoded."
        )
    raise AudioError(
        f"samples reach {peak:.6g}, and full scale is 1; give float32 in [-1, 1] (int16 values "
        "divided by 32768) or int16."
    )


def to_mono(samples: npt.NDArray[Any]) -> Samples:
    """Check samples and return their mean over channels, mono float32 (n,) in [-1, 1].

    Raises:
        AudioError: see `to_floats`.
    """
    return _mean(to_floats(samples))


def _mean(floats: Samples) -> Samples:
    if floats.ndim == 1:
        return floats
    mono: Samples = floats.mean(axis=1) if floats.shape[1] > 1 else floats[:, 0]
    return mono


class Downmix:
    """Channels → mono, (n, channels) → (n,), whatever the pieces.

    Where channels are opposite (one wired the wrong way round), their mean is silence. Energies are
    compared window by window; the loudest channel stands for all while the mean cancels. A window
    is decided by those before it, so nothing is held back.
    """

    def __init__(self, sample_rate: int) -> None:
        """Begin with the mean, at `sample_rate` Hz."""
        self._window = max(1, int(WINDOW_S * sample_rate))
        self._keep = 1.0 - WINDOW_S / MEMORY_S
        self._channels = 0  # not known before the first piece
        self._open: list[Samples] = []  # pieces of the window that is not complete
        self._filled = 0
        self._mean_energy = 0.0
        self._energies = np.zeros(0)
        self._chosen: int | None = None
        self.cancelled = False  # ever

    def push(self, samples: npt.NDArray[Any]) -> Samples:
        """Return the mono samples (n,) of `samples`, (n,) or (n, channels).

        Raises:
            AudioError: see `to_floats`, or the number of channels is another than before.
        """
        floats = to_floats(samples)
        channels = floats.shape[1] if floats.ndim == 2 else 1
        if self._channels and channels != self._channels and len(floats):
            raise AudioError(
                f"samples have shape {floats.shape}, so {channels} channels after "
                f"{self._channels} before; give (n,) or (n, channels) with one number of channels."
            )
        if len(floats):
            self._channels = channels
        return _mean(floats) if channels == 1 else self._mix(floats)

    def _mix(self, floats: Samples) -> Samples:
        mono = np.empty(len(floats), np.float32)
        start = 0
        while start < len(floats):
            end = min(len(floats), start + self._window - self._filled)
            part = floats[start:end]
            mono[start:end] = _mean(part) if self._chosen is None else part[:, self._chosen]
            self._open.append(part)
            self._filled += end - start
            if self._filled == self._window:
                self._decide(np.concatenate(self._open))
                self._open, self._filled = [], 0
            start = end
        return mono

    def _decide(self, window: Samples) -> None:
        """Take a complete window (n, channels) into account for the next."""
        squares = np.square(window, dtype=np.float64).sum(axis=0)
        if not self._energies.size:
            self._energies = np.zeros(len(squares))
        self._energies = self._energies * self._keep + squares
        mean = float(np.square(_mean(window), dtype=np.float64).sum())
        self._mean_energy = self._mean_energy * self._keep + mean
        unrelated = float(self._energies.sum()) / len(squares) ** 2
        if self._mean_energy < CANCELLED * unrelated and self._chosen is None:
            self._chosen = int(self._energies.argmax())
            self.cancelled = True
        elif self._mean_energy > RESTORED * unrelated:
            self._chosen = None
