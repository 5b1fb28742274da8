"""Rivulet itself, watched frame by frame so that every part of a word's latency is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rivulet import checkpoint
from rivulet.acoustic.features import HOP, WINDOW
from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.evaluation.systems.common import EngineConfig, Heard, folder_bytes
from rivulet.events import Event, Final
from rivulet.recognizer import FRAME_S, Recognizer, Stream

BEYOND_S = (WINDOW - HOP) / SAMPLE_RATE  # what the last window reaches beyond its hop


@dataclass(frozen=True)
class RivuletEngine:
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
        return self.recognizer.checkpoint.model.config.lookahead * FRAME_S

    def session(self) -> "RivuletSession | PlainSession":
        """Begin a live signal."""
        session = RivuletSession if self.watched else PlainSession
        return session(self.recognizer)


class PlainSession:
    """A stream as every user runs it."""

    def __init__(self, recognizer: Recognizer) -> None:
        """Begin at time 0."""
        self._stream = recognizer.stream()

    def accept(self, samples: Samples) -> list[Heard]:
        """Hear mono 16 kHz samples (n,)."""
        return [Heard(event) for event in self._stream.accept(samples)]

    def finish(self) -> list[Heard]:
        """Decode to the last sample."""
        return [Heard(event) for event in self._stream.finish()]


class RivuletSession:
    """A stream whose events carry what each word needed."""

    def __init__(self, recognizer: Recognizer) -> None:
        """Begin at time 0."""
        self._stream = _WatchedStream(recognizer)

    def accept(self, samples: Samples) -> list[Heard]:
        """Hear mono 16 kHz samples (n,)."""
        return self._with_needs(self._stream.accept(samples))

    def finish(self) -> list[Heard]:
        """Decode to the last sample."""
        return self._with_needs(self._stream.finish())

    def _with_needs(self, events: list[Event]) -> list[Heard]:
        needs = self._stream.take_needs(events)
        return [Heard(event, need) for event, need in zip(events, needs, strict=True)]


class _WatchedStream(Stream):
    """Remembers since which output frame each word of the open segment reads as it does."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__(recognizer)
        self._frame = -1
        self._since: list[tuple[str, int]] = []  # word, output frame
        self._closed: list[tuple[str, int]] = []  # the same, of the segment that ended last
        self._needs: list[tuple[float, ...]] = []

    def take_needs(self, events: Sequence[Event]) -> list[tuple[float, ...]]:
        """Return, per event, the seconds that each word needed; those of `finish` come last."""
        for event in events[len(self._needs) :]:
            self._needs.append(self._need(event))
        needs, self._needs = self._needs, []
        return needs

    def _advance(self, frames: torch.Tensor) -> Iterator[Event]:
        for event in super()._advance(frames):
            self._needs.append(self._need(event))
            yield event

    def _decode(self, row: torch.Tensor) -> list[Event]:
        self._frame += 1
        events = super()._decode(row)
        for event in events:
            if isinstance(event, Final):
                self._closed = self._update(event.text.split())
                self._since = self._since[len(self._closed) :]
        self._since = self._update([word.text for word in self._decoder.words()])
        return events

    def _update(self, words: list[str]) -> list[tuple[str, int]]:
        known = dict(enumerate(self._since))
        return [
            known[i] if i in known and known[i][0] == word else (word, self._frame)
            for i, word in enumerate(words)
        ]

    def _need(self, event: Event) -> tuple[float, ...]:
        if isinstance(event, Final):
            known = self._closed if self._closed else self._update(event.text.split())
            self._closed = []
        else:
            known = self._since
        return tuple((frame + 1) * FRAME_S + BEYOND_S for _, frame in known)


def load(config: EngineConfig) -> RivuletEngine:
    """Load the model that `config` names, or the default one.

    Raises:
        CheckpointError: it is missing, altered or too new.
        ConfigError: the block cannot be used.
    """
    torch.set_num_threads(config.threads)
    model = config.model or checkpoint.DEFAULT_NAME
    recognizer = Recognizer.load(model, config.block_ms, config.endpoint, config.decoder)
    return RivuletEngine(recognizer, folder_bytes(Path(checkpoint.find(model))), config.watched)
