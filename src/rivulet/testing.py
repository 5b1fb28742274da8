"""For tests of programs that use rivulet: a recognizer that says what you tell it, a microphone.

    recognizer = fake_recognizer([("HELLO", 0.5, 0.9), ("WORLD", 1.0, 1.4)])
    microphone = FakeMicrophone(np.zeros(32_000, np.int16), 16_000)
    with contextlib.closing(LiveSession(recognizer, microphone)) as session: ...

The recognizer is a real one in which a script stands for the network, so partials, segments, times
and errors are those of the real thing. It needs no model and takes no time.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.acoustic.choices import DEFAULT_BLOCK_MS, DEFAULT_ENGINE, EngineName
from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.engine import FloatArray, StateLayout
from rivulet.acoustic.features import FeatureConfig
from rivulet.acoustic.frames import FRAME_S, HOP, STRIDE, WINDOW
from rivulet.audio import to_int16
from rivulet.checkpoint import Checkpoint
from rivulet.decoding.strategy import GreedyDecoding
from rivulet.endpoint import EndpointConfig
from rivulet.live.microphone import Block, BlockQueue, SignalFormat
from rivulet.recognizer import Recognizer
from rivulet.tokenizer import BLANK, BOUNDARY, Tokenizer

Script = Sequence[tuple[str, float, float]]
"""Words with their start and end in seconds of the stream, in order."""

SURE = np.float32(np.log(0.97))  # probability of what the script says; the rest share the rest


def fake_recognizer(
    words: Script,
    *,
    block_ms: int = DEFAULT_BLOCK_MS,
    endpoint: EndpointConfig | None = None,
) -> Recognizer:
    """Return a recognizer that hears `words` in any sound, each stream from its beginning."""
    names = tuple(dict.fromkeys(text for text, _, _ in words))
    tokenizer = Tokenizer((BLANK, BOUNDARY, *(BOUNDARY + name for name in names)))
    rows = _rows(words, tokenizer)
    config = ModelConfig(tokens=len(tokenizer), lookahead=0, lookahead_ms=0)
    loaded = Checkpoint(_ScriptedEngine(rows), config, tokenizer, FeatureConfig(), name="fake")
    return Recognizer(loaded, GreedyDecoding(tokenizer), block_ms, endpoint or EndpointConfig())


def _rows(words: Script, tokenizer: Tokenizer) -> FloatArray:
    """Return log-probabilities (T, tokens) up to silence after the last word."""
    last = max((end for _, _, end in words), default=0.0)
    ids = np.zeros(round(last / FRAME_S) + 3, int)
    for text, start, end in words:
        first = round(start / FRAME_S)
        after = max(first + 1, round(end / FRAME_S))
        ids[first:after] = tokenizer.tokens.index(BOUNDARY + text)
        ids[after] = tokenizer.tokens.index(BOUNDARY)  # the word is over, and so settled
    table = np.full((len(ids), len(tokenizer)), np.log(0.03 / len(tokenizer)), np.float32)
    table[np.arange(len(ids)), ids] = SURE
    return table


class _ScriptedEngine:
    """Reads the rows in their order; a stream's state is the number of its next row."""

    name: EngineName = DEFAULT_ENGINE
    threads = 1
    arithmetic = "a script"
    layout = StateLayout(1, (0, 0))

    def __init__(self, rows: FloatArray) -> None:
        self._rows = rows

    def joins(self, frames: int) -> bool:
        return True

    def step(self, samples: FloatArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        count = ((samples.shape[1] - WINDOW) // HOP + 1) // STRIDE
        begin = state[:, :1].astype(int)
        places = np.minimum(begin + np.arange(count), len(self._rows) - 1)
        return self._rows[places], (state + count).astype(np.float32)


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with a fake microphone.

    slowness: seconds of the clock that a second of sound costs the recognizer, so that slow
        machines can be played; None: what computing really takes.
    queue_s: seconds of sound that may wait before some is dropped.
    ends_with: raised at the end, as when a device vanishes.
    """

    slowness: float | None = 0.0
    queue_s: float = 10.0  # as a real microphone's
    ends_with: Exception | None = None


class FakeMicrophone:
    """A microphone on a virtual clock, with the queue of real ones; iterate for its blocks.

    It can stand wherever `rivulet.live.microphone.microphone(...)` can.
    """

    def __init__(
        self,
        sound: npt.NDArray[Any] | Callable[[int, int], npt.NDArray[np.int16]],
        sample_rate: int,
        seconds: float | None = None,
        *,
        name: str = "fake microphone",
        channels: int = 1,
        trouble: Trouble | None = None,
    ) -> None:
        """Begin at second 0.

        Args:
            sound: samples (n,) or (n, channels), float or int16, which repeat; or a function of
                (start, count) that returns int16 (count, channels).
            sample_rate: in Hz.
            seconds: how long it lasts; None: the samples once.
            name: of the device.
            channels: of what a function returns.
            trouble: what goes wrong; None: nothing.
        """
        if callable(sound):
            self._sound = sound
        else:
            samples = _device_samples(sound)
            channels = samples.shape[1]
            seconds = len(samples) / sample_rate if seconds is None else seconds
            self._sound = lambda start, count: np.take(
                samples, range(start, start + count), axis=0, mode="wrap"
            )
        self.format = SignalFormat(name, sample_rate, channels)
        self.trouble = trouble or Trouble()
        self.queue = BlockQueue(sample_rate, self.trouble.queue_s)
        self.most_held = 0  # samples in the queue, ever
        self._left = int((seconds or 0.0) * sample_rate)
        self._size = sample_rate // 10
        self._made = 0
        self._now = 0.0
        self._began: float | None = None

    def now(self) -> float:
        """Seconds of the virtual clock."""
        spent = time.perf_counter() - self._began if self._began is not None else 0.0
        return self._now + spent

    def stop(self) -> None:
        """Record no more; what is queued is handed over."""
        self._left = 0

    def close(self) -> None:
        """Do nothing: there is no device."""

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks until the sound is over."""
        while True:
            self._produce()
            block = self.queue.get(0.0)
            if block is not None:
                yield from self._hand_over(block)
            elif self.queue.over:
                break
            else:
                self._now = self._due()
        if self.trouble.ends_with is not None:
            raise self.trouble.ends_with

    def _hand_over(self, block: Block) -> Iterator[Block]:
        if self.trouble.slowness is None:
            self._began = time.perf_counter()
            yield block
            self._now, self._began = self.now(), None
            return
        rate = self.format.sample_rate
        heard = len(block.samples) + min(block.lost, rate)  # of a gap at most 1 s is heard
        self._now += self.trouble.slowness * heard / rate
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


def _device_samples(sound: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    samples = sound if sound.dtype == np.int16 else to_int16(sound)
    return samples if samples.ndim == 2 else samples[:, None]
