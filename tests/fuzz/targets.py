"""What comes from outside, a seed corpus of each kind, and the ways it is spoiled."""

import io
import json
import lzma
import os
import random
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import av
import numpy as np
from fuzz import messages
from fuzz.mutation import lines, mutate, spoiled_value
from support import SAMPLES
from support.sounds import encoded, spread

from rivulet.audio import load

SOUND = (0.3 * np.sin(2 * np.pi * 440 * np.arange(4_000) / 16_000)).astype(np.float32)
FORMS = [
    ("wav", "pcm_s16le"), ("wav", "adpcm_ms"), ("wav", "pcm_f32le"), ("wav", "libmp3lame"),
    ("aiff", "pcm_s16be"), ("au", "pcm_mulaw"), ("caf", "alac"), ("w64", "pcm_s24le"),
    ("flac", "flac"), ("ogg", "flac"), ("ogg", "libopus"), ("mp3", "libmp3lame"), ("adts", "aac"),
    ("mp4", "aac"), ("mov", "alac"), ("matroska", "flac"), ("webm", "libopus"), ("mpegts", "aac"),
    ("avi", "pcm_s16le"), ("flv", "aac"), ("ac3", "ac3"), ("tta", "tta"), ("wv", "wavpack"),
    ("nut", "pcm_s16le"), ("mpeg", "mp2"),
]  # fmt: skip


