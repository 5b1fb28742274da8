"""The vocabulary of results. All times are seconds from the start of the stream."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """One word: `start` and `end` in seconds, `confidence` in [0, 1]."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class DisplayToken:
    """What is shown for the segment's words [first, last): a word, a number, a date."""

    text: str
    first: int
    last: int


@dataclass(frozen=True)
class Partial:
    """The open segment as it reads now.

    segment: number of the segment, counted from 0.
    text: its words so far.
    stable: how many of the leading words are settled; a settled word is never revised.
    at: seconds of audio heard when this came out.
    words: the settled ones with their times.
    tokens: what is shown for its words, from a `Formatter`; None without one.
    stable_tokens: how many of the leading tokens are settled; a settled token is never revised.
    """

    segment: int
    text: str
    stable: int
    at: float
    words: tuple[Word, ...] = ()
    tokens: tuple[DisplayToken, ...] | None = None
    stable_tokens: int = 0

    @property
    def display(self) -> str:
        """What people read; `text` where no `Formatter` was at work."""
        return _joined(self.tokens, self.text)


@dataclass(frozen=True)
class Alternative:
    """Another reading of a segment; `score` in nats, higher is better."""

    text: str
    score: float


@dataclass(frozen=True)
class Final:
    """A finished segment; nothing about it changes any more.

    `start` and `end` are those of its words. `alternatives` are readings by score, the best first,
    if they were asked for; `hot_words` the hot phrases that are in it; `tokens` what is shown for
    its words, from a `Formatter`, None without one.
    """

    segment: int
    text: str
    words: tuple[Word, ...]
    start: float
    end: float
    at: float
    alternatives: tuple[Alternative, ...] = ()
    hot_words: tuple[str, ...] = ()
    tokens: tuple[DisplayToken, ...] | None = None

    @property
    def display(self) -> str:
        """What people read; `text` where no `Formatter` was at work."""
        return _joined(self.tokens, self.text)


@dataclass(frozen=True)
class Transcript:
    """A whole signal: its segments in order and its length in seconds.

    `Recognizer.transcribe` fills in `display`; `text` stays as recognized, in upper case.
    """

    segments: tuple[Final, ...]
    seconds: float

    @property
    def text(self) -> str:
        """All words."""
        return " ".join(final.text for final in self.segments)

    @property
    def display(self) -> str:
        """What people read; `text` where no `Formatter` was at work."""
        return " ".join(final.display for final in self.segments if final.display)

    @property
    def words(self) -> tuple[Word, ...]:
        """Every word with its times."""
        return tuple(word for final in self.segments for word in final.words)


def _joined(tokens: tuple[DisplayToken, ...] | None, text: str) -> str:
    return text if tokens is None else " ".join(token.text for token in tokens)


Event = Partial | Final
