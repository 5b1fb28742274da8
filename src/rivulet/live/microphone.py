"""Sound in, live: PortAudio through sounddevice; the only thread border.

PortAudio's callback copies a block and queues it. Everything else happens where the
blocks are taken out.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from rivulet.errors import ConfigError, DeviceError
from rivulet.live.devices import Device, accepted_rates, devices, find_device, import_sounddevice

BLOCK_S = 0.02  # seconds of sound PortAudio hands over at a time
QUEUE_S = 10.0  # seconds of sound that may wait for the recognizer; 2 MB at 48 kHz stereo
QUEUE_RANGE_S = (0.5, 600.0)  # below, a hiccup loses sound; above, nobody calls it live
POLL_S = 0.1  # seconds after which waiting looks whether it should stop
FIRST_BLOCK_S = 6.0  # a device may take so long to begin: Bluetooth about 1 s, a null sink 2 s
STALL_S = 3.0  # seconds without a block after which a device counts as gone
LEAST_SLEEP_S = 0.5  # of a suspended machine that make a gap; below, two clocks just differ
USUAL_CHANNELS = 2  # opened where a device offers more; sound servers claim 32

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
    asleep_lost: samples directly before those that were never made: the machine was suspended.
    overflowed: PortAudio said that it lost samples; `overflow_lost` may still be 0.
    device_s: the device's own clock at the first sample; 0 if it has none.
    """

    samples: DeviceSamples
    arrived_s: float
    queue_lost: int = 0
    overflow_lost: int = 0
    overflowed: bool = False
    device_s: float = 0.0
    asleep_lost: int = 0

    @property
    def lost(self) -> int:
        """Samples per channel missing directly before this block."""
        return self.queue_lost + self.overflow_lost + self.asleep_lost


GapReason = Literal[
    "queue full", "device overflow", "queue full and device overflow", "machine asleep"
]


@dataclass(frozen=True)
class Gap:
    """Sound that was lost.

    `start` and `end` are seconds of the session, `samples` count per channel at the device's rate.
    """

    start: float
    end: float
    samples: int
    reason: GapReason


class Source(Protocol):
    """Where live blocks come from; `microphone()` returns one, tests and replays have their own."""

    @property
    def format(self) -> SignalFormat:
        """What the blocks hold."""

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks until `stop`; if the device goes away, raise DeviceError after the last."""

    def now(self) -> float:
        """Return the seconds since the source was opened, on the clock of `Block.arrived_s`."""

    def stop(self) -> None:
        """Ask for the end; the iterator yields what is queued first. Fit for signal handlers."""

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
        self._asleep = 0
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

    def put(
        self,
        samples: DeviceSamples,
        arrived_s: float,
        overflowed: bool = False,
        device_s: float = 0.0,
        asleep: int = 0,
    ) -> None:
        """Queue (n, channels), not to be changed after; if there is no room, count them.

        `asleep` samples were never made before these, as the machine was suspended.
        """
        with self._changed:
            self._asleep += asleep
            self._overflowed = self._overflowed or overflowed
            if self._held + len(samples) > self._bound:
                self._dropping = True
            elif self._held <= self._bound // 2:
                self._dropping = False
            if self._dropping:
                self._lost += len(samples)
                return
            flags = (self._overflowed, device_s, self._asleep)
            self._blocks.append(Block(samples, arrived_s, self._lost, 0, *flags))
            self._held += len(samples)
            self._lost, self._asleep, self._overflowed = 0, 0, False
            self._changed.notify()

    def end(self) -> None:
        """Nothing more will be put."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def get(self, timeout_s: float) -> Block | None:
        """Take the oldest block, or None after `timeout_s`.

        Samples lost at the very end come with an empty block.
        """
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


class Clock:
    """Two clocks of the machine, in seconds; tests have one that jumps."""

    def running(self) -> float:
        """Return how long it has run; where the system tells, without the time it slept."""
        return time.monotonic()

    def asleep(self) -> float:
        """Return how long it has been suspended since it started; 0 where no clock tells."""
        with_sleep = getattr(time, "CLOCK_BOOTTIME", None)  # Linux
        if with_sleep is None and sys.platform == "darwin":
            with_sleep = time.CLOCK_MONOTONIC  # there it goes on in sleep, and Python's does not
        if with_sleep is None:
            return 0.0
        return max(0.0, time.clock_gettime(with_sleep) - time.monotonic())


