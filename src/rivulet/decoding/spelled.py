"""Words that no lexicon has: spelled by the pieces where the beam's words do not fit the sound."""

import math
from dataclasses import dataclass, replace

import torch

from rivulet.decoding.beam import BeamDecoder
from rivulet.decoding.decoder import DecodedWord
from rivulet.errors import ConfigError
from rivulet.events import Alternative
from rivulet.tokenizer import BLANK_ID, BOUNDARY, Tokenizer

DECIDE_FRAMES = 4  # as often as the default block of 160 ms asks, so the beam is read once
PAUSE_FRAMES = 10  # pieces after 0.4 s of blanks belong to another word; the longest wait


@dataclass(frozen=True)
class OpenVocabularyConfig:
    """When a spelled word stands in the place of the beam's words.

    The numbers gave the fewest errors on even clips of dev; on odd ones they gained nothing
    (docs/experiments.md).

    certainty: mean natural-log probability of its pieces, each at its highest; at least this.
    agreement: the beam's words fit no better than this; `WordEvidence.agreement`, by frames.
    letters: of the spelled word, at least.
    """

    certainty: float = -0.8
    agreement: float = -0.2
    letters: int = 6

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: one is out of range.
        """
        for name in ("certainty", "agreement"):
            if not getattr(self, name) <= 0.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; use at most 0.")
        if self.letters < 1:
            raise ConfigError(f"letters is {self.letters}; use at least 1.")


@dataclass(frozen=True)
class SpelledWord:
    """What the pieces say, in output frames [start, end) from the start of the stream.

    certainty: mean natural-log probability of its pieces.
    whole: whether a piece that begins words began it.
    """

    text: str
    start: int
    end: int
    certainty: float
    whole: bool


@dataclass(frozen=True)
class _Piece:
    text: str
    start: int
    end: int
    log_prob: float


class Speller:
    """Best piece of each frame, repetitions merged, blanks dropped, grouped into words.

    closed: words that cannot grow any more, since the last `forget`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Begin at frame 0."""
        self.frame = 0
        self.closed: list[SpelledWord] = []
        self._tokens = tokenizer.tokens
        self._previous = BLANK_ID
        self._open: list[_Piece] = []

    @property
    def start(self) -> int | None:
        """Frame in which the open word began; None where none is open."""
        return self._open[0].start if self._open else None

    def push(self, log_probs: torch.Tensor) -> None:
        """Decode (T, columns) natural-log probabilities, of which the first are the pieces'."""
        values, ids = log_probs[:, : len(self._tokens)].max(dim=-1)
        for value, token in zip(values.tolist(), ids.tolist(), strict=True):
            self._step(token, value)
            self._previous = token
            self.frame += 1

    def _step(self, token: int, log_prob: float) -> None:
        if token == BLANK_ID:
            if self._open and self.frame + 1 - self._open[-1].end >= PAUSE_FRAMES:
                self.close()
        elif token == self._previous and self._open:
            held = self._open[-1]
            best = max(held.log_prob, log_prob)
            self._open[-1] = replace(held, end=self.frame + 1, log_prob=best)
        elif token != self._previous:
            text = self._tokens[token]
            if text.startswith(BOUNDARY):
                self.close()
            self._open.append(_Piece(text, self.frame, self.frame + 1, log_prob))

    def close(self) -> None:
        """Let the open word end here."""
        if self._open:
            self.closed.append(_joined(self._open))
            self._open = []

    def forget(self, before: int) -> None:
        """Drop the words that began before a frame; an open one goes on as no whole word."""
        self.closed = [word for word in self.closed if word.start >= before]
        if self._open and self._open[0].start < before:
            first = self._open[0]
            self._open[0] = replace(first, text=first.text.lstrip(BOUNDARY))


def _joined(pieces: list[_Piece]) -> SpelledWord:
    text = "".join(piece.text for piece in pieces)
    return SpelledWord(
        text.lstrip(BOUNDARY),
        pieces[0].start,
        pieces[-1].end,
        math.fsum(piece.log_prob for piece in pieces) / len(pieces),
        text.startswith(BOUNDARY),
    )


@dataclass(frozen=True)
class _Replacement:
    """The beam's words [first, last), counted in the segment, read as one spelled word."""

    first: int
    last: int
    spelled: SpelledWord


