"""How a recognizer decodes: one object that knows its settings and makes decoders."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from rivulet.decoding.beam import BeamDecoder
from rivulet.decoding.decoder import Decoder
from rivulet.decoding.graph import DecodingGraph
from rivulet.decoding.greedy import GreedyDecoder
from rivulet.decoding.hotwords import Hotword
from rivulet.decoding.settings import BeamSettings, DecoderSettings, TimingConfig
from rivulet.errors import ConfigError
from rivulet.tokenizer import Tokenizer


class Decoding(Protocol):
    """What a recognizer needs: shared and immutable, a decoder for every stream."""

    @property
    def settings(self) -> DecoderSettings:
        """How it decodes, as plain data."""

    @property
    def timing(self) -> TimingConfig:
        """How late it shows a word, as measured."""

    @property
    def min_log_prob(self) -> float | None:
        """What a segment's words must have in the mean, a frame, to count as speech."""

    @property
    def hot_phrases(self) -> tuple[Hotword, ...]:
        """The phrases that gain."""

    @property
    def lexicon(self) -> tuple[str, ...]:
        """The words it can write, in capitals; () if it spells freely."""

    def decoder(self) -> Decoder:
        """Return a decoder for one stream."""

    def with_alternatives(self, count: int) -> "Decoding":
        """Return the same, giving so many other readings of a segment where it has them."""

    def with_hot_words(self, boosts: Mapping[str, float]) -> "Decoding":
        """Return the same with these hot phrases.

        Raises:
            ConfigError: it has no words to expect, or a phrase or its boost cannot be used.
        """

    def with_timing(self, timing: TimingConfig) -> "Decoding":
        """Return the same with this delay of words."""


@dataclass(frozen=True)
class GreedyDecoding:
    """The acoustic model alone."""

    tokenizer: Tokenizer
    timing: TimingConfig = field(default_factory=TimingConfig)
    settings: DecoderSettings = field(default_factory=DecoderSettings)
    hot_phrases: tuple[Hotword, ...] = ()
    lexicon: tuple[str, ...] = ()
    min_log_prob: float | None = None

    def decoder(self) -> Decoder:
        """Return a decoder for one stream."""
        return GreedyDecoder(self.tokenizer)

    def with_alternatives(self, count: int) -> "GreedyDecoding":
        """Return this: it has one reading only."""
        return self

    def with_hot_words(self, boosts: Mapping[str, float]) -> "GreedyDecoding":
        """Refuse: nothing here knows words.

        Raises:
            ConfigError: there are hot phrases.
        """
        if boosts:
            raise ConfigError(
                f"{len(boosts)} hot phrases need the beam; use a model with a language model and "
                "do not ask for greedy decoding."
            )
        return self

    def with_timing(self, timing: TimingConfig) -> "GreedyDecoding":
        """Return the same with this delay of words."""
        return replace(self, timing=timing)


@dataclass(frozen=True)
class BeamDecoding:
    """Lexicon and language model.

    plain: the graph without hot words; `graph` is it with those of the settings.
    tokenizer: the subwords, whose columns come before the phones'.
    measured: what the checkpoint knows of its beam.
    """

    plain: DecodingGraph
    graph: DecodingGraph
    tokenizer: Tokenizer
    measured: BeamSettings
    settings: DecoderSettings

    @classmethod
    def of(
        cls,
        graph: DecodingGraph,
        tokenizer: Tokenizer,
        measured: BeamSettings,
        settings: DecoderSettings | None = None,
    ) -> "BeamDecoding":
        """Decode through `graph`, by the measured settings where none are given.

        Raises:
            ConfigError: a hot phrase cannot be used.
        """
        settings = settings or DecoderSettings("beam", measured.config)
        made = cls(graph, graph, tokenizer, measured, replace(settings, hot_words=()))
        return made.with_hot_words(dict(settings.hot_words))

    @property
    def timing(self) -> TimingConfig:
        """How late it shows a word, as measured."""
        return self.measured.timing

    @property
    def min_log_prob(self) -> float | None:
        """What a segment's words must have in the mean, a frame, to count as speech."""
        return self.measured.min_log_prob

    @property
    def hot_phrases(self) -> tuple[Hotword, ...]:
        """The phrases that gain."""
        return self.graph.hot.phrases

    @property
    def lexicon(self) -> tuple[str, ...]:
        """The words it can write, in capitals."""
        return self.graph.words

    def decoder(self) -> Decoder:
        """Return a decoder for one stream."""
        return BeamDecoder(
            self.graph,
            self.settings.beam,
            self.tokenizer,
            self.measured.confidence,
            self.settings.alternatives,
            self.measured.priors,
        )

    def with_alternatives(self, count: int) -> "BeamDecoding":
        """Return the same, giving so many other readings of a segment."""
        return replace(self, settings=replace(self.settings, alternatives=count))

    def with_hot_words(self, boosts: Mapping[str, float]) -> "BeamDecoding":
        """Return the same with these phrases, in any spelling, gaining so many nats.

        Raises:
            ConfigError: a phrase or its boost cannot be used.
        """
        graph = self.plain.with_hot_words(boosts) if boosts else self.plain
        settings = replace(self.settings, hot_words=tuple(boosts.items()))
        return replace(self, graph=graph, settings=settings)

    def with_timing(self, timing: TimingConfig) -> "BeamDecoding":
        """Return the same with this delay of words."""
        return replace(self, measured=replace(self.measured, timing=timing))
