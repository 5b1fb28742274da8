"""Rules as data decide, frame by frame, when a segment is over (Kaldi online-endpoint.h)."""

from dataclasses import dataclass

from rivulet.errors import ConfigError


@dataclass(frozen=True)
class EndpointRule:
    """The segment ends when all three hold.

    after_speech: only if something was recognized in it.
    trailing_silence_s: at least so many seconds of nothing at its end.
    length_s: at least so long in all.
    """

    after_speech: bool
    trailing_silence_s: float
    length_s: float


@dataclass(frozen=True)
class EndpointConfig:
    """The three rules by their numbers, in seconds; `float("inf")` switches one off.

    no_speech_timeout_s: silence that ends a segment in which nothing was said.
    trailing_silence_s: silence that ends a segment after speech.
    max_segment_s: the longest segment, speech or not; this bounds memory.
    """

    no_speech_timeout_s: float = 5.0
    trailing_silence_s: float = 0.8
    max_segment_s: float = 20.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: one is not positive, or a segment could grow without bound.
        """
        for name, value in vars(self).items():
            if not value > 0.0:
                raise ConfigError(f"{name} is {value} s; it must be more than 0.")
        if self.max_segment_s > 3600.0:
            raise ConfigError(
                f"max_segment_s is {self.max_segment_s} s; at most 3600, or memory would have "
                "no bound."
            )

    @property
    def rules(self) -> tuple[EndpointRule, ...]:
        """The rules in the order in which they are tried."""
        return (
            EndpointRule(False, self.no_speech_timeout_s, 0.0),
            EndpointRule(True, self.trailing_silence_s, 0.0),
            EndpointRule(False, 0.0, self.max_segment_s),
        )


@dataclass
class Endpointer:
    """Counts the open segment's frames and trailing silence, and names the rule that ends it."""

    config: EndpointConfig
    frame_s: float  # seconds per output frame
    _length: int = 0
    _silence: int = 0
    _spoke: bool = False

    def push(self, silent: bool) -> EndpointRule | None:
        """Take one output frame; return the rule that ends the segment here, or None."""
        self._length += 1
        self._silence = self._silence + 1 if silent else 0
        self._spoke = self._spoke or not silent
        for rule in self.config.rules:
            if (
                (self._spoke or not rule.after_speech)
                and self._silence * self.frame_s >= rule.trailing_silence_s - 1e-9
                and self._length * self.frame_s >= rule.length_s - 1e-9
            ):
                return rule
        return None

    def reset(self, spoke: bool = False) -> None:
        """Begin the next segment; `spoke` if a word of the last one opens it."""
        self._length, self._silence, self._spoke = 0, 0, spoke
