"""Replays audio and reports what it cost, in seconds of CPU: what else runs hardly counts."""

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from rivulet import audio
from rivulet.acoustic.engine import Engine, FloatArray
from rivulet.acoustic.frames import HOP, STRIDE, WINDOW
from rivulet.acoustic.instructions import instruction_set
from rivulet.decoding.decoder import WrappedDecoder
from rivulet.errors import ConfigError
from rivulet.evaluation.memory import peak_bytes
from rivulet.events import Event, Final
from rivulet.recognizer import Recognizer

LIBRARIES = ("numpy", "onnxruntime", "torch")
WARM_UP_BLOCKS = 20  # not counted: the first calls allocate and choose kernels
LOOP_S = 120  # seconds of distinct sound that many streams share and repeat
STAGGER = 17  # blocks between the beginnings of two streams

START = """
import json, sys, time

import rivulet
from rivulet import Recognizer
from rivulet.evaluation.memory import peak_bytes

found = {}

def note(stage):
    found.update({stage + "_s": time.process_time(), stage + "_bytes": peak_bytes()})

note("import")
recognizer = Recognizer.load(**json.loads(sys.argv[2]))
stream = recognizer.stream()
note("load")
for samples in rivulet.audio.read(sys.argv[1]):
    if any(event.text for event in stream.accept(samples)):
        break
note("words")
print(json.dumps(found))
"""


@dataclass(frozen=True)
class SpeedReport:
    """What a stream cost; times are of CPU, in seconds, memory in bytes.

    parts: milliseconds of a mean block, by what they were spent on.
    """

    audio_s: float
    compute_s: float
    block_ms: int
    block_p50_ms: float
    block_p99_ms: float
    block_max_ms: float
    latency_ms: int
    state_bytes: int
    peak_bytes: int
    words: int
    parts: dict[str, float]

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of computing per second of sound."""
        return self.compute_s / self.audio_s


@dataclass(frozen=True)
class StartReport:
    """A fresh process up to the first words of a file.

    import_s, load_s, words_s: seconds of CPU until the package was imported, a stream was open,
        the first words were there; each counts from the start.
    import_bytes, load_bytes, words_bytes: the most memory held up to there.
    """

    import_s: float
    load_s: float
    words_s: float
    import_bytes: int
    load_bytes: int
    words_bytes: int


class TimedEngine:
    """An engine, and the seconds that its steps took."""

    def __init__(self, engine: Engine) -> None:
        """Stand before `engine`."""
        self._engine = engine
        self.layout, self.name, self.threads = engine.layout, engine.name, engine.threads
        self.arithmetic, self.joins = engine.arithmetic, engine.joins
        self.seconds, self.blocks = 0.0, 0

    def step(self, samples: FloatArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Advance as the engine does."""
        began = time.process_time()
        result = self._engine.step(samples, state)
        self.seconds += time.process_time() - began
        self.blocks += 1
        return result


class TimedDecoder(WrappedDecoder):
    """A decoder, and the seconds that it took to search."""

    seconds = 0.0

    def push(self, log_probs: FloatArray) -> None:
        """Decode (T, columns) natural-log probabilities."""
        began = time.process_time()
        super().push(log_probs)
        self.seconds += time.process_time() - began


