"""What goes wrong outside, on request: disks that fill up, clocks that jump, devices that stall."""

import errno
import io
import os
import sys
import types
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from rivulet.live.devices import Device
from rivulet.live.microphone import Clock, Microphone


def no_space() -> OSError:
    """Return what a full disk raises."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullDisk(io.RawIOBase):
    """A file that takes `room` more bytes."""

    def __init__(self, file: io.RawIOBase, room: int) -> None:
        self.file = file
        self.room = room

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.file.fileno()

    def write(self, data: Any) -> int:
        if not self.room:
            raise no_space()
        fits = min(self.room, len(data))
        self.room -= fits
        written = self.file.write(data[:fits])
        assert written is not None
        return written

    def close(self) -> None:
        self.file.close()
        super().close()


def text_on_a_full_disk(path: Path, room: int) -> TextIO:
    """Open `path` to write text, of which `room` bytes fit."""
    raw = FullDisk(path.open("wb", buffering=0), room)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace")


class JumpingClock(Clock):
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.running_s = 100.0
        self.asleep_s = 7.0

    def running(self) -> float:
        return self.running_s

    def asleep(self) -> float:
        return self.asleep_s


class FakePortAudioError(Exception):
    pass


class FakeStream:
    """PortAudio's stream: remembers its callbacks, and `feed` plays the device."""

    refuses: tuple[int, ...] = ()

    def __init__(self, **settings: object) -> None:
        if settings["samplerate"] in self.refuses:
            raise FakePortAudioError("Error opening InputStream: Invalid sample rate")
        self.settings = settings
        self.closed = False

    def start(self) -> None:
        self.started = True

    def stop(self, ignore_errors: bool = True) -> None:
        self.settings["finished_callback"]()  # type: ignore[operator]

    def abort(self, ignore_errors: bool = True) -> None:
        self.closed = True

    def close(self, ignore_errors: bool = True) -> None:
        self.closed = True

    def feed(self, samples: np.ndarray, device_s: float = 0.0, overflow: bool = False) -> None:
        times = types.SimpleNamespace(inputBufferAdcTime=device_s)
        status = types.SimpleNamespace(input_overflow=overflow)
        self.settings["callback"](samples, len(samples), times, status)  # type: ignore[operator]


def fake_portaudio(monkeypatch: Any) -> types.SimpleNamespace:
    """Put a PortAudio without devices in the place of the real one; `opened` has its streams."""

    def check(device: int, channels: int, kind: str, samplerate: int) -> None:
        if samplerate in FakeStream.refuses:
            raise FakePortAudioError("Invalid sample rate")

    opened: list[FakeStream] = []

    def open_stream(**settings: object) -> FakeStream:
        opened.append(FakeStream(**settings))
        return opened[-1]

    module = types.SimpleNamespace(
        InputStream=open_stream,
        PortAudioError=FakePortAudioError,
        check_input_settings=check,
        opened=opened,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


class FaultyDevice:
    """A microphone whose device does what it is told: it plays, sleeps, stalls or ends."""

    def __init__(self, portaudio: types.SimpleNamespace, rate: int = 16_000) -> None:
        self.clock = JumpingClock()
        device = Device(3, "USB Microphone", "Core Audio", rate, 1, False)
        self.source = Microphone(device, rate, 1, clock=self.clock)
        self.rate = rate
        self.device_s = 50.0
        self._stream: FakeStream = portaudio.opened[-1]

    def play(self, sound: np.ndarray, overflow: bool = False) -> None:
        """Deliver int16 (n, 1) in blocks of 20 ms while the clocks go on."""
        step = self.rate // 50
        for start in range(0, len(sound), step):
            block = sound[start : start + step]
            self._stream.feed(block, self.device_s, overflow and start == 0)
            self.clock.running_s += len(block) / self.rate
            self.device_s += len(block) / self.rate

    def sleep(self, seconds: float, device_goes_on: bool = False) -> None:
        """Suspend the machine."""
        self.clock.asleep_s += seconds
        self.device_s += seconds if device_goes_on else 0.0

    def end(self) -> None:
        """Unplug the device."""
        self._stream.stop()
