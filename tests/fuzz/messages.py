"""What clients send to a server: WebSocket messages, Wyoming events, forms. No socket."""

import asyncio
import json
import random
import struct
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from fuzz.mutation import mutate, spoiled_value
from starlette.requests import Request

from rivulet.errors import RivuletError
from rivulet.events import Event, Final, Partial, Word
from rivulet.server.metrics import Metrics
from rivulet.server.native_protocol import Greeting, NativeProtocol
from rivulet.server.protocol import Close, Feed, Finish, Open, Protocol, ProtocolError, Resume
from rivulet.server.settings import Limits
from rivulet.server.siblings import Siblings
from rivulet.server.uploads import Uploads
from rivulet.server.vosk_protocol import VoskProtocol
from rivulet.server.wyoming import WyomingConnection

WORD = Word("HELLO", 0.1, 0.4, 0.9)
HEARD: list[Event] = [Partial(0, "HELLO", 1, 0.5, (WORD,)), Final(0, "HELLO", (WORD,), 0.1, 0.4, 1)]
PCM = np.arange(-400, 400, dtype="<i2").tobytes()
VOSK: list[object] = [
    {
        "config": {
            "sample_rate": 16000, "words": True, "partial_words": 1, "max_alternatives": 2,
            "phrase_list": ["hello world", "[unk]"],
        }
    },
    PCM, PCM[:33], {"reset": 1}, PCM, {"eof": 1},
]  # fmt: skip
NATIVE: list[object] = [
    {
        "type": "start", "sample_rate": 48000, "format": "float32", "channels": 2,
        "hot_words": {"hello": 4.0}, "alternatives": 3, "block_ms": 80, "partials": False,
    },
    PCM, {"type": "gap", "samples": 4800}, PCM, {"type": "finish"},
]  # fmt: skip
RESUMED: list[object] = [{"type": "start", "resume": "key", "after": 3}, PCM, {"type": "finish"}]


def conversation(*seeds: list[object]) -> Callable[[random.Random], bytes]:
    """Spoil a value of one message's JSON, its bytes, or their order."""

    def make(rng: random.Random) -> bytes:
        messages = list(rng.choice(seeds))
        at = rng.randrange(len(messages))
        messages[at] = _spoiled(messages[at], rng)
        if rng.random() < 0.3:
            messages.insert(rng.randrange(len(messages)), rng.choice(messages))
        if rng.random() < 0.2:
            del messages[rng.randrange(len(messages))]
        return b"".join(map(_framed, messages))

    return make


def _spoiled(message: object, rng: random.Random) -> object:
    if isinstance(message, bytes):
        return mutate(message, rng)
    if rng.random() < 0.7:
        return spoiled_value(message, rng)
    return mutate(json.dumps(message).encode(), rng).decode(errors="replace")


def _framed(message: object) -> bytes:
    if isinstance(message, bytes):
        return struct.pack("<BI", 1, len(message)) + message
    text = message if isinstance(message, str) else json.dumps(message)
    return struct.pack("<BI", 0, len(text.encode())) + text.encode()


def messages_of(content: bytes) -> list[str | bytes]:
    """Take framed messages apart; what is no text is none for a WebSocket either."""
    found: list[str | bytes] = []
    at = 0
    while at + 5 <= len(content):
        binary, length = struct.unpack_from("<BI", content, at)
        payload = content[at + 5 : at + 5 + length]
        at += 5 + length
        found.append(payload if binary else payload.decode(errors="replace"))
    return found


def converse(new: Callable[[], Protocol]) -> Callable[[bytes], None]:
    """Let a protocol take messages as `server.connection` would; streams are not heard."""

    def run(content: bytes) -> None:
        protocol = new()
        try:
            for message in messages_of(content):
                if _carry_out(protocol, protocol.receive(message)):
                    return
            protocol.end()
        except ProtocolError as error:
            for action in protocol.failed(error):
                assert not isinstance(action, Close) or len(action.reason.encode()) <= 123
            raise

    return run


def _carry_out(protocol: Protocol, actions: list[Any]) -> bool:
    """Do what actions ask; return whether the connection is over."""
    for action in actions:
        match action:
            case Open():
                protocol.opened("key")
            case Feed(samples):
                protocol.heard(HEARD if len(samples) else [], (WORD,))
            case Finish():
                protocol.finished(HEARD[1:])
                return True
            case Resume() | Close():
                return True
    return False


class Heard:
    """A stream that always hears the same."""

    key = "key"

    async def accept(self, samples: Any) -> list[Event]:
        assert samples.dtype.kind in "if"
        assert samples.ndim in (1, 2)
        return HEARD if len(samples) else []

    async def finish(self) -> list[Event]:
        return []


class Advanced:
    """Computes at once, on no thread."""

    async def call(self, job: Callable[[], Any], live: bool = True) -> Any:
        return job()

    async def accept(self, signal: Any, samples: Any, in_time: Any) -> list[Event]:
        return HEARD if samples is None else []

    def count_audio(self, seconds: float) -> None:
        assert seconds >= 0.0


