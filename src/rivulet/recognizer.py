"""`Recognizer` and `Stream`: the path from samples to events."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rivulet.audio import SAMPLE_RATE, Resampler
from rivulet.checkpoint import DEFAULT_NAME, Checkpoint, load
from rivulet.decoder import DecodedWord, GreedyDecoder
from rivulet.endpoint import EndpointConfig, Endpointer
from rivulet.errors import AudioError, ConfigError
from rivulet.events import Event, Final, Partial, Word
from rivulet.features import HOP, WINDOW, FeatureExtractor
from rivulet.model import STRIDE

FRAME_S = STRIDE * HOP / SAMPLE_RATE  # seconds per output frame: 0.04
BLOCK_MS = (40, 80, 160, 320)  # blocks that can be chosen
DEFAULT_BLOCK_MS = 160
TAIL_S = 0.4  # silence fed at the end: CTC shows the last letters a little after they were spoken


@dataclass(frozen=True)
class Recognizer:
    """Shared and immutable: weights, tokens and settings.

    Any number of streams can use it at once.
    """

    checkpoint: Checkpoint
    block_ms: int = DEFAULT_BLOCK_MS
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)

    def __post_init__(self) -> None:
        """Check the block.

        Raises:
            ConfigError: it is none of 40, 80, 160 and 320 ms.
        """
        if self.block_ms not in BLOCK_MS:
            raise ConfigError(
                f"a block of {self.block_ms} ms cannot be used; choose one of {BLOCK_MS}."
            )

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_NAME,
        block_ms: int = DEFAULT_BLOCK_MS,
        endpoint: EndpointConfig | None = None,
    ) -> "Recognizer":
        """Load a model by name or folder.

        Args:
            model: a name such as "default", or a checkpoint folder.
            block_ms: the model advances by so much sound at a time; smaller is earlier and costs
                more.
            endpoint: when a segment ends.

        Raises:
            CheckpointError: the model is missing, altered or too new.
            ConfigError: the block is none of 40, 80, 160 and 320 ms.
        """
        return cls(load(model), block_ms, endpoint or EndpointConfig())

    @property
    def latency_ms(self) -> int:
        """Algorithmic latency: block, lookahead, and what a 25 ms window reaches beyond its hop."""
        beyond = (WINDOW - HOP) * 1000 // SAMPLE_RATE
        return self.block_ms + self.checkpoint.model.config.lookahead_ms + beyond

    def stream(self, sample_rate: int = SAMPLE_RATE) -> "Stream":
        """Return a new live signal of `sample_rate` Hz.

        Raises:
            AudioError: the rate is outside 4 to 384 kHz.
        """
        return Stream(self, sample_rate)


class Stream:
    """One live signal: a state of constant size.

    Feed it any pieces; the events do not depend on how the signal is cut.
    """

    def __init__(self, recognizer: Recognizer, sample_rate: int = SAMPLE_RATE) -> None:
        """Begin at time 0; use `Recognizer.stream`."""
        loaded = recognizer.checkpoint
        steps = recognizer.block_ms * SAMPLE_RATE // 1000 // (STRIDE * HOP)
        self._loaded = loaded
        self._resampler = Resampler(sample_rate)
        self._features = FeatureExtractor(loaded.features, loaded.statistics, steps * STRIDE)
        self._state = loaded.model.initial_state()
        self._decoder = GreedyDecoder(loaded.tokenizer)
        self._endpointer = Endpointer(recognizer.endpoint, FRAME_S)
        self._heard = 0  # samples at 16 kHz
        self._blocks = 0
        self._segment = 0
        self._shown: tuple[str, int] = ("", 0)
        self._last_end = 0.0
        self._end_s: float | None = None  # known once finished

    def accept(self, samples: npt.NDArray[Any]) -> list[Event]:
        """Hear `samples`, float32 in [-1, 1] or int16, (n,) or (n, channels); return their events.

        Raises:
            AudioError: the samples are not finite, not sound, or come after `finish`; the stream
                stays as it was.
        """
        if self._end_s is not None:
            raise AudioError("the stream is finished; begin another with recognizer.stream().")
        return list(self._hear(self._resampler.push(samples)))

    def finish(self) -> list[Event]:
        """Decode what is still on its way, to the last sample, and return the last events."""
        if self._end_s is not None:
            return []
        events = list(self._hear(self._resampler.flush()))
        self._end_s = self._heard / SAMPLE_RATE
        if self._heard:
            lookahead = self._loaded.model.config.lookahead
            tail = np.zeros(int((TAIL_S + lookahead * FRAME_S) * SAMPLE_RATE), np.float32)
            events += self._advance(self._features.push(tail))
            events += self._advance(self._features.flush())
        return events + self._close(self._decoder.finish_segment())

    def partial(self) -> Partial:
        """Return the open segment as it reads now; asking changes nothing."""
        text = " ".join(word.text for word in self._decoder.words())
        return Partial(self._segment, text, self._decoder.settled(), self._now())

    @property
    def nbytes(self) -> int:
        """Bytes of samples waiting for their block, and of what the network remembers."""
        return self._features.nbytes() + self._state.nbytes

    def _hear(self, samples: npt.NDArray[np.float32]) -> Iterator[Event]:
        self._heard += len(samples)
        yield from self._advance(self._features.push(samples))

    def _advance(self, frames: torch.Tensor) -> Iterator[Event]:
        """Take whole blocks of frames (k * block, n_mels), one at a time."""
        for block in torch.split(frames, self._features.block):
            if not len(block):
                return
            self._blocks += 1
            with torch.inference_mode():
                log_probs, self._state = self._loaded.model(block.unsqueeze(0), self._state)
            for row in torch.split(log_probs[0], 1):
                yield from self._decode(row)
            partial = self.partial()
            if (partial.text, partial.stable) != self._shown:
                self._shown = (partial.text, partial.stable)
                yield partial

    def _decode(self, row: torch.Tensor) -> list[Event]:
        """Take one output frame (1, tokens); return a Final if it ends the segment."""
        self._decoder.push(row)
        rule = self._endpointer.push(self._decoder.silent)
        if rule is None:
            return []
        words = self._decoder.finish_segment(keep_open_word=not rule.trailing_silence_s)
        self._endpointer.reset(spoke=bool(self._decoder.words()))
        return self._close(words)

    def _close(self, words: list[DecodedWord]) -> list[Event]:
        self._shown = ("", 0)
        if not words:
            return []
        timed = tuple(self._timed(word) for word in words)
        text = " ".join(word.text for word in timed)
        final = Final(self._segment, text, timed, timed[0].start, timed[-1].end, self._now())
        self._segment += 1
        return [final]

    def _timed(self, word: DecodedWord) -> Word:
        """Give a word its times: less lookahead and measured delay, in order, inside the sound."""
        timing = self._loaded.timing
        lookahead_s = self._loaded.model.config.lookahead * FRAME_S
        limit = self._now()
        start = word.start * FRAME_S - lookahead_s - timing.start_delay_s
        end = word.end * FRAME_S - lookahead_s - timing.end_delay_s
        start = min(max(start, self._last_end), limit)
        end = min(max(end, start + FRAME_S), max(limit, start))
        self._last_end = end
        return Word(word.text, round(start, 3), round(end, 3), round(word.confidence, 4))

    def _now(self) -> float:
        """Seconds of audio the results rest on: whole blocks, whatever the caller's pieces."""
        if self._end_s is not None:
            return round(self._end_s, 3)
        if not self._blocks:
            return 0.0
        advance = self._features.block * HOP
        return round(((self._blocks - 1) * advance + advance - HOP + WINDOW) / SAMPLE_RATE, 3)
