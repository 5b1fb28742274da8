"""Recordings that can be replayed: sound, block times and events in one file that survives a kill.

A file begins with the line MAGIC. Records follow, each written by one system call:

    kind     4 bytes: HEAD once, PART about every second of sound, DONE once unless it was killed
    length   4 bytes, little endian, of the payload
    crc32    4 bytes, little endian, of the payload
    payload  4 bytes: length of its JSON, the JSON compressed with zlib, then FLAC

A PART holds whole blocks: what happened to each, the events it brought, and their sound as FLAC of
at most 8 channels each. A killed recording lacks its last, unfinished second and nothing before it.
Where the disk is full, the record that does not fit is taken back, and the file ends as if killed.
"""

import contextlib
import datetime
import io
import json
import os
import platform
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import numpy as np

from rivulet.acoustic.choices import DEFAULT_ENGINE, EngineName
from rivulet.configs import read_config
from rivulet.decoding.settings import DecoderSettings
from rivulet.endpoint import EndpointConfig
from rivulet.errors import ConfigError, RecordingError
from rivulet.live.microphone import Block, DeviceSamples, SignalFormat
from rivulet.live.stream import LiveEvent, live_event_to_dict
from rivulet.recognizer import Recognizer

MAGIC = b"rivulet session 1\n"
SUFFIX = ".rvl"
PART_S = 1.0  # seconds of sound in a record: what a kill can cost
FRAME = struct.Struct("<4sII")  # kind, length, crc32
COUNT = struct.Struct("<I")
FLAC_CHANNELS = 8  # the format's most; more go into several
FLAC_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")  # by channels

MAX_JSON = 1 << 26  # bytes of a record's JSON, unpacked
UNREADABLE = (  # what another program's records, or spoiled ones, raise
    ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError,
    ValueError, EOFError, struct.error, zlib.error, av.error.FFmpegError, ConfigError,
)  # fmt: skip


@dataclass(frozen=True)
class RecordingHeader:
    """Everything a replay needs besides the sound.

    digest: of the model, as in `Checkpoint.digest`.
    threads: CPU threads of the network; the order of its sums depends on them.
    made_on: what else the last bits depend on, as `arithmetic` says it.
    engine: what ran the network.
    """

    signal: SignalFormat
    model: str
    digest: str
    block_ms: int
    endpoint: EndpointConfig
    threads: int
    started: str
    made_on: str
    decoder: DecoderSettings = field(default_factory=DecoderSettings)
    engine: EngineName = DEFAULT_ENGINE

    @classmethod
    def of(cls, recognizer: Recognizer, signal: SignalFormat) -> "RecordingHeader":
        """Describe a recording that begins now."""
        return cls(
            signal=signal,
            model=recognizer.checkpoint.name,
            digest=recognizer.checkpoint.digest,
            block_ms=recognizer.block_ms,
            endpoint=recognizer.endpoint,
            threads=recognizer.checkpoint.engine.threads,
            started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            made_on=arithmetic(recognizer),
            decoder=recognizer.settings,
            engine=recognizer.checkpoint.engine.name,
        )


@dataclass(frozen=True)
class RecordedBlock:
    """A block as it was recorded, how late it was recognized, and its events as plain data."""

    block: Block
    lag_s: float
    events: list[dict[str, Any]]


