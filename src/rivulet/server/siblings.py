"""The processes of one server: what all have together, and how one reaches another.

Every process counts in a row of memory that all share. A socket goes to another process through the
parent, which `rivulet.server.processes` holds: over a channel of two bytes and a file descriptor.
"""

import mmap
import socket as sockets
from enum import IntEnum

import numpy as np

COUNTED = ("streams", "parked", "connections", "uploads")


class Parcel(IntEnum):
    """What comes over a channel: sockets, but for the last."""

    WEB = 1  # a client of the port
    WYOMING = 2  # a client of Wyoming's port
    SIBLING = 3  # another process, which speaks as clients of the port do, never in TLS
    READY = 4  # a process says that it serves


class Ledger:
    """Counts by process and kind; each process writes its own row, and all read all."""

    def __init__(self, processes: int = 1) -> None:
        """Begin at zero; processes forked from this one share the memory."""
        size = 8 * processes * len(COUNTED)
        self._table = np.frombuffer(mmap.mmap(-1, size), np.int64).reshape(processes, -1)

    def __len__(self) -> int:
        """Count the processes."""
        return len(self._table)

    def tell(self, process: int, kind: str, count: int) -> None:
        """Set one count of a process."""
        self._table[process, COUNTED.index(kind)] = count

    def clear(self, process: int) -> None:
        """Forget a process that ended."""
        self._table[process] = 0

    def count(self, process: int, kind: str) -> int:
        """Return one count of a process."""
        return int(self._table[process, COUNTED.index(kind)])

    def total(self, kind: str) -> int:
        """Return what all processes count together."""
        return int(self._table[:, COUNTED.index(kind)].sum())


class Siblings:
    """One process of a server, and its way to the others; alone where nothing is given."""

    def __init__(
        self,
        ledger: Ledger | None = None,
        index: int = 0,
        channel: sockets.socket | None = None,
    ) -> None:
        """Be the process number `index`, whose parent is at the other end of `channel`."""
        self._ledger = ledger or Ledger()
        self.index = index
        self._channel = channel

    @property
    def others(self) -> list[int]:
        """The numbers of the other processes."""
        return [process for process in range(len(self._ledger)) if process != self.index]

    def tell(self, kind: str, count: int) -> None:
        """Let the others know how many this process holds."""
        self._ledger.tell(self.index, kind, count)

    def total(self, kind: str) -> int:
        """Return how many all processes hold."""
        return self._ledger.total(kind)

    def sign(self, key: str) -> str:
        """Return a stream's name, which says which process holds it."""
        return f"{self.index}.{key}" if self.others else key

    def holder(self, key: str) -> int | None:
        """Return the other process that holds the stream of this name; None if it is none."""
        index, dot, _ = key.partition(".")
        found = int(index) if dot and index.isascii() and index.isdigit() else self.index
        return found if found in self.others else None

    def reach(self, process: int) -> sockets.socket:
        """Return a socket at whose other end a process serves.

        Raises:
            OSError: the parent is away.
        """
        assert self._channel
        here, there = sockets.socketpair()
        with there:
            send(self._channel, Parcel.SIBLING, process, there)
        here.setblocking(False)
        return here


def send(
    channel: sockets.socket, parcel: Parcel, process: int = 0, content: sockets.socket | None = None
) -> None:
    """Send a parcel.

    Raises:
        OSError: the channel is full or closed.
    """
    message = bytes([parcel, process % 256])
    if content is None:
        channel.sendall(message)
    else:
        sockets.send_fds(channel, [message], [content.fileno()])


def receive(channel: sockets.socket) -> tuple[Parcel, int, sockets.socket | None] | None:
    """Return the next parcel and the process that it names; None at the end.

    Raises:
        BlockingIOError: there is none now.
    """
    try:
        message, files, _, _ = sockets.recv_fds(channel, 2, 1)
    except ConnectionError:
        return None
    if len(message) < 2:
        return None
    content = sockets.socket(fileno=files[0]) if files else None
    return Parcel(message[0]), message[1], content
