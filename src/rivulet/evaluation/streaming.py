"""Replays clips through a system, on a virtual or a real clock, and notes when events came out.

The virtual clock knows when each sample was spoken and charges a given price for computing, so its
results are the same in every run. The real clock delivers each sample when it is due and waits.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

import numpy as np

from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.errors import ConfigError, EngineError
from rivulet.evaluation.ctm import SpokenWord
from rivulet.evaluation.latency import MICROSECONDS, ClipLatency, Observation, measure_clip
from rivulet.evaluation.memory import peak_bytes
from rivulet.evaluation.systems import System, SystemConfig, SystemStream, TimedEvent, load_system

WARM_UP_S = 2.0  # sound heard before anything is measured: first calls allocate and choose kernels,
# and PocketSphinx scores its first utterance after loading a little differently from the same later
TONE_FRAME = 400  # samples over which the level of a clip's background is taken: 25 ms
QUIET = 2  # percentile of those levels that counts as background: even short pauses reach it

Result = TypeVar("Result")


@dataclass(frozen=True)
class Clip:
    """Mono 16 kHz samples (n,) and the words truly said in them."""

    name: str
    samples: Samples
    reference: tuple[SpokenWord, ...]


@dataclass(frozen=True)
class ReplayConfig:
    """How clips are replayed.

    chunk_ms: sizes of the pieces handed over, one run each.
    real: samples come at their true times and computing is measured; else the clock is virtual.
    compute_factor: price of computing on the virtual clock, in seconds per second of sound.
    tail_s: background noise after each clip, as a microphone would go on hearing it; an endpoint
        needs it.
    """

    chunk_ms: tuple[int, ...] = (20, 40, 80, 160, 320)
    real: bool = False
    compute_factor: float = 0.0
    tail_s: float = 2.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: a chunk, the tail or the price is out of range.
        """
        for chunk in self.chunk_ms:
            if not 1 <= chunk <= 60_000:
                raise ConfigError(f"a chunk of {chunk} ms cannot be used; give 1 to 60000 ms.")
        if not self.chunk_ms or len(set(self.chunk_ms)) < len(self.chunk_ms):
            raise ConfigError(f"{len(self.chunk_ms)} chunk sizes are given; give each size once.")
        if not 0.0 <= self.compute_factor <= 100.0:
            raise ConfigError(
                f"a compute factor of {self.compute_factor} cannot be used; give 0 to 100."
            )
        if not 0.0 <= self.tail_s <= 60.0:
            raise ConfigError(f"a tail of {self.tail_s} s cannot be used; give 0 to 60 s.")


@dataclass(frozen=True)
class Run:
    """All clips at one chunk size; `compute_s` is the time computing took, on either clock."""

    chunk_ms: int
    clips: tuple[ClipLatency, ...]
    compute_s: float


@dataclass(frozen=True)
class SystemRuns:
    """All that one system did.

    added_bytes: growth of the process from before loading the model to the peak.
    load_s: seconds to load the model.
    """

    name: str
    digest: str
    size_bytes: int
    runs: tuple[Run, ...]
    added_bytes: int
    load_s: float


def run_apart(config: SystemConfig, clips: Sequence[Clip], replaying: ReplayConfig) -> SystemRuns:
    """Do `run_system` in a process of its own: no system disturbs another's memory or threads.

    Raises:
        EngineError: the process died.
    """
    return apart(config, partial(run_system, config, clips, replaying))


def apart(config: SystemConfig, work: Callable[[], Result]) -> Result:
    """Do `work` with a system in a process of its own, and return its result.

    Raises:
        EngineError: the process died.
    """
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(work).result()
    except BrokenProcessPool as error:
        raise EngineError(
            f"the process of the system {config.label or config.name} died, killed or for want of "
            f"memory; run it alone with --system {config.label or config.name}."
        ) from error


def run_system(config: SystemConfig, clips: Sequence[Clip], replaying: ReplayConfig) -> SystemRuns:
    """Load a system and replay `clips` at every chunk size.

    Raises:
        EngineError: the system is not installed or has no model.
        CheckpointError: the same, for rivulet.
    """
    before = peak_bytes()
    began = time.perf_counter()
    system = load_system(config)
    load_s = time.perf_counter() - began
    warm_up(system, clips[0].samples)
    runs = tuple(_run(system, clips, chunk_ms, replaying) for chunk_ms in replaying.chunk_ms)
    added = max(0, peak_bytes() - before)
    name = config.label or config.name
    return SystemRuns(name, system.digest, system.size_bytes, runs, added, load_s)


