"""Messages in, actions out: what vosk's protocol and rivulet's share. No socket, thread or clock.

A protocol is told what the client sent (`receive`) and what the stream made of it (`heard`,
`finished`), and answers with actions; `rivulet.server.connection` carries them out.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt

from rivulet.errors import RivuletError
from rivulet.events import Event, Word

NORMAL, GOING_AWAY, UNSUPPORTED, INVALID, POLICY, TOO_BIG, INTERNAL, TRY_LATER = (
    1000, 1001, 1003, 1007, 1008, 1009, 1011, 1013,
)  # fmt: skip
"""Close codes of RFC 6455, section 7.4.1, and the IANA registry."""

REASON_BYTES = 123  # a close frame holds 125 bytes, two of them the code (RFC 6455, section 5.5)
MAX_PHRASES = 200  # hot words of one stream
MAX_PHRASES_CHARS = 5_000  # of all of them; how words sound is guessed, which takes its time
MAX_WORD_CHARS = 32
MAX_ALTERNATIVES = 100
MAX_CHANNELS = 8

Format = Literal["int16", "float32"]
DTYPES: dict[str, np.dtype[Any]] = {"int16": np.dtype("<i2"), "float32": np.dtype("<f4")}


class ProtocolError(RivuletError):
    """What a client did wrong, in one sentence, and the code that closes its connection."""

    def __init__(self, sentence: str, code: int = POLICY) -> None:
        """Close with `code`; POLICY is a message that makes no sense here."""
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class StreamSettings:
    """What a client asks of its stream; None is the server's own.

    formatted: whether events say how they are shown, where the server can tell.
    """

    sample_rate: int = 16_000
    hot_words: dict[str, float] = field(default_factory=dict)
    alternatives: int = 0
    block_ms: int | None = None
    formatted: bool = True


@dataclass(frozen=True)
class Open:
    """Begin a stream."""

    settings: StreamSettings


@dataclass(frozen=True)
class Resume:
    """Go on with the stream `key`, after the event numbered `after`."""

    key: str
    after: int


@dataclass(frozen=True)
class Feed:
    """Let the stream hear samples, (n,) or (n, channels)."""

    samples: npt.NDArray[Any]
    words: bool = False  # whether the open segment's words with their times are wanted


@dataclass(frozen=True)
class Finish:
    """Decode the stream to its last sample and let it go."""


@dataclass(frozen=True)
class Send:
    """Send one text message."""

    text: str


@dataclass(frozen=True)
class Close:
    """Close the connection."""

    code: int = NORMAL
    reason: str = ""


Action = Open | Resume | Feed | Finish | Send | Close


class Protocol(Interface):
    """What a connection needs of a protocol."""

    def receive(self, message: str | bytes) -> list[Action]:
        """Take one message of the client.

        Raises:
            ProtocolError: it makes no sense.
        """

    def opened(self, key: str) -> list[Action]:
        """Take the name of the stream that `Open` began."""

    def heard(self, events: Sequence[Event], words: Sequence[Word]) -> list[Action]:
        """Take what `Feed` brought to light."""

    def finished(self, events: Sequence[Event]) -> list[Action]:
        """Take what `Finish` brought to light."""

    def end(self) -> list[Action]:
        """Return what is to be done before the server ends the connection by its own will."""

    def failed(self, error: ProtocolError) -> list[Action]:
        """Return how the client is told of an error."""


@dataclass
class Samples:
    """Bytes → arrays; what is less than a whole sample waits for the next message."""

    format: Format = "int16"
    channels: int = 1
    _rest: bytes = b""

    def push(self, data: bytes) -> npt.NDArray[Any]:
        """Return the samples (n,) or (n, channels) that `data` completes."""
        dtype = DTYPES[self.format]
        frame = dtype.itemsize * self.channels
        data = self._rest + data
        whole = len(data) - len(data) % frame
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], dtype).astype(dtype.newbyteorder("="), copy=False)
        return samples.reshape(-1, self.channels) if self.channels > 1 else samples


def parse_object(text: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ProtocolError: it is none.
    """
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(
            f"a text message of {len(text)} characters is no JSON; audio goes in binary messages.",
            INVALID,
        ) from error
    if not isinstance(parsed, dict):
        raise ProtocolError(
            f"a text message is a JSON {type(parsed).__name__}; send an object.", INVALID
        )
    return parsed


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """Return a number between two bounds.

    Raises:
        ProtocolError: it is none.
    """
    number = isinstance(value, (int, float)) and value == value and abs(value) < 1e15
    if not number or int(value) != value or not low <= value <= high:
        shown = repr(value)[:40]
        raise ProtocolError(f"{name} is {shown}; give a whole number from {low} to {high}.")
    return int(value)


def sample_rate_of(value: Any) -> int:
    """Return a sample rate in Hz.

    Raises:
        ProtocolError: it is outside 4 to 384 kHz.
    """
    return whole_number("sample_rate", value, 4_000, 384_000)


def phrases_of(value: Any, boost: float) -> dict[str, float]:
    """Return hot words: a list of phrases, each with `boost` nats, or an object of boosts.

    Raises:
        ProtocolError: it is neither, or there are too many, or one is too long.
    """
    if isinstance(value, list):
        value = dict.fromkeys((phrase for phrase in value if isinstance(phrase, str)), boost)
    if not isinstance(value, dict):
        raise ProtocolError("hot words are a list of phrases, or an object of phrases and boosts.")
    if len(value) > MAX_PHRASES:
        raise ProtocolError(f"{len(value)} hot phrases are too many; give {MAX_PHRASES} at most.")
    _check_lengths(value)
    for gain in value.values():
        if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not abs(gain) < 1e6:
            raise ProtocolError("the boost of a hot phrase is no number; give nats, such as 4.0.")
    return {phrase: float(gain) for phrase, gain in value.items()}


def _check_lengths(phrases: Iterable[str]) -> None:
    total = sum(map(len, phrases))
    longest = max((len(word) for phrase in phrases for word in phrase.split()), default=0)
    if total > MAX_PHRASES_CHARS or longest > MAX_WORD_CHARS:
        raise ProtocolError(
            f"hot words of {total} characters, the longest of {longest}, are too long; "
            f"give {MAX_PHRASES_CHARS} and {MAX_WORD_CHARS} at most."
        )


def reason_of(sentence: str) -> str:
    """Return as much of a sentence as a close frame holds."""
    encoded = sentence.encode()
    if len(encoded) <= REASON_BYTES:
        return sentence
    return encoded[: REASON_BYTES - len("…".encode())].decode(errors="ignore") + "…"