class RecordingWriter:
    """Appends a recording to a file, a record about every second."""

    def __init__(self, path: Path, header: RecordingHeader) -> None:
        """Create `path`, or a file named by the date if it is a folder.

        Raises:
            RecordingError: the file exists, or the folder does not or is not writable.
        """
        self.path = path / (header.started.replace(":", "") + SUFFIX) if path.is_dir() else path
        self._signal = header.signal
        self._blocks: list[dict[str, Any]] = []
        self._sound: list[DeviceSamples] = []
        self._held = 0
        self._saved = 0  # bytes of whole records in the file
        self._saved_s = 0.0  # sound in them
        try:
            self._file = self.path.open("xb", buffering=0)
            self._begin(MAGIC + _record(b"HEAD", asdict(header)))
        except FileExistsError as error:
            raise RecordingError(
                f"{self.path} exists and is not overwritten; choose another name for --save."
            ) from error
        except OSError as error:
            raise RecordingError(
                f"{self.path} cannot be written ({error.strerror}); choose another --save."
            ) from error

    def _begin(self, header: bytes) -> None:
        try:
            self._append(header)
        except OSError:
            self._file.close()
            self.path.unlink()  # without its header nothing can be read
            raise

    @property
    def saved_s(self) -> float:
        """Seconds of sound in the file."""
        return self._saved_s

    def write(self, block: Block, events: list[LiveEvent], lag_s: float) -> None:
        """Take a block, the events it brought and how late that was.

        Raises:
            RecordingError: the disk is full; the file is closed, what it holds can be replayed.
        """
        told = {
            "n": len(block.samples),
            "arrived_s": block.arrived_s,
            "lag_s": round(lag_s, 6),
            "queue_lost": block.queue_lost,
            "overflow_lost": block.overflow_lost,
            "overflowed": block.overflowed,
            "asleep_lost": block.asleep_lost,
            "device_s": block.device_s,
            "events": [live_event_to_dict(event) for event in events],
        }
        self._blocks.append({key: value for key, value in told.items() if value or key == "n"})
        self._sound.append(block.samples)
        self._held += len(block.samples)
        if self._held >= PART_S * self._signal.sample_rate:
            self._flush()

    def close(self, events: list[LiveEvent], reason: str) -> None:
        """Write what is held, the last events and why the recording ended.

        Raises:
            RecordingError: the disk is full; the file is closed, what it holds can be replayed.
        """
        if self._file.closed:
            return
        if self._blocks:
            self._flush()
        last = [live_event_to_dict(event) for event in events]
        self._save(_record(b"DONE", {"reason": reason, "events": last}))
        self._file.close()

    def _flush(self) -> None:
        channels = self._signal.channels
        whole = [sound for sound in self._sound if len(sound)]
        sound = np.concatenate(whole) if whole else np.zeros((0, channels), np.int16)
        flac = _encode(sound, self._signal.sample_rate) if len(sound) else []
        content = {"blocks": self._blocks, "flac": [len(piece) for piece in flac]}
        self._save(_record(b"PART", content, b"".join(flac)))
        self._saved_s += self._held / self._signal.sample_rate
        self._blocks, self._sound, self._held = [], [], 0

    def _save(self, record: bytes) -> None:
        try:
            self._append(record)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._saved)  # no half record at the end
            self._file.close()
            raise RecordingError(
                f"{self.path} cannot be written any more ({error.strerror}): {self._saved} bytes "
                f"with {self._saved_s:.1f} s of sound are saved and can be replayed, the "
                f"{len(record)} bytes that came next and all that follows are lost; make room on "
                "the disk and start anew with another --save."
            ) from error

    def _append(self, record: bytes) -> None:
        """Append in one system call, unless only a part fits: the next then says why."""
        left = memoryview(record)
        while left:
            left = left[self._file.write(left) :]
        self._saved += len(record)


def _record(kind: bytes, content: dict[str, Any], sound: bytes = b"") -> bytes:
    packed = zlib.compress(json.dumps(content).encode())
    payload = COUNT.pack(len(packed)) + packed + sound
    return FRAME.pack(kind, len(payload), zlib.crc32(payload)) + payload


