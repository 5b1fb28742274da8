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
from rivulet.testing import FakeMicrophone
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
            slowness=slowness,
            queue_s=queue_s,
            ends_with=ends_with,
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
