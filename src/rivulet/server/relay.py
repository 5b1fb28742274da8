"""What one process asks of another: a stream whose client came back elsewhere, and its metrics."""

import asyncio
import socket as sockets
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from rivulet.server.protocol import GOING_AWAY, INTERNAL, NORMAL, Close
from rivulet.server.siblings import Siblings

ABNORMAL = 1006  # the code of a connection that was lost without one
DELIBERATE = (NORMAL, GOING_AWAY)  # codes with which a client says that it will not come back
ANSWER_S = 2.0  # seconds for another process to send its metrics
ALONE = "alone"  # in the query of `/metrics`: of this process only
RATIO = "rivulet_real_time_factor"

Put = Callable[[dict[str, object]], Awaitable[None]]


async def relay(socket: WebSocket, put: Put, hello: str, through: sockets.socket) -> Close:
    """Let a client speak with another process until one of them ends it; return how it did.

    Args:
        socket: of the client.
        put: sends one message to the client.
        hello: what the client said first.
        through: leads to the other process.

    Raises:
        OSError, WebSocketException, TimeoutError: the other process does not answer.
    """
    async with connect(
        f"ws://localhost{socket.url.path}?{socket.url.query}",
        sock=through,
        additional_headers=_identity(socket),
        compression=None,
        ping_interval=None,  # the client is pinged, and is not pinged twice
        max_size=None,
    ) as other:
        up = asyncio.ensure_future(_upwards(socket, other))
        try:
            await other.send(hello)
            with suppress(ConnectionClosed):
                async for message in other:
                    await put({"type": "websocket.send", "text": message})
        except BaseException:
            other.transport.abort()  # a close with a code would end the stream
            raise
        finally:
            up.cancel()
            await asyncio.gather(up, return_exceptions=True)
        if other.close_code in (None, ABNORMAL):
            return Close(INTERNAL, "the process with the stream has ended; begin another.")
        return Close(int(other.close_code or NORMAL), other.close_reason or "")


async def _upwards(socket: WebSocket, other: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await other.send(text if text is not None else (message.get("bytes") or b""))
        code = message.get("code", NORMAL)
        if code in DELIBERATE:
            await other.close(code)
    other.transport.abort()


def _identity(connection: HTTPConnection) -> dict[str, str]:
    """Return what a client says to be let in."""
    token = connection.headers.get("authorization")
    return {"Authorization": token} if token else {}


async def metrics_of_all(siblings: Siblings, own: bytes, request: HTTPConnection) -> bytes:
    """Return the metrics of all processes, summed; of those that do not answer, none."""
    if ALONE in request.query_params or not siblings.others:
        return own
    asked = (_metrics_of(siblings, process, request) for process in siblings.others)
    return summed([own, *await asyncio.gather(*asked)])


async def _metrics_of(siblings: Siblings, process: int, request: HTTPConnection) -> bytes:
    query = "&".join(part for part in (ALONE, request.url.query) if part)
    token = _identity(request).get("Authorization", "")
    head = f"GET /metrics?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Authorization: {token}\r\n" if token else ""
    try:
        reader, writer = await asyncio.open_connection(sock=siblings.reach(process))
        try:
            writer.write(head.encode() + b"\r\n")
            answer = await asyncio.wait_for(reader.read(), ANSWER_S)
        finally:
            writer.close()
    except (OSError, asyncio.TimeoutError):
        return b""
    status, _, body = answer.partition(b"\r\n\r\n")
    return body if b" 200 " in status[:16] else b""


def summed(texts: Iterable[bytes]) -> bytes:
    """Return metrics in Prometheus' format, sample by sample the sum of several such texts."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[Any, Sample]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text.decode()):
            families.setdefault(family.name, family)
            samples = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, *sample.labels.items())
                before = samples.get(key)
                samples[key] = sample if before is None else _joined(before, sample)
    for name, family in families.items():
        family.samples = list(values[name].values())
    if RATIO in families:
        families[RATIO].samples = [Sample(RATIO, {}, _real_time_factor(families))]
    return bytes(generate_latest(_Collected(families.values())))


def _joined(one: Sample, other: Sample) -> Sample:
    """Return the sum of two samples; the earlier of two times."""
    join = min if one.name.endswith("_created") else sum
    return one._replace(value=join((one.value, other.value)))


def _real_time_factor(families: dict[str, Metric]) -> float:
    compute, audio = (
        next(s.value for s in families[f"rivulet_{what}_seconds"].samples if "_total" in s.name)
        for what in ("compute", "audio")
    )
    return float(compute / audio) if audio else 0.0


class _Collected:
    """What `generate_latest` needs of a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
