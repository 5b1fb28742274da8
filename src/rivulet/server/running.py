"""An app on its sockets: uvicorn with limits it does not have, and an end that loses nothing."""

import asyncio
import logging
import socket as sockets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from rivulet.errors import ConfigError
from rivulet.recognizer import Recognizer
from rivulet.server.app import App, Settings
from rivulet.server.connection import ABORT
from rivulet.server.settings import is_loopback

log = logging.getLogger("rivulet.server")

HEADER_BYTES = 16_384  # of a request's line and headers
HEADER_S = 10.0  # seconds for them to arrive
FLUSH_S = 10.0  # seconds for a client to read what is left when its connection ends
UNSENT_BYTES = 1 << 16  # a reply has some hundred bytes
PING_S = 20.0
PONG_S = 60.0  # a pong waits behind the audio of a client that sends faster than we compute
BACKLOG = 2048
FRAGMENTS = 1024  # of one message
FILES = 16_384  # open at once: every connection is one


@dataclass(frozen=True)
class Address:
    """Where a server listens. `wyoming_port` is None without that protocol."""

    host: str = "127.0.0.1"
    port: int = 2700
    wyoming_port: int | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def url(self) -> str:
        """The page."""
        name = "localhost" if is_loopback(self.host) else self.host
        name = f"[{name}]" if ":" in name else name
        return f"http{'s' if self.tls_cert else ''}://{name}:{self.port}/"


class HttpProtocol(H11Protocol):
    """uvicorn's, and a request that takes too long to arrive ends the connection."""

    _patience: asyncio.TimerHandle | None = None
    _upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes; wait for the rest of a request, or no longer."""
        super().data_received(data)
        if self.scope is not None:
            self.scope.setdefault("extensions", {})[ABORT] = self.transport.abort  # type: ignore
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._cease()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Leave the connection to the WebSocket."""
        self._upgraded = True
        self._cease()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._cease()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._patience is None and not self._upgraded:
            self._patience = self.loop.call_later(HEADER_S, self.transport.abort)

    def _cease(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, and a client that does not read fills no memory and ends after a while."""

    def connection_made(self, transport: Any) -> None:
        """Bound what may wait to be sent, in this process and in the kernel."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(UNSENT_BYTES)
        transport.get_extra_info("socket").setsockopt(
            sockets.SOL_SOCKET, sockets.SO_SNDBUF, UNSENT_BYTES
        )

    def handle_connect(self, event: Any) -> None:
        """Let the application end the connection at once."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"][ABORT] = self.transport.abort  # type: ignore[assignment]

    def handle_cont(self, event: Any) -> None:
        """Collect a message's pieces, but not without end: empty ones have no size to limit."""
        super().handle_cont(event)
        if len(self.frames) > FRAGMENTS:
            self.transport.abort()

    def handle_ping(self) -> None:
        """Answer, unless the answers are not read."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > 4 * UNSENT_BYTES:
            self.transport.abort()

    def on_task_complete(self, task: "asyncio.Task[None]") -> None:
        """Give the last messages some time to be read."""
        super().on_task_complete(task)
        self.loop.call_later(FLUSH_S, self.transport.abort)


class Server(uvicorn.Server):
    """Serves an app until it is told to end; then every client has its last results first."""

    def __init__(self, app: App, address: Address) -> None:
        """Listen at once, so that a taken port is known before anything else.

        Raises:
            ConfigError: a port cannot be used, or the certificate cannot be read.
        """
        self.app = app
        self._socket = listen(address.host, address.port)
        self._wyoming: Any = None
        self._wyoming_socket: sockets.socket | None = None
        self.address = replace(address, port=self._socket.getsockname()[1])
        if address.wyoming_port is not None:
            self._wyoming_socket = listen(address.host, address.wyoming_port)
            self.address = replace(self.address, wyoming_port=self._wyoming_socket.getsockname()[1])
        super().__init__(_config(app, address))
        try:
            self.config.load()
        except OSError as error:
            raise ConfigError(
                f"the certificate cannot be used ({error}); check its files."
            ) from error

    async def startup(self, sockets: list[sockets.socket] | None = None) -> None:
        """Begin to serve."""
        if self._wyoming_socket is not None:
            await self._start_wyoming(self._wyoming_socket)
        await super().startup([self._socket])

    async def shutdown(self, sockets: list[sockets.socket] | None = None) -> None:
        """Send last results, close, and wait for what is left."""
        if self._wyoming is not None:
            self._wyoming.stop()
        await self.app.drain()
        await super().shutdown([self._socket])
        self.app.advancer.close()
        self._captured_signals.clear()  # this was their effect; they need not end the process too

    async def _start_wyoming(self, listening: sockets.socket) -> None:
        from rivulet.server.wyoming import WyomingServer

        self._wyoming = WyomingServer(self.app.streams, self.app.connections)
        await self._wyoming.start(listening)


def check_files(address: Address) -> None:
    """Check what can be checked before a model is loaded.

    Raises:
        ConfigError: a file of the certificate is missing.
    """
    for file in (address.tls_cert, address.tls_key):
        if file is not None and not file.is_file():
            raise ConfigError(f"{file} does not exist; give the certificate as a PEM file.")
    if address.tls_key is not None and address.tls_cert is None:
        raise ConfigError("--tls-key is given without its --tls-cert; give both.")


def listen(host: str, port: int) -> sockets.socket:
    """Return a listening socket.

    Raises:
        ConfigError: the address cannot be used.
    """
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    try:
        return sockets.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{host} port {port} cannot be listened on ({reason}); choose another --port."
        ) from error


def raise_file_limit() -> None:
    """Let the process hold as many connections as the system allows; each is an open file."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(
    recognizer: Recognizer,
    settings: Settings,
    address: Address,
    announce: Callable[[Server], None],
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is called once, when clients can connect.

    Raises:
        ConfigError: an address or a certificate cannot be used.
    """
    raise_file_limit()
    server = Server(App(recognizer, settings), address)

    async def main() -> None:
        serving = asyncio.ensure_future(server.serve())
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if not serving.done():
            announce(server)
        await serving

    with suppress(KeyboardInterrupt):
        asyncio.run(main())


def _config(app: App, address: Address) -> uvicorn.Config:
    return uvicorn.Config(
        app.asgi,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,  # a query may hold the token
        ws_max_size=app.settings.limits.message_bytes,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PONG_S,
        ws_per_message_deflate=False,  # sound does not get smaller, and a bomb gets larger
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=app.settings.limits.connections + BACKLOG,
        timeout_graceful_shutdown=int(app.settings.limits.drain_s),
        ssl_certfile=address.tls_cert,
        ssl_keyfile=address.tls_key,
        server_header=False,
    )
