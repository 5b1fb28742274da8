"""One process a core: a parent takes connections and hands each to the child with least to do.

The parent loads the model and forks, so that its children share it. It computes nothing and speaks
no protocol; a child serves as a server of one process does. A child that dies is replaced. When the
parent ends, its children send last results and end, too.
"""

import gc
import logging
import multiprocessing
import os
import signal
import socket as sockets
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.process import BaseProcess

from rivulet.errors import ConfigError, RivuletError
from rivulet.server.siblings import Ledger, Parcel, Siblings, receive, send

log = logging.getLogger("rivulet.server")

MOST = 256  # processes: a byte names one
STREAMS_EACH = 16  # fewer are not worth a process; a core carries more
AT_ONCE = 64  # connections taken before anything else is looked at
FRESH_S = 1.0  # so long a connection that was handed over may not be counted by its process yet
STREAM_WEIGHT = 8  # a stream is so much more work than a connection that says nothing
DEATHS, DEATHS_S = 5, 60.0  # so many in so many seconds, and the server gives up
LAST_S = 15.0  # seconds for children to end, more than their `Limits.drain_s`
BACK_OFF_S = 0.1  # where no more files can be opened

Serve = Callable[[Siblings, sockets.socket], None]


class ServerError(RivuletError):
    """The server cannot go on."""


def can_fork() -> bool:
    """Whether processes can share a model and hand sockets over: not on Windows and macOS."""
    return os.name == "posix" and hasattr(os, "sched_getaffinity")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if can_fork() else os.cpu_count() or 1


