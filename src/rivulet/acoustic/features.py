"""Samples → normalized log-mel frames, exact at any chunking."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torchaudio

from rivulet.acoustic.frames import HOP, WINDOW
from rivulet.audio import SAMPLE_RATE

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


class LogMel(torch.nn.Module):
    """Samples (..., n) → natural-log mel powers (..., T, n_mels), T = 1 + (n - 400) // 160.

    No padding, no state.
    """

    def __init__(self, config: FeatureConfig) -> None:
        """Build the filter bank."""
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=SAMPLE_RATE,
            n_fft=WINDOW,
            win_length=WINDOW,
            hop_length=HOP,
            f_min=config.f_min_hz,
            f_max=config.f_max_hz,
            n_mels=config.n_mels,
            center=False,  # a centered frame would need samples that are not there yet
            norm="slaney",
            mel_scale="slaney",  # as Whisper: no empty filter with 201 bins and 80 bands
        )

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the frames (..., T, n_mels) of `samples` (..., n), n ≥ 400."""
        mel: torch.Tensor = self.mel(samples)
        return torch.log(mel + FLOOR).transpose(-1, -2)


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation (n_mels,) of log-mel frames over the training speech."""

    mean: torch.Tensor
    std: torch.Tensor

    def normalize(self, frames: torch.Tensor) -> torch.Tensor:
        """Return `frames` (..., n_mels) with zero mean and unit variance per band."""
        return (frames - self.mean) / self.std


class FeatureExtractor:
    """Samples → normalized frames, a fixed number of frames at a time.

    Every transform sees exactly `block` frames, whatever the caller's chunks: floating-point sums
    are then made in the same order and the result is equal bit for bit, not only close.
    """

    def __init__(self, config: FeatureConfig, statistics: FeatureStatistics, block: int) -> None:
        """Hand over `block` frames at a time."""
        self.block = block
        self._log_mel = LogMel(config)
        self._statistics = statistics
        self._advance = block * HOP  # samples a block moves on
        self._needed = (block - 1) * HOP + WINDOW  # samples a block looks at
        self._held: npt.NDArray[np.float32] = np.zeros(0, np.float32)

    @property
    def held_samples(self) -> int:
        """Samples waiting for their block to fill: fewer than (block - 1) * 160 + 400."""
        return len(self._held)

    @torch.inference_mode()
    def push(self, samples: npt.NDArray[np.float32]) -> torch.Tensor:
        """Return the frames (k * block, n_mels) that 16 kHz `samples` (n,) complete; k may be 0."""
        self._held = np.concatenate([self._held, samples])
        blocks = []
        start = 0
        while len(self._held) - start >= self._needed:
            window = torch.from_numpy(self._held[start : start + self._needed].copy())
            blocks.append(self._statistics.normalize(self._log_mel(window)))
            start += self._advance
        self._held = self._held[
            start:
        ].copy()  # a copy, so that a long chunk is not kept alive by its tail
        return torch.cat(blocks) if blocks else torch.zeros(0, len(self._statistics.mean))

    def flush(self) -> torch.Tensor:
        """Return the last frames (k * block, n_mels), the open block filled up with silence."""
        covered = max(0, WINDOW - HOP)  # samples at the end that the frames already given have seen
        if len(self._held) == 0:
            return torch.zeros(0, len(self._statistics.mean))
        rows = -(
            -max(len(self._held) - covered, 1) // self._advance
        )  # blocks that still hold unseen samples
        missing = (rows - 1) * self._advance + self._needed - len(self._held)
        return self.push(np.zeros(missing, np.float32))

    def nbytes(self) -> int:
        """Bytes of state at its fullest."""
        return self._needed * 4
