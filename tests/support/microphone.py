"""A microphone on a virtual clock, a tiny model that speaks, and the sound server of the tests."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
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
from rivulet.live.microphone import Block, BlockQueue, SignalFormat
from rivulet.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
CLIPS = sorted((ROOT / "data" / "samples").glob("*.flac"))
SOCKET = Path(os.environ.get("RIVULET_PULSE_DIR", "/tmp/rivulet-pulse")) / "native"


class SimulatedMicrophone:
    """Blocks of `sound` on a virtual clock, through the same queue as real ones.

    A block costs `slowness` seconds of the clock per second of sound it makes the recognizer hear;
    None: what computing really takes.
    """

    def __init__(
        self,
        signal: SignalFormat,
        sound: Callable[[int, int], np.ndarray],
        seconds: float,
        slowness: float | None = 0.0,
        queue_s: float = 10.0,
        ends_with: Exception | None = None,
    ) -> None:
        self.format = signal
        self.queue = BlockQueue(signal.sample_rate, queue_s)
        self.most_held = 0
        self._sound = sound
        self._left = int(seconds * signal.sample_rate)
        self._size = signal.sample_rate // 10
        self._slowness = slowness
        self._ends_with = ends_with
        self._made = 0
        self._now = 0.0
        self._began: float | None = None

    def now(self) -> float:
        spent = time.perf_counter() - self._began if self._began is not None else 0.0
        return self._now + spent

    def stop(self) -> None:
        self._left = 0

    def close(self) -> None:
        pass

    def __iter__(self) -> Iterator[Block]:
        while True:
            self._produce()
            block = self.queue.get(0.0)
            if block is not None:
                yield from self._hand_over(block)
            elif self.queue.over:
                break
            else:
                self._now = self._due()
        if self._ends_with is not None:
            raise self._ends_with

    def _hand_over(self, block: Block) -> Iterator[Block]:
        if self._slowness is None:
            self._began = time.perf_counter()
            yield block
            self._now, self._began = self.now(), None
            return
        rate = self.format.sample_rate
        heard = len(block.samples) + min(block.lost, rate)  # of a gap at most 1 s is heard
        self._now += self._slowness * heard / rate
        yield block

    def _due(self) -> float:
        """When the next block arrives."""
        return (self._made + min(self._size, self._left)) / self.format.sample_rate

    def _produce(self) -> None:
        while self._left > 0 and self._due() <= self._now:
            arrived = self._due()
            samples = self._sound(self._made, min(self._size, self._left))
            self._made += len(samples)
            self._left -= len(samples)
            self.queue.put(samples, arrived)
            self.most_held = max(self.most_held, self.queue.held)
        if self._left <= 0:
            self.queue.end()


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
