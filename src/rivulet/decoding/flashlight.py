"""The search by flashlight-text: where the extension in C++ was not built, and what it is held to.

Far slower than `rivulet.decoding._beam`, with the same words, times and scores: flashlight-text
searches, frame by frame, and asks `LMScorer` what words score.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flashlight.lib.text.decoder import CriterionType, LexiconDecoder, LexiconDecoderOptions

from rivulet.decoding.flashlight_tree import tree_of
from rivulet.decoding.graph import DecodingGraph
from rivulet.decoding.lm_scorer import LMScorer
from rivulet.decoding.search import (
    BLANK_SKIP_LOGP,
    DISPLAY_BONUS,
    PRUNE_EVERY,
    SpokenWord,
    emission_bonus,
    tie_break,
)
from rivulet.decoding.settings import BeamConfig
from rivulet.decoding.subwords import LONGEST, SubwordScorer
from rivulet.tokenizer import BLANK_ID, Tokenizer

NEVER = np.float32(-1e4)  # log-probability of what cannot be

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Searched:
    """An output frame that the search went through.

    frame: its number.
    emissions: (columns,), what the search read.
    pieces: (pieces,) log-probabilities, the highest since the frame searched before; may be none.
    """

    frame: int
    emissions: Floats
    pieces: Floats


@dataclass(frozen=True)
class _Reading:
    """What the beam says at a frame: the words to show and how many all paths share.

    shared: of these the leading ones that every live hypothesis begins with.
    spoken: the open words of every live hypothesis, in ids.
    best: the likeliest hypothesis, where flashlight prunes.
    """

    words: list[SpokenWord]
    shared: int
    spoken: list[list[int]]
    found: list[Any]
    best: Any


class FlashlightSearch:
    """What `_beam.Search` is: log_probs in, words with what the search saw of them out."""

    def __init__(
        self,
        graph: DecodingGraph,
        config: BeamConfig,
        pieces: Tokenizer | None,
        alternatives: int,
        priors: Sequence[float],
    ) -> None:
        """Begin at frame 0; the arguments are those of `BeamDecoder`."""
        self.frame = 0
        self.silent = True
        self.alternatives: list[tuple[str, float]] = []
        self._graph = graph
        first_phone = len(pieces or ())
        self._columns = slice(first_phone, first_phone + len(graph.phones))
        self._wanted = alternatives
        self._config = config
        self._pieces = _subword_scorer(graph, config, pieces)
        self._piece_columns = slice(0, first_phone if self._pieces else 0)
        # flashlight does not keep it alive
        scorer = graph.language_model.scorer
        self._scorer = LMScorer(
            scorer, graph.hot.phrases, self._pieces.bonus if self._pieces else None
        )
        self._search = _lexicon_decoder(graph, config, self._scorer)
        self._bonus = emission_bonus(priors, config, len(graph.phones))
        self._padded = np.empty(graph.columns + config.beam_tokens, np.float32)
        # flashlight breaks ties by addresses in memory; this noise, always the same, leaves no ties
        self._noise = tie_break(graph.columns)
        self._before = np.zeros(len(graph.phones), np.float32)
        self._before[1:] = -math.inf  # before the first frame is the blank
        # the pieces' highest log-probabilities since the last frame that was searched
        self._unread = np.full(self._piece_columns.stop, -math.inf, np.float32)
        self._begin()

    def _begin(self) -> None:
        self._search.decode_begin()
        self._open: list[_Searched] = []  # the open frames
        self._settled: list[SpokenWord] = []  # left the search
        self._settled_ids: list[int] = []  # their ids
        self._open_since: int | None = None  # frame in which the first open word began
        self._read: _Reading | None = None

    @property
    def open_frames(self) -> int:
        """Frames that the search holds."""
        return len(self._open)

    @property
    def nbytes(self) -> int:
        """States and scores held, counted as 100 bytes each, and the open frames."""
        frames = sum(frame.emissions.nbytes + frame.pieces.nbytes for frame in self._open)
        return 100 * self._scorer.remembered + frames

    def push(self, log_probs: Floats) -> None:
        """Decode (T, columns) natural-log probabilities."""
        phones, pieces = log_probs[:, self._columns], log_probs[:, self._piece_columns]
        for row, written in zip(phones, pieces, strict=True):
            self._step(row, written)

    def _step(self, row: Floats, pieces: Floats) -> None:
        self.silent = int(row.argmax()) == BLANK_ID
        self._unread = np.maximum(self._unread, pieces)
        needless = min(row[BLANK_ID], self._before[BLANK_ID]) > BLANK_SKIP_LOGP
        if not (needless and self._open):
            self._search_in(row)
        self._before = row
        self.frame += 1

    def _search_in(self, row: Floats) -> None:
        emissions = emissions_of(row + self._bonus, self._before + self._bonus)
        emissions += self._noise[self.frame % len(self._noise)]
        searched = _Searched(self.frame, emissions, self._unread)
        self._unread = np.full_like(self._unread, -math.inf)
        self._take(searched)

    def _take(self, searched: _Searched) -> None:
        self._open.append(searched)
        if self._pieces:
            self._pieces.push([frame.pieces for frame in self._open[-LONGEST:]])
        # flashlight tries the likeliest columns; those that no word has keep unlikely phones out
        emissions = searched.emissions
        self._padded[: len(emissions)] = emissions
        self._padded[len(emissions) :] = emissions.max() - self._config.beam_token_threshold
        self._search.decode_step(self._padded.ctypes.data, 1, len(self._padded))
        self._read = None
        if len(self._open) % PRUNE_EVERY == 0:
            self._prune()

    def words(self) -> list[SpokenWord]:
        """Return the open segment's words; asking changes nothing."""
        return self._settled + self._reading().words

    def settled(self) -> int:
        """Count the words that every live hypothesis begins with."""
        return len(self._settled) + self._reading().shared

    def finish_segment(self, keep_open_word: bool = False) -> list[SpokenWord]:
        """Return the segment's words and begin the next.

        With `keep_open_word` only what is settled goes, and the rest is searched anew: what the
        n-gram remembers would otherwise grow as long as nobody pauses.
        """
        if keep_open_word and self.settled():
            return self._finish_settled()
        self._search.decode_end()
        ended = sorted(self._search.get_all_final_hypothesis(), key=lambda found: -found.score)
        words = self._settled + self._words_of(ended[0])
        self.alternatives = self._alternatives(ended)
        self._begin()
        return words

    def _finish_settled(self) -> list[SpokenWord]:
        reading = self._reading()
        words, rest = self._settled, self._open
        if reading.shared:
            words = words + self._words_of(reading.best)[: reading.shared]
            rest = rest[_word_ends(reading.best)[reading.shared - 1] :]
        self.alternatives = []
        self._begin()
        for searched in rest:
            self._take(searched)
        return words

    def _reading(self) -> _Reading:
        if not self._open:
            return _Reading([], 0, [], [], None)
        if self._read is None:
            found = self._search.get_all_final_hypothesis()
            best = max(found, key=lambda hypothesis: hypothesis.score)
            # a word at place 0 was counted before
            spoken = [[word for word in path.words[1:] if word >= 0] for path in found]
            shared = _common_prefix(spoken)
            shown = self._words_of(self._shown(found, best, 0.0))
            if not (shown or self._settled):
                shown = self._words_of(self._shown(found, best, DISPLAY_BONUS))
            self._read = _Reading(shown, shared, spoken, found, best)
        return self._read

    def _shown(self, found: list[Any], best: Any, bonus: float) -> Any:
        """Return the hypothesis to show: the best if each had paid for its open word already.

        A word is counted where it ends. With a negative insertion bonus a hypothesis that waits
        within a word stays ahead of the one that has ended it until the next word begins, and words
        would be shown that much later. It pays `bonus` on top of what it owes: words sooner, more
        revisions.
        """
        pending_penalty = min(0.0, self._config.word_insertion_bonus) - bonus
        near = [path for path in found if path.score >= best.score + pending_penalty]
        return max(
            near, key=lambda path: path.score + pending_penalty * _is_open(path, len(self._open))
        )

    def _prune(self) -> None:
        """Forget what no live hypothesis needs: n-gram states, and words settled for good."""
        reading = self._reading()
        self._scorer.keep(self._settled_ids + spoken for spoken in reading.spoken)
        count = self._separable(reading)
        if not count:
            return
        place = _word_ends(reading.best)[count - 1] + 1
        self._settled += self._words_of(reading.best)[:count]
        self._settled_ids += reading.spoken[0][:count]
        speaks = reading.best.tokens[place] != BLANK_ID
        self._open_since = self._frame_of(place) if speaks else None
        self._search.prune(len(self._open) - place)
        self._open = self._open[place:]
        self._read = None

    def _separable(self, reading: _Reading) -> int:
        """Count the leading settled words that end before all others begin."""
        own = _word_ends(reading.best)
        ends_of_all = [_word_ends(path) for path in reading.found]
        for count in range(reading.shared, 0, -1):
            place = own[count - 1] + 1  # flashlight prunes right after a word of the best path
            if place <= len(self._open) and all(
                ends[count - 1] <= place and (len(ends) == count or ends[count] > place)
                for ends in ends_of_all
            ):
                return count
        return 0

    def _frame_of(self, place: int) -> int:
        """Output frame of the open frame at `place`, counted from 1."""
        return self._open[place - 1].frame

    def _words_of(self, hypothesis: Any) -> list[SpokenWord]:
        tokens, ids = hypothesis.tokens, hypothesis.words
        words: list[SpokenWord] = []
        start: int | None = None
        for place in range(1, min(len(ids), len(self._open) + 1)):
            if start is None and tokens[place] != BLANK_ID:
                start = place
            if ids[place] >= 0:
                first = place if start is None else start
                words.append(self._word(ids[place], first, place, tokens))
                start = None
        if words and self._open_since is not None:
            words[0] = words[0]._replace(start=self._open_since)
        return words

    def _word(self, word: int, first: int, last: int, tokens: list[int]) -> SpokenWord:
        rows = np.stack([searched.emissions for searched in self._open[first - 1 : last]])
        path = rows[np.arange(len(rows)), tokens[first : last + 1]]
        likeliest = rows.max(axis=1)
        return SpokenWord(
            self._graph.words[word],
            self._frame_of(first),
            self._frame_of(last) + 1,
            float((path - likeliest).mean(dtype=np.float64)),
            float(likeliest.mean(dtype=np.float64)),
            sum(token != BLANK_ID for token in tokens[first : last + 1]),
        )

    def _alternatives(self, ended: list[Any]) -> list[tuple[str, float]]:
        texts: dict[str, float] = {}
        for hypothesis in ended:
            if len(texts) == self._wanted:
                break
            words = [w.text for w in self._settled]
            words += [self._graph.words[word] for word in hypothesis.words[1:] if word >= 0]
            texts.setdefault(" ".join(words), hypothesis.score)
        return list(texts.items())


