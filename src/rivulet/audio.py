"""Sound in: files of any format and rate, and the stateful resampler to mono float32 at 16 kHz."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
import numpy.typing as npt
import soxr

from rivulet.errors import AudioError

SAMPLE_RATE = 16_000  # Hz, what the features expect
FILE_BLOCK_S = 0.5  # seconds of sound handed over at a time; bounds memory for any file length
RATE_RANGE_HZ = (4_000, 384_000)  # below, speech is unintelligible; above, nothing records
TRUNCATION_SLACK_S = 0.25  # encoders pad and trim by up to a few frames of 1152 samples
EXACT_DURATION_FORMATS = frozenset({"wav", "flac", "aiff", "au", "w64", "mov", "mp4", "matroska"})
"""Containers whose header states the length; elsewhere FFmpeg's duration is an estimate."""
WAV_UNKNOWN = 0x7FFFFFFF  # sizes from here on are placeholders of programs that write to a pipe

Samples = npt.NDArray[np.float32]


class AudioFile:
    """A sound file, decoded block by block and never held whole.

    Iterating yields float32 arrays (n, channels) in [-1, 1] at `sample_rate`. A file that ends
    before its header says so raises AudioError *after* everything that could be decoded has been
    yielded.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO) -> None:
        """Open `source`: a path, or a binary stream such as standard input.

        Raises:
            AudioError: the file is missing, empty, unreadable, not a sound file, or a video without
                sound.
        """
        self.name = str(source) if isinstance(source, (str, os.PathLike)) else "standard input"
        if isinstance(source, (str, os.PathLike)):
            _check_path(Path(source))
        try:
            self._container: Any = av.open(  # Any: av types its readers and writers as one union
                source if not isinstance(source, os.PathLike) else str(source),
                metadata_errors="ignore",
            )
        except (av.error.FFmpegError, ValueError) as error:
            raise AudioError(
                f"{self.name} is not a sound file that FFmpeg can read ({_reason(error)}); "
                "give wav, flac, mp3, m4a, ogg, opus or webm."
            ) from error
        if not self._container.streams.audio:
            self._container.close()
            raise AudioError(f"{self.name} has no sound track; give a file with audio in it.")
        self._stream = self._container.streams.audio[0]
        self.sample_rate = int(self._stream.codec_context.sample_rate)
        self.channels = int(self._stream.codec_context.channels)
        self.declared_s = self._declared_seconds()
        if "wav" in self._container.format.name and isinstance(source, (str, os.PathLike)):
            self.declared_s = _wav_seconds(Path(source)) or self.declared_s

    def _declared_seconds(self) -> float | None:
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        duration = self._container.duration
        return float(duration / av.time_base) if duration else None

    def __iter__(self) -> Iterator[Samples]:
        """Yield (n, channels) float32 blocks until the end of the file."""
        convert = av.AudioResampler(format="fltp")  # sample format only: rate and layout stay
        decoded = 0
        pending: list[Samples] = []
        held = 0
        for block in self._frames(convert):
            decoded += len(block)
            pending.append(block)
            held += len(block)
            if held >= FILE_BLOCK_S * self.sample_rate:
                yield np.concatenate(pending)
                pending, held = [], 0
        if pending:
            yield np.concatenate(pending)
        self._check_complete(decoded)

    def _frames(self, convert: Any) -> Iterator[Samples]:
        """Decoded frames (n, channels); a decoding error in the middle ends the file there."""
        self._broken: str | None = None
        try:
            for frame in self._container.decode(self._stream):
                for part in convert.resample(frame):
                    yield np.ascontiguousarray(part.to_ndarray().T, dtype=np.float32)
        except av.error.FFmpegError as error:
            self._broken = _reason(error)

    def _check_complete(self, decoded: int) -> None:
        heard_s = decoded / self.sample_rate
        if decoded == 0:
            raise AudioError(f"{self.name} contains 0 samples of sound; record it again.")
        if self._broken:
            raise AudioError(
                f"{self.name} is damaged after {heard_s:.2f} s ({self._broken}); "
                "what came before was transcribed, the rest needs a fresh copy of the file."
            )
        exact = EXACT_DURATION_FORMATS & set(self._container.format.name.split(","))
        if exact and self.declared_s and heard_s < self.declared_s - TRUNCATION_SLACK_S:
            raise AudioError(
                f"{self.name} is truncated: its header says {self.declared_s:.2f} s and only "
                f"{heard_s:.2f} s are there; "
                "what is there was transcribed, the rest needs a fresh copy of the file."
            )

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._container.close()

    def __enter__(self) -> "AudioFile":
        """Enter a `with` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


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
                "pass the rate of the samples, for example sample_rate=48000."
            )
        self.sample_rate = int(sample_rate)
        self._soxr = (
            soxr.ResampleStream(self.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            if self.sample_rate != SAMPLE_RATE
            else None
        )

    def push(self, samples: npt.NDArray[Any]) -> Samples:
        """Return the 16 kHz samples (m,) that `samples`, (n,) or (n, channels), complete."""
        mono = to_mono(samples)
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


def read(source: str | os.PathLike[str] | BinaryIO) -> Iterator[Samples]:
    """Yield a sound file as mono float32 blocks (n,) at 16 kHz.

    Raises:
        AudioError: see `AudioFile`.
    """
    with AudioFile(source) as audio:
        resampler = Resampler(audio.sample_rate)
        for block in audio:
            yield resampler.push(block)
        yield resampler.flush()


def to_mono(samples: npt.NDArray[Any]) -> Samples:
    """Check samples at the border and return them as mono float32 (n,) in [-1, 1].

    Raises:
        AudioError: the dtype is neither float nor int16, there are more than two dimensions, or a
            value is not finite.
    """
    samples = np.asarray(samples)
    if samples.dtype == np.int16:
        floats = samples.astype(np.float32) / 32768.0  # int16 full scale
    elif samples.dtype.kind == "f":
        floats = samples.astype(np.float32)  # always a copy: a caller may reuse its buffer
    else:
        raise AudioError(f"samples are {samples.dtype}; give float32 in [-1, 1] or int16.")
    if floats.ndim == 2:
        if floats.shape[1] == 0:
            raise AudioError(
                f"samples have shape {floats.shape}, so 0 channels; give (n,) or (n, channels)."
            )
        floats = floats.mean(axis=1) if floats.shape[1] > 1 else floats[:, 0]
    if floats.ndim != 1:
        raise AudioError(f"samples have {floats.ndim} dimensions; give (n,) or (n, channels).")
    bad = np.flatnonzero(~np.isfinite(floats))
    if bad.size:
        raise AudioError(
            f"{bad.size} of {floats.size} samples are NaN or infinite, the first at {bad[0]}; "
            "repair the source, nothing after them was decoded."
        )
    return floats


def _check_path(path: Path) -> None:
    if not path.exists():
        raise AudioError(f"{path} does not exist; check the spelling and the folder {Path.cwd()}.")
    if path.is_dir():
        raise AudioError(f"{path} is a folder; give the sound files in it.")
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes); record or copy it again.")


def _wav_seconds(path: Path) -> float | None:
    """Length that a WAV header promises, where FFmpeg tells what is there; None if unknown."""
    with path.open("rb") as file:
        file.seek(12)  # "RIFF", size, "WAVE"
        bytes_per_second = 0
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                known = bytes_per_second and 0 < size < WAV_UNKNOWN
                return size / bytes_per_second if known else None
            content = file.read(size + size % 2)  # chunks are padded to even sizes
            if name == b"fmt " and len(content) >= 12:
                (bytes_per_second,) = struct.unpack_from("<I", content, 8)
    return None


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).split(":")[0]