@cache
def streams() -> Any:
    """What a connection needs of `server.streams.Streams`."""

    async def opened(settings: Any, leave: Any) -> Heard:
        return Heard()

    return SimpleNamespace(
        limits=Limits(),
        metrics=Metrics(),
        advancer=Advanced(),
        siblings=Siblings(),
        recognizer=SimpleNamespace(checkpoint=SimpleNamespace(name="small")),
        open=opened,
        close=lambda key: None,
        signal=lambda settings: None,
    )


@cache
def loop() -> asyncio.AbstractEventLoop:
    """One event loop for all inputs of a process."""
    return asyncio.new_event_loop()


class Writer:
    """Takes what is sent."""

    transport = SimpleNamespace(abort=lambda: None)

    def write(self, content: bytes) -> None:
        pass

    def writelines(self, contents: Any) -> None:
        pass

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        pass


def _wyoming_event(kind: str, data: dict[str, object], payload: bytes = b"") -> bytes:
    more = json.dumps(data).encode()
    header = {"type": kind, "data_length": len(more), "payload_length": len(payload)}
    return json.dumps(header).encode() + b"\n" + more + payload


SIGNAL: dict[str, object] = {"rate": 16000, "width": 2, "channels": 1}
WYOMING: list[tuple[str, dict[str, object], bytes]] = [
    ("describe", {}, b""),
    ("ping", {"text": "x"}, b""),
    ("transcribe", {"language": "en", "context": {}, "transcript_names": ["Ann"]}, b""),
    ("audio-start", SIGNAL, b""),
    ("audio-chunk", SIGNAL, PCM),
    ("audio-chunk", {**SIGNAL, "timestamp": 5}, PCM[:33]),
    ("audio-stop", {}, b""),
]


def wyoming(rng: random.Random) -> bytes:
    """Spoil Wyoming's events: a value, or bytes."""
    events = list(WYOMING)
    at = rng.randrange(len(events))
    kind, data, payload = events[at]
    spoiled = spoiled_value(data, rng)
    events[at] = (kind, spoiled if isinstance(spoiled, dict) else {"x": spoiled}, payload)
    if rng.random() < 0.3:
        events.insert(rng.randrange(len(events)), rng.choice(events))
    content = b"".join(_wyoming_event(*event) for event in events)
    return mutate(content, rng) if rng.random() < 0.5 else content


def run_wyoming(content: bytes) -> None:
    """Serve a client that sends `content` and leaves."""

    async def serve() -> None:
        reader = asyncio.StreamReader(limit=1 << 16)
        reader.feed_data(content)
        reader.feed_eof()
        connection = WyomingConnection(reader, Writer(), streams())  # type: ignore[arg-type]
        await connection.run()

    loop().run_until_complete(serve())


def _part(name: str, value: bytes, more: bytes = b"") -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="' + name.encode() + b'"' + more
    return head + b"\r\n\r\n" + value + b"\r\n"


FORM = b"multipart/form-data; boundary=edge\n" + b"".join(
    [
        _part("model", b"whisper-1"),
        _part("response_format", b"verbose_json"),
        _part("language", b"en"),
        _part("timestamp_granularities[]", b"word"),
        _part("keywords[]", b"caf\xc3\xa9"),
        _part("stream", b"false"),
        _part("file", b"RIFF no sound", b'; filename="a.wav"\r\nContent-Type: audio/wav'),
        b"--edge--\r\n",
    ]
)
VALUES = (b"json", b"text", b"srt", b"vtt", b"jsonl", b"true", b"nan", b"", b"\xff", b"x" * 11_000)


def form(rng: random.Random) -> bytes:
    """Spoil a form, whose first line is its content type."""
    if rng.random() < 0.5:
        return mutate(FORM, rng)
    parts = FORM.split(b"--edge\r\n")
    at = rng.randrange(1, len(parts))
    head, _, _ = parts[at].partition(b"\r\n\r\n")
    parts[at] = head + b"\r\n\r\n" + rng.choice(VALUES) + b"\r\n"
    if rng.random() < 0.3:
        parts.insert(rng.randrange(1, len(parts)), rng.choice(parts[1:]))
    return b"--edge\r\n".join(parts)


def run_form(content: bytes) -> None:
    """Post a form; the answer must not be an error of the server."""
    kind, _, body = content.partition(b"\n")
    headers = [(b"content-type", kind)]
    scope = {"type": "http", "method": "POST", "headers": headers, "path": "/", "app": None}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def serve() -> None:
        answer = await Uploads(streams()).transcribe(Request(scope, receive))
        await answer({**scope, "extensions": {}}, receive, send)

    loop().run_until_complete(serve())
    if sent[0]["status"] >= 500:
        raise AssertionError(f"status {sent[0]['status']}")
    if sent[0]["status"] >= 400:
        raise RivuletError("refused")


MAKERS: dict[str, tuple[Callable[[random.Random], bytes], Callable[[bytes], object]]] = {
    "vosk": (conversation(VOSK), converse(VoskProtocol)),
    "native": (
        conversation(NATIVE, NATIVE, RESUMED),
        converse(lambda: NativeProtocol(Greeting("small", 160, 335))),
    ),
    "wyoming": (wyoming, run_wyoming),
    "form": (form, run_form),
}
