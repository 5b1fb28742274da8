"""One WebSocket: messages to the protocol, its actions to the stream and back."""

import asyncio
import json
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from typing import Protocol as Interface

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
from rivulet.server.siblings import Siblings
from rivulet.server.streams import LiveStream, Streams

log = logging.getLogger("rivulet.server")

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


@dataclass
class Connections:
    """All connections of a server that stay open, to count them and to end them."""

    metrics: Metrics
    limit: int
    siblings: Siblings = field(default_factory=Siblings)
    _open: set[Leaving] = field(default_factory=set)
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
        if not self.draining and count < self.limit:
            return None
        self.metrics.refused.labels("connections").inc()
        if self.draining:
            return "the server is going down; connect again later."
        return f"{count} connections are open; try again later."

    def add(self, connection: Leaving) -> None:
        """Count one more."""
        self._open.add(connection)
        self.siblings.tell("connections", len(self._open))

    def remove(self, connection: Leaving) -> None:
        """Count one less."""
        self._open.discard(connection)
        self.siblings.tell("connections", len(self._open))

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
        self._leaving: asyncio.Future[Close] = asyncio.get_running_loop().create_future()

    def leave(self, code: int, reason: str) -> None:
        """End the connection after the message that is being answered."""
        if not self._leaving.done():
            self._leaving.set_result(Close(code, reason))

    async def run(self) -> None:
        """Serve until one side ends it."""
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
        receiving = asyncio.ensure_future(self._socket.receive())
        waiting: set[asyncio.Future[Any]] = {receiving, self._leaving}
        await asyncio.wait(
            waiting,
            timeout=self._limits.idle_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not receiving.done():
            receiving.cancel()
            with suppress(asyncio.CancelledError):
                await receiving
            await self._end()
            return None
        message = receiving.result()
        if message["type"] == "websocket.disconnect":
            raise ClientGoneError(message.get("code", NORMAL))
        self._metrics.messages.inc()
        text, data = message.get("text"), message.get("bytes")
        return text if text is not None else (data or b"")

    async def _end(self) -> None:
        """Close by the server's own will: it goes down, or the client is elsewhere or idle."""
        if not self._leaving.done():
            self._drop("idle")
            close = Close(GOING_AWAY, f"no message for {self._limits.idle_s:.0f} s; connect again.")
        else:
            close = self._leaving.result()
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
        try:
            await asyncio.wait_for(self._socket.send(message), self._limits.send_s)
        except asyncio.TimeoutError as error:
            raise SlowReaderError from error
        except (WebSocketDisconnect, OSError) as error:
            raise ClientGoneError(ABNORMAL) from error

    def _drop(self, reason: str) -> None:
        self._metrics.dropped.labels(reason).inc()
        log.info("dropped a connection: %s", reason)  # no sentence: it may quote the client

    def _abort(self) -> None:
        abort = self._socket.scope.get("extensions", {}).get(ABORT)
        if abort is not None:
            abort()