@dataclass(frozen=True)
class StreamsReport:
    """What several live streams in one process cost, taking turns block by block.

    audio_s: sound of all streams together.
    compute_s: seconds of CPU for all of them.
    round_p50_ms, round_p99_ms: time, by the clock on the wall, to serve one block of every stream;
        below `block_ms` all keep up with live sound.
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


def measure_speed(recognizer: Recognizer, files: Sequence[Path], seconds: float) -> SpeedReport:
    """Run `files` through one stream block by block, repeated until `seconds` are reached."""
    if seconds <= 0.0:
        raise ConfigError(f"{seconds} s of sound cannot be measured; ask for more than 0.")
    engine = TimedEngine(recognizer.checkpoint.engine)
    decoder = TimedDecoder(recognizer.decoding.decoder())
    timed = replace(recognizer, checkpoint=replace(recognizer.checkpoint, engine=engine))
    stream = timed.stream(decoder=decoder)
    block = recognizer.block_ms * audio.SAMPLE_RATE // 1000
    times: list[float] = []
    heard = words = 0
    for samples in _blocks(files, block, int(seconds * audio.SAMPLE_RATE)):
        began = time.process_time()
        events = stream.accept(samples)
        times.append(time.process_time() - began)
        heard += len(samples)
        words += _words(events)
    began = time.process_time()
    words += _words(stream.finish())
    compute_s = sum(times) + time.process_time() - began
    counted = np.array(times[WARM_UP_BLOCKS:] or times) * 1000.0
    return SpeedReport(
        audio_s=heard / audio.SAMPLE_RATE,
        compute_s=compute_s,
        block_ms=recognizer.block_ms,
        block_p50_ms=float(np.percentile(counted, 50)),
        block_p99_ms=float(np.percentile(counted, 99)),
        block_max_ms=float(counted.max()),
        latency_ms=recognizer.latency_ms,
        state_bytes=stream.nbytes,
        peak_bytes=peak_bytes(),
        words=words,
        parts=_parts(compute_s, engine.seconds, decoder.seconds, engine.blocks),
    )


def _parts(whole_s: float, network_s: float, search_s: float, blocks: int) -> dict[str, float]:
    """Return milliseconds a block; what is neither network nor search makes events."""
    seconds = {"network": network_s, "search": search_s, "rest": whole_s - network_s - search_s}
    return {name: 1000.0 * value / max(1, blocks) for name, value in seconds.items()}


def measure_streams(
    recognizer: Recognizer, files: Sequence[Path], seconds: float, streams: int
) -> StreamsReport:
    """Run `streams` live streams on one thread, `seconds` of sound each, all in one step a block.

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
    compute_s = time.process_time()
    for turn in range(rounds):
        began = time.perf_counter()
        for index, stream in enumerate(live):
            stream.push(sound[(turn + STAGGER * index) % len(sound)])
        while any(stream.ready for stream in live):
            recognizer.step(live)
        times.append(time.perf_counter() - began)
    compute_s = time.process_time() - compute_s
    counted = np.array(times[WARM_UP_BLOCKS:] or times) * 1000.0
    return StreamsReport(
        streams=streams,
        audio_s=len(times) * streams * recognizer.block_ms / 1000,
        compute_s=compute_s,
        block_ms=recognizer.block_ms,
        round_p50_ms=float(np.percentile(counted, 50)),
        round_p99_ms=float(np.percentile(counted, 99)),
        state_bytes=sum(stream.nbytes for stream in live),
    )


def measure_network(engine: Engine, frames: int, streams: int, seconds: float = 1.0) -> float:
    """Return the median seconds of a block of `frames` output frames of so many streams."""
    rng = np.random.default_rng(0)
    samples = (frames * STRIDE - 1) * HOP + WINDOW
    sound = 0.1 * rng.standard_normal((streams, samples)).astype(np.float32)
    state = engine.layout.zeros(streams)
    times: list[float] = []
    end = time.process_time() + seconds
    while time.process_time() < end or len(times) < WARM_UP_BLOCKS:
        began = time.process_time()
        _, state = engine.step(sound, state)
        times.append(time.process_time() - began)
    return float(np.median(times))


def measure_start(file: Path, load: dict[str, Any]) -> StartReport:
    """Load and run `file` in a fresh process; `load` holds the arguments of `Recognizer.load`."""
    done = subprocess.run(
        [sys.executable, "-c", START, str(file), json.dumps(load)],
        capture_output=True,
        text=True,
        check=True,
    )
    return StartReport(**json.loads(done.stdout.splitlines()[-1]))


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


def _blocks(files: Sequence[Path], block: int, samples: int) -> Iterator[audio.Samples]:
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
