"""A microphone on a virtual clock, a tiny model that speaks, and the sound server of the tests."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rivulet import checkpoint
from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.features import FeatureConfig
from rivulet.acoustic.log_mel import FeatureStatistics
from rivulet.acoustic.model import AcousticModel
from rivulet.audio import read
from rivulet.checkpoint import Checkpoint
from rivulet.live.microphone import SignalFormat
from rivulet.testing import FakeMicrophone, Trouble
from rivulet.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
CLIPS = sorted((ROOT / "data" / "samples").glob("*.flac"))
SOCKET = Path(os.environ.get("RIVULET_PULSE_DIR", "/tmp/rivulet-pulse")) / "native"


class SimulatedMicrophone(FakeMicrophone):
    """The fake microphone of `rivulet.testing`, with a format given."""

    def __init__(
        self,
        signal: SignalFormat,
        sound: Callable[[int, int], np.ndarray],
        seconds: float,
        slowness: float | None = 0.0,
        queue_s: float = 10.0,
        ends_with: Exception | None = None,
    ) -> None:
        super().__init__(
            sound,
            signal.sample_rate,
            seconds,
            name=signal.device,
            channels=signal.channels,
            trouble=Trouble(slowness, queue_s, ends_with),
        )


def looped(samples: np.ndarray) -> Callable[[int, int], np.ndarray]:
    """Repeat (n, channels) without end."""

    def sound(start: int, count: int) -> np.ndarray:
        return samples[np.arange(start, start + count) % len(samples)]

    return sound


def babble(rate: int, channels: int, seconds: float = 20.0, seed: int = 3) -> np.ndarray:
    """Noise that comes and goes four times a second, int16 (n, channels)."""
    rng = np.random.default_rng(seed)
    count = int(rate * seconds)
    envelope = np.repeat(rng.uniform(0.0, 0.5, count * 4 // rate + 1), rate // 4)[:count]
    noise = rng.standard_normal((count, channels)) * envelope[:, None] * 0.4
    return np.clip(noise * 32767, -32768, 32767).astype(np.int16)


def speech(rate: int = 16_000) -> np.ndarray:
    """All clips end to end, int16 (n, 1) at 16 kHz."""
    whole = np.concatenate([piece for clip in CLIPS for piece in read(clip)])
    return np.clip(whole * 32767, -32768, 32767).astype(np.int16)[:, None]


def save_tiny_model(folder: Path, seed: int = 12) -> Path:
    """Write a model with random weights that are large enough to speak."""
    torch.manual_seed(seed)
    config = ModelConfig(channels=8, hidden=64, layers=1, lookahead=2, lookahead_ms=80, dropout=0.0)
    model = AcousticModel(config).eval().requires_grad_(False)
    model.output.weight.mul_(20.0)
    model.row.weight.uniform_(-1.0, 1.0)
    model.output.bias[8:] -= 1000.0  # few letters, so that blanks and boundaries win often
    statistics = FeatureStatistics(torch.full((80,), -7.0), torch.full((80,), 4.0))
    made = Checkpoint.of(model, Tokenizer.characters(), FeatureConfig(), statistics, name="tiny")
    checkpoint.save(made, folder)
    return folder


SEGMENT_S = 0.25  # of a clip, looked for by itself
ALIKE = 0.98  # correlation of a segment that came through
COMMON_HZ = 8_000  # at which two sounds are compared


def share_found(
    wanted: np.ndarray, wanted_hz: int, heard: np.ndarray, heard_hz: int
) -> tuple[float, bool]:
    """Look for every quarter of a second of `wanted` in `heard`, both (n,).

    A busy sound server drops sound here and there, which shifts what follows; a wrong rate, order
    or scale leaves no segment as it was.

    Returns:
        The share of the segments that are there, and whether all are, at one shift: a whole take.
    """
    import soxr

    clip = soxr.resample(wanted, wanted_hz, COMMON_HZ)
    got = soxr.resample(heard, heard_hz, COMMON_HZ)
    size = int(SEGMENT_S * COMMON_HZ)
    loud = 0.05 * np.sqrt(np.mean(clip**2))
    starts = [s for s in range(0, len(clip) - size, size) if np.std(clip[s : s + size]) > loud]
    found = [_best_place(clip[start : start + size], got) for start in starts]
    shifts = [
        place - start
        for start, (place, likeness) in zip(starts, found, strict=True)
        if likeness > ALIKE
    ]
    whole = len(shifts) == len(starts) and max(shifts) - min(shifts) <= 2
    return len(shifts) / len(starts), whole


def _best_place(part: np.ndarray, sound: np.ndarray) -> tuple[int, float]:
    """Return where `part` lies best in `sound`, and its correlation there, 1 for the same shape."""
    if len(sound) < len(part):
        return 0, 0.0
    size = len(sound) + len(part)
    products = np.fft.irfft(np.fft.rfft(sound, size) * np.conj(np.fft.rfft(part, size)), size)
    energy = np.cumsum(np.concatenate([[0.0], sound**2]))
    local = np.sqrt(np.maximum(energy[len(part) :] - energy[: -len(part)], 1e-9))
    likeness = products[: len(local)] / (local * np.linalg.norm(part))
    best = int(np.argmax(likeness))
    return best, float(likeness[best])


def sound_server() -> str:
    """Return the address of the tests' PulseAudio, or skip."""
    if not shutil.which("pactl") or not shutil.which("paplay"):
        pytest.skip("pactl and paplay are not installed; see tests/support/start_pulseaudio.sh")
    address = os.environ.get("PULSE_SERVER") or f"unix:{SOCKET}"
    os.environ["PULSE_SERVER"] = address
    answer = subprocess.run(["pactl", "info"], capture_output=True, timeout=10, check=False)
    if answer.returncode:
        pytest.skip(f"no PulseAudio at {address}; start it with tests/support/start_pulseaudio.sh")
    return address


class NullSink:
    """A sink without a loudspeaker whose monitor is the default source while it exists."""

    def __init__(self, rate: int = 48_000, channels: int = 1) -> None:
        self.name = f"rivulet_{rate}_{channels}"
        made = _pactl(
            "load-module",
            "module-null-sink",
            f"sink_name={self.name}",
            f"rate={rate}",
            f"channels={channels}",
        )
        self._module = made.strip()
        self._loaded = True
        _pactl("set-default-source", f"{self.name}.monitor")

    def play(self, path: Path) -> None:
        subprocess.run(["paplay", f"--device={self.name}", str(path)], check=True, timeout=60)

    def unload(self) -> None:
        if self._loaded:
            self._loaded = False
            _pactl("unload-module", self._module)


def unload_every_sink() -> None:
    """Leave no source at all: PulseAudio moves a stream to another source if there is one."""
    for line in _pactl("list", "short", "modules").splitlines():
        number, name = line.split("\t")[:2]
        if name == "module-null-sink":
            _pactl("unload-module", number)


def restore_sink() -> None:
    """Load the sink that tests/support/start_pulseaudio.sh promises."""
    _pactl("load-module", "module-null-sink", "sink_name=mic")
    _pactl("set-default-source", "mic.monitor")


def _pactl(*arguments: str) -> str:
    done = subprocess.run(["pactl", *arguments], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr
    return done.stdout
