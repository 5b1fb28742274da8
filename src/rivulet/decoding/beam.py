"""The beam: log_probs of phones → likeliest words, by lexicon and n-gram, in bounded memory."""

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rivulet.decoding.confidence import ConfidenceConfig, WordEvidence
from rivulet.decoding.decoder import DecodedWord
from rivulet.decoding.graph import DecodingGraph
from rivulet.decoding.search import (
    BLANK_SKIP_LOGP,
    DISPLAY_BONUS,
    PRUNE_EVERY,
    SpokenWord,
    emission_bonus,
    tie_break,
)
from rivulet.decoding.settings import BeamConfig
from rivulet.events import Alternative
from rivulet.tokenizer import BLANK_ID, Tokenizer

SearchName = Literal["native", "flashlight"]


class BeamDecoder:
    """Likeliest words by phones, lexicon and n-gram, frame by frame.

    A word is settled when every live hypothesis begins with it.
    """

    def __init__(
        self,
        graph: DecodingGraph,
        config: BeamConfig | None = None,
        pieces: Tokenizer | None = None,
        confidence: ConfidenceConfig | None = None,
        alternatives: int = 0,
        priors: Sequence[float] = (),
        search: SearchName | None = None,
    ) -> None:
        """Begin at frame 0.

        Args:
            graph: lexicon, n-gram and hot words.
            config: width and weights.
            pieces: those whose columns come before the phones' in what is pushed; None for none.
            confidence: what turns evidence into confidence.
            alternatives: other readings to give with every segment.
            priors: natural-log probability of each phone over speech, the blank first; may be none.
            search: "native", in C++, or "flashlight"; None for the first where it was built.

        Raises:
            ConfigError: there are not as many priors as phones.
        """
        self._confidence = confidence or ConfidenceConfig()
        make = _native if search == "native" or (search is None and has_native()) else _flashlight
        self._search = make(graph, config or BeamConfig(), pieces, alternatives, priors)
        self._made: dict[tuple[Any, ...], DecodedWord] = {}  # words as they were asked for last

    @property
    def frame(self) -> int:
        """Output frames seen since the start of the stream."""
        return int(self._search.frame)

    @property
    def silent(self) -> bool:
        """Whether the latest frame said nothing."""
        return bool(self._search.silent)

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """Other readings of the segment that `finish_segment` ended last."""
        return tuple(Alternative(text, score) for text, score in self._search.alternatives)

    @property
    def open_frames(self) -> int:
        """Frames that are still searched; those settled are gone."""
        return int(self._search.open_frames)

    @property
    def nbytes(self) -> int:
        """Bytes that the search holds of this stream."""
        return int(self._search.nbytes)

    def push(self, log_probs: npt.ArrayLike) -> None:
        """Decode (T, columns) natural-log probabilities."""
        self._search.push(np.asarray(log_probs, np.float32))

    def words(self) -> list[DecodedWord]:
        """Return the open segment's words; asking changes nothing."""
        found = self._search.words()
        made = {word: self._made.get(word) or self._word(SpokenWord(*word)) for word in found}
        self._made = made  # most words are those of the block before
        return [made[word] for word in found]

    def settled(self) -> int:
        """Count the words that every live hypothesis begins with."""
        return int(self._search.settled())

    def finish_segment(self, keep_open_word: bool = False) -> list[DecodedWord]:
        """Return the segment's words and begin the next.

        With `keep_open_word` only what is settled goes, and the rest is searched anew: what the
        search remembers would otherwise grow as long as nobody pauses.
        """
        found = self._search.finish_segment(keep_open_word)
        return [self._word(SpokenWord(*word)) for word in found]

    def _word(self, word: SpokenWord) -> DecodedWord:
        evidence = WordEvidence(word.agreement, word.sharpness, word.phones)
        confidence = evidence.confidence(self._confidence)
        return DecodedWord(word.text, word.start, word.end, confidence, evidence)


@cache
def has_native() -> bool:
    """Say whether the search in C++ was built; warn once if it was not."""
    try:
        from rivulet.decoding._beam import Search  # noqa: F401
    except ImportError:
        warnings.warn(
            "rivulet was installed without its search in C++, which needs a compiler; flashlight "
            "searches, thirty times slower. Install a C++ compiler and rivulet again; in a "
            "checkout run `python setup.py build_ext --inplace`.",
            RuntimeWarning,
            stacklevel=3,
        )
        return False
    return True


def _native(
    graph: DecodingGraph,
    config: BeamConfig,
    pieces: Tokenizer | None,
    alternatives: int,
    priors: Sequence[float],
) -> Any:
    from rivulet.decoding import _beam

    reads_subwords = pieces is not None and config.reads_subwords
    currency = config.lm_weight if reads_subwords else 1.0  # pieces are weighed with the n-gram
    settings = {
        "beam_size": config.beam_size,
        "beam_tokens": config.beam_tokens,
        "beam_threshold": config.beam_threshold,
        "beam_token_threshold": config.beam_token_threshold,
        "lm_weight": config.lm_weight,
        "word_insertion_bonus": config.word_insertion_bonus,
        "subword_weight": config.subword_weight / currency,
        "subword_bonus": config.subword_bonus / currency,
        "reads_subwords": reads_subwords,
        "first_phone": len(pieces or ()),
        "alternatives": alternatives,
        "prune_every": PRUNE_EVERY,
        "blank_skip": BLANK_SKIP_LOGP,
        "display_bonus": DISPLAY_BONUS,
    }
    columns = {phone: column for column, phone in enumerate(graph.phones.tokens)}
    return _beam.Search(
        graph.native(pieces if reads_subwords else None),
        settings,
        emission_bonus(priors, config, len(graph.phones)),
        [BLANK_ID, *(columns[phone] for phone in graph.phone_numbers)],
        tie_break(graph.columns).reshape(-1),
    )


def _flashlight(
    graph: DecodingGraph,
    config: BeamConfig,
    pieces: Tokenizer | None,
    alternatives: int,
    priors: Sequence[float],
) -> Any:
    from rivulet.decoding.flashlight import FlashlightSearch

    return FlashlightSearch(graph, config, pieces, alternatives, priors)
