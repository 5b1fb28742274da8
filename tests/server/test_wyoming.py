"""A home assistant: the Wyoming package's own client against the server."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from support.serving import heard, pcm16, serving, text_of
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from rivulet.audio import SAMPLE_RATE, load
from rivulet.recognizer import Recognizer
from rivulet.server.app import Settings
from rivulet.server.running import Server
from rivulet.server.settings import Limits

CLIP = Path(__file__).parents[2] / "data" / "samples" / "slt.flac"
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def server(recognizer: Recognizer) -> Iterator[Server]:
    with serving(recognizer, Settings(Limits(streams=1)), wyoming=True) as running:
        yield running


@pytest.fixture(scope="module")
def clip() -> tuple[bytes, int]:
    return pcm16(load(CLIP)), SAMPLE_RATE


def client(server: Server) -> AsyncTcpClient:
    assert server.address.wyoming_port
    return AsyncTcpClient("127.0.0.1", server.address.wyoming_port, read_timeout=PATIENCE_S)


async def say(
    connection: AsyncTcpClient, sound: bytes, rate: int, channels: int = 1, stop: bool = True
) -> None:
    await connection.write_event(AudioStart(rate, 2, channels).event())
    for first in range(0, len(sound), 3200):
        chunk = AudioChunk(rate, 2, channels, sound[first : first + 3200])
        await connection.write_event(chunk.event())
    if stop:
        await connection.write_event(AudioStop().event())


async def until(connection: AsyncTcpClient, kind: type) -> list[Event]:
    events: list[Event] = []
    while not events or not kind.is_type(events[-1].type):  # type: ignore[attr-defined]
        event = await connection.read_event()
        assert event, [event.type for event in events]
        events.append(event)
    return events


def test_the_server_describes_itself(server: Server) -> None:
    async def run() -> Info:
        async with client(server) as connection:
            await connection.write_event(Describe().event())
            return Info.from_event((await until(connection, Info))[-1])

    info = asyncio.run(run())
    assert info.asr[0].models[0].name == "default"
    assert info.asr[0].supports_transcript_streaming


@pytest.mark.slow
def test_two_utterances_have_their_words_while_they_are_spoken_and_after(
    server: Server, recognizer: Recognizer, clip: tuple[bytes, int]
) -> None:
    sound, rate = clip

    async def run() -> list[list[Event]]:
        async with client(server) as connection:
            answers = []
            for _ in range(2):
                await connection.write_event(Transcribe(language="en").event())
                await say(connection, sound, rate)
                answers.append(await until(connection, TranscriptStop))
            await connection.write_event(Ping("x").event())
            assert Pong.is_type((await until(connection, Pong))[-1].type)
            return answers

    expected = text_of(heard(recognizer, np.frombuffer(sound, "<i2"), rate))
    for events in asyncio.run(run()):
        assert TranscriptStart.is_type(events[0].type)
        assert Transcript.from_event(events[-2]).text == expected
        chunks = [TranscriptChunk.from_event(e).text for e in events[1:-2]]
        assert "".join(chunks) == expected
        assert len(chunks) > 3


@pytest.mark.slow
def test_expected_terms_and_stereo_are_understood(server: Server, clip: tuple[bytes, int]) -> None:
    sound, rate = clip
    stereo = np.repeat(np.frombuffer(sound, "<i2"), 2).tobytes()

    async def run() -> str:
        async with client(server) as connection:
            await connection.write_event(Transcribe(transcript_terms=["bridge"]).event())
            await say(connection, stereo, rate, channels=2)
            events = await until(connection, Transcript)
            return Transcript.from_event(events[-1]).text

    assert "BRIDGE" in asyncio.run(run()).upper()


def test_what_makes_no_sense_is_answered_with_an_error(server: Server) -> None:
    async def run(start: AudioStart) -> Error:
        async with client(server) as connection:
            await connection.write_event(start.event())
            return Error.from_event((await until(connection, Error))[-1])

    for start in (AudioStart(1, 2, 1), AudioStart(16_000, 4, 1), AudioStart(16_000, 2, 10**6)):
        assert asyncio.run(run(start)).text.endswith(".")


@pytest.mark.parametrize(
    "message",
    [
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b'{"type": "audio-start"}\n',
        b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
        b'{"type": "audio-chunk", "payload_length": -5}\n',
        b'{"type": "audio-chunk", "payload_length": "x"}\n',
        b'{"type": "audio-start", "data": {"rate": "x", "width": [], "channels": {}}}\n',
        b'{"type": "audio-chunk", "data": {"rate": 16000, "width": 2, "channels": 0}}\n',
        b"x" * 1_000_000,
    ],
)
def test_malformed_clients_are_closed_and_the_next_is_served(
    server: Server, message: bytes
) -> None:
    async def run() -> None:
        assert server.address.wyoming_port
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.wyoming_port)
        writer.write(message)
        with suppress(ConnectionResetError):  # where it has not read everything
            await asyncio.wait_for(reader.read(), PATIENCE_S)  # the server closes
        writer.close()

    asyncio.run(run())
    test_the_server_describes_itself(server)
    assert len(server.app.streams) == 0


@pytest.mark.slow
def test_a_server_that_ends_sends_the_transcript_first(
    recognizer: Recognizer, clip: tuple[bytes, int]
) -> None:
    sound, rate = clip

    async def run(server: Server) -> str:
        async with client(server) as connection:
            await say(connection, sound, rate, stop=False)
            await until(connection, TranscriptChunk)
            server.should_exit = True
            events = await until(connection, Transcript)
            return Transcript.from_event(events[-1]).text

    with serving(recognizer, wyoming=True) as server:
        text = asyncio.run(run(server))
    expected = text_of(heard(recognizer, np.frombuffer(sound, "<i2"), rate))
    assert expected.startswith(text.rsplit(" ", 1)[0])
    assert text


def test_a_message_is_json_on_a_line(server: Server) -> None:
    async def run() -> dict[str, object]:
        assert server.address.wyoming_port
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.wyoming_port)
        writer.write(b'{"type": "describe"}\n')
        line = await asyncio.wait_for(reader.readline(), PATIENCE_S)
        writer.close()
        return dict(json.loads(line))

    assert asyncio.run(run())["type"] == "info"
