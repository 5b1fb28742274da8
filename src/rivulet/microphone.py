"""Sound in, live: PortAudio through sounddevice; the only thread border.

PortAudio's callback copies a block and queues it. Everything else happens where the blocks are taken out.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from rivulet.errors import ConfigError, DeviceError

BLOCK_S = 0.02  # seconds of sound PortAudio hands over at a time
QUEUE_S = 10.0  # seconds of sound that may wait for the recognizer; 2 MB at 48 kHz stereo
QUEUE_RANGE_S = (0.5, 600.0)  # below, a hiccup loses sound; above, nobody calls it live
POLL_S = 0.1  # seconds after which waiting looks whether it should stop
FIRST_BLOCK_S = 6.0  # a device may take so long to begin: Bluetooth about 1 s, a null sink 2 s
STALL_S = 3.0  # seconds without a block after which a device counts as gone
USUAL_CHANNELS = 2  # opened where a device offers more; sound servers claim 32
COMMON_RATES_HZ = (8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000)
LIBRARY_REMEDY = {
    "linux": "install it with `apt install libportaudio2` (or your system's portaudio package)",
    "darwin": "reinstall it with `pip install --force-reinstall sounddevice`",
    "win32": "reinstall it with `pip install --force-reinstall sounddevice`",
}

DeviceSamples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class SignalFormat:
    """What a source delivers: its name, rate in Hz and number of channels."""

    device: str
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class Block:
    """A piece of device sound and what happened before it.

    samples: (n, channels) int16, as the device gave them.
    arrived_s: when the callback had them, seconds since the source was opened.
    queue_lost: samples (per channel) directly before it that found the queue full.
    overflow_lost: samples directly before those that PortAudio lost, as far as clocks tell.
    overflowed: PortAudio said that it lost samples; `overflow_lost` may still be 0.
    """

    samples: DeviceSamples
    arrived_s: float
    queue_lost: int = 0
    overflow_lost: int = 0
    overflowed: bool = False

    @property
    def lost(self) -> int:
        """Samples per channel missing directly before this block."""
        return self.queue_lost + self.overflow_lost


@dataclass(frozen=True)
class Gap:
    """Sound that was lost: `start` and `end` in seconds of the session, `samples` per channel at the device's rate."""

    start: float
    end: float
    samples: int
    reason: Literal["queue full", "device overflow", "queue full and device overflow"]


class Source(Protocol):
    """Where live blocks come from; `microphone()` returns one, tests and replays have their own."""

    @property
    def format(self) -> SignalFormat:
        """What the blocks hold."""

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks until `stop`; raise DeviceError, after the last block, if the device went away."""

    def now(self) -> float:
        """Return the seconds since the source was opened, on the clock of `Block.arrived_s`."""

    def stop(self) -> None:
        """Ask for the end: the iterator yields what is queued and is over. Fit for signal handlers."""

    def close(self) -> None:
        """Let go of the device; closing twice is harmless."""


class BlockQueue:
    """Blocks between two threads, bounded by seconds.

    When it is full, new blocks are dropped until it is half empty: one long gap spoils fewer words
    than many short ones. The next block that is kept says how many samples are missing before it.
    """

    def __init__(self, sample_rate: int, bound_s: float = QUEUE_S) -> None:
        """Hold at most `bound_s` seconds at `sample_rate` Hz.

        Raises:
            ConfigError: the bound is outside 0.5 to 600 s.
        """
        low, high = QUEUE_RANGE_S
        if not low <= bound_s <= high:
            raise ConfigError(
                f"a queue of {bound_s} s is outside {low} to {high} s; use {QUEUE_S}."
            )
        self._bound = int(bound_s * sample_rate)
        self._blocks: deque[Block] = deque()
        self._held = 0
        self._lost = 0
        self._overflowed = False
        self._dropping = False
        self._ended = False
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """Samples per channel that wait; never more than the bound."""
        return self._held

    @property
    def over(self) -> bool:
        """Whether it has ended and everything was taken out."""
        with self._changed:
            return self._ended and not self._blocks and not self._lost

    def put(self, samples: DeviceSamples, arrived_s: float, overflowed: bool = False) -> None:
        """Queue (n, channels), which must not be changed after; or count them if there is no room."""
        with self._changed:
            self._overflowed = self._overflowed or overflowed
            if self._held + len(samples) > self._bound:
                self._dropping = True
            elif self._held <= self._bound // 2:
                self._dropping = False
            if self._dropping:
                self._lost += len(samples)
                return
            self._blocks.append(Block(samples, arrived_s, self._lost, overflowed=self._overflowed))
            self._held += len(samples)
            self._lost, self._overflowed = 0, False
            self._changed.notify()

    def end(self) -> None:
        """Nothing more will be put."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def get(self, timeout_s: float) -> Block | None:
        """Take the oldest block, or None after `timeout_s`; samples lost at the very end come with an empty block."""
        with self._changed:
            if not self._blocks and not self._ended:
                self._changed.wait(timeout_s)
            if self._blocks:
                block = self._blocks.popleft()
                self._held -= len(block.samples)
                return block
            if self._ended and self._lost:
                lost, self._lost = self._lost, 0
                return Block(np.zeros((0, 1), np.int16), 0.0, lost, overflowed=self._overflowed)
            return None


class Microphone:
    """An open input device: iterate for its blocks. Opening checks everything, iterating starts it."""

    def __init__(self, device: "Device", sample_rate: int, channels: int, queue_s: float) -> None:
        """Open `device`; use `microphone`.

        Raises:
            DeviceError: PortAudio refuses the rate or the channels, or the device is taken.
        """
        self.format = SignalFormat(device.name, sample_rate, channels)
        self._queue = BlockQueue(sample_rate, queue_s)
        self._opened = time.monotonic()
        self._adc_end: float | None = None  # device clock after the last block, if it has a clock
        self._adc_times: deque[tuple[float, float]] = deque()  # (arrival, device time) of overflows
        self._latest_s = 0.0  # arrival of the latest block
        self._stopping = False
        self._stream = _open_stream(device, self.format, self._callback, self._queue.end)

    def _callback(self, indata: DeviceSamples, frames: int, times: Any, status: Any) -> None:
        """Copy and queue; runs in PortAudio's thread."""
        self._queue.put(indata.copy(), self.now(), bool(status.input_overflow))

    def now(self) -> float:
        """Return the seconds since the device was opened."""
        return round(time.monotonic() - self._opened, 6)

    def stop(self) -> None:
        """Ask for the end; only sets a flag, so a signal handler may call it."""
        self._stopping = True
