"""Samples → normalized log-mel frames in torch: what a network is trained on."""

from dataclasses import dataclass

import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from rivulet.acoustic.arrays import dft_matrix
from rivulet.acoustic.features import FLOOR, FeatureConfig
from rivulet.acoustic.frames import HOP, WINDOW
from rivulet.audio import SAMPLE_RATE


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

    def forward(self, samples: Tensor) -> Tensor:
        """Return the frames (..., T, n_mels) of `samples` (..., n), n ≥ 400."""
        mel: Tensor = self.mel(samples)
        return torch.log(mel + FLOOR).transpose(-1, -2)


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation (n_mels,) of log-mel frames over the training speech."""

    mean: Tensor
    std: Tensor

    def normalize(self, frames: Tensor) -> Tensor:
        """Return `frames` (..., n_mels) with zero mean and unit variance per band."""
        return (frames - self.mean) / self.std


class MatrixLogMel(torch.nn.Module):
    """`LogMel` with its Fourier transform as one matrix product, which every engine can run.

    The window and the filter bank are those of the torchaudio module it is made from.
    """

    def __init__(self, log_mel: LogMel) -> None:
        """Take the window (400,) and the filter bank (201, n_mels) of `log_mel`."""
        super().__init__()
        self.window: Tensor
        self.filters: Tensor
        self.dft: Tensor
        self.register_buffer("window", log_mel.mel.spectrogram.window)
        self.register_buffer("filters", log_mel.mel.mel_scale.fb)
        self.register_buffer("dft", torch.from_numpy(dft_matrix(WINDOW)))

    def forward(self, samples: Tensor) -> Tensor:
        """Return the frames (B, T, n_mels) of `samples` (B, (T - 1) * 160 + 400)."""
        spectrum = (_frames(samples) * self.window) @ self.dft
        real, imaginary = spectrum.chunk(2, dim=-1)
        return torch.log((real * real + imaginary * imaginary) @ self.filters + FLOOR)


def _frames(samples: Tensor) -> Tensor:
    """(B, (T - 1) * 160 + 400) → overlapping windows (B, T, 400), in plain slices that ONNX has."""
    batch, length = samples.shape
    pieces = []
    for start in range(0, WINDOW, HOP):
        stop = min(start + HOP, WINDOW)
        piece = samples[:, start : length - WINDOW + stop]
        piece = functional.pad(piece, (0, start + HOP - stop)).reshape(batch, -1, HOP)
        pieces.append(piece[:, :, : stop - start])
    return torch.cat(pieces, dim=2)
