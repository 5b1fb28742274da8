"""Several processes that serve one port: who gets a connection, and what all have together."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import psutil
import pytest
from support.serving import heard, pcm16
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from rivulet.recognizer import Recognizer
from rivulet.server.metrics import Metrics
from rivulet.server.processes import can_fork, default_processes
from rivulet.server.relay import summed
from rivulet.server.siblings import Ledger, Siblings

pytestmark = pytest.mark.skipif(not can_fork(), reason="needs Linux")

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
RATE = 16_000


@dataclass
class Served:
    """A server of several processes."""

    process: "subprocess.Popen[str]"
    port: int

    def url(self, path: str = "/v1/stream") -> str:
        return f"ws://localhost:{self.port}{path}"

    def get(self, path: str) -> str:
        with urlopen(f"http://localhost:{self.port}{path}", timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    def health(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/health")))

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@contextmanager
def running(*flags: str, expected: int = 0) -> Iterator[Served]:
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--port", "0", "--processes", "2"]
    process = subprocess.Popen(
        [*command, "--decoder", "greedy", "--raw", *flags],  # the last --port counts
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert process.stdout
    found = re.search(r":(\d+)/", process.stdout.readline())
    assert found, "the server did not start"
    try:
        yield Served(process, int(found[1]))
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == expected


@pytest.fixture(scope="module")
def server(recognizer: Recognizer) -> Iterator[Served]:  # for its skip where there is no model
    with running("--streams", "8") as served:
        yield served


async def begin(served: Served) -> tuple[ClientConnection, dict[str, Any]]:
    socket = await connect(served.url(), open_timeout=PATIENCE_S)
    await socket.send('{"type": "start"}')
    return socket, json.loads(await socket.recv())


def process_of(ready: dict[str, Any]) -> int:
    return int(ready["stream"].partition(".")[0])


def test_streams_spread_over_the_processes_and_count_together(server: Served) -> None:
    async def body() -> None:
        begun = [await begin(server) for _ in range(8)]
        assert sorted(process_of(ready) for _, ready in begun) == [0] * 4 + [1] * 4
        assert (await asyncio.to_thread(server.health))["streams"] == 8
        assert "\nrivulet_streams 8.0\n" in await asyncio.to_thread(server.get, "/metrics")
        socket, full = await begin(server)
        assert full["code"] == 1013
        assert "all 8 streams are taken" in full["message"]
        for other in (socket, *(socket for socket, _ in begun)):
            await other.close()

    asyncio.run(body())


async def unbalanced(served: Served) -> tuple[ClientConnection, dict[str, Any], list[Any]]:
    """A stream, and others beside it, so that the next connection goes to the other process."""
    begun = [await begin(served) for _ in range(6)]
    first = process_of(begun[0][1])
    kept = [socket for socket, ready in begun[1:] if process_of(ready) == first]
    for socket, ready in begun:
        if process_of(ready) != first:
            await socket.close()
    await eventually(lambda: served.health()["streams"] == 1 + len(kept))
    return (*begun[0], kept)


async def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def test_a_stream_goes_on_over_another_process(
    server: Served, recognizer: Recognizer, babble: np.ndarray
) -> None:
    sound = pcm16(babble)
    greedy = Recognizer.of(recognizer.checkpoint, decoder="greedy")
    expected = [final.text for final in heard(greedy, np.frombuffer(sound, "<i2"), RATE)]

    async def body() -> list[dict[str, Any]]:
        socket, ready, kept = await unbalanced(server)
        await socket.send(sound[: len(sound) // 3])
        socket.transport.abort()
        async with connect(server.url(), open_timeout=PATIENCE_S) as socket:
            await socket.send(json.dumps({"type": "start", "resume": ready["stream"], "after": 0}))
            again = json.loads(await socket.recv())
            assert again["stream"] == ready["stream"]
            alone = await asyncio.to_thread(server.get, "/metrics?alone")
            assert "\nrivulet_streams 0.0\n" in alone, "it is not the process with the stream"
            assert "\nrivulet_connections 1.0\n" in alone
            await socket.send(sound[2 * again["samples"] :])
            await socket.send('{"type": "finish"}')
            events = [json.loads(message) async for message in socket]
            assert socket.close_code == 1000
        for other in kept:
            await other.close()
        return events

    events = asyncio.run(body())
    assert [event["text"] for event in events if event["type"] == "final"] == expected
    assert events[-1]["samples"] == len(babble)


def test_a_stream_that_nobody_knows_is_refused_by_the_process_that_would_hold_it(
    server: Served,
) -> None:
    async def body(key: str) -> dict[str, Any]:
        async with connect(server.url(), open_timeout=PATIENCE_S) as socket:
            await socket.send(json.dumps({"type": "start", "resume": key}))
            return dict(json.loads(await socket.recv()))

    for key in ("0.unknown", "1.unknown", "7.unknown", "unknown", "-1.x"):
        answer = asyncio.run(body(key))
        assert answer["code"] == 1008
        assert "not known" in answer["message"]


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(babble: np.ndarray) -> None:
    with running() as served:

        async def body() -> None:
            begun = [await begin(served) for _ in range(2)]
            victim = served.children()[process_of(begun[0][1])]
            victim.kill()
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(begun[0][0].recv(), PATIENCE_S)
            other = begun[1][0]
            await other.send(pcm16(babble))
            await other.send('{"type": "finish"}')
            assert [json.loads(m) async for m in other][-1]["type"] == "end"
            await eventually(lambda: len(served.children()) == 2)
            again = [await begin(served) for _ in range(2)]
            assert sorted(process_of(ready) for _, ready in again) == [0, 1]
            for socket, _ in again:
                await socket.close()

        asyncio.run(body())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_the_end_of_the_server_gives_every_client_its_last_results(
    babble: np.ndarray, name: str
) -> None:
    """Whatever ends the parent, its children end gracefully, and the port is free at once."""

    async def spoken(served: Served) -> tuple[ClientConnection, dict[str, Any]]:
        socket, ready = await begin(served)
        await socket.send(pcm16(babble))
        await socket.send('{"type": "gap", "samples": 16000}')
        while json.loads(await socket.recv())["type"] != "gap":
            pass
        return socket, ready

    async def body(served: Served) -> None:
        begun = [await spoken(served) for _ in range(4)]
        assert {process_of(ready) for _, ready in begun} == {0, 1}
        served.process.send_signal(getattr(signal, name))
        for socket, _ in begun:
            events = [json.loads(message) async for message in socket]
            assert events[-1]["type"] == "end"
            assert events[-1]["samples"] == len(babble) + 16_000
            assert socket.close_code == 1001

    with running(expected=-signal.SIGKILL if name == "SIGKILL" else 0) as served:
        children = served.children()
        asyncio.run(body(served))
        served.process.wait(PATIENCE_S)
        assert psutil.wait_procs(children, PATIENCE_S)[1] == []
        with running("--port", str(served.port)) as again:
            assert again.health()["status"] == "ok"


def test_metrics_are_summed_sample_by_sample() -> None:
    one, other = Metrics(), Metrics()
    for metrics, streams, compute_s in ((one, 3, 1.0), (other, 4, 2.0)):
        metrics.streams.set(streams)
        metrics.audio_s.inc(10.0)
        metrics.compute_s.inc(compute_s)
        metrics.lag.observe(0.15)
        metrics.refused.labels("full").inc()
    other.refused.labels("access").inc(5)
    lines = summed([one.render(), other.render()]).decode().splitlines()
    assert set(lines) >= {
        "rivulet_streams 7.0",
        "rivulet_audio_seconds_total 20.0",
        "rivulet_real_time_factor 0.15",
        'rivulet_lag_seconds_bucket{le="0.2"} 2.0',
        "rivulet_lag_seconds_sum 0.3",
        'rivulet_refused_total{reason="full"} 2.0',
        'rivulet_refused_total{reason="access"} 5.0',
    }
    assert summed([one.render()]) == one.render()


def test_each_process_counts_in_its_own_row() -> None:
    ledger = Ledger(3)
    ends = [Siblings(ledger, index) for index in range(3)]
    for index, end in enumerate(ends):
        end.tell("streams", 10 * index)
    assert [end.total("streams") for end in ends] == [30] * 3
    ledger.clear(2)
    assert ends[0].total("streams") == 10
    assert ends[1].holder(ends[2].sign("key")) == 2
    assert ends[1].holder(ends[1].sign("key")) is None
    assert Siblings().sign("key") == "key"


@pytest.mark.slow
@pytest.mark.parametrize(("streams", "most"), [(1, 1), (16, 1), (17, 2), (10_000, 256)])
def test_no_more_processes_than_streams_need(streams: int, most: int) -> None:
    assert 1 <= default_processes(streams) <= most
