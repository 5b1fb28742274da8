"""The Wyoming protocol of home assistants, by its own package, on a port of its own.

    → describe                                   ← info
    → transcribe, audio-start, audio-chunk …     ← transcript-start, transcript-chunk …
    → audio-stop                                 ← transcript, transcript-stop

A `transcript-chunk` holds settled words, so their sum is the transcript.
"""

import asyncio
import logging
import socket as sockets
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from wyoming.asr import (
    Transcribe,
    Transcript,
    TranscriptChunk,
    TranscriptStart,
    TranscriptStop,
)
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event as Message
from wyoming.event import async_read_event, async_write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.ping import Ping, Pong

import rivulet
from rivulet.errors import RivuletError
from rivulet.events import Event
from rivulet.server.connection import Connections
from rivulet.server.protocol import (
    MAX_CHANNELS,
    ProtocolError,
    StreamSettings,
    phrases_of,
    sample_rate_of,
    whole_number,
)
from rivulet.server.settled import SettledText
from rivulet.server.streams import LiveStream, Streams
from rivulet.vosk import GRAMMAR_BOOST

log = logging.getLogger("rivulet.server")

LINE_BYTES = 1 << 16  # of a header; its data and payload may be `Limits.message_bytes`
ATTRIBUTION = Attribution(name="rivulet", url="")
LANGUAGE = "en"


class BoundedReader:
    """What `async_read_event` needs of a reader, with a limit: the client states the size."""

    def __init__(self, reader: asyncio.StreamReader, limit: int) -> None:
        """Read at most `limit` bytes at a time."""
        self._reader = reader
        self._limit = limit

    async def readline(self) -> bytes:
        """Return the next line."""
        return await self._reader.readline()

    async def readexactly(self, count: int) -> bytes:
        """Return `count` bytes.

        Raises:
            ProtocolError: they are too many.
        """
        if not 0 <= count <= self._limit:
            raise ProtocolError(
                f"an event of {count} bytes is too large; send {self._limit} at most."
            )
        return await self._reader.readexactly(count)


