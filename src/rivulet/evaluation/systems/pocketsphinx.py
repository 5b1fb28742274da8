"""PocketSphinx: its own endpointer in front of its decoder, as its `LiveSpeech` does."""

from pathlib import Path
from typing import Any

from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.audio.pcm import to_bytes
from rivulet.evaluation.systems.common import (
    Screen,
    SystemConfig,
    TimedEvent,
    folder_bytes,
    require,
)
from rivulet.text.normalize import normalize


class PocketSphinxSystem:
    """The American English model and language model that its package brings."""

    lookahead_s = 0.0

    def __init__(self, package: Any) -> None:
        """Load the model once; sessions share the decoder, one after the other."""
        self._package = package
        self._decoder = package.Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")
        self._cepstra = self._decoder.get_cmn(False)
        self.size_bytes = folder_bytes(Path(package.get_model_path("en-us")))

    @property
    def digest(self) -> str:
        """Its model's name."""
        return "en-us of the package"

    def stream(self) -> "PocketSphinxStream":
        """Begin a live signal with the cepstral means of a fresh decoder."""
        self._decoder.set_cmn(self._cepstra)
        return PocketSphinxStream(self._decoder, self._package.Endpointer(sample_rate=SAMPLE_RATE))


class PocketSphinxStream:
    """Frames of 30 ms go through the endpointer; what it calls speech goes to the decoder."""

    def __init__(self, decoder: Any, endpointer: Any) -> None:
        """Begin at time 0."""
        self._decoder = decoder
        self._endpointer = endpointer
        self._held = b""
        self._open = False
        self._screen = Screen()

    def accept(self, samples: Samples) -> list[TimedEvent]:
        """Hear mono 16 kHz samples (n,)."""
        self._screen.hear(samples)
        self._held += to_bytes(samples)
        size = self._endpointer.frame_bytes
        events: list[TimedEvent] = []
        while len(self._held) > size:  # one is kept back: `end_stream` wants the last
            frame, self._held = self._held[:size], self._held[size:]
            events += self._decode(self._endpointer.process(frame), self._endpointer.in_speech)
        if self._open:
            events += self._screen.partial(self._text())
        return events

    def finish(self) -> list[TimedEvent]:
        """Decode what is left."""
        speech = self._endpointer.end_stream(self._held) if self._held else None
        return self._decode(speech, False) + (self._end() if self._open else [])

    def _decode(self, speech: bytes | None, in_speech: bool) -> list[TimedEvent]:
        if speech is None:
            return []
        if not self._open:
            self._decoder.start_utt()
            self._open = True
        if speech:  # at the end of the stream it may be empty
            self._decoder.process_raw(speech)
        return [] if in_speech else self._end()

    def _end(self) -> list[TimedEvent]:
        self._decoder.end_utt()
        self._open = False
        return self._screen.final(self._text())

    def _text(self) -> str:
        hypothesis = self._decoder.hyp()
        return normalize(hypothesis.hypstr) if hypothesis else ""


def load(config: SystemConfig) -> PocketSphinxSystem:
    """Load it.

    Raises:
        EngineError: it is not installed.
    """
    return PocketSphinxSystem(require("pocketsphinx", "pocketsphinx"))
