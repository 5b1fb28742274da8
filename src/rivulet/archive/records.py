"""The vocabulary of archives: what is found, what is to be done, how, and what came of it."""

import json
from dataclasses import dataclass, field

import msgspec

from rivulet.acoustic.choices import DEFAULT_BLOCK_MS, DEFAULT_ENGINE, EngineName
from rivulet.configs import read_config
from rivulet.decoding.settings import DecoderSettings
from rivulet.endpoint import EndpointConfig
from rivulet.events import Final
from rivulet.text.formatter import FormatConfig
from rivulet.text.subtitles import SubtitleLayout

UNKNOWN = -1  # bytes, where a server does not say how large a file is


@dataclass(frozen=True)
class Found:
    """An input as a listing names it.

    source: a path or a URL.
    place: where its text goes below the output folder, "/" between parts, the text's suffix left
        out: "talks/2024/opening.flac".
    size: bytes, `UNKNOWN` if the listing does not say.
    stamp: what changes with the content: a file's time in nanoseconds, a URL's ETag or time.
    """

    source: str
    place: str
    size: int
    stamp: str


@dataclass(frozen=True)
class Job:
    """An input that is to be transcribed; as a long file in so many parts at the most."""

    source: str
    place: str
    size: int
    parts: int = 1


@dataclass(frozen=True)
class Settings:
    """Everything that decides what is written, as plain data: what a worker loads a recognizer by.

    model: name or folder. digest: of its files, so that another model of the same name is noticed.
    format: one of `rivulet.writers.FORMATS`.
    text: how text is shown; None as recognized. language: how it is written.
    track: which sound track, from 1; None for the default one.
    """

    model: str
    digest: str
    decoder: DecoderSettings
    format: str = "jsonl"
    engine: EngineName = DEFAULT_ENGINE
    block_ms: int = DEFAULT_BLOCK_MS
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    text: FormatConfig | None = field(default_factory=FormatConfig)
    language: str = "english"
    layout: SubtitleLayout = field(default_factory=SubtitleLayout)
    track: int | None = None

    def to_json(self) -> str:
        """Return them as a line of JSON."""
        return json.dumps(msgspec.to_builtins(self))

    @classmethod
    def from_json(cls, line: str) -> "Settings":
        """Read what `to_json` wrote.

        Raises:
            ConfigError: it is something else.
        """
        return read_config(cls, json.loads(line), "the settings of the archive")


@dataclass(frozen=True)
class Result:
    """What came of an input.

    segments: finals in order, with what is shown for them unless text is raw.
    seconds: of sound heard. elapsed_s: of computing, its share where files were advanced together.
    error: the sentence, if it failed; a file that broke off has one and segments.
    warnings: sentences about what is not as it should be.
    digest: SHA-256 of the bytes, if it was asked for.
    """

    job: Job
    segments: tuple[Final, ...] = ()
    seconds: float = 0.0
    elapsed_s: float = 0.0
    error: str | None = None
    warnings: tuple[str, ...] = ()
    digest: str | None = None

    @property
    def text(self) -> str:
        """What people read, all of it."""
        return " ".join(final.display for final in self.segments if final.display)

    @property
    def words(self) -> int:
        """How many words were recognized."""
        return sum(len(final.words) for final in self.segments)

    @property
    def confidence(self) -> float:
        """Mean over the words, in [0, 1]; 0 without words."""
        heard = [word.confidence for final in self.segments for word in final.words]
        return sum(heard) / len(heard) if heard else 0.0
