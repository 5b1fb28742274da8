"""One WebSocket: messages to the protocol, its actions to the stream and back."""

import asyncio
import json
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol as Interface

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from websockets.exceptions import WebSocketException

from rivulet.errors import RivuletError
from rivulet.server.metrics import Metrics
from rivulet.server.native_protocol import NativeProtocol
from rivulet.server.protocol import (
    GOING_AWAY,
    INTERNAL,
    INVALID,
    NORMAL,
    POLICY,
    TRY_LATER,
    Action,
    Close,
    Feed,
    Finish,
    Open,
    Protocol,
    ProtocolError,
    Resume,
    Send,
    reason_of,
)
from rivulet.server.relay import ABNORMAL, DELIBERATE, relay
from rivulet.server.settings import Limits
from rivulet.server.siblings import Siblings
from rivulet.server.streams import LiveStream, Streams

log = logging.getLogger("rivulet.server")

LOOK_S = 1.0  # seconds between two looks at what clients let wait
ABORT = "rivulet.abort"  # extension of the ASGI scope: ends a connection nobody reads


class SlowReaderError(Exception):
    """A client did not read for too long."""


class ClientGoneError(Exception):
    """The client is away; `deliberate` if it said so."""

    def __init__(self, code: int) -> None:
        """Remember how it left."""
        super().__init__(code)
        self.deliberate = code in DELIBERATE


class Leaving(Interface):
    """What a server needs of a connection, of any protocol, to end it."""

    def leave(self, code: int, reason: str) -> None:
        """End after the message that is being answered, with last results."""

    def look(self, now: float) -> None:
        """End if the client lets it wait for too long; `now` by the loop's clock, in seconds."""


@dataclass
class Connections:
    """All connections of a server that stay open, to count them and to end them."""

    metrics: Metrics
    limits: Limits
    siblings: Siblings = field(default_factory=Siblings)
    _open: set[Leaving] = field(default_factory=set)
    _watch: "asyncio.Task[None] | None" = None
    draining: bool = False

    def __post_init__(self) -> None:
        """Let the gauge count."""
        self.metrics.connections.set_function(lambda: len(self._open))

    def __len__(self) -> int:
        """Count them."""
        return len(self._open)

    def refusal(self) -> str | None:
        """Return why no other connection is taken; None if one is."""
        count = self.siblings.total("connections")
        if not self.draining and count < self.limits.connections:
            return None
        self.metrics.refused.labels("connections").inc()
        if self.draining:
            return "the server is going down; connect again later."
        return f"{count} connections are open; try again later."

    def add(self, connection: Leaving) -> None:
        """Count one more, and look at it from time to time."""
        self._open.add(connection)
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._look())
        self.siblings.tell("connections", len(self._open))

    def remove(self, connection: Leaving) -> None:
        """Count one less."""
        self._open.discard(connection)
        self.siblings.tell("connections", len(self._open))

    async def _look(self) -> None:
        """Look at all of them: cheaper than a timer for each message."""
        shortest_s = min(self.limits.idle_s, self.limits.send_s)
        while self._open:
            await asyncio.sleep(min(LOOK_S, shortest_s / 4))
            now = asyncio.get_running_loop().time()
            for connection in list(self._open):
                connection.look(now)
        self._watch = None

    async def drain(self, seconds: float) -> None:
        """Let every connection send its last results and close; wait for them."""
        self.draining = True
        for connection in list(self._open):
            connection.leave(GOING_AWAY, "the server is going down; connect again later.")
        deadline = time.monotonic() + seconds
        while self._open and time.monotonic() < deadline:
            await asyncio.sleep(0.02)


