"""An app on its sockets: uvicorn with limits it does not have, and an end that loses nothing.

`Server` listens by itself; `Worker` is one of several processes and takes what its parent hands it.
"""

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
from rivulet.server.processes import Parent
from rivulet.server.settings import is_loopback
from rivulet.server.siblings import Parcel, Siblings, receive, send

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
        self.address, self._listening = listen_at(address)
        self._wyoming: Any = None
        super().__init__(_config(app, address))
        load_certificate(self.config)

    async def startup(self, sockets: list[sockets.socket] | None = None) -> None:
        """Begin to serve."""
        if self.address.wyoming_port is not None:
            self._wyoming = self._new_wyoming()
        for listening, parcel in self._listening.items():
            if parcel is Parcel.WYOMING:
                await self._wyoming.start(listening)
        await super().startup([s for s, parcel in self._listening.items() if parcel is Parcel.WEB])

    async def shutdown(self, sockets: list[sockets.socket] | None = None) -> None:
        """Send last results, close, and wait for what is left."""
        if self._wyoming is not None:
            self._wyoming.stop()
        await self.app.drain()
        await super().shutdown(list(self._listening))
        self.app.advancer.close()
        self._captured_signals.clear()  # this was their effect; they need not end the process too

    def _new_wyoming(self) -> Any:
        from rivulet.server.wyoming import WyomingServer

        return WyomingServer(self.app.streams, self.app.connections)


class Worker(Server):
    """One process of several: serves the connections that its parent hands over."""

    def __init__(self, app: App, address: Address, channel: sockets.socket) -> None:
        """Take connections from `channel`; `address` is where the parent listens."""
        self.app = app
        self.address, self._listening = address, {}
        self._wyoming = None
        self._channel = channel
        self._arriving: set[asyncio.Task[None]] = set()
        uvicorn.Server.__init__(self, _config(app, address))
        load_certificate(self.config)

    async def startup(self, sockets: list[sockets.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup()
        asyncio.get_running_loop().add_reader(self._channel, self._take)
        send(self._channel, Parcel.READY)

    def _take(self) -> None:
        """Take what came over the channel."""
        with suppress(BlockingIOError):
            while True:
                found = receive(self._channel)
                if found is None:  # the parent has ended
                    asyncio.get_running_loop().remove_reader(self._channel)
                    self.should_exit = True
                    return
                parcel, _, client = found
                if client is not None:
                    task = asyncio.ensure_future(self._adopt(parcel, client))
                    self._arriving.add(task)
                    task.add_done_callback(self._arriving.discard)

    async def _adopt(self, parcel: Parcel, client: sockets.socket) -> None:
        """Serve a connection."""
        client.setblocking(False)
        with suppress(OSError):  # it ended before it began
            if parcel is Parcel.WYOMING:
                await self._wyoming.adopt(client)
                return
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: HttpProtocol(self.config, self.server_state, self.lifespan.state),
                client,
                ssl=self.config.ssl if parcel is Parcel.WEB else None,
            )


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


def load_certificate(config: uvicorn.Config) -> None:
    """Read what a configuration names.

    Raises:
        ConfigError: the certificate cannot be read.
    """
    try:
        config.load()
    except OSError as error:
        raise ConfigError(f"the certificate cannot be used ({error}); check its files.") from error


def listen_at(address: Address) -> tuple[Address, dict[sockets.socket, Parcel]]:
    """Return listening sockets by what connects there, and the address with their ports.

    Raises:
        ConfigError: a port cannot be used.
    """
    web = listen(address.host, address.port)
    found = replace(address, port=web.getsockname()[1])
    if address.wyoming_port is None:
        return found, {web: Parcel.WEB}
    wyoming = listen(address.host, address.wyoming_port)
    found = replace(found, wyoming_port=wyoming.getsockname()[1])
    return found, {web: Parcel.WEB, wyoming: Parcel.WYOMING}


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
    announce: Callable[[Address], None],
    processes: int = 1,
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is called once, when clients can connect.

    Raises:
        ConfigError: an address or a certificate cannot be used.
        ServerError: the processes of the server end by themselves.
    """
    raise_file_limit()
    if processes == 1:
        server = Server(App(recognizer, settings), address)
        _run(server, lambda: announce(server.address))
        return
    load_certificate(_config(App(recognizer, settings), address))  # said once, by the parent
    found, listening = listen_at(address)

    def child(siblings: Siblings, channel: sockets.socket) -> None:
        _run(Worker(App(recognizer, settings, siblings), found, channel), lambda: None)

    Parent(processes, listening, child).run(lambda: announce(found))


def _run(server: Server, announce: Callable[[], None]) -> None:
    async def main() -> None:
        serving = asyncio.ensure_future(server.serve())
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if not serving.done():
            announce()
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