def emissions_of(log_probs: Floats, before: Floats) -> Floats:
    """Return what the search reads, (columns,), from a frame's (phones,) and the one before it.

    See `DecodingGraph.columns`.
    """
    held = np.where(before[1:] >= before[0], log_probs[1:], NEVER)
    return np.concatenate([log_probs, held, [NEVER]], dtype=np.float32)


def _lexicon_decoder(graph: DecodingGraph, config: BeamConfig, scorer: Any) -> Any:
    options = LexiconDecoderOptions(
        beam_size=config.beam_size,
        beam_size_token=min(config.beam_tokens, graph.columns),
        beam_threshold=config.beam_threshold,
        lm_weight=config.lm_weight,
        word_score=config.word_insertion_bonus,
        unk_score=-math.inf,
        sil_score=0.0,
        log_add=True,
        criterion_type=CriterionType.CTC,
    )
    tree = tree_of(graph)
    between_words, unknown = graph.columns - 1, len(graph.words)
    return LexiconDecoder(options, tree, scorer, between_words, BLANK_ID, unknown, [], False)


def _subword_scorer(
    graph: DecodingGraph, config: BeamConfig, pieces: Tokenizer | None
) -> SubwordScorer | None:
    """Return what pieces count, in the n-gram's currency: flashlight weighs both alike."""
    if pieces is None or not config.reads_subwords:
        return None
    weight, bonus = (
        config.subword_weight / config.lm_weight,
        config.subword_bonus / config.lm_weight,
    )
    return SubwordScorer(graph.words, pieces, weight, bonus)


def _word_ends(path: Any) -> list[int]:
    """Return the places where a hypothesis' words end, place i being the i-th open frame."""
    return [place for place, word in enumerate(path.words) if place and word >= 0]


def _is_open(path: Any, frames: int) -> bool:
    """Say whether a hypothesis is within a word after so many open frames."""
    tokens, words = path.tokens, path.words
    for place in range(min(len(words) - 1, frames), 0, -1):
        if words[place] >= 0:
            return False
        if tokens[place] != BLANK_ID:
            return True
    return False


def _common_prefix(rows: list[list[int]]) -> int:
    """Count the leading items that all rows share."""
    shared = min(map(len, rows))
    for row in rows[1:]:
        while row[:shared] != rows[0][:shared]:
            shared -= 1
    return shared
