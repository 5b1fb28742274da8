"""Packed files: named sections of numbers, mapped into memory and read where they lie.

    0   b"RIVULET" and a zero
    8   u32 version, u32 number of sections, u64 bytes of the file
    24  for each section: its name in 8 bytes, u64 offset (a multiple of 64), u64 bytes

Little-endian. `rivulet.decoding._beam` reads the same in C++ (sections.hpp).
"""

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.errors import LanguageModelError

MAGIC = b"RIVULET\0"
VERSION = 1
ALIGNMENT = 64  # bytes: a cache line
NAME = 8  # bytes of a section's name
_HEADER = struct.Struct("<8sIIQ")
_ENTRY = struct.Struct("<8sQQ")

Buffer = bytes | mmap.mmap
Sections = Mapping[str, npt.NDArray[Any]]


def pack(sections: Sections) -> bytes:
    """Return a packed file that holds `sections`, whose names have at most 8 letters."""
    assert all(len(name) <= NAME for name in sections), f"a name is cut: {list(sections)}"
    offset = _aligned(_HEADER.size + _ENTRY.size * len(sections))
    entries, parts = [], []
    for name, values in sections.items():
        raw = np.ascontiguousarray(values).tobytes()
        entries.append(_ENTRY.pack(name.encode("ascii"), offset, len(raw)))
        parts.append(raw.ljust(_aligned(len(raw)), b"\0"))
        offset += len(parts[-1])
    head = _HEADER.pack(MAGIC, VERSION, len(sections), offset) + b"".join(entries)
    return head.ljust(_aligned(len(head)), b"\0") + b"".join(parts)


def open_mapped(path: Path) -> mmap.mmap:
    """Map a file into memory, read only and shared with every process that maps it.

    Raises:
        LanguageModelError: it is missing or empty.
    """
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise LanguageModelError(
            f"{path} cannot be mapped ({error}); make it with `rivulet lm build`."
        ) from error


class PackedFile:
    """The sections of a packed file, as arrays that are views of it."""

    def __init__(self, buffer: Buffer) -> None:
        """Read the table.

        Raises:
            LanguageModelError: it is no whole packed file.
        """
        if len(buffer) < _HEADER.size:
            raise LanguageModelError(f"a packed file of {len(buffer)} bytes is cut short.")
        magic, version, count, size = _HEADER.unpack_from(buffer)
        if (magic, version, size) != (MAGIC, VERSION, len(buffer)):
            raise LanguageModelError(
                f"a file of {len(buffer)} bytes that begins with {magic!r} and version {version} "
                f"is no whole packed language model of version {VERSION}; make it again."
            )
        self.buffer = buffer
        self._places = {}
        for i in range(min(count, (size - _HEADER.size) // _ENTRY.size)):
            name, offset, length = _ENTRY.unpack_from(buffer, _HEADER.size + i * _ENTRY.size)
            self._places[name.rstrip(b"\0").decode("ascii", "replace")] = offset, length

    def __contains__(self, name: str) -> bool:
        """Say whether there is such a section."""
        return name in self._places

    @property
    def names(self) -> list[str]:
        """Return the names of the sections."""
        return list(self._places)

    def get(self, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return a section as an array of `dtype`.

        Raises:
            LanguageModelError: it is missing or reaches beyond the file.
        """
        offset, length = self._places.get(name, (0, -1))
        size = np.dtype(dtype).itemsize
        if length < 0 or offset + length > len(self.buffer) or length % size:
            raise LanguageModelError(f"the packed file's section {name} is missing or damaged.")
        return np.frombuffer(self.buffer, dtype, length // size, offset)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
