"""`Frontend`: samples of any rate, in any pieces → the blocks of frames that the network takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rivulet.acoustic.features import FeatureExtractor
from rivulet.acoustic.frames import seconds_of
from rivulet.audio import SAMPLE_RATE, Resampler


@dataclass(frozen=True)
class FrameBlock:
    """Normalized frames (block, n_mels), and the seconds of sound that they and all before need."""

    frames: torch.Tensor
    at: float


class Frontend:
    """Resampler and features of one signal; hands over whole blocks only."""

    def __init__(self, features: FeatureExtractor, sample_rate: int = SAMPLE_RATE) -> None:
        """Begin at time 0.

        Raises:
            AudioError: the rate is outside 4 to 384 kHz.
        """
        self._resampler = Resampler(sample_rate)
        self._features = features
        self._samples = 0  # at 16 kHz
        self._blocks = 0

    @property
    def seconds(self) -> float:
        """Sound taken so far."""
        return self._samples / SAMPLE_RATE

    @property
    def nbytes(self) -> int:
        """Bytes of samples waiting for their block, at the most."""
        return self._features.nbytes()

    def push(self, samples: npt.NDArray[Any]) -> list[FrameBlock]:
        """Return the blocks that `samples`, (n,) or (n, channels), complete.

        Raises:
            AudioError: the samples are not finite or not sound; nothing of them was taken.
        """
        return self._blocks_of(self._resampler.push(samples))

    def flush(self, silence_s: float) -> list[FrameBlock]:
        """Return the blocks up to the last sample and `silence_s` beyond; they end with the sound.

        A signal of no samples has no blocks.
        """
        blocks = self._blocks_of(self._resampler.flush())
        if not self._samples:
            return blocks
        silence = np.zeros(int(silence_s * SAMPLE_RATE), np.float32)
        frames = torch.cat([self._features.push(silence), self._features.flush()])
        return blocks + [FrameBlock(block, round(self.seconds, 3)) for block in self._split(frames)]

    def _blocks_of(self, samples: npt.NDArray[np.float32]) -> list[FrameBlock]:
        self._samples += len(samples)
        made = []
        for block in self._split(self._features.push(samples)):
            self._blocks += 1
            made.append(FrameBlock(block, round(seconds_of(self._blocks * len(block)), 3)))
        return made

    def _split(self, frames: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.split(frames, self._features.block)) if len(frames) else []
