"""Rivulet itself, watched frame by frame so that every part of a word's latency is known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rivulet import checkpoint
from rivulet.acoustic.frames import FRAME_S, HOP, WINDOW
from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.decoding.decoder import DecodedWord, Decoder, WrappedDecoder
from rivulet.evaluation.systems.common import SystemConfig, TimedEvent, folder_bytes
from rivulet.events import Event, Final
from rivulet.recognizer import Recognizer

BEYOND_S = (WINDOW - HOP) / SAMPLE_RATE  # what the last window reaches beyond its hop


@dataclass(frozen=True)
class RivuletSystem:
    """A recognizer and the bytes of its folder."""

    recognizer: Recognizer
    size_bytes: int
    watched: bool = True

    @property
    def digest(self) -> str:
        """The checkpoint's hash, the decoder and the block."""
        name = self.recognizer.checkpoint.digest[:12]
        return f"{name}/{self.recognizer.settings.name}/block {self.recognizer.block_ms} ms"

    @property
    def lookahead_s(self) -> float:
        """Future output frames, in seconds."""
        return self.recognizer.checkpoint.config.lookahead * FRAME_S

    def stream(self) -> "RivuletStream | PlainStream":
        """Begin a live signal."""
        kind = RivuletStream if self.watched else PlainStream
        return kind(self.recognizer)


class PlainStream:
    """A stream as every user runs it."""

    def __init__(self, recognizer: Recognizer) -> None:
        """Begin at time 0."""
        self._stream = recognizer.stream()

    def accept(self, samples: Samples) -> list[TimedEvent]:
        """Hear mono 16 kHz samples (n,)."""
        return [TimedEvent(event) for event in self._stream.accept(samples)]

    def finish(self) -> list[TimedEvent]:
        """Decode to the last sample."""
        return [TimedEvent(event) for event in self._stream.finish()]


class RivuletStream:
    """A stream whose events carry what each word needed."""

    def __init__(self, recognizer: Recognizer) -> None:
        """Begin at time 0."""
        self._watch = _WatchedDecoder(recognizer.decoding.decoder())
        self._stream = recognizer.stream(decoder=self._watch)

    def accept(self, samples: Samples) -> list[TimedEvent]:
        """Hear mono 16 kHz samples (n,)."""
        return self._with_needs(self._stream.accept(samples))

    def finish(self) -> list[TimedEvent]:
        """Decode to the last sample."""
        return self._with_needs(self._stream.finish())

    def _with_needs(self, events: list[Event]) -> list[TimedEvent]:
        timed = [TimedEvent(event, self._watch.needs(event)) for event in events]
        self._watch.forget()
        return timed


@dataclass(frozen=True)
class _Look:
    """What the decoder once said: its words and since which output frame each reads as it does."""

    final: bool
    words: tuple[tuple[str, int], ...]

    @property
    def text(self) -> str:
        return " ".join(text for text, _ in self.words)


class _WatchedDecoder(WrappedDecoder):
    """Remembers since which output frame each word of the open segment reads as it does.

    Every look at the words is kept until the events that came of them have been matched with it,
    in order. The words are compared frame by frame, when the next one comes or somebody looks.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self._since: tuple[tuple[str, int], ...] = ()  # word, output frame
        self._compared = True
        self._looks: list[_Look] = []

    def push(self, log_probs: npt.NDArray[np.float32]) -> None:
        self._compare()
        super().push(log_probs)
        self._compared = False

    def words(self) -> list[DecodedWord]:
        self._compare()
        self._looks.append(_Look(False, self._since))
        return super().words()

    def finish_segment(self, keep_open_word: bool = False) -> list[DecodedWord]:
        words = super().finish_segment(keep_open_word)
        closed = self._update(words)
        self._looks.append(_Look(True, closed))
        self._since = self._since[len(closed) :]
        return words

    def needs(self, event: Event) -> tuple[float, ...]:
        """Return the seconds of sound that each word of the next event needed."""
        while self._looks:
            look = self._looks.pop(0)
            if look.final == isinstance(event, Final) and look.text == event.text:
                return tuple((frame + 1) * FRAME_S + BEYOND_S for _, frame in look.words)
        raise AssertionError(f"no look at the words gave {event}")

    def forget(self) -> None:
        """Drop the looks that brought no event."""
        self._looks.clear()

    def _compare(self) -> None:
        if not self._compared:
            self._since = self._update(super().words())
            self._compared = True

    def _update(self, words: list[DecodedWord]) -> tuple[tuple[str, int], ...]:
        known = dict(enumerate(self._since))
        return tuple(
            known[i] if i in known and known[i][0] == word.text else (word.text, self.frame - 1)
            for i, word in enumerate(words)
        )


def load(config: SystemConfig) -> RivuletSystem:
    """Load the model that `config` names, or the default one.

    Raises:
        CheckpointError: it is missing, altered or too new.
        ConfigError: the block cannot be used.
    """
    model = config.model or checkpoint.DEFAULT_NAME
    recognizer = Recognizer.load(
        model, config.block_ms, config.endpoint, config.decoder, threads=config.threads
    )
    return RivuletSystem(recognizer, folder_bytes(Path(checkpoint.find(model))), config.watched)
