"""Vosk, with a model that the user has."""

import json
from pathlib import Path
from typing import Any

from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.audio.pcm import to_bytes
from rivulet.evaluation.systems.common import (
    Screen,
    SystemConfig,
    TimedEvent,
    folder_bytes,
    model_folder,
    require,
)
from rivulet.text.normalize import normalize


class VoskSystem:
    """A Kaldi model in Vosk's layout."""

    lookahead_s = 0.0

    def __init__(self, package: Any, folder: Path) -> None:
        """Load `folder`."""
        package.SetLogLevel(-1)
        self._package = package
        self._model = package.Model(str(folder))
        self.digest = folder.name
        self.size_bytes = folder_bytes(folder)

    def stream(self) -> "VoskStream":
        """Begin a live signal."""
        return VoskStream(self._package.KaldiRecognizer(self._model, SAMPLE_RATE))


class VoskStream:
    """`AcceptWaveform` is true where a segment ended."""

    def __init__(self, recognizer: Any) -> None:
        """Begin at time 0."""
        self._recognizer = recognizer
        self._screen = Screen()

    def accept(self, samples: Samples) -> list[TimedEvent]:
        """Hear mono 16 kHz samples (n,)."""
        self._screen.hear(samples)
        if self._recognizer.AcceptWaveform(to_bytes(samples)):
            return self._screen.final(_text(self._recognizer.Result(), "text"))
        return self._screen.partial(_text(self._recognizer.PartialResult(), "partial"))

    def finish(self) -> list[TimedEvent]:
        """Decode what is left."""
        return self._screen.final(_text(self._recognizer.FinalResult(), "text"))


def _text(answer: str, key: str) -> str:
    return normalize(json.loads(answer).get(key, ""))


def load(config: SystemConfig) -> VoskSystem:
    """Load the folder that `config` names.

    Raises:
        EngineError: Vosk is not installed, or there is no such folder.
    """
    package = require("vosk", "vosk")
    return VoskSystem(package, model_folder(config, "https://alphacephei.com/vosk/models"))