class WyomingConnection:
    """One client; one utterance after the other."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, streams: Streams
    ) -> None:
        """Wait for its first event."""
        self._reader: Any = BoundedReader(reader, streams.limits.message_bytes)
        self._writer = writer
        self._streams = streams
        self._limits = streams.limits
        self._live: LiveStream | None = None
        self._format = AudioStart(16_000, 2, 1)
        self._hot_words: dict[str, float] = {}
        self._settled = SettledText()
        self._leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Serve until one side ends it."""
        try:
            while (message := await self._receive()) is not None:
                await self._take(message)
        except RivuletError as error:
            with suppress(OSError, asyncio.TimeoutError):
                await self._send(Error(str(error)).event())
        except (OSError, ValueError, KeyError, TypeError, asyncio.IncompleteReadError):
            self._streams.metrics.dropped.labels("malformed").inc()
        except asyncio.TimeoutError:
            self._streams.metrics.dropped.labels("slow reader").inc()
            self._writer.transport.abort()
        finally:
            self._let_go()
            self._writer.close()

    def leave(self, code: int, reason: str) -> None:
        """Send what was said so far and close, after the event that is being answered."""
        if not self._leaving.done():
            self._leaving.set_result(None)

    def look(self, now: float) -> None:
        """Nothing: every wait of this protocol has a limit of its own."""

    async def _receive(self) -> Message | None:
        """Return the next event; None at the end."""
        receiving = asyncio.ensure_future(async_read_event(self._reader))
        waiting: set[asyncio.Future[Any]] = {receiving, self._leaving}
        await asyncio.wait(
            waiting, timeout=self._limits.idle_s, return_when=asyncio.FIRST_COMPLETED
        )
        if receiving.done():
            return receiving.result()
        receiving.cancel()
        with suppress(asyncio.CancelledError):
            await receiving
        if not self._leaving.done():
            self._streams.metrics.dropped.labels("idle").inc()
        await self._stop()
        return None

    async def _take(self, message: Message) -> None:
        self._streams.metrics.messages.inc()
        if Describe.is_type(message.type):
            await self._send(info(self._streams.recognizer.checkpoint.name).event())
        elif Ping.is_type(message.type):
            await self._send(Pong(Ping.from_event(message).text).event())
        elif Transcribe.is_type(message.type):
            wish = Transcribe.from_event(message)
            expected = [*(wish.transcript_names or ()), *(wish.transcript_terms or ())]
            self._hot_words = phrases_of(expected, GRAMMAR_BOOST)
        elif AudioStart.is_type(message.type):
            await self._start(AudioStart.from_event(message))
        elif AudioChunk.is_type(message.type):
            await self._hear(AudioChunk.from_event(message))
        elif AudioStop.is_type(message.type):
            await self._stop()

    async def _start(self, start: AudioStart) -> None:
        sample_rate_of(start.rate)
        whole_number("channels", start.channels, 1, MAX_CHANNELS)
        whole_number("width", start.width, 2, 2)
        self._let_go()
        self._settled = SettledText()
        self._format = start
        settings = StreamSettings(start.rate, self._hot_words)
        self._live = await self._streams.open(settings, self._writer.close)
        await self._send(TranscriptStart(language=LANGUAGE).event())

    async def _hear(self, chunk: AudioChunk) -> None:
        if self._live is None:
            await self._start(AudioStart(chunk.rate, chunk.width, chunk.channels))
        given = (self._format.rate, self._format.width, self._format.channels)
        if (chunk.rate, chunk.width, chunk.channels) != given:
            raise ProtocolError(
                f"audio of {chunk.rate} Hz came in a stream of {self._format.rate} Hz, or with "
                "other channels; send audio-start first."
            )
        assert self._live
        for event in await self._live.accept(samples_of(chunk)):
            await self._give(event)

    async def _stop(self) -> None:
        if self._live is None:
            return
        for event in await self._live.finish():
            await self._give(event)
        self._let_go()
        self._hot_words = {}
        await self._send(Transcript(self._settled.text, language=LANGUAGE).event())
        await self._send(TranscriptStop().event())

    async def _give(self, event: Event) -> None:
        if delta := self._settled.push(event):
            await self._send(TranscriptChunk(delta).event())

    async def _send(self, message: Message) -> None:
        await asyncio.wait_for(async_write_event(message, self._writer), self._limits.send_s)

    def _let_go(self) -> None:
        if self._live:
            self._streams.close(self._live.key)
            self._live = None


class WyomingServer:
    """Listens on its own port."""

    def __init__(self, streams: Streams, connections: Connections) -> None:
        """Serve the same streams as the other protocols, within the same limits."""
        self._streams = streams
        self._connections = connections
        self._server: asyncio.Server | None = None

    async def start(self, listening: sockets.socket) -> None:
        """Serve a listening socket."""
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=LINE_BYTES)

    async def adopt(self, client: sockets.socket) -> None:
        """Serve a socket that is connected already."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(LINE_BYTES)
        await loop.connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(reader, self._serve), client
        )

    def stop(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if sentence := self._connections.refusal():
            await async_write_event(Error(sentence).event(), writer)
            writer.close()
            return
        connection = WyomingConnection(reader, writer, self._streams)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.remove(connection)


def info(model: str) -> Info:
    """Return what the server says of itself."""
    described = AsrModel(
        name=model,
        attribution=ATTRIBUTION,
        installed=True,
        description="streaming English",
        version=rivulet.__version__,
        languages=[LANGUAGE],
    )
    program = AsrProgram(
        name="rivulet",
        attribution=ATTRIBUTION,
        installed=True,
        description=rivulet.__doc__,
        version=rivulet.__version__,
        models=[described],
        supports_transcript_streaming=True,
    )
    return Info(asr=[program])


def samples_of(chunk: AudioChunk) -> npt.NDArray[Any]:
    """Return a chunk's samples, int16 (n,) or (n, channels)."""
    whole = len(chunk.audio) - len(chunk.audio) % (2 * chunk.channels)
    samples = np.frombuffer(chunk.audio[:whole], "<i2").astype(np.int16, copy=False)
    return samples.reshape(-1, chunk.channels) if chunk.channels > 1 else samples
