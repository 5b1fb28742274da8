"""Ogg files one after the other in one file, as radio stations and `cat` make them.

FFmpeg goes on into the next file only where it has the same rate and channels.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

from rivulet.audio.frames import Block, FFmpegDecoder
from rivulet.audio.sources import Part, Source
from rivulet.errors import AudioError

MARK = b"OggS"
HEAD = struct.Struct(
    "<4sBBqIIIB"
)  # RFC 3533, section 6: mark, version, flags, position, …, segments
BEGINS = 0x02  # flag of a stream's first page
SEARCHED = 1 << 16  # bytes read at a time where a page is damaged


def links(source: Source) -> list[int]:
    """Return where each file of a chain begins, in bytes; the source is left at its beginning."""
    starts: list[int] = []
    began = False  # whether the page before was a first one
    for at, flags in _pages(source):
        begins = bool(flags & BEGINS)
        if begins and not began:
            starts.append(at)
        began = begins
    source.seek(0)
    return starts


def _pages(source: Source) -> Iterator[tuple[int, int]]:
    """Yield offset and flags of every page."""
    at = 0
    while True:
        source.seek(at)
        head = source.read(HEAD.size)
        if len(head) < HEAD.size:
            return
        mark, _, flags, *_, segments = HEAD.unpack(head)
        if mark == MARK:
            yield at, flags
            at += HEAD.size + segments + sum(source.read(segments))
            continue
        source.seek(at)
        found = source.read(SEARCHED).find(MARK, 1)
        at += found if found > 0 else SEARCHED - len(MARK)


class ChainedDecoder:
    """Decodes the files of a chain, one after the other."""

    end_s = sound_s = None  # a chain declares no length

    def __init__(
        self, source: Source, starts: list[int], track: int | None, warn: Callable[[str], None]
    ) -> None:
        """Open the first.

        Raises:
            AudioError: see `FFmpegDecoder`.
        """
        ends = [*starts[1:], source.size or 0]
        self._parts = [Part(source, a, b) for a, b in zip(starts, ends, strict=True)]
        self._track, self._warn = track, warn
        self._open = FFmpegDecoder(self._parts[0], track, warn)
        self.sample_rate, self.channels = self._open.sample_rate, self._open.channels
        self.origin_s = self._open.origin_s
        self.declared_s: float | None = None
        self.error = ""

    def blocks(self) -> Iterator[Block]:
        """Decode; the first block of each further file says that it begins anew."""
        yield from self._open.blocks()
        for part in self._parts[1:]:
            self._open.close()
            try:
                self._open = FFmpegDecoder(part, self._track, self._warn)
            except AudioError as error:
                self.error = str(error)
            else:
                for number, block in enumerate(self._open.blocks()):
                    yield block if number else replace(block, begins=True)

    def close(self) -> None:
        """Close what is open; closing twice is harmless."""
        self._open.close()