@cache
def sounds() -> tuple[tuple[str, bytes], ...]:
    """A quarter of a second in every format, one and two channels."""
    made = []
    for form, codec in FORMS:
        rate = 48_000 if codec in ("libopus", "ac3", "mp2") else 16_000
        made += [
            (form, encoded(spread(np.tile(SOUND, rate // 16_000), n), form, codec, rate))
            for n in (1, 2)
        ]
    return tuple(made)


def remuxed(form: str, content: bytes, rng: random.Random) -> bytes:
    """Drop, repeat, spoil and move in time the packets of a file."""
    out = io.BytesIO()
    try:
        with av.open(io.BytesIO(content)) as source, av.open(out, "w", format=form) as sink:
            track = sink.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(source.streams.audio[0]):
                if packet.dts is None or rng.random() < 0.05:
                    continue
                if rng.random() < 0.1:
                    spoiled = av.Packet(mutate(bytes(packet), rng) or b"\0")
                    spoiled.pts, spoiled.dts = packet.pts, packet.dts
                    spoiled.time_base = packet.time_base
                    packet = spoiled
                if rng.random() < 0.05:
                    packet.pts = packet.dts = packet.dts + rng.choice((1, 1000, 100_000, 1 << 33))
                packet.stream = track
                sink.mux(packet)
    except Exception:  # what FFmpeg does not write is no input
        return mutate(content, rng)
    return out.getvalue()


def sound(rng: random.Random) -> bytes:
    """A spoiled sound file, or two spliced."""
    form, content = rng.choice(sounds())
    match rng.randrange(6):
        case 0:
            return remuxed(form, content, rng)
        case 1:
            other = rng.choice(sounds())[1]
            return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]
        case _:
            return mutate(content, rng)


class Pipe(io.RawIOBase):
    """Bytes that come in pieces and cannot be sought."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        return self._file.read(min(count, 333) if count >= 0 else -1)


def pipe(rng: random.Random) -> bytes:
    """A spoiled WAV."""
    wavs = [content for form, content in sounds() if form == "wav"]
    return mutate(rng.choice(wavs), rng)


@cache
def folder() -> Path:
    """A place for files that are read by name; gone with the process."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    pid = os.getpid()

    def clean() -> None:
        if os.getpid() == pid:
            shutil.rmtree(made, ignore_errors=True)

    import atexit

    atexit.register(clean)
    return made


def from_file(read: Callable[[Path], object], suffix: str) -> Callable[[bytes], object]:
    """Let something that reads a file read bytes."""

    def run(content: bytes) -> object:
        path = folder() / f"{os.getpid()}{suffix}"
        path.write_bytes(content)
        return read(path)

    return run


@cache
def recordings() -> bytes:
    """A short recording."""
    from support import small_checkpoint

    from rivulet.events import Partial
    from rivulet.live.recording import RecordingHeader, RecordingWriter
    from rivulet.live.stream import Block, SignalFormat
    from rivulet.recognizer import Recognizer

    path = folder() / "seed.rvl"
    path.unlink(missing_ok=True)
    header = RecordingHeader.of(Recognizer.of(small_checkpoint()), SignalFormat("x", 16_000, 1))
    writer = RecordingWriter(path, header)
    for number in range(30):
        samples = (SOUND[:1600, None] * 32767).astype(np.int16)
        writer.write(Block(samples, number * 0.1, 0), [Partial(0, "A", 0, 0.1)], 0.0)
    writer.close([], "end")
    return path.read_bytes()


def recording(rng: random.Random) -> bytes:
    """A spoiled recording; half of them with checksums that fit."""
    content = recordings()
    if rng.random() < 0.5:
        return mutate(content, rng)
    from rivulet.live.recording import FRAME, MAGIC

    out, at = bytearray(MAGIC), len(MAGIC)
    while at + FRAME.size <= len(content):
        kind, length, _ = FRAME.unpack_from(content, at)
        payload = content[at + FRAME.size : at + FRAME.size + length]
        at += FRAME.size + length
        if rng.random() < 0.4:
            payload = _other_json(payload, rng) if rng.random() < 0.7 else mutate(payload, rng)
        out += FRAME.pack(kind, len(payload), zlib.crc32(payload)) + payload
    return bytes(out)


def _other_json(payload: bytes, rng: random.Random) -> bytes:
    (size,) = struct.unpack_from("<I", payload)
    try:
        value = json.loads(zlib.decompress(payload[4 : 4 + size]))
    except (zlib.error, ValueError):
        return mutate(payload, rng)
    packed = zlib.compress(json.dumps(spoiled_value(value, rng)).encode())
    return struct.pack("<I", len(packed)) + packed + payload[4 + size :]


def read_recording(path: Path) -> None:
    """Read a recording to its end."""
    from rivulet.live.recording import Recording

    for _ in Recording(path):
        pass


MANIFEST = (
    f"id\tpath\tseconds\tspeaker\ttext\nu1\t{SAMPLES}/slt.flac\t3.7\ts\tthe text\n"
    f"u2\t{SAMPLES}/awb.flac\t3.4\ta\tmore café text\n"
).encode()
ARPA = b"""\\data\\
ngram 1=5
ngram 2=4

\\1-grams:
-1.0 <unk>
-99 <s> -0.3
-0.9 </s>
-0.7 HELLO -0.2
-0.8 WORLD -0.2

\\2-grams:
-0.4 <s> HELLO
-0.3 HELLO WORLD
-0.5 WORLD </s>
-0.6 HELLO </s>

\\end\\
"""
LEXICON = b"HELLO HH AH L OW\nHELLO HH EH L OW\nWORLD W ER L D\n"
HOT_WORDS = "hello world=4.0\n# comment\ncafé = 2\nriver\n".encode()
EVENTS = (
    b'{"type": "final", "segment": 0, "text": "HELLO", "words": [{"text": "HELLO", "start": 0.1, '
    b'"end": 0.4, "confidence": 0.9}], "start": 0.1, "end": 0.4, "at": 1.0}\n'
)


def packed(make: Callable[[random.Random], bytes]) -> Callable[[random.Random], bytes]:
    """Pack what is spoiled, or spoil what is packed."""

    def both(rng: random.Random) -> bytes:
        if rng.random() < 0.2:
            return mutate(lzma.compress(LEXICON, preset=0), rng)
        return lzma.compress(make(rng), preset=0)

    return both


@cache
def model_folder() -> Path:
    """A checkpoint with random weights."""
    from support import small_checkpoint

    from rivulet.checkpoint import save

    path = folder() / "model"
    save(small_checkpoint(), path)
    return path


def config(rng: random.Random) -> bytes:
    """A spoiled config.json; the digests of the other files fit."""
    content = weights()[1]
    if rng.random() < 0.3:
        return mutate(content, rng)
    return json.dumps(spoiled_value(json.loads(content), rng)).encode()


def read_config(content: bytes) -> object:
    """Load the model with another config.json."""
    from rivulet.checkpoint import load as load_model

    (model_folder() / "model.safetensors").write_bytes(weights()[0])
    (model_folder() / "config.json").write_bytes(content)
    return load_model(model_folder())


@lru_cache
def weights() -> tuple[bytes, bytes]:
    """The weights of the model, and its config.json."""
    path = model_folder()
    return (path / "model.safetensors").read_bytes(), (path / "config.json").read_bytes()


def spoiled_weights(rng: random.Random) -> bytes:
    """Spoiled weights."""
    return mutate(weights()[0], rng)


def read_weights(content: bytes) -> object:
    """Load the model with other weights whose digest fits."""
    import hashlib

    from rivulet.checkpoint import load as load_model

    _, known = weights()
    values = json.loads(known)
    values["sha256"]["model.safetensors"] = hashlib.sha256(content).hexdigest()
    (model_folder() / "config.json").write_text(json.dumps(values))
    (model_folder() / "model.safetensors").write_bytes(content)
    return load_model(model_folder())


def read_manifest(path: Path) -> object:
    from rivulet.corpora.manifest import read_manifest as read

    return read(path)


def read_arpa(path: Path) -> object:
    from rivulet.language.build import arpa

    return arpa.read(path)


def read_lexicon(path: Path) -> object:
    from rivulet.language.model import read_lexicon as read

    return read(path)


def read_hot_words(path: Path) -> object:
    from rivulet.commands.flags import read_hot_words as read

    return read([], path)


def read_text(path: Path) -> object:
    from rivulet.language.build.text import read_sentences

    return list(read_sentences([path]))


def read_events(content: bytes) -> object:
    from rivulet.server.rendering import rendered

    return rendered(content, "srt")


@dataclass(frozen=True)
class Target:
    """How inputs are made and what takes them."""

    make: Callable[[random.Random], bytes]
    run: Callable[[bytes], object]


TARGETS = {
    "sound": Target(sound, lambda content: load(io.BytesIO(content))),
    "pipe": Target(pipe, lambda content: load(Pipe(content))),
    "recording": Target(recording, from_file(read_recording, ".rvl")),
    "manifest": Target(lines(MANIFEST), from_file(read_manifest, ".tsv")),
    "arpa": Target(lines(ARPA), from_file(read_arpa, ".arpa")),
    "lexicon": Target(packed(lines(LEXICON)), from_file(read_lexicon, ".xz")),
    "hotwords": Target(lines(HOT_WORDS), from_file(read_hot_words, ".txt")),
    "text": Target(lines(MANIFEST), from_file(read_text, ".txt")),
    "config": Target(config, read_config),
    "weights": Target(spoiled_weights, read_weights),
    "events": Target(lines(EVENTS), read_events),
    **{name: Target(make, run) for name, (make, run) in messages.MAKERS.items()},
}
