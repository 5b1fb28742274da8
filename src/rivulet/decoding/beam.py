"""The beam: log_probs of phones → likeliest words, by lexicon and n-gram, in bounded memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from flashlight.lib.text.decoder import CriterionType, LexiconDecoder, LexiconDecoderOptions

from rivulet.decoding.confidence import ConfidenceConfig, WordEvidence
from rivulet.decoding.decoder import DecodedWord
from rivulet.decoding.graph import SearchGraph
from rivulet.decoding.settings import BeamConfig
from rivulet.decoding.subwords import LONGEST, PieceScorer
from rivulet.errors import ConfigError
from rivulet.events import Alternative
from rivulet.tokenizer import BLANK_ID, Tokenizer

TIDY_FRAMES = 50  # the beam drops what is settled after so many frames: 2 s
SURE_BLANK = math.log(0.99)  # a frame as blank as this, after another, says nothing new
NUDGE_FRAMES = 61  # the tie-breaking noise repeats after so many frames
NUDGE = 1e-4  # nats
EARLY = (
    1.0  # nats: on 21 dev clips the first word came 160 ms sooner, 0.58 revisions a word not 0.28
)


@dataclass(frozen=True)
class _Heard:
    """An output frame that the search went through.

    frame: its number.
    emissions: (columns,), what the search read.
    pieces: (pieces,) log-probabilities, the highest since the frame searched before; may be none.
    """

    frame: int
    emissions: npt.NDArray[np.float32]
    pieces: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Reading:
    """What the beam says at a frame: the words to show and how many all paths share.

    shared: of these the leading ones that every live hypothesis begins with.
    spoken: the open words of every live hypothesis, in ids.
    best: the likeliest hypothesis, where flashlight prunes.
    """

    words: list[DecodedWord]
    shared: int
    spoken: list[list[int]]
    found: list[Any]
    best: Any


class BeamDecoder:
    """Likeliest words by phones, lexicon and n-gram; flashlight-text's search, frame by frame.

    A word is settled when every live hypothesis begins with it.
    """

    def __init__(
        self,
        graph: SearchGraph,
        config: BeamConfig | None = None,
        pieces: Tokenizer | None = None,
        confidence: ConfidenceConfig | None = None,
        alternatives: int = 0,
        priors: Sequence[float] = (),
    ) -> None:
        """Begin at frame 0.

        Args:
            graph: lexicon, n-gram and hot words.
            config: width and weights.
            pieces: those whose columns come before the phones' in what is pushed; None for none.
            confidence: what turns evidence into confidence.
            alternatives: other readings to give with every segment.
            priors: natural-log probability of each phone over speech, the blank first; may be none.

        Raises:
            ConfigError: there are not as many priors as phones.
        """
        if priors and len(priors) != len(graph.phones):
            raise ConfigError(
                f"{len(priors)} priors do not fit {len(graph.phones)} phones; measure them with "
                "`rivulet calibrate --priors`."
            )
        self.frame = 0
        self.silent = True
        self.alternatives: tuple[Alternative, ...] = ()
        self._graph = graph
        first_phone = len(pieces or ())
        self._columns = slice(first_phone, first_phone + len(graph.phones))
        self._confidence = confidence or ConfidenceConfig()
        self._wanted = alternatives
        self._config = config or BeamConfig()
        self._pieces = _piece_scorer(graph, self._config, pieces)
        self._piece_columns = slice(0, first_phone if self._pieces else 0)
        # flashlight does not keep it alive
        self._scorer = graph.scorer(self._pieces.gain if self._pieces else None)
        self._search = _lexicon_decoder(graph, self._config, self._scorer)
        self._favor = _favor(priors, self._config.prior_weight, len(graph.phones))
        self._padded = np.empty(graph.columns + self._config.beam_tokens, np.float32)
        # flashlight breaks ties by addresses in memory; this noise, always the same, leaves no ties
        noise = np.random.default_rng(0).uniform(0.0, NUDGE, (NUDGE_FRAMES, graph.columns))
        self._nudges = noise.astype(np.float32)
        self._before = np.zeros(len(graph.phones), np.float32)
        self._before[1:] = -math.inf  # before the first frame is the blank
        # the pieces' highest log-probabilities since the last frame that was searched
        self._unread = np.full(self._piece_columns.stop, -math.inf, np.float32)
        self._begin()

    def _begin(self) -> None:
        self._search.decode_begin()
        self._heard: list[_Heard] = []  # the open frames
        self._settled: list[DecodedWord] = []  # left the search
        self._said: list[int] = []  # their ids
        self._open_since: int | None = None  # frame in which the first open word began
        self._read: _Reading | None = None

    def push(self, log_probs: npt.NDArray[np.float32]) -> None:
        """Decode (T, columns) natural-log probabilities."""
        phones = log_probs[:, self._columns]
        pieces = log_probs[:, self._piece_columns]
        for row, written in zip(phones, pieces, strict=True):
            self._step(row, written)

    def _step(self, row: npt.NDArray[np.float32], pieces: npt.NDArray[np.float32]) -> None:
        self.silent = int(row.argmax()) == BLANK_ID
        self._unread = np.maximum(self._unread, pieces)
        needless = min(row[BLANK_ID], self._before[BLANK_ID]) > SURE_BLANK
        if not (needless and self._heard):
            self._search_in(row)
        self._before = row
        self.frame += 1

    def _search_in(self, row: npt.NDArray[np.float32]) -> None:
        emissions = self._graph.emissions(row + self._favor, self._before + self._favor)
        emissions += self._nudges[self.frame % NUDGE_FRAMES]
        heard = _Heard(self.frame, emissions, self._unread)
        self._unread = np.full_like(self._unread, -math.inf)
        self._take(heard)

    def _take(self, heard: _Heard) -> None:
        self._heard.append(heard)
        if self._pieces:
            self._pieces.hear([frame.pieces for frame in self._heard[-LONGEST:]])
        # flashlight tries the likeliest columns; those that no word has keep unlikely phones out
        emissions = heard.emissions
        self._padded[: len(emissions)] = emissions
        self._padded[len(emissions) :] = emissions.max() - self._config.token_threshold
        self._search.decode_step(self._padded.ctypes.data, 1, len(self._padded))
        self._read = None
        if len(self._heard) % TIDY_FRAMES == 0:
            self._tidy()

    def words(self) -> list[DecodedWord]:
        """Return the open segment's words; asking changes nothing."""
        return self._settled + self._reading().words

    def settled(self) -> int:
        """Count the words that every live hypothesis begins with."""
        return len(self._settled) + self._reading().shared

    def finish_segment(self, keep_open_word: bool = False) -> list[DecodedWord]:
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

    def _finish_settled(self) -> list[DecodedWord]:
        reading = self._reading()
        words = self._settled + self._words_of(reading.best)[: reading.shared]
        place = _word_ends(reading.best)[reading.shared - 1] if reading.shared else 0
        rest = self._heard[place:]
        self.alternatives = ()
        self._begin()
        for heard in rest:
            self._take(heard)
        return words

    def _reading(self) -> _Reading:
        if not self._heard:
            return _Reading([], 0, [], [], None)
        if self._read is None:
            found = self._search.get_all_final_hypothesis()
            best = max(found, key=lambda hypothesis: hypothesis.score)
            # a word at place 0 was counted before
            spoken = [[word for word in path.words[1:] if word >= 0] for path in found]
            shared = _common_prefix(spoken)
            shown = self._words_of(self._shown(found, best))
            self._read = _Reading(shown, shared, spoken, found, best)
        return self._read

    def _shown(self, found: list[Any], best: Any) -> Any:
        """Return the hypothesis to show: the best if each had paid for its open word already.

        flashlight counts a word where it ends. With a negative word score a hypothesis that waits
        within a word stays ahead of the one that has ended it until the next word begins, and words
        would be shown that much later. EARLY, and what its pieces would gain, is more than it owes:
        words sooner, more revisions.
        """
        debt = min(0.0, self._config.word_score) - EARLY
        near = [path for path in found if path.score >= best.score + debt]
        return max(near, key=lambda path: path.score + debt * _is_open(path, len(self._heard)))

    def _tidy(self) -> None:
        """Forget what no live hypothesis needs: n-gram states, and words settled for good."""
        reading = self._reading()
        self._scorer.keep(self._said + spoken for spoken in reading.spoken)
        count = self._separable(reading)
        if not count:
            return
        place = _word_ends(reading.best)[count - 1] + 1
        self._settled += self._words_of(reading.best)[:count]
        self._said += reading.spoken[0][:count]
        speaks = reading.best.tokens[place] != BLANK_ID
        self._open_since = self._frame_of(place) if speaks else None
        self._search.prune(len(self._heard) - place)
        self._heard = self._heard[place:]
        self._read = None

    def _separable(self, reading: _Reading) -> int:
        """Count the leading settled words that end before all others begin."""
        own = _word_ends(reading.best)
        ends_of_all = [_word_ends(path) for path in reading.found]
        for count in range(reading.shared, 0, -1):
            place = own[count - 1] + 1  # flashlight prunes right after a word of the best path
            if place <= len(self._heard) and all(
                ends[count - 1] <= place and (len(ends) == count or ends[count] > place)
                for ends in ends_of_all
            ):
                return count
        return 0

    def _frame_of(self, place: int) -> int:
        """Output frame of the open frame at `place`, counted from 1."""
        return self._heard[place - 1].frame

    def _words_of(self, hypothesis: Any) -> list[DecodedWord]:
        tokens, ids = hypothesis.tokens, hypothesis.words
        words: list[DecodedWord] = []
        start: int | None = None
        for place in range(1, min(len(ids), len(self._heard) + 1)):
            if start is None and tokens[place] != BLANK_ID:
                start = place
            if ids[place] >= 0:
                first = place if start is None else start
                words.append(self._word(ids[place], first, place, tokens))
                start = None
        if words and self._open_since is not None:
            words[0] = replace(words[0], start=self._open_since)
        return words

    def _word(self, word: int, first: int, last: int, tokens: list[int]) -> DecodedWord:
        rows = np.stack([heard.emissions for heard in self._heard[first - 1 : last]])
        path = rows[np.arange(len(rows)), tokens[first : last + 1]]
        likeliest = rows.max(axis=1)
        spoken = sum(token != BLANK_ID for token in tokens[first : last + 1])
        evidence = WordEvidence(float((path - likeliest).mean()), float(likeliest.mean()), spoken)
        return DecodedWord(
            self._graph.words[word],
            self._frame_of(first),
            self._frame_of(last) + 1,
            evidence.confidence(self._confidence),
            evidence,
        )

    def _alternatives(self, ended: list[Any]) -> tuple[Alternative, ...]:
        texts: dict[str, float] = {}
        for hypothesis in ended:
            if len(texts) == self._wanted:
                break
            words = [w.text for w in self._settled]
            words += [self._graph.words[word] for word in hypothesis.words[1:] if word >= 0]
            texts.setdefault(" ".join(words), hypothesis.score)
        return tuple(Alternative(text, score) for text, score in texts.items())


