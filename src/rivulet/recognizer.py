"""`Recognizer`: what all streams share, and the step that advances them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from rivulet.acoustic.batching import AHEAD_MS, step_together
from rivulet.acoustic.choices import BLOCK_MS, DEFAULT_BLOCK_MS, DEFAULT_ENGINE, EngineName
from rivulet.acoustic.frames import HOP, algorithmic_latency_ms, output_frames
from rivulet.acoustic.frontend import Frontend, joined
from rivulet.audio import SAMPLE_RATE, Sound, open_sound
from rivulet.checkpoint import DEFAULT_NAME, Checkpoint, load
from rivulet.decoding.decoder import Decoder
from rivulet.decoding.graph import DecodingGraph
from rivulet.decoding.settings import DecoderName, DecoderSettings, TimingConfig
from rivulet.decoding.strategy import BeamDecoding, Decoding, GreedyDecoding
from rivulet.endpoint import EndpointConfig
from rivulet.errors import ConfigError
from rivulet.events import Event, Transcript
from rivulet.language.model import LanguageModel
from rivulet.segmenter import Segmenter
from rivulet.stream import Stream
from rivulet.text.formatter import formatted


@dataclass(frozen=True)
class Recognizer:
    """Shared and immutable: weights, tokens, language model and settings.

    Any number of streams can use it at once. `decoding` says how words are found.
    """

    checkpoint: Checkpoint
    decoding: Decoding
    block_ms: int = DEFAULT_BLOCK_MS
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)

    def __post_init__(self) -> None:
        """Check the block.

        Raises:
            ConfigError: it is none of `acoustic.choices.BLOCK_MS`.
        """
        if self.block_ms not in BLOCK_MS:
            raise ConfigError(
                f"a block of {self.block_ms} ms cannot be used; choose one of {BLOCK_MS}."
            )

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        Raises:
            ConfigError: always; a process loads the model itself, whose files it shares.
        """
        raise ConfigError(
            "a recognizer cannot be pickled; call Recognizer.load in every process, whose files "
            "the system shares, or fork after loading."
        )

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_NAME,
        block_ms: int = DEFAULT_BLOCK_MS,
        endpoint: EndpointConfig | None = None,
        decoder: DecoderName | None = None,
        engine: EngineName = DEFAULT_ENGINE,
        threads: int = 1,
    ) -> "Recognizer":
        """Load a model by name or folder.

        Args:
            model: a name such as "default", or a checkpoint folder.
            block_ms: so much sound the model advances by; smaller is earlier and costs more.
            endpoint: when a segment ends.
            decoder: "greedy", "beam", or None: the beam if the model has what it needs.
            engine: what runs the network: "onnx", "onnx8" with weights of 8 bits, or "torch".
            threads: CPU threads of the network.

        Raises:
            CheckpointError: the model is missing, altered or too new.
            ConfigError: the block is none of `BLOCK_MS`, the model has no beam, or the
                engine is not installed.
        """
        return cls.of(load(model, engine, threads, block_ms), block_ms, endpoint, decoder)

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        block_ms: int = DEFAULT_BLOCK_MS,
        endpoint: EndpointConfig | None = None,
        decoder: DecoderName | None = None,
    ) -> "Recognizer":
        """Use a loaded checkpoint; the arguments are those of `load`.

        Raises:
            ConfigError: the block is none of `BLOCK_MS`, or the model has no beam.
        """
        has_beam = checkpoint.language_model is not None
        name = decoder or ("beam" if has_beam else "greedy")
        decoding = _beam(checkpoint) if name == "beam" else _greedy(checkpoint)
        return cls(checkpoint, decoding, block_ms, endpoint or EndpointConfig())

    @property
    def latency_ms(self) -> int:
        """Algorithmic latency: block, lookahead, and what a 25 ms window reaches beyond its hop."""
        return algorithmic_latency_ms(self.block_ms, self.checkpoint.config.lookahead_ms)

    @property
    def settings(self) -> DecoderSettings:
        """Say how it decodes."""
        return self.decoding.settings

    def with_settings(self, settings: DecoderSettings) -> "Recognizer":
        """Return a recognizer of the same model that decodes as `settings` say.

        Raises:
            ConfigError: the model has no beam, or a hot phrase cannot be used.
        """
        if settings.name == "greedy":
            return replace(self, decoding=_greedy(self.checkpoint))
        same = self.decoding.plain if isinstance(self.decoding, BeamDecoding) else None
        return replace(self, decoding=_beam(self.checkpoint, settings, same))

    def with_alternatives(self, count: int) -> "Recognizer":
        """Return a recognizer that gives so many readings of a segment; greedily there is one."""
        return replace(self, decoding=self.decoding.with_alternatives(count))

    def with_hot_words(self, boosts: Mapping[str, float]) -> "Recognizer":
        """Return a recognizer in which the phrases, in any spelling, gain so many nats.

        Raises:
            ConfigError: it decodes greedily, or a phrase or its boost cannot be used.
        """
        return replace(self, decoding=self.decoding.with_hot_words(boosts)) if boosts else self

    def with_timing(self, timing: TimingConfig) -> "Recognizer":
        """Return a recognizer that takes this delay off word times."""
        return replace(self, decoding=self.decoding.with_timing(timing))

    def frontend(self, sample_rate: int = SAMPLE_RATE) -> Frontend:
        """Return what turns one signal of `sample_rate` Hz into blocks for the network.

        Raises:
            AudioError: the rate is outside 4 to 384 kHz.
        """
        return Frontend(self.block_ms * SAMPLE_RATE // 1000 // HOP, sample_rate)

    def segmenter(self, decoder: Decoder | None = None, partials: bool = True) -> Segmenter:
        """Return what turns the network's output for one signal into events.

        Args:
            decoder: its words instead of those of a new `decoding.decoder()`; what is to be
                watched is wrapped.
            partials: whether they are wanted; without them a block costs less.
        """
        decoding = self.decoding
        return Segmenter(
            decoder or decoding.decoder(),
            self.endpoint,
            decoding.timing,
            self.checkpoint.config.lookahead,
            decoding.hot_phrases,
            decoding.min_log_prob,
            partials,
        )

    def stream(
        self,
        sample_rate: int = SAMPLE_RATE,
        hot_words: Mapping[str, float] | None = None,
        decoder: Decoder | None = None,
        partials: bool = True,
    ) -> Stream:
        """Return a new live signal of `sample_rate` Hz, with hot phrases and their boosts in nats.

        Hot words cost a fifth of a second to prepare; share them with `with_hot_words`. For
        `decoder` and `partials` see `segmenter`.

        Raises:
            AudioError: the rate is outside 4 to 384 kHz.
            ConfigError: a hot phrase cannot be used.
        """
        return Stream(self.with_hot_words(hot_words or {}), sample_rate, decoder, partials)

    def step(self, streams: Sequence[Stream], ahead: int = 1) -> list[list[Event]]:
        """Advance every stream that has a block ready, all in one step of the network.

        Feed them with `Stream.push`; call again while any is `ready`. A stream's events are the
        same, bit for bit, whatever else is in `streams`, and whatever `ahead` is.

        Args:
            streams: each once, made by this recognizer or one of the same model and block.
            ahead: blocks of a stream that go through the network at once where so many wait, which
                costs less: what is recorded can wait for `blocks_ahead`, what is live should not.

        Returns:
            The events of each; a stream that has no block ready has none.

        Raises:
            ConfigError: a stream is of another model or block, or is there twice.
        """
        self._check_company(streams)
        events: dict[int, list[Event]] = {}
        crowds: dict[int, list[Stream]] = {}  # by the blocks that they advance
        for stream in streams:
            if count := min(stream.waiting, max(1, ahead)):
                crowds.setdefault(count, []).append(stream)
        for count, crowd in crowds.items():
            blocks = [stream.next_blocks(count) for stream in crowd]
            samples = [joined(taken) for taken in blocks]
            stepped = step_together(self.checkpoint.engine, samples, [s.state for s in crowd])
            for stream, taken, (log_probs, state) in zip(crowd, blocks, stepped, strict=True):
                events[id(stream)] = stream.advance(taken, log_probs, state)
        return [events.get(id(stream), []) for stream in streams]

    @property
    def blocks_ahead(self) -> int:
        """Blocks of what is recorded that should go through the network at once."""
        joins = self.checkpoint.engine.joins(output_frames(self.block_ms))
        return AHEAD_MS // self.block_ms if joins else 1

    def _check_company(self, streams: Sequence[Stream]) -> None:
        strange = [s for s in streams if s.runs_on != (self.checkpoint.engine, self.block_ms)]
        if strange:
            raise ConfigError(
                f"{len(strange)} of {len(streams)} streams are of another model or block; step "
                "them with their own recognizer."
            )
        if len({id(stream) for stream in streams}) < len(streams):
            raise ConfigError(f"{len(streams)} streams hold one twice; name each once.")

    def transcribe(
        self,
        source: Sound,
        sample_rate: int | None = None,
        hot_words: Mapping[str, float] | None = None,
    ) -> Transcript:
        """Hear a whole signal by the path of live ones; its `display` is what people read.

        Args:
            source: a path, an open binary file, an array (n,) or (n, channels), or an iterator of
                such arrays.
            sample_rate: of arrays, in Hz; files know their own.
            hot_words: phrases to expect and their boosts in nats.

        Raises:
            AudioError: it is no sound, it cannot be read to its end, or the rate is missing.
            CheckpointError: how English is written cannot be read from the package.
            ConfigError: a hot phrase cannot be used.
        """
        with open_sound(source, sample_rate) as (rate, blocks):
            stream = self.stream(rate, hot_words, partials=False)
            events = [event for block in blocks for event in stream.accept(block)]
        events += stream.finish()
        return Transcript(formatted(events), stream.seconds)


def _greedy(loaded: Checkpoint) -> GreedyDecoding:
    return GreedyDecoding(loaded.tokenizer, loaded.timing)


def _beam(
    loaded: Checkpoint, settings: DecoderSettings | None = None, graph: DecodingGraph | None = None
) -> BeamDecoding:
    """Return the model's beam, by its own settings unless others are given.

    Raises:
        ConfigError: the model writes no phones or ships without a language model.
    """
    if loaded.phones is None or loaded.language_model is None:
        raise ConfigError(
            f"the model {loaded.name} has {len(loaded.phones or ())} phones and "
            f"{int(loaded.language_model is not None)} language models, and the beam needs both; "
            "use greedy decoding or another model."
        )
    if graph is None:
        graph = DecodingGraph.build(LanguageModel.load(loaded.language_model), loaded.phones)
    return BeamDecoding.of(graph, loaded.tokenizer, loaded.beam, settings)
