"""`Formatter`: events in, the same events out with what people read: case, marks, digits.

A word goes to the tagger once it is settled, with the pause before it, and is never taken back; its
labels come a few words later, and a number is written when a word has shown where it ends. So what
was shown as settled never changes. `text` stays as recognized.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from rivulet.errors import ConfigError
from rivulet.events import DisplayToken, Event, Final, Partial, Word
from rivulet.text.labels import Mark
from rivulet.text.language import WrittenLanguage, capitalized
from rivulet.text.numbers import Spoken
from rivulet.text.tagger import SEGMENT_END, Labels, TaggerState
from rivulet.text.words import pause_row

Numbers = Literal["digits", "words"]
CUT_BY_LENGTH_S = 10.0  # a segment as long as this,
SILENCE_S = 0.5  # with no such pause at its end, was cut by its length: the sentence may go on
CONTEXT_WORDS = 2  # before a number that its rules look at


@dataclass(frozen=True)
class FormatConfig:
    """How text is shown.

    numbers: "digits" or "words". clean: whether fillers and stutters are left out.
    """

    numbers: Numbers = "digits"
    clean: bool = False

    def __post_init__(self) -> None:
        """Check the choice.

        Raises:
            ConfigError: numbers are neither.
        """
        if self.numbers not in ("digits", "words"):
            raise ConfigError(
                f"numbers cannot be written as {self.numbers!r}; choose digits or words."
            )


@dataclass(frozen=True)
class _Before:
    """What a segment begins with: it only changes when one ends."""

    state: TaggerState
    end_s: float | None = None  # of the last word
    capital: bool = True  # whether the next word begins a sentence


@dataclass
class _Segment:
    """The open segment: settled words, their labels as far as they are known, what was written."""

    words: list[str] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    tokens: list[DisplayToken] = field(default_factory=list)
    written: int = 0  # words that the tokens are made of
    capital: bool = True
    end_s: float | None = None


class Formatter:
    """The last stage of one stream; push every event of it, in order."""

    def __init__(
        self, language: WrittenLanguage | None = None, config: FormatConfig | None = None
    ) -> None:
        """Begin a stream; a language can serve any number of them.

        Raises:
            CheckpointError: no language is given and the shipped one cannot be read.
        """
        self._language = language or _shipped()
        self._config = config or FormatConfig()
        self._before = _Before(self._language.tagger.initial_state())
        self._begin()

    def push(self, event: Event) -> Event:
        """Return the event with what is shown for it."""
        if isinstance(event, Partial):
            return self._partial(event)
        return self._final(event)

    def _begin(self) -> None:
        before = self._before
        self._state, self._fed = before.state, 0
        self._open = _Segment(capital=before.capital, end_s=before.end_s)

    def _partial(self, event: Partial) -> Partial:
        words = event.text.lower().split()
        self._hear(words[: event.stable], event.words)
        self._write(self._certain())
        rest = self._provisional(words[self._open.written :], self._open.written)
        tokens = (*self._open.tokens, *rest)
        return replace(event, tokens=tokens, stable_tokens=len(self._open.tokens))

    def _final(self, event: Final) -> Final:
        words = event.text.lower().split()
        self._hear(words, event.words)
        silence = event.at - event.end >= SILENCE_S or event.at - event.start < CUT_BY_LENGTH_S
        for _ in range(self._language.tagger.lookahead):
            self._step(SEGMENT_END, pause_row(9.0 if silence else 0.0))
        self._write(len(words))
        shown = tuple(self._open.tokens)
        self._before = _Before(self._state, self._open.end_s, self._open.capital)
        self._begin()
        return replace(event, tokens=shown)

    def _hear(self, words: Sequence[str], timed: Sequence[Word]) -> None:
        """Give the tagger the words that it has not had."""
        segment = self._open
        if segment.words != list(words[: len(segment.words)]):  # another stream's event: begin anew
            self._begin()
            segment = self._open
        for index in range(len(segment.words), len(words)):
            word = words[index]
            pause = None
            if index < len(timed):
                if segment.end_s is not None:
                    pause = max(timed[index].start - segment.end_s, 0.0)
                segment.end_s = timed[index].end
            segment.words.append(word)
            self._step(self._language.vocabulary.features(word), pause_row(pause))

    def _step(self, features: tuple[int, int, int, int], pause: int) -> None:
        """Step the tagger; its labels are those of a word some steps earlier."""
        tagger, segment = self._language.tagger, self._open
        labels, self._state = tagger.step(features, pause, self._state)
        self._fed += 1
        if self._fed > tagger.lookahead and len(segment.labels) < len(segment.words):
            segment.labels.append(labels)

    def _certain(self) -> int:
        """Count the words that can be written: labeled, in no open number, nothing to drop next."""
        segment = self._open
        count = len(segment.labels)
        if self._config.numbers == "digits":
            count = self._before_open_number(count)
        while 0 < count < len(segment.words) and self._dropped(count):
            count -= 1
        return max(count, segment.written)

    def _before_open_number(self, count: int) -> int:
        """Return `count`, or where the run of number words begins that it would cut."""
        words, numbers = self._open.words, self._language.numbers.vocabulary
        end = count
        while end < len(words) and words[end] in numbers:
            end += 1
        begin = count
        while begin > 0 and words[begin - 1] in numbers:
            begin -= 1
        closed = end < len(words) and end <= count
        return count if closed or begin == end else begin

    def _write(self, count: int) -> None:
        """Make tokens of the words up to `count`."""
        segment = self._open
        first = segment.written
        for token in self._tokens(first, count):
            text = capitalized(token.text) if segment.capital else token.text
            segment.tokens.append(replace(token, text=text))
            segment.capital = segment.labels[token.last - 1].mark.ends_sentence
        segment.written = count

    def _tokens(self, first: int, count: int) -> Iterator[DisplayToken]:
        """Yield what is shown for the words [first, count)."""
        segment = self._open
        for text, begin, end in self._spans(first, count):
            if text is None and self._dropped(begin):
                continue
            shown = text or self._language.write(segment.words[begin], segment.labels[begin].case)
            yield DisplayToken(_marked(shown, segment.labels[end - 1].mark), begin, end)

    def _spans(self, first: int, count: int) -> Iterator[tuple[str | None, int, int]]:
        """Yield spans of the words [first, count) and how numbers among them are written.

        Each run of number words is written by itself, with the words around it as context: so it
        does not matter how many words come at a time.
        """
        words, numbers = self._open.words, self._language.numbers
        at = first
        while at < count:
            end = at
            while end < count and words[end] in numbers.vocabulary:
                end += 1
            if end == at or self._config.numbers == "words":
                yield None, at, at + 1
                at += 1
                continue
            begin = max(at - CONTEXT_WORDS, 0)
            for span in numbers.write(self._spoken(begin, end)):
                if at <= span.first + begin < end:
                    yield span.text, span.first + begin, span.last + begin
            at = end

    def _spoken(self, first: int, last: int) -> list[Spoken]:
        """Return the words [first, last) as the number rules take them, and the word after them."""
        segment = self._open
        spoken = []
        for index in range(first, last):
            mark = segment.labels[index].mark
            spoken.append(Spoken(segment.words[index], mark is Mark.COMMA, mark.ends_sentence))
        return spoken + [Spoken(word) for word in segment.words[last : last + 1]]

    def _dropped(self, index: int) -> bool:
        """Whether a word is a filler or the first of a stutter, and such are left out."""
        if not self._config.clean:
            return False
        words, style = self._open.words, self._language.style
        repeats = index + 1 < len(words) and words[index + 1] == words[index]
        return words[index] in style.fillers or (repeats and words[index] in style.repeated)

    def _provisional(self, words: Sequence[str], first: int) -> Iterator[DisplayToken]:
        """Yield words that are not certain yet, as they are usually written, without marks."""
        capital = self._open.capital
        for index, word in enumerate(words, first):
            usual = self._language.usual(word)
            yield DisplayToken(capitalized(usual) if capital else usual, index, index + 1)
            capital = False


def formatted(events: Iterable[Event]) -> tuple[Final, ...]:
    """Return the finals of one whole stream with what is shown for them.

    Raises:
        CheckpointError: the shipped language cannot be read.
    """
    formatter = Formatter(_shipped())
    shown = (formatter.push(event) for event in events if isinstance(event, Final))
    return tuple(event for event in shown if isinstance(event, Final))


@cache
def _shipped() -> WrittenLanguage:
    """Read the shipped language once: 20 ms would be a fifth of what a short clip takes."""
    return WrittenLanguage.load()


def _marked(text: str, mark: Mark) -> str:
    """Put a mark behind a text; an abbreviation's period is one already."""
    if mark is Mark.PERIOD and text.endswith("."):
        return text
    return text + mark.sign