def default_processes(streams: int) -> int:
    """Return one process a core, and no more than so many streams need."""
    return max(1, min(cores(), MOST, -(-streams // STREAMS_EACH))) if can_fork() else 1


def check_processes(count: int) -> None:
    """Refuse what cannot be.

    Raises:
        ConfigError: so many processes cannot be, or not on this system.
    """
    if not 1 <= count <= MOST:
        raise ConfigError(f"--processes {count} cannot be used; give 1 to {MOST}.")
    if count > 1 and not can_fork():
        raise ConfigError(
            f"--processes {count} needs Linux; leave it out, or run several servers on ports of "
            "their own."
        )


@dataclass
class Child:
    """One process and the parent's end of its channel."""

    index: int
    process: BaseProcess
    channel: sockets.socket
    ready: bool = False
    fresh: deque[float] = field(default_factory=deque)  # when connections were handed over

    def load(self, ledger: Ledger, now: float) -> int:
        """Return how much it has to do, beside the others."""
        while self.fresh and self.fresh[0] < now - FRESH_S:
            self.fresh.popleft()
        streams = ledger.count(self.index, "streams") + ledger.count(self.index, "uploads")
        return STREAM_WEIGHT * streams + ledger.count(self.index, "connections") + len(self.fresh)


class Parent:
    """Takes connections, hands them over, and keeps the children alive."""

    def __init__(
        self, processes: int, listening: dict[sockets.socket, Parcel], serve: Serve
    ) -> None:
        """Take connections of `listening`; `serve` is what a child does until it is told to end."""
        self._ledger = Ledger(processes)
        self._listening = listening
        self._serve = serve
        self._children: dict[int, Child] = {}
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._ending = False

    def run(self, announce: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM; `announce` is called once, when all children serve.

        Raises:
            ServerError: children die one after the other.
        """
        for listening in self._listening:
            listening.setblocking(False)
        gc.collect()
        gc.freeze()  # what is here now is shared: no child's collector touches its pages
        with _signals() as told:
            self._told = told
            try:
                for index in range(len(self._ledger)):
                    self._start(index)
                announced = False
                while not self._ending:
                    self._look()
                    if not announced and all(c.ready for c in self._children.values()):
                        announced = True
                        announce()
            finally:
                self._end()

    def _look(self) -> None:
        """Wait for something to do, and do it."""
        channels = {child.channel: child for child in self._children.values()}
        sentinels = {child.process.sentinel: child for child in self._children.values()}
        ready = connection.wait([self._told, *self._listening, *channels, *sentinels])
        if self._told in ready:
            self._ending = True
            return
        for found in ready:
            if found in self._listening:
                self._take(found)
            elif found in channels:
                self._hear(channels[found])
        for found in ready:
            if found in sentinels:
                self._replace(sentinels[found])

    def _take(self, listening: sockets.socket) -> None:
        """Hand over what connects."""
        for _ in range(AT_ONCE):
            try:
                client, _address = listening.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:  # no more files
                log.error("a connection could not be taken: %s", error.strerror)
                time.sleep(BACK_OFF_S)
                return
            with client:
                self._hand(self._listening[listening], client)

    def _hand(self, parcel: Parcel, client: sockets.socket) -> None:
        """Give a connection to the child with least to do that takes it; close it if none does."""
        now = time.monotonic()
        for child in sorted(self._children.values(), key=lambda c: c.load(self._ledger, now)):
            with suppress(OSError):  # its channel is full, or it has just died
                send(child.channel, parcel, child.index, client)
                child.fresh.append(now)
                return
        log.error("a connection was closed, since no process took it")

    def _hear(self, child: Child) -> None:
        """Take what a child says: that it serves, or a socket for another child."""
        with suppress(BlockingIOError):
            found = receive(child.channel)
            if found is None:
                return  # it ends; its sentinel says so, too
            parcel, index, content = found
            if parcel is Parcel.READY:
                child.ready = True
            elif content is not None:
                with content:
                    if other := self._children.get(index):
                        with suppress(OSError):
                            send(other.channel, parcel, index, content)

    def _start(self, index: int) -> None:
        here, there = sockets.socketpair()
        here.setblocking(False)
        context = multiprocessing.get_context("fork")
        process = context.Process(target=self._child, args=(index, here, there))
        process.start()
        there.close()
        self._children[index] = Child(index, process, here)

    def _child(self, index: int, parents: sockets.socket, channel: sockets.socket) -> None:
        """Be a child: keep nothing of the parent's but the model and one end of a channel."""
        os.setpgrp()  # Ctrl-C is the parent's to hear
        signal.set_wakeup_fd(-1)
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_DFL)
        for other in self._children.values():
            other.channel.close()
        for held in (parents, self._told, *self._listening):
            held.close()
        channel.setblocking(False)
        self._serve(Siblings(self._ledger, index, channel), channel)

    def _replace(self, child: Child) -> None:
        """Begin another in the place of a child that died."""
        child.process.join()
        child.channel.close()
        del self._children[child.index]
        self._ledger.clear(child.index)
        code = child.process.exitcode
        if not child.ready:
            raise ServerError(
                f"process {child.index} ended with code {code} before it served; its messages say "
                "why."
            )
        log.error("process %d ended with code %s; another takes its place", child.index, code)
        now = time.monotonic()
        self._deaths.append(now)
        if len(self._deaths) == DEATHS and now - self._deaths[0] < DEATHS_S:
            raise ServerError(
                f"{DEATHS} processes ended by themselves within {DEATHS_S:.0f} s; the log says how."
            )
        self._start(child.index)

    def _end(self) -> None:
        """Let the children send last results; end those that do not in time."""
        for listening in self._listening:
            listening.close()
        processes = [child.process for child in self._children.values()]
        for child in self._children.values():
            child.process.terminate()
            child.channel.close()  # says the same to one that has no ear for signals yet
        deadline = time.monotonic() + LAST_S
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                log.error("a process did not end within %.0f s and was killed", LAST_S)
                process.kill()
                process.join()


@contextmanager
def _signals() -> Iterator[sockets.socket]:
    """Yield a socket that can be read when SIGINT or SIGTERM came."""
    told, teller = sockets.socketpair()
    teller.setblocking(False)
    handlers = {
        name: signal.signal(name, lambda *_: None) for name in (signal.SIGINT, signal.SIGTERM)
    }
    before = signal.set_wakeup_fd(teller.fileno(), warn_on_full_buffer=False)
    try:
        yield told
    finally:
        signal.set_wakeup_fd(before)
        for name, handler in handlers.items():
            signal.signal(name, handler)
        told.close()
        teller.close()
