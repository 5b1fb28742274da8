"""Replays audio and reports what it cost."""

import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from rivulet import audio
from rivulet.acoustic.instructions import instruction_set
from rivulet.errors import ConfigError
from rivulet.evaluation.memory import peak_bytes
from rivulet.events import Event, Final
from rivulet.recognizer import Recognizer

LIBRARIES = ("numpy", "onnxruntime", "torch")
WARM_UP_BLOCKS = 20  # not counted: the first calls allocate and choose kernels
LOOP_S = 120  # seconds of distinct sound that many streams share and repeat
STAGGER = 17  # blocks between the beginnings of two streams


@dataclass(frozen=True)
class SpeedReport:
    """What a stream cost; times in seconds, memory in bytes."""

    audio_s: float
    compute_s: float
    block_ms: int
    block_p50_ms: float
    block_p99_ms: float
    latency_ms: int
    state_bytes: int
    peak_bytes: int
    start_s: float
    words: int

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of computing per second of sound."""
        return self.compute_s / self.audio_s


@dataclass(frozen=True)
class StreamsReport:
    """What several live streams in one process cost, taking turns block by block.

    audio_s: sound of all streams together.
    compute_s: computing for all of them.
    round_p50_ms, round_p99_ms: time to serve one block of every stream; below `block_ms` all keep
        up with live sound.
    state_bytes: state of all streams.
    """

    streams: int
    audio_s: float
    compute_s: float
    block_ms: int
    round_p50_ms: float
    round_p99_ms: float
    state_bytes: int

    @property
    def keeps_up(self) -> bool:
        """Whether 99 of 100 rounds end before the next block is there."""
        return self.round_p99_ms < self.block_ms

    @property
    def streams_per_core(self) -> float:
        """Live streams that the time of one core would suffice for."""
        return self.audio_s / self.compute_s


@dataclass(frozen=True)
class Machine:
    """Where a number was measured, and with which versions of what computes."""

    system: str
    processor: str
    instructions: str
    cores: int
    threads: int
    python: str
    libraries: dict[str, str]
    commit: str


def measure_speed(
    recognizer: Recognizer, files: list[Path], seconds: float, start_s: float
) -> SpeedReport:
    """Run `files` through one stream block by block, repeated until `seconds` are reached."""
    if seconds <= 0.0:
        raise ConfigError(f"{seconds} s of sound cannot be measured; ask for more than 0.")
    stream = recognizer.stream()
    block = recognizer.block_ms * audio.SAMPLE_RATE // 1000
    times: list[float] = []
    heard = words = 0
    for samples in _blocks(files, block, int(seconds * audio.SAMPLE_RATE)):
        began = time.perf_counter()
        events = stream.accept(samples)
        times.append(time.perf_counter() - began)
        heard += len(samples)
        words += _words(events)
    began = time.perf_counter()
    words += _words(stream.finish())
    compute_s = sum(times) + time.perf_counter() - began
    counted = np.array(times[WARM_UP_BLOCKS:] or times) * 1000.0
    return SpeedReport(
        audio_s=heard / audio.SAMPLE_RATE,
        compute_s=compute_s,
        block_ms=recognizer.block_ms,
        block_p50_ms=float(np.percentile(counted, 50)),
        block_p99_ms=float(np.percentile(counted, 99)),
        latency_ms=recognizer.latency_ms,
        state_bytes=stream.nbytes,
        peak_bytes=peak_bytes(),
        start_s=start_s,
        words=words,
    )


def measure_streams(
    recognizer: Recognizer, files: list[Path], seconds: float, streams: int
) -> StreamsReport:
    """Run `streams` live streams on one thread, `seconds` of sound each.

    Stream i begins `STAGGER` * i blocks into the sound, so that no two say the same at a time.

    Raises:
        ConfigError: there are no streams or no sound.
    """
    if streams < 1:
        raise ConfigError(f"{streams} streams cannot be measured; ask for 1 or more.")
    if seconds <= 0.0:
        raise ConfigError(f"{seconds} s of sound cannot be measured; ask for more than 0.")
    block = recognizer.block_ms * audio.SAMPLE_RATE // 1000
    rounds = max(1, round(seconds * audio.SAMPLE_RATE / block))
    distinct = min(rounds, LOOP_S * audio.SAMPLE_RATE // block)
    sound = list(_blocks(files, block, distinct * block))
    live = [recognizer.stream() for _ in range(streams)]
    times: list[float] = []
    for turn in range(rounds):
        began = time.perf_counter()
        for index, stream in enumerate(live):
            stream.accept(sound[(turn + STAGGER * index) % len(sound)])
        times.append(time.perf_counter() - began)
    counted = np.array(times[WARM_UP_BLOCKS:] or times) * 1000.0
    return StreamsReport(
        streams=streams,
        audio_s=len(times) * streams * recognizer.block_ms / 1000,
        compute_s=sum(times),
        block_ms=recognizer.block_ms,
        round_p50_ms=float(np.percentile(counted, 50)),
        round_p99_ms=float(np.percentile(counted, 99)),
        state_bytes=sum(stream.nbytes for stream in live),
    )


def measure_start(model: str) -> float:
    """Return the seconds a fresh process needs until it could take its first sample."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", f"import rivulet; rivulet.Recognizer.load({model!r}).stream()"],
        check=True,
    )
    return time.perf_counter() - began


def this_machine(threads: int = 1) -> Machine:
    """Describe this machine and the code's commit, if it runs from a checkout."""
    return Machine(
        platform.system(),
        _processor(),
        instruction_set(),
        os.cpu_count() or 1,
        threads,
        platform.python_version(),
        _versions(),
        _commit(),
    )


def _blocks(files: list[Path], block: int, samples: int) -> Iterator[audio.Samples]:
    """Blocks of exactly `block` samples (the last may be shorter), `samples` in all."""
    held = np.zeros(0, np.float32)
    while samples > 0:
        for path in files:
            for piece in audio.read(path):
                held = np.concatenate([held, piece])
                while len(held) >= block and samples > 0:
                    yield held[: min(block, samples)]
                    samples -= block
                    held = held[block:]
                if samples <= 0:
                    return


def _words(events: list[Event]) -> int:
    return sum(len(event.words) for event in events if isinstance(event, Final))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _commit() -> str:
    folder = Path(__file__).parent
    out = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return out.stdout.strip() or "unknown"
