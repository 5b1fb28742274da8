"""Clients over real sockets: both protocols, lost connections, limits, the end."""

import asyncio
import json
import logging
import socket
import threading
import time
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from support.serving import heard, pcm16, serving, text_of, transcribed
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from rivulet.audio import SAMPLE_RATE, load
from rivulet.audio.pcm import write_wav
from rivulet.recognizer import Recognizer
from rivulet.server.app import Settings
from rivulet.server.running import Server
from rivulet.server.settings import Access, Limits

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "data" / "samples" / "slt.flac"
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def server(recognizer: Recognizer) -> Iterator[Server]:
    with serving(recognizer) as running:
        yield running


@pytest.fixture(scope="module")
def nonsense(small: Recognizer) -> Iterator[Server]:
    with serving(small, Settings(Limits(resume_s=0.5, idle_s=0.5, length_s=20.0))) as running:
        yield running


@pytest.fixture(params=[8_000, 16_000, 48_000])
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The clip as a WAV file of some rate."""
    resampled = soxr.resample(load(CLIP), SAMPLE_RATE, request.param)
    return write_wav(tmp_path / "clip.wav", resampled, request.param)


def at(server: Server, path: str = "/", query: str = "") -> str:
    return f"ws://localhost:{server.address.port}{path}{query}"


@asynccontextmanager
async def native(server: Server, **start: Any) -> AsyncIterator[tuple[ClientConnection, str]]:
    async with connect(at(server, "/v1/stream")) as client:
        await client.send(json.dumps({"type": "start", **start}))
        ready = json.loads(await client.recv())
        assert ready["type"] == "ready", ready
        yield client, ready["stream"]


async def rest_of(client: ClientConnection) -> list[dict[str, Any]]:
    return [json.loads(message) async for message in client]


async def closed(client: ClientConnection) -> tuple[int, str]:
    """Wait until the server closes; return its code and reason."""
    with suppress(ConnectionClosedError):
        await asyncio.wait_for(rest_of(client), PATIENCE_S)
    assert client.close_code, "the connection was lost without a close"
    return client.close_code, client.close_reason or ""


async def as_vosk(server: Server, path: Path, **config: Any) -> list[dict[str, Any]]:
    """Do what vosk-server's `test.py` does."""
    async with connect(at(server)) as client:
        with wave.open(str(path), "rb") as sound:
            rate = sound.getframerate()
            await client.send(json.dumps({"config": {"sample_rate": rate, **config}}))
            replies = []
            while data := sound.readframes(int(rate * 0.2)):
                await client.send(data)
                replies.append(json.loads(await client.recv()))
        await client.send('{"eof" : 1}')
        replies.append(json.loads(await client.recv()))
        return replies


@pytest.mark.slow
def test_a_vosk_client_has_the_words_and_times_of_transcribe(
    server: Server, recognizer: Recognizer, clip: Path
) -> None:
    replies = asyncio.run(as_vosk(server, clip))
    results = [word for reply in replies for word in reply.get("result", ())]
    expected = [word for final in transcribed(recognizer, clip) for word in final.words]
    assert [(w["word"], w["start"], w["end"], w["conf"]) for w in results] == [
        (w.text.lower(), w.start, w.end, w.confidence) for w in expected
    ]
    assert len(expected) > 8
    assert any(reply.get("partial") for reply in replies)


@pytest.mark.slow
def test_a_vosk_client_can_have_partial_words_and_hot_words(server: Server, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "clip.wav", load(CLIP), SAMPLE_RATE)
    wishes = {"partial_words": 1, "phrase_list": ["the bridge", "[unk]"], "max_alternatives": 3}
    replies = asyncio.run(as_vosk(server, path, **wishes))
    partial = next(reply for reply in replies if reply.get("partial_result"))
    assert [w["word"] for w in partial["partial_result"]] == partial["partial"].split()
    readings = replies[-1]["alternatives"]
    assert 1 <= len(readings) <= 3
    assert readings[0]["text"].endswith("the bridge")


@pytest.mark.slow
def test_own_events_are_those_of_the_stream(
    small: Recognizer, nonsense: Server, babble: Any
) -> None:
    async def run() -> list[dict[str, Any]]:
        async with native(nonsense, format="float32", sample_rate=16_000) as (client, _):
            for piece in np.array_split(babble, 7):
                await client.send(piece.astype("<f4").tobytes())
            await client.send('{"type": "finish"}')
            return await rest_of(client)

    events = asyncio.run(run())
    finals = heard(small, babble, 16_000)
    assert [e["text"] for e in events if e["type"] == "final"] == [f.text for f in finals]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "end"
    assert events[-1]["samples"] == len(babble)


