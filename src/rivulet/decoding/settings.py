"""How words are found, as plain data: what a user may set, and what was measured of a model."""

from dataclasses import dataclass, field
from typing import Literal

from rivulet.decoding.confidence import ConfidenceConfig
from rivulet.errors import ConfigError

DecoderName = Literal["greedy", "beam"]


@dataclass(frozen=True)
class BeamConfig:
    """How wide the beam is and what counts how much.

    beam_size: hypotheses kept.
    beam_tokens: columns tried in each frame: the likeliest phones, new and going on.
    beam_threshold: nats below the best at which a hypothesis is dropped.
    beam_token_threshold: nats below the likeliest column of a frame at which a column is not tried.
    lm_weight: of the n-gram's natural-log probabilities, beside 1 for the acoustic model's.
    word_insertion_bonus: nats for each word; more than 0 favors many short words.
    prior_weight: of the phones' log priors, taken off where the model knows them. A network writes
        the frequent ones, the blank first, too easily; what the sound alone says is posterior over
        prior, and how frequent words are the n-gram knows better (Miao et al. 2015, EESEN,
        arXiv 1507.08240, section 3.2).
    subword_weight: of the word's pieces in the network's other projection, where the model has one;
        see `SubwordScorer`. 0 for phones alone.
    subword_bonus: nats for each of these pieces.
    """

    beam_size: int = 200
    beam_tokens: int = 8
    beam_threshold: float = 14.0
    lm_weight: float = 1.05
    word_insertion_bonus: float = -1.5
    beam_token_threshold: float = 6.0
    prior_weight: float = 0.8
    subword_weight: float = 0.0
    subword_bonus: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: one is out of range.
        """
        for name, most in (("beam_size", 5000), ("beam_tokens", 100)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} is {getattr(self, name)}; use 1 to {most}.")
        for name in ("beam_threshold", "beam_token_threshold"):
            if not getattr(self, name) > 0.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; use more than 0.")
        for name in ("lm_weight", "prior_weight", "subword_weight", "subword_bonus"):
            if getattr(self, name) < 0.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; use at least 0.")
        if self.reads_subwords and self.lm_weight == 0.0:  # pieces are scored with the n-gram
            raise ConfigError(
                f"subword_weight is {self.subword_weight} and subword_bonus {self.subword_bonus} "
                "with an lm_weight of 0; use more than 0 there, such as 0.01, or 0 for both."
            )

    @property
    def reads_subwords(self) -> bool:
        """Whether pieces count."""
        return self.subword_weight > 0.0 or self.subword_bonus > 0.0


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


@dataclass(frozen=True)
class TimingConfig:
    """How much later than it is spoken the model shows a word; measured, taken off word times.

    start_delay_s: seconds, first frame of a word's first token minus the word's true start.
    end_delay_s: frame after a word's last token minus the word's true end.
    measured_on: the reference times, in words.
    """

    start_delay_s: float = 0.0
    end_delay_s: float = 0.0
    measured_on: str = "not measured"


@dataclass(frozen=True)
class BeamSettings:
    """What was measured for the beam: its weights, its word delay, its confidence.

    priors: natural-log probability of each phone over speech, the blank first; () if not measured.
    min_log_prob: of a segment's words, mean a frame: what is below is no speech; None for none.
    """

    config: BeamConfig = field(default_factory=BeamConfig)
    timing: TimingConfig = field(default_factory=TimingConfig)
    confidence: ConfidenceConfig = field(default_factory=ConfidenceConfig)
    priors: tuple[float, ...] = ()
    min_log_prob: float | None = None
