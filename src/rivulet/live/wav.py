"""The sound of a recording as a WAV."""

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rivulet.errors import RecordingError
from rivulet.live.microphone import DeviceSamples, SignalFormat
from rivulet.live.recording import Recording

WAV_BYTES = (1 << 32) - 4096  # of sound, behind a header of 32-bit lengths


def export_wav(recording: Recording, path: Path) -> float:
    """Write the device sound to `path`, silence where some was lost; return its seconds."""
    signal = recording.header.signal
    frames = 0
    with wave.open(str(path), "wb") as out:
        out.setnchannels(signal.channels)
        out.setsampwidth(2)  # bytes of int16
        out.setframerate(signal.sample_rate)
        for recorded in recording:
            for piece in (*_silence(recorded.block.lost, signal), recorded.block.samples):
                frames += len(piece)
                if frames * signal.channels * 2 > WAV_BYTES:
                    raise RecordingError(
                        f"{recording.path} has more sound than a WAV can hold, 4 GB: the first "
                        f"{frames / signal.sample_rate / 3600:.1f} h of it are in {path}."
                    )
                out.writeframes(piece.astype("<i2").tobytes())
    return frames / signal.sample_rate


def _silence(samples: int, signal: SignalFormat) -> Iterator[DeviceSamples]:
    """Yield so many samples in pieces: a machine may have slept for a night."""
    for start in range(0, samples, signal.sample_rate):
        count = min(signal.sample_rate, samples - start)
        yield np.zeros((count, signal.channels), np.int16)
