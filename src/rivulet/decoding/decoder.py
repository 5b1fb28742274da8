"""log_probs → words: what every decoder offers."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rivulet.decoding.confidence import WordEvidence
from rivulet.events import Alternative


@dataclass(frozen=True)
class DecodedWord:
    """A word, its output frames [start, end), its confidence in [0, 1] and what that rests on."""

    text: str
    start: int
    end: int
    confidence: float
    evidence: WordEvidence | None = None


class Decoder(Protocol):
    """What a stream needs of a decoder."""

    @property
    def frame(self) -> int:
        """Output frames seen since the start of the stream."""

    @property
    def silent(self) -> bool:
        """Whether the latest frame said nothing."""

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """Other readings of the segment that `finish_segment` ended last."""

    def push(self, log_probs: npt.NDArray[np.float32]) -> None:
        """Decode (T, columns) natural-log probabilities."""

    def words(self) -> list[DecodedWord]:
        """Return the open segment's words; asking changes nothing."""

    def settled(self) -> int:
        """Count the leading words that can never change."""

    def finish_segment(self, keep_open_word: bool = False) -> list[DecodedWord]:
        """Return the segment's words and begin the next."""


class WrappedDecoder:
    """A decoder that passes everything on to another; subclasses watch what goes by."""

    def __init__(self, decoder: Decoder) -> None:
        """Stand before `decoder`."""
        self._inner = decoder

    @property
    def frame(self) -> int:
        """Output frames seen since the start of the stream."""
        return self._inner.frame

    @property
    def silent(self) -> bool:
        """Whether the latest frame said nothing."""
        return self._inner.silent

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """Other readings of the segment that `finish_segment` ended last."""
        return self._inner.alternatives

    def push(self, log_probs: npt.NDArray[np.float32]) -> None:
        """Decode (T, columns) natural-log probabilities."""
        self._inner.push(log_probs)

    def words(self) -> list[DecodedWord]:
        """Return the open segment's words; asking changes nothing."""
        return self._inner.words()

    def settled(self) -> int:
        """Count the leading words that can never change."""
        return self._inner.settled()

    def finish_segment(self, keep_open_word: bool = False) -> list[DecodedWord]:
        """Return the segment's words and begin the next."""
        return self._inner.finish_segment(keep_open_word)
