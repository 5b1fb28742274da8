"""What a WAV, RF64, Wave64, AIFF, AU or CAF header declares, and what in it cannot be true.

A program that writes to a pipe cannot go back to put in the length; it leaves 0, the largest
number, or something near. FFmpeg takes some of these for the truth, so they are replaced.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

PLACEHOLDER = 0x7EFFF000  # 2.1 GB: sizes from here on are what programs write that do not know
PLACEHOLDER_64 = 1 << 40  # the same where sizes have 64 bits
UNKNOWN_32 = 0xFFFFFFFF  # what FFmpeg itself writes and reads as "to the end"
MAX_CHUNK = 1 << 26  # bytes of a chunk before the samples: pictures, at most
W64_GUID_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # after the four letters of a chunk
Read = Callable[[int], bytes]  # the next bytes, exactly so many, fewer at the end of the file
Peek = Callable[[int, int], bytes]  # bytes from an offset on, without moving


@dataclass(frozen=True)
class Header:
    """Where the samples lie and how many bytes of them the header declares.

    declared: bytes of samples; None if the header does not know.
    patches: bytes to put in the place of sizes that cannot be true, by their offset.
    """

    kind: str  # "wav", "aiff", "au", "w64", "caf"
    offset: int
    declared: int | None
    format: bytes = b""  # a WAV file's format chunk
    patches: dict[int, bytes] = field(default_factory=dict)


class _Walker:
    """Reads forward and counts."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.at = 0

    def take(self, count: int) -> bytes:
        """Return exactly `count` bytes.

        Raises:
            EOFError: the file ends before, or the chunk is too large to be one.
        """
        if count > MAX_CHUNK:
            raise EOFError
        content = self._read(count)
        self.at += len(content)
        if len(content) < count:
            raise EOFError
        return content


def read_header(read: Read, size: int | None = None, peek: Peek | None = None) -> Header | None:
    """Read up to the first sample; None if it is no container known here, or damaged.

    Args:
        read: gives the next bytes of the file, from its beginning.
        size: bytes of the whole file; None for a pipe.
        peek: gives bytes anywhere; None for a pipe.
    """
    walker = _Walker(read)
    try:
        head = walker.take(12)
        if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:] == b"WAVE":
            return _wav(walker, size, head, peek)
        if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
            return _aiff(walker, size)
        if head[:4] == b".snd":
            return _au(walker, size, head)
        if head[:4] == b"riff" and head[4:] == bytes.fromhex("2e91cf11a5d628db"):
            return _w64(walker, size)
        if head[:4] == b"caff":
            return _caf(walker, size, head)
    except (EOFError, struct.error):
        pass
    return None


def _known(declared: int, offset: int, size: int | None, limit: int = PLACEHOLDER) -> bool:
    """Whether so many declared bytes of samples can be true in a file of `size` bytes."""
    if declared == 0:
        return size is not None and size <= offset
    if declared < limit:
        return True
    return size is not None and limit < PLACEHOLDER_64 and (size - offset) * 2 > declared


def _left(offset: int, size: int | None, most: int) -> int:
    """Bytes of samples that are there, as far as a field that holds `most` can say."""
    return most if size is None else min(most, max(size - offset, 0))


def _wav(walker: _Walker, size: int | None, head: bytes, peek: Peek | None) -> Header:
    size_field, long_size, content = 0, 0, b""
    while True:
        at = walker.at
        name, length = struct.unpack("<4sI", walker.take(8))
        if name == b"data":
            break
        body = walker.take(length + length % 2)  # chunks are padded to even sizes
        if name == b"fmt ":
            content = body
        elif name == b"ds64" and head[:4] != b"RIFF":
            size_field, (long_size,) = at + 16, struct.unpack_from("<Q", body, 8)
    wide = bool(size_field) and length == UNKNOWN_32
    declared, limit = (long_size, PLACEHOLDER_64) if wide else (length, PLACEHOLDER)
    block = struct.unpack_from("<H", content, 12)[0] if len(content) >= 14 else 1
    known = _known(declared, walker.at, size, limit) and (declared >= block or not declared)
    if known and not (size and peek and _goes_on(walker.at + declared, size, peek)):
        return Header("wav", walker.at, declared, content)
    return _unknown_wav(walker.at, size, content, size_field)


