"""`Recognizer` and `Stream`: the path from samples to events."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from rivulet.acoustic.features import HOP, WINDOW, FeatureExtractor
from rivulet.acoustic.model import STRIDE
from rivulet.audio import SAMPLE_RATE, Resampler
from rivulet.checkpoint import DEFAULT_NAME, Checkpoint, TimingConfig, load
from rivulet.decoding.beam import BeamConfig, BeamDecoder
from rivulet.decoding.decoder import DecodedWord, Decoder, GreedyDecoder
from rivulet.decoding.graph import SearchGraph
from rivulet.endpoint import EndpointConfig, Endpointer
from rivulet.errors import AudioError, ConfigError
from rivulet.events import Event, Final, Partial, Word
from rivulet.language.model import LanguageModel

DecoderName = Literal["greedy", "beam"]
FRAME_S = STRIDE * HOP / SAMPLE_RATE  # seconds per output frame: 0.04
BLOCK_MS = (40, 80, 160, 320)  # blocks that can be chosen
DEFAULT_BLOCK_MS = 160
REST_S = 5.0  # seconds without speech after which the network forgets what it heard
TAIL_S = 0.4  # silence fed at the end: CTC shows the last letters a little after they were spoken


def algorithmic_latency_ms(block_ms: int, lookahead_ms: int) -> int:
    """Add block, lookahead, and what a 25 ms window reaches beyond its hop."""
    return block_ms + lookahead_ms + (WINDOW - HOP) * 1000 // SAMPLE_RATE


@dataclass(frozen=True)
class DecoderSettings:
    """How a recognizer decodes, as plain data: enough to decode the same way again.

    alternatives: other readings given with each segment; the beam's only.
    hot_words: phrases and what they gain, in nats; the beam's only.
    """

    name: DecoderName = "greedy"
    beam: BeamConfig = field(default_factory=BeamConfig)
    alternatives: int = 0
    hot_words: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "DecoderSettings":
        """Return the settings that plain data describe, as JSON holds them."""
        beam = BeamConfig(**values.get("beam", {}))
        hot_words = tuple((phrase, boost) for phrase, boost in values.get("hot_words", ()))
        return cls(
            values.get("name", "greedy"),
            beam,
            values.get("alternatives", 0),
            hot_words,
        )


@dataclass(frozen=True)
class Recognizer:
    """Shared and immutable: weights, tokens, language model and settings.

    Any number of streams can use it at once. Without a `graph` it decodes greedily.
    """

    checkpoint: Checkpoint
    block_ms: int = DEFAULT_BLOCK_MS
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    graph: SearchGraph | None = None
    beam: BeamConfig = field(default_factory=BeamConfig)
    alternatives: int = 0

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
        decoder: DecoderName | None = None,
    ) -> "Recognizer":
        """Load a model by name or folder.

        Args:
            model: a name such as "default", or a checkpoint folder.
            block_ms: the model advances by so much sound at a time; smaller is earlier and costs
                more.
            endpoint: when a segment ends.
            decoder: "greedy", "beam" with lexicon and language model, or None: the beam if the
                model has what it needs.

        Raises:
            CheckpointError: the model is missing, altered or too new.
            ConfigError: the block is none of 40, 80, 160 and 320 ms, or the model has no beam.
        """
        loaded = load(model)
        recognizer = cls(loaded, block_ms, endpoint or EndpointConfig(), beam=loaded.beam.config)
        if decoder == "greedy" or (decoder is None and loaded.language_model is None):
            return recognizer
        return replace(recognizer, graph=_graph(loaded))

    @property
    def latency_ms(self) -> int:
        """Algorithmic latency: block, lookahead, and what a 25 ms window reaches beyond its hop."""
        return algorithmic_latency_ms(self.block_ms, self.checkpoint.model.config.lookahead_ms)

    @property
    def settings(self) -> DecoderSettings:
        """Say how it decodes."""
        if self.graph is None:
            return DecoderSettings()
        hot_words = tuple((phrase.text, phrase.boost) for phrase in self.graph.phrases.phrases)
        return DecoderSettings("beam", self.beam, self.alternatives, hot_words)

    def with_settings(self, settings: DecoderSettings) -> "Recognizer":
        """Return a recognizer of the same model that decodes as `settings` say.

        Raises:
            ConfigError: the model has no beam, or a hot phrase cannot be used.
        """
        if settings.name == "greedy":
            return replace(self, graph=None, alternatives=0)
        graph = self.graph if self.graph and not self.graph.phrases.phrases else None
        beam = replace(
            self,
            graph=graph or _graph(self.checkpoint),
            beam=settings.beam,
            alternatives=settings.alternatives,
        )
        return beam.with_hot_words(dict(settings.hot_words))

    @property
    def timing(self) -> TimingConfig:
        """How late this decoder shows a word, as measured."""
        return self.checkpoint.beam.timing if self.graph else self.checkpoint.timing

    def with_hot_words(self, boosts: Mapping[str, float]) -> "Recognizer":
        """Return a recognizer in which the phrases, in any spelling, gain so many nats.

        Raises:
            ConfigError: it decodes greedily, or a phrase or its boost cannot be used.
        """
        if not boosts:
            return self
        if self.graph is None:
            raise ConfigError(
                f"{len(boosts)} hot phrases need the beam; use a model with a language model and "
                "do not ask for greedy decoding."
            )
        return replace(self, graph=self.graph.with_hot_words(boosts))

    def decoder(self) -> Decoder:
        """Return a decoder for one stream."""
        loaded = self.checkpoint
        if self.graph is None:
            return GreedyDecoder(loaded.tokenizer)
        return BeamDecoder(
            self.graph,
            self.beam,
            loaded.tokenizer,
            loaded.beam.confidence,
            self.alternatives,
            loaded.beam.priors,
        )

    def stream(
        self, sample_rate: int = SAMPLE_RATE, hot_words: Mapping[str, float] | None = None
    ) -> "Stream":
        """Return a new live signal of `sample_rate` Hz, with hot phrases and their boosts in nats.

        Hot words cost a fifth of a second to prepare; share them with `with_hot_words`.

        Raises:
            AudioError: the rate is outside 4 to 384 kHz.
            ConfigError: a hot phrase cannot be used.
        """
        return Stream(self.with_hot_words(hot_words or {}), sample_rate)


class Stream:
    """One live signal: a state of constant size.

    Feed it any pieces; the events do not depend on how the signal is cut.
    """

    def __init__(self, recognizer: Recognizer, sample_rate: int = SAMPLE_RATE) -> None:
        """Begin at time 0; use `Recognizer.stream`."""
        loaded = recognizer.checkpoint
        steps = recognizer.block_ms * SAMPLE_RATE // 1000 // (STRIDE * HOP)
        self._loaded = loaded
        self._timing = recognizer.timing
        self._phrases = recognizer.graph.phrases.phrases if recognizer.graph else ()
        self._resampler = Resampler(sample_rate)
        self._features = FeatureExtractor(loaded.features, loaded.statistics, steps * STRIDE)
        self._state = loaded.model.initial_state()
        self._decoder = recognizer.decoder()
        self._endpointer = Endpointer(recognizer.endpoint, FRAME_S)
        self._silent_frames = 0  # in a row, up to here
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
        words, settled = self._decoder.words(), self._decoder.settled()
        text = " ".join(word.text for word in words)
        timed = tuple(self._timed(words[:settled]))
        return Partial(self._segment, text, settled, self._now(), timed)

    def words(self) -> tuple[Word, ...]:
        """Return the open segment's words as they are now; asking changes nothing."""
        return tuple(self._timed(self._decoder.words()))

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
        self._rest()
        rule = self._endpointer.push(self._decoder.silent)
        if rule is None:
            return []
        words = self._decoder.finish_segment(keep_open_word=not rule.trailing_silence_s)
        self._endpointer.reset(spoke=bool(self._decoder.words()))
        return self._close(words)

    def _rest(self) -> None:
        """Let the network begin anew after `REST_S` without speech.

        It was trained on utterances; minutes of noise carry its state to where it hears words.
        """
        self._silent_frames = self._silent_frames + 1 if self._decoder.silent else 0
        if self._silent_frames * FRAME_S >= REST_S:
            self._silent_frames = 0
            self._state = self._state.rested

    def _close(self, words: list[DecodedWord]) -> list[Event]:
        self._shown = ("", 0)
        if not words:
            return []
        timed = tuple(self._timed(words))
        self._last_end = timed[-1].end
        text = " ".join(word.text for word in timed)
        final = Final(
            self._segment,
            text,
            timed,
            timed[0].start,
            timed[-1].end,
            self._now(),
            self._decoder.alternatives,
            tuple(p.text for p in self._phrases if f" {p.spelled} " in f" {text} "),
        )
        self._segment += 1
        return [final]

    def _timed(self, words: Sequence[DecodedWord]) -> Iterator[Word]:
        """Give words their times: less lookahead and measured delay, in order, inside the sound."""
        timing = self._timing
        lookahead_s = self._loaded.model.config.lookahead * FRAME_S
        limit, last_end = self._now(), self._last_end
        for word in words:
            start = word.start * FRAME_S - lookahead_s - timing.start_delay_s
            end = word.end * FRAME_S - lookahead_s - timing.end_delay_s
            start = min(max(start, last_end), limit)
            end = min(max(end, start + FRAME_S), max(limit, start))
            last_end = end
            confidence = round(word.confidence, 4)
            yield Word(word.text, round(start, 3), round(end, 3), confidence)

    def _now(self) -> float:
        """Seconds of audio the results rest on: whole blocks, whatever the caller's pieces."""
        if self._end_s is not None:
            return round(self._end_s, 3)
        if not self._blocks:
            return 0.0
        advance = self._features.block * HOP
        return round(((self._blocks - 1) * advance + advance - HOP + WINDOW) / SAMPLE_RATE, 3)


def _graph(loaded: Checkpoint) -> SearchGraph:
    """Return what the beam walks through.

    Raises:
        ConfigError: the model writes no phones or ships without a language model.
    """
    if loaded.phones is None or loaded.language_model is None:
        raise ConfigError(
            f"the model {loaded.name} has {len(loaded.phones or ())} phones and "
            f"{int(loaded.language_model is not None)} language models, and the beam needs both; "
            "use greedy decoding or another model."
        )
    return SearchGraph.build(LanguageModel.load(loaded.language_model), loaded.phones)
