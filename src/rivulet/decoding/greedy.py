"""Greedy decoding: the best token of each frame, without lexicon and language model."""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rivulet.decoding.decoder import DecodedWord
from rivulet.events import Alternative
from rivulet.tokenizer import BLANK_ID, BOUNDARY, Tokenizer


@dataclass(frozen=True)
class Hypothesis:
    """What the open segment says so far.

    tokens: ids without blanks and repetitions.
    frames: for each token its first output frame, counted from the start of the stream.
    ends: for each token the output frame after its last.
    probabilities: for each token its highest posterior, in [0, 1].
    score: sum of the best log-probability of each frame, natural logarithm.
    """

    tokens: tuple[int, ...] = ()
    frames: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()
    score: float = 0.0


@dataclass
class GreedyDecoder:
    """Best token of each frame, repetitions merged, blanks dropped (Graves et al. 2006, eq. 5).

    Nothing that was emitted is ever taken back; only the last word can still grow, so all words
    before it are settled.
    """

    tokenizer: Tokenizer
    frame: int = 0  # output frames seen since the start of the stream
    silent: bool = True  # whether the latest frame said nothing: blank, or a boundary between words
    alternatives: tuple[Alternative, ...] = ()  # greedy has one reading only
    _previous: int = BLANK_ID
    _tokens: list[int] = field(default_factory=list)
    _frames: list[int] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)
    _log_probs: list[float] = field(default_factory=list)
    _score: float = 0.0

    def push(self, log_probs: npt.NDArray[np.float32]) -> None:
        """Decode (T, columns) natural-log probabilities, of which the first are the tokens'."""
        rows = log_probs[:, : len(self.tokenizer)]
        ids = rows.argmax(axis=-1)
        values = np.take_along_axis(rows, ids[:, None], axis=-1)[:, 0]
        for value, token in zip(values.tolist(), ids.tolist(), strict=True):
            self._step(token, value)

    def _step(self, token: int, log_prob: float) -> None:
        self._score += log_prob
        self.silent = token == BLANK_ID or self.tokenizer.tokens[token] == BOUNDARY
        if token != BLANK_ID:
            if token == self._previous and self._tokens:
                self._ends[-1] = self.frame + 1
                self._log_probs[-1] = max(self._log_probs[-1], log_prob)
            elif token != self._previous:
                self._tokens.append(token)
                self._frames.append(self.frame)
                self._ends.append(self.frame + 1)
                self._log_probs.append(log_prob)
        self._previous = token
        self.frame += 1

    def hypothesis(self) -> Hypothesis:
        """Return the open segment's tokens; asking changes nothing."""
        return self._leading(len(self._tokens))

    def words(self) -> list[DecodedWord]:
        """Return the open segment's words; asking changes nothing."""
        return words_of(self.hypothesis(), self.tokenizer)

    def settled(self) -> int:
        """Count the words that can never change: all but one that no boundary has closed yet."""
        return _settled(self._tokens, self.tokenizer)

    def finish_segment(self, keep_open_word: bool = False) -> list[DecodedWord]:
        """Return the segment's words and begin the next; what the frames before it said is kept.

        With `keep_open_word` a word that may still grow opens the next segment instead of being cut
        in two.
        """
        first_open = self._open_word_at() if keep_open_word else len(self._tokens)
        if first_open == 0:  # there is one word only: it must go
            first_open = len(self._tokens)
        words = words_of(self._leading(first_open), self.tokenizer)
        for column in (self._tokens, self._frames, self._ends, self._log_probs):
            del column[:first_open]
        self._score = 0.0
        return words

    def _leading(self, count: int) -> Hypothesis:
        return Hypothesis(
            tuple(self._tokens[:count]),
            tuple(self._frames[:count]),
            tuple(self._ends[:count]),
            tuple(math.exp(value) for value in self._log_probs[:count]),
            self._score,
        )

    def _open_word_at(self) -> int:
        """Index of the first token of the word that no boundary has closed yet."""
        for index in range(len(self._tokens) - 1, -1, -1):
            if self.tokenizer.tokens[self._tokens[index]].startswith(BOUNDARY):
                return index
        return 0


def words_of(hypothesis: Hypothesis, tokenizer: Tokenizer) -> list[DecodedWord]:
    """Group tokens into words.

    A word's confidence is the geometric mean of its tokens' probabilities.
    """
    words: list[DecodedWord] = []
    spelled: list[int] = []

    def close() -> None:
        if spelled:
            text = "".join(tokenizer.tokens[hypothesis.tokens[i]] for i in spelled).lstrip(BOUNDARY)
            product = 1.0
            for i in spelled:
                product *= hypothesis.probabilities[i]
            confidence = product ** (1.0 / len(spelled))
            words.append(
                DecodedWord(
                    text, hypothesis.frames[spelled[0]], hypothesis.ends[spelled[-1]], confidence
                )
            )
            spelled.clear()

    for index, token in enumerate(hypothesis.tokens):
        piece = tokenizer.tokens[token]
        if piece.startswith(BOUNDARY):
            close()
        if piece != BOUNDARY:
            spelled.append(index)
    close()
    return words


def _settled(tokens: list[int], tokenizer: Tokenizer) -> int:
    count = 0
    spelled = False
    for token in tokens:
        piece = tokenizer.tokens[token]
        if piece.startswith(BOUNDARY) and spelled:
            count += 1
            spelled = False
        spelled = spelled or piece != BOUNDARY
    return count
