"""Routes: what binds the protocols to a port."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

import rivulet
from rivulet.recognizer import Recognizer
from rivulet.server.advancing import Advancer
from rivulet.server.connection import Connection, Connections
from rivulet.server.metrics import CONTENT_TYPE, Metrics
from rivulet.server.native_protocol import Greeting, NativeProtocol
from rivulet.server.protocol import TRY_LATER, Protocol, reason_of
from rivulet.server.relay import metrics_of_all
from rivulet.server.rendering import BODY_BYTES, FORMATS, rendered
from rivulet.server.settings import Access, Limits
from rivulet.server.siblings import Siblings
from rivulet.server.streams import Streams
from rivulet.server.transcription import RequestError
from rivulet.server.uploads import Uploads, failure, limited_body
from rivulet.server.vosk_protocol import DEFAULT_SAMPLE_RATE, VoskProtocol
from rivulet.writers import Formatter

PAGE = files("rivulet.server") / "page"
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Settings:
    """How a server serves.

    sample_rate: Hz of vosk clients that do not say it.
    workers: threads that compute, in each process; as many as cores if None.
    new_formatter: makes what says how a stream's events are shown; None for bare words.
    """

    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    sample_rate: int = DEFAULT_SAMPLE_RATE
    workers: int | None = None
    new_formatter: Callable[[], Formatter | None] = lambda: None


class App:
    """One server's streams and its routes."""

    def __init__(
        self, recognizer: Recognizer, settings: Settings, siblings: Siblings | None = None
    ) -> None:
        """Serve `recognizer`, alone or beside other processes."""
        self.settings = settings
        self._siblings = siblings or Siblings()
        self.metrics = Metrics()
        self.advancer = Advancer(self.metrics, settings.workers)
        self.streams = Streams(
            recognizer,
            settings.limits,
            self.metrics,
            self.advancer,
            settings.new_formatter,
            self._siblings,
        )
        self.connections = Connections(self.metrics, settings.limits, self._siblings)
        self._recognizer = recognizer
        self._uploads = Uploads(self.streams)
        self.asgi = Starlette(routes=self._routes())

    async def drain(self) -> None:
        """Let every client have its last results, then end."""
        await self.connections.drain(self.settings.limits.drain_s)
        self.streams.forget_parked()

    def _routes(self) -> list[BaseRoute]:
        return [
            Route("/", self._page),
            Route("/page/{name}", self._page),
            Route("/health", self._health),
            Route("/metrics", self._guarded(self._metrics)),
            Route("/v1/models", self._guarded(self._models)),
            Route("/v1/audio/transcriptions", self._guarded(self._transcribe), methods=["POST"]),
            Route("/v1/render", self._guarded(self._render), methods=["POST"]),
            WebSocketRoute("/", self._vosk),
            WebSocketRoute("/v1/stream", self._native),
        ]

    async def _page(self, request: Request) -> Response:
        if sentence := self.settings.access.origin_refusal(request.headers):
            return failure(RequestError(sentence, 403))
        name = Path(request.path_params.get("name", "index.html")).name
        asset = PAGE / name
        media_type = MEDIA_TYPES.get(Path(name).suffix)
        if media_type is None or not asset.is_file():
            return failure(RequestError("there is no such page.", 404))
        return Response(asset.read_bytes(), media_type=media_type, headers=HEADERS)

    async def _health(self, request: Request) -> Response:
        status = "draining" if self.connections.draining else "ok"
        body = {
            "status": status,
            "version": rivulet.__version__,
            "model": self._recognizer.checkpoint.name,
            "streams": self._siblings.total("streams"),
            "limit": self.settings.limits.streams,
            "token": self.settings.access.token is not None,
        }
        return JSONResponse(body, 503 if self.connections.draining else 200)

    async def _metrics(self, request: Request) -> Response:
        text = await metrics_of_all(self._siblings, self.metrics.render(), request)
        return Response(text, media_type=CONTENT_TYPE)

    async def _models(self, request: Request) -> Response:
        model = {"id": self._recognizer.checkpoint.name, "object": "model", "owned_by": "rivulet"}
        return JSONResponse({"object": "list", "data": [{**model, "created": 0}]})

    async def _transcribe(self, request: Request) -> Response:
        return await self._uploads.transcribe(request)

    async def _render(self, request: Request) -> Response:
        format_name = request.query_params.get("format", "srt")
        try:
            body = await limited_body(request, BODY_BYTES)
            text = await self.advancer.call(partial(rendered, body, format_name), live=False)
        except RequestError as error:
            return failure(error)
        return Response(text, media_type=FORMATS[format_name])

    def _guarded(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            sentence = self.settings.access.refusal(request.headers, _token(request))
            if sentence is None:
                return await endpoint(request)
            self.metrics.refused.labels("access").inc()
            return failure(RequestError(sentence, 403 if "page" in sentence else 401))

        return guarded

    async def _vosk(self, socket: WebSocket) -> None:
        await self._connect(socket, VoskProtocol(self.settings.sample_rate))

    async def _native(self, socket: WebSocket) -> None:
        recognizer = self._recognizer
        greeting = Greeting(recognizer.checkpoint.name, recognizer.block_ms, recognizer.latency_ms)
        await self._connect(socket, NativeProtocol(greeting))

    async def _connect(self, socket: WebSocket, protocol: Protocol) -> None:
        sentence = self.settings.access.refusal(socket.headers, _token(socket))
        if sentence is not None:
            self.metrics.refused.labels("access").inc()
            await socket.send_denial_response(PlainTextResponse(sentence + "\n", 403))
            return
        await socket.accept()
        if refusal := self.connections.refusal():
            await socket.close(TRY_LATER, reason_of(refusal))
            return
        await Connection(socket, protocol, self.streams, self.connections).run()


def _token(connection: HTTPConnection) -> str | None:
    """Return the token of the Authorization header, or of the query, for browsers."""
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return connection.query_params.get("token")