@dataclass
class Recording:
    """A recording, read record by record and never held whole."""

    path: Path
    header: RecordingHeader = field(init=False)
    last_events: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None  # why it ended; None while it was not read to its end, or if killed

    def __post_init__(self) -> None:
        """Read the header.

        Raises:
            RecordingError: the file is missing or no recording.
        """
        with self._open() as file:
            kind, content, _ = next(self._records(file), (b"", {}, b""))
        if kind != b"HEAD":
            raise RecordingError(
                f"{self.path} ends before its header; nothing can be recovered from it."
            )
        try:
            self.header = read_config(RecordingHeader, content, f"the header of {self.path}")
        except ConfigError as error:
            raise RecordingError(str(error)) from error

    def __iter__(self) -> Iterator[RecordedBlock]:
        """Yield every block.

        Raises:
            RecordingError: a record is damaged; what came before it was yielded.
        """
        self.reason = None
        with self._open() as file:
            for kind, content, sound in self._records(file):
                if kind == b"PART":
                    yield from self._part(content, sound)
                elif kind == b"DONE":
                    self.reason = str(content.get("reason", ""))
                    self.last_events = content.get("events", [])

    def _part(self, content: dict[str, Any], sound: bytes) -> list[RecordedBlock]:
        try:
            return list(_blocks(content, sound, self.header.signal))
        except UNREADABLE as error:
            raise RecordingError(
                f"{self.path} holds a record that this program cannot read ({_why(error)}); "
                "what came before was read, get the file again."
            ) from error

    def _open(self) -> BinaryIO:
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise RecordingError(
                f"{self.path} cannot be read ({error.strerror}); check the name."
            ) from error
        if file.read(len(MAGIC)) != MAGIC:
            file.close()
            raise RecordingError(
                f"{self.path} is no rivulet recording: its first {len(MAGIC)} bytes are not "
                f"{MAGIC.decode().strip()!r}; give a file made by `rivulet listen --save`."
            )
        return file

    def _records(self, file: BinaryIO) -> Iterator[tuple[bytes, dict[str, Any], bytes]]:
        """Yield (kind, JSON, sound); a record cut off by the file's end is what a kill leaves."""
        while len(head := file.read(FRAME.size)) == FRAME.size:
            at = file.tell() - FRAME.size
            kind, length, checksum = FRAME.unpack(head)
            left = os.fstat(file.fileno()).st_size - file.tell()
            known = kind in (b"HEAD", b"PART", b"DONE")
            if length > left and known:
                return
            payload = file.read(min(length, left))
            if not known or zlib.crc32(payload) != checksum:
                raise RecordingError(
                    f"{self.path} is damaged at byte {at} of {at + FRAME.size + left}; "
                    "what came before was read, get the file again."
                )
            try:
                content, sound = _unpacked(payload)
            except UNREADABLE as error:
                raise RecordingError(
                    f"{self.path} holds a record at byte {at} that this program cannot read "
                    f"({_why(error)}); what came before was read, get the file again."
                ) from error
            yield kind, content, sound


def _unpacked(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a record's JSON object and its sound."""
    (size,) = COUNT.unpack(payload[: COUNT.size])
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(payload[COUNT.size : COUNT.size + size], MAX_JSON)
    content = json.loads(text)
    if not isinstance(content, dict):
        raise TypeError(f"a {type(content).__name__} and no object")
    return content, payload[COUNT.size + size :]


def _why(error: Exception) -> str:
    """Return an error's first line."""
    return f"{type(error).__name__} {error}".splitlines()[0][:200]


def arithmetic(recognizer: Recognizer) -> str:
    """Name what a recognizer's last bits depend on: system, engine, version, instructions."""
    return f"{platform.system()}, {recognizer.checkpoint.engine.arithmetic}"


def _blocks(content: dict[str, Any], sound: bytes, signal: SignalFormat) -> Iterator[RecordedBlock]:
    samples = _decode(sound, content["flac"], signal.channels)
    start = 0
    for told in content["blocks"]:
        end = start + told["n"]
        block = Block(
            samples[start:end],
            told.get("arrived_s", 0.0),
            told.get("queue_lost", 0),
            told.get("overflow_lost", 0),
            told.get("overflowed", False),
            told.get("device_s", 0.0),
            told.get("asleep_lost", 0),
        )
        yield RecordedBlock(block, told.get("lag_s", 0.0), told.get("events", []))
        start = end


def _encode(sound: DeviceSamples, sample_rate: int) -> list[bytes]:
    """Return (n, channels) as FLAC, at most 8 channels each."""
    return [
        _encode_group(np.ascontiguousarray(sound[:, first : first + FLAC_CHANNELS]), sample_rate)
        for first in range(0, sound.shape[1], FLAC_CHANNELS)
    ]


def _encode_group(sound: DeviceSamples, sample_rate: int) -> bytes:
    layout = FLAC_LAYOUTS[sound.shape[1] - 1]
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=sample_rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = sample_rate
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return out.getvalue()


def _decode(sound: bytes, sizes: list[int], channels: int) -> DeviceSamples:
    """Return (n, channels) from the FLAC files laid end to end in `sound`."""
    groups = []
    start = 0
    for size in sizes:
        groups.append(_decode_group(sound[start : start + size]))
        start += size
    return np.concatenate(groups, axis=1) if groups else np.zeros((0, channels), np.int16)


def _decode_group(flac: bytes) -> DeviceSamples:
    with av.open(io.BytesIO(flac)) as container:
        stream = container.streams.audio[0]
        count = stream.codec_context.channels
        frames = [frame.to_ndarray().reshape(-1, count) for frame in container.decode(stream)]
    return np.concatenate(frames).astype(np.int16, copy=False)
