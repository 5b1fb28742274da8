"""text ↔ token ids; which id is the blank."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rivulet.errors import ConfigError

BLANK = "<blank>"  # CTC's "nothing new here"; always id 0
BLANK_ID = 0
BOUNDARY = "▁"  # U+2581 marks where a word begins, as in SentencePiece
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"


@dataclass(frozen=True)
class Tokenizer:
    """A list of tokens; the id of a token is its place, id 0 is the blank.

    A token that begins with `▁` begins a word; `▁` alone is a boundary between words. Characters
    and BPE pieces both follow this rule, so nothing else needs to know which they are.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the list.

        Raises:
            ConfigError: the first token is not the blank, or a token stands twice.
        """
        if not self.tokens or self.tokens[0] != BLANK:
            raise ConfigError(f"the first of {len(self.tokens)} tokens must be {BLANK}.")
        if len(set(self.tokens)) != len(self.tokens):
            raise ConfigError(f"{len(self.tokens)} tokens hold duplicates; name each once.")

    @classmethod
    def characters(cls) -> "Tokenizer":
        """Return the blank, the word boundary, A-Z and the apostrophe."""
        return cls((BLANK, BOUNDARY, *LETTERS))

    def __len__(self) -> int:
        """Return the number of tokens, blank included."""
        return len(self.tokens)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}

    def encode(self, text: str) -> list[int]:
        """Return the ids of normalized `text` spelled in characters.

        Raises:
            ConfigError: a character is not among the tokens.
        """
        try:
            return [self._ids[BOUNDARY if letter == " " else letter] for letter in text]
        except KeyError as error:
            raise ConfigError(
                f"{error.args[0]!r} in {text[:40]!r} is none of the {len(self)} tokens; "
                "normalize the text first."
            ) from error

    def pieces(self, word: str) -> tuple[int, ...] | None:
        """Return the ids of the byte-pair pieces that `word` is cut into, and remember them.

        The pieces stand in the order in which they were learned, which is all that merging needs
        (Sennrich et al. 2016); it gives what SentencePiece gives. None if a letter has no piece.
        """
        if word not in self._cut:
            self._cut[word] = self._merged(word)
        return self._cut[word]

    @cached_property
    def _cut(self) -> dict[str, tuple[int, ...] | None]:
        return {}

    def _merged(self, word: str) -> tuple[int, ...] | None:
        pieces = list(BOUNDARY + word)
        while True:
            pairs = [self._ids.get(a + b, math.inf) for a, b in itertools.pairwise(pieces)]
            best = min(pairs, default=math.inf)
            if best == math.inf:
                known = all(piece in self._ids for piece in pieces)
                return tuple(self._ids[piece] for piece in pieces) if known else None
            at = pairs.index(best)
            pieces[at : at + 2] = [self.tokens[int(best)]]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text that `ids` (blanks and repetitions already removed) spell."""
        spelled = "".join(self.tokens[index] for index in ids)
        return " ".join(spelled.replace(BOUNDARY, " ").split())
