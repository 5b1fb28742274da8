"""What every system offers, and what they share."""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from rivulet.acoustic.choices import DEFAULT_BLOCK_MS
from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.decoding.settings import DecoderName
from rivulet.endpoint import EndpointConfig
from rivulet.errors import EngineError
from rivulet.events import Event, Final, Partial, Word


@dataclass(frozen=True)
class SystemConfig:
    """Which system runs and how.

    model: a name or folder as the system wants it; empty for its own.
    label: what the report calls it, if not by its name.
    block_ms, endpoint, decoder: of rivulet alone; None decodes as the model does by default.
    watched: of rivulet alone: tell for every word what sound it needed, which costs an eighth more.
    """

    name: str
    model: str = ""
    threads: int = 1
    block_ms: int = DEFAULT_BLOCK_MS
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    label: str = ""
    decoder: DecoderName | None = None
    watched: bool = True


@dataclass(frozen=True)
class TimedEvent:
    """An event, and for each of its words the seconds of sound the model needed to complete it.

    needed_s is empty where a system does not tell.
    """

    event: Event
    needed_s: tuple[float, ...] = ()


class SystemStream(Protocol):
    """One live signal."""

    def accept(self, samples: Samples) -> list[TimedEvent]:
        """Hear mono 16 kHz samples (n,); return what they bring to light, words in upper case."""

    def finish(self) -> list[TimedEvent]:
        """Return the last events; the stream is over."""


class System(Protocol):
    """A loaded recognizer."""

    @property
    def digest(self) -> str:
        """Names model and settings."""

    @property
    def lookahead_s(self) -> float:
        """Future sound that the model looks at; 0 where unknown."""

    @property
    def size_bytes(self) -> int:
        """Bytes of model files."""

    def stream(self) -> SystemStream:
        """Begin a live signal."""


class Screen:
    """Turns the texts of a system that knows neither segments nor promises into events."""

    def __init__(self) -> None:
        """Begin at time 0."""
        self._samples = 0
        self._segment = 0
        self._shown: tuple[str, int] = ("", 0)

    def hear(self, samples: Samples) -> None:
        """Move the time on by samples (n,)."""
        self._samples += len(samples)

    def partial(self, text: str, stable: int = 0) -> list[TimedEvent]:
        """Show `text` unless it stands there already."""
        if (text, stable) == self._shown:
            return []
        self._shown = (text, stable)
        return [TimedEvent(Partial(self._segment, text, stable, self._at))]

    def final(self, text: str) -> list[TimedEvent]:
        """Finish the segment; nothing happens if it is empty and nothing was shown.

        Word times are not asked of other systems: only when a word came out is compared.
        """
        if not text:
            return self.partial("")
        words = tuple(Word(word, self._at, self._at, 0.0) for word in text.split())
        event = Final(self._segment, text, words, self._at, self._at, self._at)
        self._segment += 1
        self._shown = ("", 0)
        return [TimedEvent(event)]

    @property
    def _at(self) -> float:
        return self._samples / SAMPLE_RATE


def require(module: str, package: str) -> Any:
    """Import a system's module.

    Raises:
        EngineError: it is not installed; the sentence says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise EngineError(
            f"the system {package} is not installed; install it with `pip install {package}`."
        ) from error


def model_folder(config: SystemConfig, where: str) -> Path:
    """Return the folder of the model that the user named.

    Raises:
        EngineError: none was named or it does not exist; `where` says where models are.
    """
    if not config.model or not Path(config.model).is_dir():
        lacking = f"{config.model} is no folder" if config.model else "none was named"
        raise EngineError(
            f"the system {config.name} needs a model and {lacking}; get one from {where} "
            f"and write --system {config.name}=FOLDER."
        )
    return Path(config.model)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
