"""`Frontend`: samples of any rate, in any pieces → the blocks that an engine takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.acoustic.engine import FloatArray
from rivulet.acoustic.features import SampleBlocks
from rivulet.acoustic.frames import HOP, WINDOW, seconds_of
from rivulet.audio import SAMPLE_RATE, Resampler


@dataclass(frozen=True)
class SampleBlock:
    """What the frames of a block look at, (n,) at 16 kHz, and the seconds of sound up to there."""

    samples: FloatArray
    at: float


def joined(blocks: Sequence[SampleBlock]) -> FloatArray:
    """Return what several blocks in a row look at: each begins with the end of the one before."""
    if len(blocks) == 1:
        return blocks[0].samples
    fresh = [block.samples[WINDOW - HOP :] for block in blocks[1:]]
    return np.concatenate([blocks[0].samples, *fresh])


class Frontend:
    """Resampler and blocks of one signal; hands over whole blocks only."""

    def __init__(self, frames: int, sample_rate: int = SAMPLE_RATE, skipped: int = 0) -> None:
        """Begin, with blocks of so many feature frames.

        Args:
            frames: of a block.
            sample_rate: in Hz.
            skipped: samples at 16 kHz, whole blocks, that were left out before: times count them.

        Raises:
            AudioError: the rate is outside 4 to 384 kHz.
        """
        self._resampler = Resampler(sample_rate)
        self._frames = frames
        self._cut = SampleBlocks(frames)
        self._samples = skipped  # at 16 kHz
        self._blocks = skipped // (frames * HOP)

    @property
    def seconds(self) -> float:
        """Sound taken so far."""
        return self._samples / SAMPLE_RATE

    @property
    def held_samples(self) -> int:
        """Samples at 16 kHz that wait for their block."""
        return self._cut.held_samples

    @property
    def nbytes(self) -> int:
        """Bytes of samples waiting for their block, at the most."""
        return self._cut.nbytes()

    def push(self, samples: npt.NDArray[Any]) -> list[SampleBlock]:
        """Return the blocks that `samples`, (n,) or (n, channels), complete.

        Raises:
            AudioError: the samples are not finite or not sound; nothing of them was taken.
        """
        return self._blocks_of(self._resampler.push(samples))

    def flush(self, silence_s: float) -> list[SampleBlock]:
        """Return the blocks up to the last sample and `silence_s` beyond; they end with the sound.

        A signal of no samples has no blocks.
        """
        blocks = self._blocks_of(self._resampler.flush())
        if not self._samples:
            return blocks
        silence = np.zeros(int(silence_s * SAMPLE_RATE), np.float32)
        rest = [*self._cut.push(silence), *self._cut.flush()]
        return blocks + [SampleBlock(block, round(self.seconds, 3)) for block in rest]

    def _blocks_of(self, samples: npt.NDArray[np.float32]) -> list[SampleBlock]:
        self._samples += len(samples)
        made = []
        for block in self._cut.push(samples):
            self._blocks += 1
            made.append(SampleBlock(block, round(seconds_of(self._blocks * self._frames), 3)))
        return made
