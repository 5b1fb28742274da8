"""WAV from a pipe, where sound should come as soon as its bytes do.

FFmpeg reads seconds of PCM ahead to see whether it is DTS in disguise, and of MP3 to learn its bit
rate; what it knows of the other codecs stands in the header.
"""

import struct
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.audio.frames import Block, PacketDecoder
from rivulet.audio.headers import Header
from rivulet.audio.mixing import Samples
from rivulet.audio.sources import Source

PARSED_BYTES = 256  # handed to a parser at a time
READ_S = 0.05  # seconds of sound to wait for at most
PCM, FLOAT, EXTENSIBLE = 0x0001, 0x0003, 0xFFFE  # tags of a format chunk
PARSED = {0x0050: "mp2", 0x0055: "mp3float"}  # codecs that are cut into packets by their own parser
WIDTHS = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}


class WavPipe:
    """PCM, or MPEG sound, after a WAV header that was read."""

    origin_s = None
    sound_s = None
    end_s = None

    def __init__(self, source: Source, header: Header, tag: int) -> None:
        """Read samples as `tag` says, from `header.offset` on."""
        _, self.channels, self.sample_rate, rate, self._align, self._bits = struct.unpack_from(
            "<HHIIHH", header.format
        )
        self.declared_s = header.declared / rate if header.declared and rate else None
        self.error = ""
        self._source = source
        self._tag = tag
        self._left = header.declared
        self._skip = header.offset

    def blocks(self) -> Iterator[Block]:
        """Yield blocks as their bytes come."""
        while self._skip and (passed := self._source.read(self._skip)):
            self._skip -= len(passed)
        yield from self._packets() if self._tag in PARSED else self._pcm()

    def _pieces(self, most: int) -> Iterator[bytes]:
        while self._left is None or self._left > 0:
            piece = self._source.read(most if self._left is None else min(most, self._left))
            if not piece:
                return
            if self._left is not None:
                self._left -= len(piece)
            yield piece

    def _pcm(self) -> Iterator[Block]:
        most = self._align * max(1, int(READ_S * self.sample_rate))
        rest = b""
        for piece in self._pieces(most):
            whole = rest + piece
            end = len(whole) // self._align * self._align
            rest = whole[end:]
            if end:
                samples = _floats(whole[:end], self._tag, self._bits)
                yield Block(samples.reshape(-1, self.channels), self.sample_rate)

    def _packets(self) -> Iterator[Block]:
        import av

        context: Any = av.CodecContext.create(PARSED[self._tag], "r")
        decode = PacketDecoder(stamped=False)
        for piece in chain(self._pieces(PARSED_BYTES), [b""]):
            for packet in context.parse(piece):
                yield from decode.push(packet, context)
        yield from decode.flush()

    def close(self) -> None:
        """Nothing is open here but the source."""


def open_pipe(source: Source, header: Header) -> WavPipe | None:
    """Return a reader of what `header` declares; None: leave it to FFmpeg."""
    if len(header.format) < 16:
        return None
    tag, channels, sample_rate, _, align, bits = struct.unpack_from("<HHIIHH", header.format)
    if tag == EXTENSIBLE and len(header.format) >= 26:
        (tag,) = struct.unpack_from("<H", header.format, 24)
    plain = (tag, bits) in WIDTHS and align == channels * bits // 8
    if channels and sample_rate and (plain or tag in PARSED):
        return WavPipe(source, header, tag)
    return None


def _floats(content: bytes, tag: int, bits: int) -> Samples:
    """Return little-endian samples (n,) in [-1, 1]."""
    if tag == FLOAT:
        return np.asarray(np.frombuffer(content, f"<f{bits // 8}"), np.float32)
    if bits == 8:
        return (np.frombuffer(content, np.uint8).astype(np.float32) - 128.0) / 128.0
    if bits == 24:
        return _from_24_bits(content)
    whole = np.frombuffer(content, f"<i{bits // 8}")
    return np.asarray(whole / np.float64(1 << (bits - 1)), np.float32)


def _from_24_bits(content: bytes) -> Samples:
    triples = np.frombuffer(content, np.uint8).reshape(-1, 3)
    wide: npt.NDArray[np.uint8] = np.zeros((len(triples), 4), np.uint8)
    wide[:, 1:] = triples  # in the upper three bytes, so that the sign is right
    return np.asarray(wide.view("<i4")[:, 0] / np.float64(1 << 31), np.float32)