def test_a_lost_connection_is_resumed_where_it_broke(
    small: Recognizer, nonsense: Server, babble: Any
) -> None:
    sound = pcm16(babble)

    async def run() -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        async with native(nonsense) as (client, key):
            await client.send(sound[:100_000])
            while len(events) < 4:
                events.append(json.loads(await client.recv()))
            client.transport.abort()
        async with connect(at(nonsense, "/v1/stream")) as client:
            after = events[2]["seq"]
            resume = {"type": "start", "resume": key, "after": after}
            await client.send(json.dumps(resume))
            ready = json.loads(await client.recv())
            assert "samples" in ready, ready
            await client.send(sound[2 * ready["samples"] :])
            await client.send('{"type": "finish"}')
            return events[:3] + await rest_of(client)

    events = asyncio.run(run())
    finals = heard(small, np.frombuffer(sound, "<i2"), 16_000)
    assert [e["text"] for e in events if e["type"] == "final"] == [f.text for f in finals]
    assert finals


def test_who_resumes_takes_the_stream_from_a_connection_that_hangs(nonsense: Server) -> None:
    async def run() -> tuple[int, int]:
        async with native(nonsense) as (old, key):
            await old.send(bytes(3200))
            await asyncio.sleep(0.2)
            async with native(nonsense, resume=key) as (new, _):
                code, _ = await closed(old)
                await new.send('{"type": "finish"}')
                return code, (await rest_of(new))[-1]["samples"]

    assert asyncio.run(run()) == (1008, 1600)


def test_a_stream_is_not_kept_for_ever(nonsense: Server) -> None:
    async def run() -> tuple[int, str]:
        async with native(nonsense) as (client, key):
            await client.send(bytes(3200))
            client.transport.abort()
        await asyncio.sleep(1.0)  # resume_s is 0.5
        async with connect(at(nonsense, "/v1/stream")) as client:
            await client.send(json.dumps({"type": "start", "resume": key}))
            return await closed(client)

    code, reason = asyncio.run(run())
    assert code == 1008
    assert "not known" in reason
    assert len(nonsense.app.streams) == 0


def test_a_client_that_says_goodbye_keeps_no_place(small: Recognizer) -> None:
    async def run(server: Server) -> None:
        for _ in range(5):
            async with native(server) as (client, _):
                await client.send(bytes(3200))
            await asyncio.sleep(0.2)

    with serving(small, Settings(Limits(streams=1))) as server:
        asyncio.run(run(server))


def test_a_full_server_answers_at_once_and_a_parked_stream_makes_room(small: Recognizer) -> None:
    async def run(server: Server) -> tuple[int, str]:
        async with native(server) as (first, _):
            async with connect(at(server)) as second:
                await second.send(bytes(3200))
                refusal = await closed(second)
            first.transport.abort()
        await asyncio.sleep(0.2)
        async with native(server) as (third, _):  # the first is parked and gives way
            await third.send('{"type": "finish"}')
            assert (await rest_of(third))[-1]["type"] == "end"
        return refusal

    with serving(small, Settings(Limits(streams=1))) as server:
        code, reason = asyncio.run(run(server))
    assert code == 1013
    assert "all 1 streams are taken" in reason


def test_a_server_that_is_behind_takes_no_more_streams(small: Recognizer) -> None:
    async def run(server: Server) -> tuple[int, str]:
        async with native(server) as (busy, _):
            slow = threading.Event()
            advancer = server.app.advancer
            loop = server.servers[0].get_loop()
            for _ in range(2):  # one is computed, one waits
                asyncio.run_coroutine_threadsafe(advancer.call(slow.wait), loop)
            await asyncio.sleep(2.0)
            async with connect(at(server)) as late:
                await late.send(bytes(3200))
                refusal = await closed(late)
            slow.set()
            await busy.send('{"type": "finish"}')
            assert (await rest_of(busy))[-1]["type"] == "end"
            return refusal

    with serving(small, Settings(workers=1)) as server:
        code, reason = asyncio.run(run(server))
    assert code == 1013
    assert "behind" in reason


def test_too_many_connections_are_refused(small: Recognizer) -> None:
    async def run(server: Server) -> tuple[int, str]:
        async with connect(at(server)), connect(at(server)) as second:
            return await closed(second)

    with serving(small, Settings(Limits(connections=1))) as server:
        assert asyncio.run(run(server))[0] == 1013


@pytest.mark.slow
def test_silent_and_endless_clients_are_closed_with_a_reason(nonsense: Server) -> None:
    async def silent() -> tuple[int, str]:
        async with connect(at(nonsense)) as client:
            return await closed(client)

    async def endless() -> tuple[int, str]:
        async with connect(at(nonsense)) as client:
            await client.send('{"config": {"sample_rate": 16000}}')
            for _ in range(3):
                await client.send(bytes(320_000))
            return await closed(client)

    assert asyncio.run(silent()) == (1001, "no message for 0 s; connect again.")
    code, reason = asyncio.run(endless())
    assert code == 1008
    assert "more than 20 s" in reason