class Microphone:
    """An open input device: iterate for its blocks. Opening checks, iterating starts it."""

    def __init__(
        self,
        device: Device,
        sample_rate: int,
        channels: int,
        queue_s: float = QUEUE_S,
        clock: Clock | None = None,
    ) -> None:
        """Open `device`; `microphone` finds one and fills in what is usual.

        Raises:
            DeviceError: PortAudio refuses the rate or the channels, or the device is taken.
        """
        self._format = SignalFormat(device.name, sample_rate, channels)
        self._queue = BlockQueue(sample_rate, queue_s)
        self._clock = clock or Clock()
        self._opened = self._clock.running()
        self._asleep_s = self._clock.asleep()  # when the latest block was queued
        self._waited_s = 0.0  # for the next block, in polls: no clock that jumps says it
        self._latest_s: float | None = None  # when the latest block arrived
        self._device_end_s = 0.0  # the device's clock after the latest block
        self._stopping = False
        self._stream = _open_stream(device, self._format, self._callback, self._queue.end)

    @property
    def format(self) -> SignalFormat:
        """What the blocks hold."""
        return self._format

    def now(self) -> float:
        """Return the seconds since the device was opened."""
        return round(self._clock.running() - self._opened, 6)

    def stop(self) -> None:
        """Ask for the end; only sets a flag, so a signal handler may call it."""
        self._stopping = True

    def close(self) -> None:
        """Let go of the device."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks until `stop`.

        Raises:
            DeviceError: the device vanished; everything that it gave was yielded before.
        """
        self._start()
        while not self._queue.over:
            if self._stopping:
                self._stream.stop(ignore_errors=True)  # ends the queue
                self._queue.end()
            block = self._queue.get(POLL_S)
            if block is not None:
                self._waited_s = 0.0
                yield self._measured(block)
                continue
            self._waited_s += POLL_S
            if self._stalled():
                break
        if not self._stopping:
            raise self._vanished()

    def _start(self) -> None:
        try:
            self._stream.start()
        except import_sounddevice().PortAudioError as error:
            raise DeviceError(
                f"the microphone {self._format.device!r} does not start ({_reason(error)}); "
                "close other programs that use it, or choose another with -d."
            ) from error

    def _callback(self, indata: DeviceSamples, _frames: int, times: Any, status: Any) -> None:
        """Copy and queue; runs in PortAudio's thread."""
        overflowed = bool(status.input_overflow)
        asleep = self._slept()
        device_s = float(times.inputBufferAdcTime)
        self._queue.put(indata.copy(), self.now(), overflowed, device_s, asleep)

    def _slept(self) -> int:
        """Return the samples that the machine slept through since the latest block."""
        asleep_s = self._clock.asleep()
        slept_s, self._asleep_s = asleep_s - self._asleep_s, asleep_s
        return round(slept_s * self._format.sample_rate) if slept_s > LEAST_SLEEP_S else 0

    def _measured(self, block: Block) -> Block:
        """Add how many samples an overflow cost: how far the device's clock went on unseen."""
        rate = self._format.sample_rate
        if block.overflowed and self._device_end_s and block.device_s:
            missing_s = block.device_s - self._device_end_s - block.queue_lost / rate
            if missing_s >= block.asleep_lost / rate:  # the device's clock went on in sleep
                missing_s -= block.asleep_lost / rate
            waited_s = block.arrived_s - (self._latest_s or 0.0)
            missing_s = min(missing_s, waited_s + QUEUE_S)  # against a device clock that was set
            block = replace(block, overflow_lost=max(0, round(missing_s * rate)))
        self._latest_s = max(block.arrived_s, self._latest_s or 0.0)
        self._device_end_s = block.device_s and block.device_s + len(block.samples) / rate
        return block

    def _stalled(self) -> bool:
        return self._waited_s > (FIRST_BLOCK_S if self._latest_s is None else STALL_S)

    def _vanished(self) -> DeviceError:
        name = self._format.device
        if self._latest_s is None:
            return DeviceError(
                f"the microphone {name!r} delivered nothing in {self.now():.1f} s; "
                "check that it is plugged in and switched on, or choose another with -d."
            )
        return DeviceError(
            f"the microphone {name!r} vanished {self._latest_s:.1f} s after it was opened; what it "
            "heard until then was transcribed, plug it in and start again."
        )


def microphone(
    device: int | str | None = None,
    sample_rate: int | None = None,
    channels: int | None = None,
    queue_s: float = QUEUE_S,
) -> Source:
    """Open an input device.

    Args:
        device: its index, a part of its name, or None for the default.
        sample_rate: in Hz; None for the device's own.
        channels: how many to open, mixed to one later; None for all, at most 2.
        queue_s: seconds of sound that may wait before some is dropped.

    Raises:
        DeviceError: no PortAudio library, no such device, or it refuses the rate or the channels.
        ConfigError: `queue_s` is outside its range.
    """
    found = find_device(devices(), device)
    if channels is not None and not 1 <= channels <= found.channels:
        raise DeviceError(
            f"{channels} channels cannot be opened: {found.name!r} has {found.channels}; "
            f"use 1 to {found.channels}."
        )
    return Microphone(
        found,
        sample_rate or found.sample_rate,
        channels or min(found.channels, USUAL_CHANNELS),
        queue_s,
    )


def _open_stream(
    device: Device, signal: SignalFormat, callback: Callable[..., None], ended: Callable[[], None]
) -> Any:
    sounddevice = import_sounddevice()
    try:
        return sounddevice.InputStream(
            device=device.index,
            samplerate=signal.sample_rate,
            channels=signal.channels,
            dtype="int16",
            blocksize=round(signal.sample_rate * BLOCK_S),
            callback=callback,
            finished_callback=ended,
            dither_off=True,  # dither would hide the exact zeros of a muted microphone
        )
    except sounddevice.PortAudioError as error:
        rates = accepted_rates(device)
        if rates and signal.sample_rate not in rates:
            listed = ", ".join(map(str, rates))
            raise DeviceError(
                f"{device.name!r} refuses {signal.sample_rate} Hz ({_reason(error)}); "
                f"use -r with one of {listed}, or leave -r out."
            ) from error
        raise DeviceError(
            f"{device.name!r} does not open at {signal.sample_rate} Hz with {signal.channels} "
            f"channels ({_reason(error)}); close other programs that use it, or choose another "
            "device with -d."
        ) from error


def _reason(error: Exception) -> str:
    text = str(error.args[0]) if error.args else str(error)
    return text.removeprefix("Error opening InputStream: ").removeprefix("Error starting stream: ")
