"""Where bytes come from: files, named pipes, standard input, binary streams."""

import errno
import io
import os
import re
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from rivulet.audio.headers import Header, read_header
from rivulet.errors import AudioError

STANDARD_INPUT = "standard input"
NEEDS_SEEKING = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"})
"""Boxes an MP4 or QuickTime file begins with; its table of contents may come last."""
RETRY_S = 0.01  # between reads of a pipe that does not block
ADDRESS = re.compile(r"(https?|ftps?|rtsp|s3|gs|file):/+(.*)", re.IGNORECASE)  # Path joins slashes
CANNOT = {
    errno.ENOENT: "does not exist; check the spelling and the folder {folder}",
    errno.ENOTDIR: "does not exist; check the spelling and the folder {folder}",
    errno.EACCES: "may not be read; change its permissions or run as its owner",
    errno.EPERM: "may not be read; change its permissions or run as its owner",
    errno.ENAMETOOLONG: "has a name that is too long for this file system; rename the file",
    errno.ELOOP: "is a link that leads to itself; give the file it should lead to",
}


class Source:
    """Bytes that FFmpeg reads: `read`, and `seek` and `tell` where they are possible.

    Sizes in a header that cannot be true are replaced on the way. `header` says what a WAV, AIFF,
    AU, Wave64 or CAF file declares, `size` how many bytes there are, None if only the end tells.
    """

    def __init__(self, file: BinaryIO, name: str, owned: bool) -> None:
        """Read `file`, which is closed at the end if it is `owned`."""
        self.name = name
        self._file: Any = file
        self._owned = owned
        self._head = b""  # read ahead from a pipe
        self._at = 0
        self._read_once = getattr(file, "read1", None) or file.read
        self._seeks = _can_seek(file)
        self.size = _size(file) if self._seeks else None
        self.header = self._inspect()

    def _inspect(self) -> Header | None:
        if self._seeks:
            self.magic = self._peek(0, 4)
            header = read_header(self._exactly, self.size, self._peek)
            self.seek(0)
            return header
        pieces: list[bytes] = []
        header = read_header(lambda count: _keep(pieces, self._exactly(count)))
        self._head, self._at = b"".join(pieces), 0
        self.magic = self._head[:4]
        if self._head[4:8] in NEEDS_SEEKING:
            self._spool()
        return header

    def _spool(self) -> None:
        """Copy a pipe to a temporary file."""
        copy = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        copy.write(self._head)
        shutil.copyfileobj(self._file, copy)
        copy.seek(0)
        self._file, self._read_once, self._head = copy, copy.read, b""
        self._owned = self._seeks = True
        self.size = _size(copy)

    def _peek(self, offset: int, count: int) -> bytes:
        before = self._at
        self.seek(offset)
        content = self._exactly(count)
        self.seek(before)
        return content

    def _exactly(self, count: int) -> bytes:
        pieces = []
        while count > 0 and (piece := self.read(count)):
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    @property
    def live(self) -> bool:
        """Whether bytes come when they come: a pipe, read from front to end."""
        return not self._seeks

    @property
    def consumed(self) -> int:
        """Bytes read so far."""
        return self._at

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes, as many as there are now; none at the end."""
        at = self._at
        if at < len(self._head):
            content = self._head[at : at + count]
        else:
            content = self._read_once(count)
            while content is None:  # a pipe that does not block has nothing yet
                time.sleep(RETRY_S)
                content = self._read_once(count)
        self._at += len(content)
        header = getattr(self, "header", None)
        return _patched(content, at, header.patches) if header and header.patches else content

    def readable(self) -> bool:
        """Answer FFmpeg's question."""
        return True

    def seekable(self) -> bool:
        """Answer FFmpeg's question."""
        return self._seeks

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as a file does."""
        self._at = int(self._file.seek(offset, whence))
        return self._at

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._at

    def close(self) -> None:
        """Close what was opened here; closing twice is harmless."""
        if self._owned:
            self._file.close()


class Part:
    """A stretch of a source, as a file of its own."""

    live = False

    def __init__(self, source: Source, start: int, end: int) -> None:
        """Bytes `start` to `end` of a source that can seek."""
        self.name = source.name
        self._source, self._start, self._end = source, start, end
        self._at = 0

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; none at the end."""
        self._source.seek(self._start + self._at)
        content = self._source.read(max(0, min(count, self._end - self._start - self._at)))
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as a file does."""
        self._at = max(0, offset + (0, self._at, self._end - self._start)[whence])
        return self._at

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._at


def open_source(source: str | os.PathLike[str] | BinaryIO) -> Source:
    """Open a path or take a binary stream.

    Raises:
        AudioError: the file is missing, a folder, empty, or may not be read.
    """
    if not isinstance(source, (str, os.PathLike)):
        return Source(source, _name(source), owned=False)
    path = Path(source)
    check_path(path)
    try:
        return Source(path.open("rb", buffering=0), str(path), owned=True)
    except OSError as error:
        raise AudioError(_why(path, error)) from error


def check_path(path: Path) -> None:
    """Check that a file is there and may hold sound; a pipe or device always may.

    Raises:
        AudioError: it is missing, a folder, empty, or may not be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise AudioError(_why(path, error)) from error
    except ValueError as error:
        raise AudioError(f"{str(path)!r} is no name of a file ({error}).") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path} is a folder; give the sound files in it.")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes); record or copy it again.")


def _why(path: Path, error: OSError) -> str:
    address = ADDRESS.match(str(path))
    if address and error.errno == errno.ENOENT:
        return (
            f"{address[1]}://{address[2]} is an address and no file; download it first, for "
            "example with `curl -LO`, and give the file."
        )
    known = CANNOT.get(error.errno or 0)
    if known is None:
        return f"{path} cannot be read ({error.strerror}); copy it elsewhere and try again."
    return f"{path} {known.format(folder=Path.cwd())}."


def _name(file: BinaryIO) -> str:
    """Return the path or URL that a stream knows itself by; pipes and bytes in memory have none."""
    name = getattr(file, "name", None)
    return name if isinstance(name, str) and name[:1] != "<" else STANDARD_INPUT


def _can_seek(file: BinaryIO) -> bool:
    with suppress(AttributeError, io.UnsupportedOperation):
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return False
    with suppress(AttributeError, OSError, ValueError):
        return bool(file.seekable()) and file.tell() == 0
    return False


def _size(file: BinaryIO) -> int:
    """Bytes of a file; it is left at its beginning."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def _keep(pieces: list[bytes], piece: bytes) -> bytes:
    pieces.append(piece)
    return piece


def _patched(content: bytes, at: int, patches: dict[int, bytes]) -> bytes:
    """Return `content`, which lies at offset `at`, with the patches that fall into it."""
    if all(
        offset >= at + len(content) or offset + len(new) <= at for offset, new in patches.items()
    ):
        return content
    changed = bytearray(content)
    for offset, new in patches.items():
        for i, byte in enumerate(new):
            if at <= offset + i < at + len(changed):
                changed[offset + i - at] = byte
    return bytes(changed)
