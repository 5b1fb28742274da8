"""How clearly the network's pieces say a word: a second opinion on what the phones say.

The network writes every utterance twice, in phones and in byte-pair pieces. The beam follows the
phones; when a word ends, it also asks whether the word's pieces were written by then. On dev 98 %
of the last pieces come no later than the last phone, so nothing has to wait for them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rivulet.tokenizer import Tokenizer

FLOOR = -7.0  # nats: a piece that was not written at all costs no more
FRAMES = 4  # a word's pieces are looked for in the last FRAMES + FRAMES_A_LETTER * letters frames
FRAMES_A_LETTER = 2  # 80 ms; a letter is spoken in about 60
LONGEST = 28  # frames: 1.1 s

Floats = npt.NDArray[np.float32]


class SubwordScorer:
    """What words gain by their pieces, in the last frames.

    A word gains `weight` times the sum over its pieces of the highest log-probability that each had
    in the word's time, and `bonus` for each piece. That is no sum over alignments: the order of the
    pieces is not checked, and neighbors may share one. It needs no state of its own, though, so
    that the search can go on merging equal histories.
    """

    def __init__(
        self, words: Sequence[str], tokenizer: Tokenizer, weight: float, bonus: float
    ) -> None:
        """Begin with no frame.

        Args:
            words: by id.
            tokenizer: the pieces.
            weight: of their natural-log probabilities.
            bonus: nats for each piece.
        """
        self._words = words
        self._tokenizer = tokenizer
        self._weight = weight
        self._bonus = bonus
        self._bonuses: dict[int, float] = {}
        self._highest = np.full((1, len(tokenizer)), FLOOR, np.float32)

    def push(self, rows: Sequence[Floats]) -> None:
        """Take the log-probabilities (pieces,) of the last 1 to LONGEST frames up to now."""
        # row n: the highest of the last n + 1 frames
        self._highest = np.maximum.accumulate(np.stack(rows)[::-1], axis=0)
        self._bonuses = {}

    def bonus(self, word: int) -> float:
        """Return what a word that ends now gains, in nats; a word that has no pieces gains 0."""
        found = self._bonuses.get(word)
        if found is None:
            found = self._bonuses[word] = self._find(self._words[word])
        return found

    def _find(self, word: str) -> float:
        reach = min(FRAMES + FRAMES_A_LETTER * len(word), len(self._highest))
        highest = self._highest[reach - 1]
        pieces = self._tokenizer.pieces(word) or ()
        clarity = sum(max(FLOOR, float(highest[piece])) for piece in pieces)
        return self._weight * clarity + self._bonus * len(pieces)