@pytest.mark.parametrize(
    ("path", "message", "code"),
    [
        ("/", "nonsense", 1007),
        ("/", b"\0" * (2 << 20), 1009),
        ("/v1/stream", bytes(2), 1008),
        ("/v1/stream", '{"type": "start", "sample_rate": 1}', 1008),
        ("/v1/stream", '{"type": "start", "hot_words": ["x"]}', 1007),  # greedy has none
    ],
)
def test_a_client_that_errs_is_told_and_only_it_is_closed(
    nonsense: Server, path: str, message: str | bytes, code: int
) -> None:
    async def run() -> int:
        async with native(nonsense) as (other, _):
            async with connect(at(nonsense, path)) as client:
                with suppress(ConnectionClosedError):  # it may be closed before all of it is sent
                    await client.send(message)
                found, _ = await closed(client)
            await other.send('{"type": "finish"}')
            assert (await rest_of(other))[-1]["type"] == "end"
            return found

    assert asyncio.run(run()) == code


def test_samples_that_are_not_finite_are_refused(nonsense: Server) -> None:
    async def run() -> dict[str, Any]:
        async with native(nonsense, format="float32") as (client, _):
            await client.send(np.array([np.nan, 1.0], "<f4").tobytes())
            message: dict[str, Any] = json.loads(await client.recv())
            assert await closed(client) == (1007, message["message"])
            return message

    error = asyncio.run(run())
    assert error["type"] == "error"
    assert "NaN" in error["message"]


def test_the_token_comes_in_a_header_or_in_the_query(small: Recognizer) -> None:
    async def run(server: Server) -> None:
        async with connect(at(server, query="?token=secret")) as client:
            await client.send(bytes(2))
        async with connect(at(server), additional_headers={"Authorization": "Bearer secret"}):
            pass
        for query in ("", "?token=wrong"):
            with pytest.raises(InvalidStatus) as raised:
                await connect(at(server, query=query))
            assert raised.value.response.status_code == 403

    with serving(small, Settings(access=Access(token="secret"))) as server:
        asyncio.run(run(server))


def test_a_foreign_page_cannot_connect(nonsense: Server) -> None:
    async def run() -> None:
        with pytest.raises(InvalidStatus) as raised:
            await connect(at(nonsense), origin="https://evil.example")  # type: ignore[arg-type]
        assert raised.value.response.status_code == 403

    asyncio.run(run())


@pytest.mark.slow
def test_a_server_that_ends_sends_last_results_first(recognizer: Recognizer) -> None:
    sound = pcm16(load(CLIP))
    expected = heard(recognizer, np.frombuffer(sound, "<i2"), SAMPLE_RATE)

    async def run(server: Server) -> tuple[dict[str, Any], dict[str, Any], int]:
        async with connect(at(server)) as vosk, native(server) as (own, _):
            await vosk.send('{"config": {"sample_rate": 16000}}')
            await vosk.send(sound)
            await vosk.recv()
            await own.send(sound)
            while json.loads(await own.recv())["type"] != "partial":
                pass
            server.should_exit = True
            last = json.loads(await vosk.recv())
            messages = await rest_of(own)
            code, _ = await closed(vosk)
            return last, messages[-2], code

    with serving(recognizer) as server:
        vosk, own, code = asyncio.run(run(server))
    assert vosk["text"] == text_of(expected).lower()
    assert own["text"] == text_of(expected)
    assert code == 1001


def test_a_client_that_does_not_read_is_dropped(
    small: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rivulet.server.running.UNSENT_BYTES", 4096)

    async def run(server: Server) -> None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.address.port))
        reader, writer = await asyncio.open_connection(sock=client, limit=1024)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b"101" in await reader.readline()
        frame = b"\x82\x82\0\0\0\0\0\0"  # binary, masked with zeros, two bytes
        writer.transport.pause_reading()
        dropped = False
        deadline = time.monotonic() + PATIENCE_S
        while not dropped and time.monotonic() < deadline:
            writer.write(frame * 2000)
            try:
                await asyncio.wait_for(writer.drain(), PATIENCE_S)
            except ConnectionError:
                dropped = True
        assert dropped

    with serving(small, Settings(Limits(send_s=0.3))) as server:
        asyncio.run(run(server))
        assert b'dropped_total{reason="slow reader"} 1.0' in server.app.metrics.render()


@pytest.mark.slow
def test_the_log_holds_no_text_no_audio_and_no_token(
    recognizer: Recognizer, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(server: Server) -> None:
        async with connect(at(server, query="?token=sesame")) as client:
            await client.send('{"config": {"sample_rate": 16000, "phrase_list": ["marmalade"]}}')
            await client.send(pcm16(load(CLIP)))
            await client.recv()
            await client.send('{"eof": 1}')
            assert "bridge" in str(await client.recv())
        async with connect(at(server, query="?token=sesame")) as client:
            await client.send("marmalade")
            await closed(client)

    caplog.set_level(logging.WARNING, "uvicorn.error")  # as `rivulet serve` sets it
    caplog.set_level(logging.INFO, "rivulet")
    with serving(recognizer, Settings(access=Access(token="sesame"))) as server:
        asyncio.run(run(server))
    assert caplog.records
    for word in ("bridge", "marmalade", "sesame"):
        assert word not in caplog.text.lower()
