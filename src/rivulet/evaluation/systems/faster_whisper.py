"""Whisper made to stream: faster-whisper under LocalAgreement-2.

A word is settled when two runs in a row over the growing sound agree on it and on all words before
it (Macháček et al. 2023, arXiv 2307.14743, section 2). An utterance that is handed over in one
piece is recognized once, as Whisper is meant to be used. Numbers come out as words: the other
systems write no digits, and references have none.
"""

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import numpy as np

from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.errors import EngineError
from rivulet.evaluation.systems.common import (
    Screen,
    SystemConfig,
    TimedEvent,
    folder_bytes,
    require,
)
from rivulet.text.normalize import normalize

STEP_S = 1.0  # whisper_streaming's --min-chunk-size
SILENCE_S = 1.0  # after the last word this much ends the segment
LONGEST_S = 28.0  # Whisper hears 30 s
BEAM = 5  # OpenAI's own, and whisper_streaming's
SPECIAL = -1  # stands for the tokens that Whisper never writes
FIGURES = "0123456789%$"  # signs that are words when somebody says them


class WhisperSystem:
    """One Whisper model."""

    lookahead_s = 0.0

    def __init__(self, model: Any, name: str, size_bytes: int) -> None:
        """Wrap a loaded model."""
        self._model = model
        self._suppressed = [SPECIAL, *tokens_with_figures(model.hf_tokenizer.get_vocab())]
        self.digest = name
        self.size_bytes = size_bytes

    def stream(self) -> "WhisperStream":
        """Begin a live signal."""
        return WhisperStream(self._model, self._suppressed)


def tokens_with_figures(vocabulary: Mapping[str, int]) -> list[int]:
    """Return the ids of the tokens with a digit or a sign for a number, without Whisper's marks."""
    return sorted(
        index
        for token, index in vocabulary.items()
        if not token.startswith("<|") and any(sign in token for sign in FIGURES)
    )


class WhisperStream:
    """The whole open segment is recognized again every second."""

    def __init__(self, model: Any, suppressed: list[int]) -> None:
        """Begin at time 0; the tokens `suppressed` are never written."""
        self._model = model
        self._suppressed = suppressed
        self._sound = np.zeros(0, np.float32)
        self._new = 0  # samples since the last run
        self._before: list[str] = []
        self._agreed: list[str] = []
        self._screen = Screen()

    def accept(self, samples: Samples) -> list[TimedEvent]:
        """Hear mono 16 kHz samples (n,)."""
        self._screen.hear(samples)
        self._sound = np.concatenate([self._sound, samples])
        self._new += len(samples)
        if self._new < STEP_S * SAMPLE_RATE:
            return []
        words, end_s = self._run()
        length_s = len(self._sound) / SAMPLE_RATE
        if not words:
            self._sound = self._sound[-int(SILENCE_S * SAMPLE_RATE) :]  # nothing to keep but this
        elif length_s - end_s >= SILENCE_S or length_s > LONGEST_S:
            return self._final(words)
        return self._screen.partial(" ".join(words), len(self._agreed))

    def finish(self) -> list[TimedEvent]:
        """Recognize what is left."""
        if not self._new:  # the last run had all of it
            return self._final(self._before) if self._before else []
        return self._final(self._run()[0])

    def _run(self) -> tuple[list[str], float]:
        """Return the words of the open segment and where the last one ends, in seconds."""
        self._new = 0
        segments, _ = self._model.transcribe(
            self._sound,
            language="en",
            beam_size=BEAM,
            temperature=0.0,
            word_timestamps=True,
            suppress_tokens=self._suppressed,
        )
        timed = [word for segment in segments for word in segment.words]
        found = normalize(" ".join(word.word for word in timed)).split()
        found = self._agreed + found[len(self._agreed) :]  # what was agreed on stays
        same = takewhile(lambda pair: pair[0] == pair[1], zip(self._before, found, strict=False))
        agreed = [word for word, _ in same]
        if len(agreed) > len(self._agreed):
            self._agreed = agreed
        self._before = found
        return found, timed[-1].end if timed else 0.0

    def _final(self, words: list[str]) -> list[TimedEvent]:
        self._sound = np.zeros(0, np.float32)
        self._before, self._agreed = [], []
        return self._screen.final(" ".join(words))


def load(config: SystemConfig) -> WhisperSystem:
    """Load the model that `config` names: a folder, or a name such as tiny.en.

    Raises:
        EngineError: it is not installed, no model is named, or it cannot be loaded.
    """
    package = require("faster_whisper", "faster-whisper")
    if not config.model:
        raise EngineError(
            "the system whisper needs a model and none was named; "
            "write --system whisper=tiny.en or whisper=FOLDER."
        )
    try:
        model = package.WhisperModel(
            config.model, device="cpu", compute_type="int8", cpu_threads=config.threads
        )
        size = folder_bytes(_folder(package, config.model))
    except Exception as error:  # the package lets those of its hub and of CTranslate2 through
        raise EngineError(
            f"the Whisper model {config.model} cannot be loaded ({str(error).splitlines()[0]}); "
            "give another name or a folder."
        ) from error
    return WhisperSystem(model, config.model, size)


def _folder(package: Any, model: str) -> Any:
    from pathlib import Path

    folder = Path(model)
    return folder if folder.is_dir() else Path(package.download_model(model, local_files_only=True))