def _lexicon_decoder(graph: SearchGraph, config: BeamConfig, scorer: Any) -> Any:
    options = LexiconDecoderOptions(
        beam_size=config.beam_size,
        beam_size_token=min(config.beam_tokens, graph.columns),
        beam_threshold=config.beam_threshold,
        lm_weight=config.lm_weight,
        word_score=config.word_score,
        unk_score=-math.inf,
        sil_score=0.0,
        log_add=False,
        criterion_type=CriterionType.CTC,
    )
    between_words, unknown = graph.columns - 1, len(graph.words)
    return LexiconDecoder(options, graph.trie, scorer, between_words, BLANK_ID, unknown, [], False)


def _piece_scorer(
    graph: SearchGraph, config: BeamConfig, pieces: Tokenizer | None
) -> PieceScorer | None:
    """Return what pieces count, in the n-gram's currency: flashlight weighs both alike."""
    if pieces is None or not config.reads_pieces:
        return None
    weight, score = config.piece_weight / config.lm_weight, config.piece_score / config.lm_weight
    return PieceScorer(graph.words, pieces, weight, score)


def _favor(priors: Sequence[float], weight: float, phones: int) -> npt.NDArray[np.float32]:
    """Return what each phone gains, (phones,), in nats; the blank gains nothing."""
    if not priors:
        return np.zeros(phones, np.float32)
    logs = np.asarray(priors)
    gains: npt.NDArray[np.float32] = (weight * (logs[BLANK_ID] - logs)).astype(np.float32)
    return gains


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
