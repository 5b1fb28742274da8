"""What a feature frame is, and which samples a block of frames looks at."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rivulet.acoustic.frames import HOP, WINDOW

FLOOR = 1e-9  # added to a mel power before the log: just above 16-bit rounding noise (3e-10)


@dataclass(frozen=True)
class FeatureConfig:
    """What a frame is; stored in the checkpoint."""

    n_mels: int = 80
    f_min_hz: float = 20.0
    f_max_hz: float = 7600.0


def band_centers(config: FeatureConfig) -> npt.NDArray[np.float64]:
    """Return where each mel band is most sensitive, in Hz, (n_mels,).

    Slaney's scale (Auditory Toolbox 1998): linear to 1 kHz, above it 27 steps for a factor of 6.4.
    """
    step_hz, knee_hz = 200.0 / 3.0, 1000.0
    knee, log_step = knee_hz / step_hz, np.log(6.4) / 27.0

    def mel(hertz: float) -> float:
        return hertz / step_hz if hertz < knee_hz else knee + np.log(hertz / knee_hz) / log_step

    mels = np.linspace(mel(config.f_min_hz), mel(config.f_max_hz), config.n_mels + 2)[1:-1]
    above = knee_hz * np.exp(np.maximum(mels - knee, 0.0) * log_step)
    centers: npt.NDArray[np.float64] = np.where(mels < knee, mels * step_hz, above)
    return centers


class SampleBlocks:
    """Samples → what each block of frames looks at, exact at any chunking.

    An engine sees exactly one block at a time, whatever the caller's chunks: floating-point sums
    are then made in the same order and the result is equal bit for bit, not only close.
    """

    def __init__(self, frames: int) -> None:
        """Cut into blocks of so many feature frames."""
        self.advance = frames * HOP  # samples a block moves on
        self.needed = (frames - 1) * HOP + WINDOW  # samples a block looks at
        self._held: npt.NDArray[np.float32] = np.zeros(0, np.float32)

    @property
    def held_samples(self) -> int:
        """Samples waiting for their block to fill: fewer than `needed`."""
        return len(self._held)

    def push(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the blocks (k, needed) that 16 kHz `samples` (n,) complete; k may be 0."""
        self._held = np.concatenate([self._held, samples])
        count = max(0, (len(self._held) - self.needed) // self.advance + 1)
        blocks = np.empty((count, self.needed), np.float32)
        for row in range(count):
            blocks[row] = self._held[row * self.advance : row * self.advance + self.needed]
        # a copy, so that a long chunk is not kept alive by its tail
        self._held = self._held[count * self.advance :].copy()
        return blocks

    def flush(self) -> npt.NDArray[np.float32]:
        """Return the last blocks (k, needed), the open one filled up with silence."""
        covered = max(0, WINDOW - HOP)  # samples at the end that the blocks already given have seen
        if len(self._held) == 0:
            return np.zeros((0, self.needed), np.float32)
        rows = -(
            -max(len(self._held) - covered, 1) // self.advance
        )  # that still hold unseen samples
        missing = (rows - 1) * self.advance + self.needed - len(self._held)
        return self.push(np.zeros(missing, np.float32))

    def nbytes(self) -> int:
        """Bytes of state at its fullest."""
        return self.needed * 4