def replay(
    stream: SystemStream, samples: Samples, chunk: int, replaying: ReplayConfig
) -> tuple[list[Observation], float]:
    """Feed samples (n,) at 16 kHz in pieces of `chunk`.

    The clip's first sample is spoken at time 0; a piece is handed over when its last was spoken.

    Returns:
        what came out, and the seconds that computing took.
    """
    clock = _RealClock() if replaying.real else _VirtualClock(replaying.compute_factor)
    seen: list[Observation] = []

    def feed(act: Callable[[], list[TimedEvent]], end: int, length: int, flushed: bool) -> None:
        delivered_us = end * MICROSECONDS // SAMPLE_RATE
        events, emitted_us = clock.run(act, delivered_us, length * MICROSECONDS // SAMPLE_RATE)
        for item in events:
            needed = tuple(round(s * MICROSECONDS) for s in item.needed_s)
            seen.append(Observation(item.event, emitted_us, delivered_us, needed, flushed))

    for start in range(0, len(samples), chunk):
        piece = samples[start : start + chunk]
        feed(partial(stream.accept, piece), start + len(piece), len(piece), False)
    feed(stream.finish, len(samples), 0, True)
    return seen, clock.compute_s


class _VirtualClock:
    """Time passes with the sound; computing costs `factor` seconds a second, and queues up."""

    def __init__(self, factor: float) -> None:
        self.compute_s = 0.0
        self._factor = factor
        self._busy_us = 0

    def run(
        self, act: Callable[[], list[TimedEvent]], due_us: int, sound_us: int
    ) -> tuple[list[TimedEvent], int]:
        began = time.perf_counter()
        events = act()
        self.compute_s += time.perf_counter() - began
        self._busy_us = max(due_us, self._busy_us) + round(self._factor * sound_us)
        return events, self._busy_us


class _RealClock:
    """Waits until the sound is due, then sees how long computing takes."""

    def __init__(self) -> None:
        self.compute_s = 0.0
        self._zero = time.perf_counter()

    def run(
        self, act: Callable[[], list[TimedEvent]], due_us: int, sound_us: int
    ) -> tuple[list[TimedEvent], int]:
        time.sleep(max(0.0, self._zero + due_us / MICROSECONDS - time.perf_counter()))
        began = time.perf_counter()
        events = act()
        ended = time.perf_counter()
        self.compute_s += ended - began
        return events, max(due_us, round((ended - self._zero) * MICROSECONDS))


def with_tail(samples: Samples, seconds: float) -> Samples:
    """Append noise as loud as the clip's background, the same in every run; (n,) → (m,)."""
    count = int(seconds * SAMPLE_RATE)
    frames = samples[: len(samples) // TONE_FRAME * TONE_FRAME].reshape(-1, TONE_FRAME)
    levels = np.sqrt((frames**2).mean(axis=1)) if len(frames) else np.zeros(1, np.float32)
    noise = np.random.default_rng(0).standard_normal(count) * np.percentile(levels, QUIET)
    return np.concatenate([samples, noise.astype(np.float32)])


def _run(system: System, clips: Sequence[Clip], chunk_ms: int, replaying: ReplayConfig) -> Run:
    measured: list[ClipLatency] = []
    compute_s = 0.0
    for clip, samples in _sounds(clips, replaying.tail_s):
        chunk = chunk_ms * SAMPLE_RATE // 1000
        seen, took_s = replay(system.stream(), samples, chunk, replaying)
        compute_s += took_s
        lookahead_us = round(system.lookahead_s * MICROSECONDS)
        seconds = len(samples) / SAMPLE_RATE
        measured.append(measure_clip(clip.name, clip.reference, seen, lookahead_us, seconds))
    return Run(chunk_ms, tuple(measured), compute_s)


def _sounds(clips: Sequence[Clip], tail_s: float) -> Iterator[tuple[Clip, Samples]]:
    for clip in clips:
        yield clip, with_tail(clip.samples, tail_s)


def warm_up(system: System, samples: Samples) -> None:
    """Let a system that was just loaded hear the beginning of samples (n,)."""
    stream = system.stream()
    stream.accept(samples[: int(WARM_UP_S * SAMPLE_RATE)])
    stream.finish()