class Connection:
    """Carries out what one protocol asks for."""

    def __init__(
        self, socket: WebSocket, protocol: Protocol, streams: Streams, connections: Connections
    ) -> None:
        """Serve an accepted `socket`."""
        self._socket = socket
        self._protocol = protocol
        self._streams = streams
        self._connections = connections
        self._metrics = streams.metrics
        self._limits = streams.limits
        self._live: LiveStream | None = None
        self._own_close: Close | None = None  # why the server ends it, whatever the protocol says
        self._leaving: Close | None = None  # how it ends after the message being answered
        self._loop = asyncio.get_running_loop()
        self._receives_since: float | None = None  # by the loop's clock
        self._sends_since: float | None = None
        self._interrupted = False

    def leave(self, code: int, reason: str) -> None:
        """End the connection after the message that is being answered."""
        self._leaving = self._leaving or Close(code, reason)
        if self._receives_since is not None:
            self._interrupt()

    def look(self, now: float) -> None:
        """End it if the client neither sends nor reads for too long."""
        if self._receives_since is not None and now - self._receives_since > self._limits.idle_s:
            self._interrupt()
        if self._sends_since is not None and now - self._sends_since > self._limits.send_s:
            self._interrupt()

    def _interrupt(self) -> None:
        """Wake the task that waits for its client."""
        if not self._interrupted:
            self._interrupted = True
            self._task.cancel()

    def _is_interrupted(self) -> bool:
        """Whether a cancellation was an interruption, which is over with it."""
        was, self._interrupted = self._interrupted, False
        if was and (uncancel := getattr(self._task, "uncancel", None)):  # from Python 3.11 on
            uncancel()
        return was

    async def run(self) -> None:
        """Serve until one side ends it."""
        task = asyncio.current_task()
        assert task
        self._task = task
        self._connections.add(self)
        try:
            await self._serve()
        except ClientGoneError as gone:
            if self._live and isinstance(self._protocol, NativeProtocol) and not gone.deliberate:
                self._streams.park(self._live, self._protocol)
                self._live = None
        except SlowReaderError:
            self._drop("slow reader")
            self._abort()
        finally:
            if self._live:
                self._streams.close(self._live.key)
            self._connections.remove(self)

    async def _serve(self) -> None:
        try:
            while (message := await self._receive()) is not None:
                arrived = time.monotonic()
                await self._perform(self._protocol.receive(message))
                self._metrics.lag.observe(time.monotonic() - arrived)
        except ProtocolError as error:
            await self._fail(error)
        except RivuletError as error:
            await self._fail(ProtocolError(str(error), INVALID))
        except (ClientGoneError, SlowReaderError):
            raise
        except Exception:
            log.exception("a connection ended by an error of the server")
            await self._fail(
                ProtocolError("the server made an error; its log says more.", INTERNAL)
            )

    async def _receive(self) -> str | bytes | None:
        """Return the next message, or None when the connection was closed."""
        message = None
        if self._leaving is None:
            message = await self._next()
        if message is None:
            await self._end()
            return None
        if message["type"] == "websocket.disconnect":
            raise ClientGoneError(message.get("code", NORMAL))
        self._metrics.messages.inc()
        text, data = message.get("text"), message.get("bytes")
        return text if text is not None else (data or b"")

    async def _next(self) -> Message | None:
        """Return what the socket receives next, or None if it is not to be waited for."""
        self._receives_since = self._loop.time()
        try:
            return await self._socket.receive()
        except asyncio.CancelledError:
            if not self._is_interrupted():
                raise
            return None
        finally:
            self._receives_since = None

    async def _end(self) -> None:
        """Close by the server's own will: it goes down, or the client is elsewhere or idle."""
        if self._leaving is None:
            self._drop("idle")
            close = Close(GOING_AWAY, f"no message for {self._limits.idle_s:.0f} s; connect again.")
        else:
            close = self._leaving
        if close.code == POLICY:  # the stream goes on over another connection
            await self._close(close)
            raise ClientGoneError(ABNORMAL)
        self._own_close = close
        with suppress(RivuletError):
            await self._perform(self._protocol.end())
        await self._close(close)

    async def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            await self._act(action)

    async def _act(self, action: Action) -> None:
        match action:
            case Send(text):
                await self._send({"type": "websocket.send", "text": text})
            case Feed(samples, with_words):
                live = self._stream()
                events = await live.accept(samples)
                words = live.words() if with_words else ()
                await self._perform(self._protocol.heard(events, words))
            case Open(settings):
                self._live = await self._streams.open(settings, self._replaced)
                await self._perform(self._protocol.opened(self._live.key))
            case Finish():
                live = self._stream()
                await self._perform(self._protocol.finished(await live.finish()))
                self._streams.close(live.key)
                self._live = None
            case Resume(key) if self._streams.siblings.holder(key) is not None:
                await self._send_elsewhere(action)
            case Resume(key, after):
                self._live, memory = await self._streams.resume(key, self._replaced)
                self._protocol = memory
                await self._perform(memory.resumed(after))
            case Close():
                await self._close(self._own_close or action)
                raise ClientGoneError(NORMAL)

    async def _send_elsewhere(self, resume: Resume) -> None:
        """Pass messages on to the process that holds the stream, and what it answers back.

        Raises:
            ClientGoneError: in the end.
            ProtocolError: the other process does not answer.
        """
        siblings = self._streams.siblings
        hello = {"type": "start", "resume": resume.key, "after": resume.after}
        try:
            through = siblings.reach(siblings.holder(resume.key) or 0)
            close = await relay(self._socket, self._send, json.dumps(hello), through)
        except (OSError, WebSocketException, asyncio.TimeoutError) as error:
            raise ProtocolError(
                "the process with the stream does not answer; try again later.", TRY_LATER
            ) from error
        await self._close(close)
        raise ClientGoneError(NORMAL)

    def _replaced(self) -> None:
        self.leave(POLICY, "the stream goes on over another connection.")

    def _stream(self) -> LiveStream:
        if self._live is None:
            raise ProtocolError("there is no stream; begin one.")
        return self._live

    async def _fail(self, error: ProtocolError) -> None:
        self._drop("full" if error.code == TRY_LATER else f"error {error.code}")
        with suppress(ClientGoneError):
            await self._perform(self._protocol.failed(error))

    async def _close(self, close: Close) -> None:
        await self._send(
            {"type": "websocket.close", "code": close.code, "reason": reason_of(close.reason)}
        )

    async def _send(self, message: dict[str, object]) -> None:
        """Send one message.

        Raises:
            ClientGoneError: nobody is there.
            SlowReaderError: somebody is there and does not read.
        """
        if self._socket.application_state is not WebSocketState.CONNECTED:
            raise ClientGoneError(ABNORMAL)
        self._sends_since = self._loop.time()
        try:
            await self._socket.send(message)
        except asyncio.CancelledError as error:
            if not self._is_interrupted():
                raise
            raise SlowReaderError from error
        except (WebSocketDisconnect, OSError) as error:
            raise ClientGoneError(ABNORMAL) from error
        finally:
            self._sends_since = None

    def _drop(self, reason: str) -> None:
        self._metrics.dropped.labels(reason).inc()
        log.info("dropped a connection: %s", reason)  # no sentence: it may quote the client

    def _abort(self) -> None:
        abort = self._socket.scope.get("extensions", {}).get(ABORT)
        if abort is not None:
            abort()