class OpenVocabularyDecoder:
    """The beam, with spelled words in the place of words that fit badly.

    The time line is cut halfway from the end of one of the pieces' words to the start of the next.
    The beam's words whose middle lies in the part of a spelled word are those it may replace. That
    is decided once, when the spelled word is closed and the beam has settled them and one more; a
    word is settled when it is decided. So a settled word is never revised, and when things are
    decided depends on frames only, not on who asks.
    """

    def __init__(
        self,
        beam: BeamDecoder,
        tokenizer: Tokenizer,
        lexicon: frozenset[str],
        config: OpenVocabularyConfig,
    ) -> None:
        """Begin at frame 0.

        Args:
            beam: finds the words of the lexicon; it belongs to this decoder.
            tokenizer: the pieces, in the first columns of what is pushed.
            lexicon: words that are never spelled.
            config: thresholds.
        """
        self._beam = beam
        self._speller = Speller(tokenizer)
        self._lexicon = lexicon
        self._config = config
        self._decided = 0  # of the beam's words in the segment
        self._made: list[_Replacement] = []

    @property
    def frame(self) -> int:
        """Output frames seen since the start of the stream."""
        return self._beam.frame

    @property
    def silent(self) -> bool:
        """Whether the latest frame said nothing."""
        return self._beam.silent

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """The beam's other readings of the last segment; nothing is spelled in them."""
        return self._beam.alternatives

    def push(self, log_probs: torch.Tensor) -> None:
        """Decode (T, columns) natural-log probabilities."""
        for row in torch.split(log_probs, 1):
            self._beam.push(row)
            self._speller.push(row)
            if self._beam.frame % DECIDE_FRAMES == 0:
                self._decide()

    def words(self) -> list[DecodedWord]:
        """Return the open segment's words; asking changes nothing."""
        words = self._beam.words()
        return self._read(words, len(words) + 1)

    def settled(self) -> int:
        """Count the leading words that can never change."""
        return self._decided - sum(made.last - made.first - 1 for made in self._made)

    def finish_segment(self, keep_open_word: bool = False) -> list[DecodedWord]:
        """Return the segment's words and begin the next."""
        if not keep_open_word:
            self._speller.close()
        beam = self._beam.finish_segment(keep_open_word)
        words = self._read(beam, len(beam) if keep_open_word else len(beam) + 1)
        self._speller.forget(beam[-1].end if keep_open_word and beam else self.frame)
        self._decided, self._made = 0, []
        return words

    def _decide(self) -> None:
        """Decide what can be decided for good about the words that the beam has settled."""
        words, count = self._beam.words(), self._beam.settled()
        now = self._speller.frame if self._speller.start is None else self._speller.start
        begins = self._part_begins(now)
        known = sum(_middle(word) < begins for word in words[:count])
        found = self._replacements(words)
        self._made += [made for made in found if made.last < count]
        # of the others the beam may still change words, or say more
        known = min([known, *(made.first for made in found if made.last >= count)])
        self._decided = max([self._decided, known, *(made.last for made in self._made)])

    def _read(self, beam: list[DecodedWord], count: int) -> list[DecodedWord]:
        """Return the beam's words with those in their places that are decided, or would be now.

        Spelled words go in where they end before the word number `count`.
        """
        found = [made for made in self._replacements(beam) if made.last < count]
        words = list(beam)
        for made in reversed(self._made + found):
            covered = beam[made.first : made.last]
            words[made.first : made.last] = [_spelled(made.spelled, covered)]
        return words

    def _part_begins(self, start: int, place: int | None = None) -> float:
        """Return the frame from which the beam's words belong to a spelled word from `start` on.

        place: its place among the closed words; None for the open one.
        """
        before = self._speller.closed[:place]
        longest = start - PAUSE_FRAMES
        return max(longest, (before[-1].end + start) / 2) if before else longest

    def _replacements(self, words: list[DecodedWord]) -> list[_Replacement]:
        """Return which of the undecided words closed spelled words may replace, in order."""
        found: list[_Replacement] = []
        first = self._decided
        used = {made.spelled for made in self._made}
        for place, spelled in enumerate(self._speller.closed):
            if not self._may_stand(spelled) or spelled in used:
                continue
            made = self._replacement(spelled, place, words)
            if made and made.first >= first:
                found.append(made)
                first = made.last
        return found

    def _replacement(
        self, spelled: SpelledWord, place: int, words: list[DecodedWord]
    ) -> _Replacement | None:
        low, high = self._part_begins(spelled.start, place), self._part_ends(place)
        inside = [index for index, word in enumerate(words) if low <= _middle(word) < high]
        if not inside:
            return None
        first, last = inside[0], inside[-1] + 1
        fits = _agreement(words[first:last]) > self._config.agreement
        return None if fits else _Replacement(first, last, spelled)

    def _part_ends(self, place: int) -> float:
        """Return the frame up to which the beam's words belong to a closed word."""
        closed = self._speller.closed
        end = closed[place].end
        following = closed[place + 1].start if place + 1 < len(closed) else self._speller.start
        longest = end + PAUSE_FRAMES
        return longest if following is None else min(longest, (end + following) / 2)

    def _may_stand(self, spelled: SpelledWord) -> bool:
        return (
            spelled.whole
            and len(spelled.text) >= self._config.letters
            and spelled.certainty >= self._config.certainty
            and spelled.text not in self._lexicon
        )


def _middle(word: DecodedWord) -> float:
    return (word.start + word.end) / 2


def _agreement(words: list[DecodedWord]) -> float:
    """Return how well words fit the sound: the mean over their frames, in nats, at most 0."""
    fits = [(word.end - word.start, word.evidence) for word in words]
    frames = sum(length for length, _ in fits)
    return sum(n * evidence.agreement for n, evidence in fits if evidence) / frames


def _spelled(spelled: SpelledWord, covered: list[DecodedWord]) -> DecodedWord:
    """Return a spelled word in the beam's frames: the pieces come later than the sound begins."""
    confidence = math.exp(spelled.certainty)
    start, end = covered[0].start, covered[-1].end
    return DecodedWord(spelled.text, start, end, confidence, spelled=True)