def _unknown_wav(offset: int, size: int | None, content: bytes, size_field: int) -> Header:
    patches = {offset - 4: struct.pack("<I", _left(offset, size, UNKNOWN_32))}
    if size_field:
        patches[size_field] = struct.pack("<Q", _left(offset, size, PLACEHOLDER_64))
        patches[offset - 4] = struct.pack("<I", UNKNOWN_32)
    return Header("wav", offset, None, content, patches)


def _goes_on(end: int, size: int, peek: Peek) -> bool:
    """Whether samples go on where the header says they end: what follows is no chunk."""
    end += end % 2
    if end + 8 > size:
        return False
    name, length = struct.unpack("<4sI", peek(end, 8))
    printable = all(32 <= byte < 127 for byte in name)
    return any(name) and not (printable and end + 8 + length <= size + 1)


def _aiff(walker: _Walker, size: int | None) -> Header:
    frames_at, channels, bits = 0, 1, 16
    while True:
        at = walker.at
        name, length = struct.unpack(">4sI", walker.take(8))
        if name == b"SSND":
            break
        body = walker.take(length + length % 2)
        if name == b"COMM":
            frames_at = at + 10
            channels, _, bits = struct.unpack_from(">HIH", body)
    (skip,) = struct.unpack(">I4x", walker.take(8))
    offset = walker.at + (skip if skip < MAX_CHUNK else 0)
    declared = max(length - 8 - skip, 0)
    if length > 8 and _known(declared, offset, size):
        return Header("aiff", offset, declared)
    left = _left(walker.at, size, 0x7FFFFFF0)
    frames = left * 8 // max(channels * bits, 1)
    patches = {at + 4: struct.pack(">I", left + 8)}
    if frames_at:
        patches[frames_at] = struct.pack(">I", min(frames, 0x7FFFFFFF))
    return Header("aiff", offset, None, patches=patches)


def _au(walker: _Walker, size: int | None, head: bytes) -> Header:
    offset, declared = struct.unpack(">II", head[4:])
    if declared and _known(declared, offset, size):
        return Header("au", offset, declared)
    return Header("au", offset, None, patches={8: struct.pack(">I", UNKNOWN_32)})


def _w64(walker: _Walker, size: int | None) -> Header | None:
    walker.take(28)  # rest of the GUID, size of the file, the GUID of "wave"
    while True:
        at = walker.at
        name, length = struct.unpack("<4s12xQ", walker.take(24))
        if name == b"data":
            break
        walker.take(max((length + 7) // 8 * 8 - 24, 0))  # sizes count their own 24 bytes
    declared = max(length - 24, 0)
    if declared and _known(declared, walker.at, size, PLACEHOLDER_64):
        return Header("w64", walker.at, declared)
    left = _left(walker.at, size, PLACEHOLDER_64)
    patches = {16: struct.pack("<Q", walker.at + left), at + 16: struct.pack("<Q", left + 24)}
    return Header("w64", walker.at, None, patches=patches)


def _caf(walker: _Walker, size: int | None, head: bytes) -> Header:
    name, length = struct.unpack(">4sq", head[8:] + walker.take(8))
    while name != b"data":
        walker.take(max(length, 0))
        name, length = struct.unpack(">4sq", walker.take(12))
    declared = length - 4  # an edit count comes first
    offset = walker.at + 4
    if length > 4 and _known(declared, offset, size, PLACEHOLDER_64):
        return Header("caf", offset, declared)
    return Header("caf", offset, None, patches={walker.at - 8: struct.pack(">q", -1)})
