"""What is measured of a finished model: word delay, priors, and how far to believe confidence."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from rivulet.acoustic.features import SampleBlocks
from rivulet.acoustic.frames import STRIDE
from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.checkpoint import Checkpoint
from rivulet.decoding.confidence import ConfidenceConfig, WordEvidence
from rivulet.decoding.decoder import DecodedWord, Decoder, WrappedDecoder
from rivulet.decoding.settings import TimingConfig
from rivulet.errors import AlignmentError, ConfigError
from rivulet.evaluation.ctm import SpokenWord
from rivulet.metrics import match_words
from rivulet.recognizer import Recognizer
from rivulet.segmenter import mean_log_prob

BINS = 10
FLOOR_SHARE = 0.001  # of the hits that may be dropped as no speech
FLOOR_MARGIN = 0.01  # nats: other speech has segments less likely than any of these
ROUNDS = 25  # of Newton's method; it settles in about eight
PRIORS_BLOCK = 8  # output frames at a time, where nobody waits
LEAST_PRIOR = 1e-4  # a phone that is hardly ever written must not gain without bound
RIDGE = 1e-3  # keeps the weights finite where right and wrong words can be told apart for certain


@dataclass(frozen=True)
class Delay:
    """How much later than spoken a model shows words; seconds.

    start_s, end_s: medians over `words` matched words, as `TimingConfig` wants them.
    start_spread_s, end_spread_s: half the distance between the 16th and the 84th percentile; one
        standard deviation if the errors were normal.
    """

    start_s: float
    end_s: float
    start_spread_s: float
    end_spread_s: float
    words: int

    def timing(self, measured_on: str) -> TimingConfig:
        """Return what a checkpoint stores; `measured_on` names the reference, in words."""
        return TimingConfig(round(self.start_s, 3), round(self.end_s, 3), measured_on)


@dataclass(frozen=True)
class Bin:
    """Words whose confidence lies in one tenth of [0, 1]."""

    words: int
    confidence: float
    hit_rate: float


@dataclass(frozen=True)
class Reliability:
    """The reliability table and what follows from it.

    error: expected calibration error, the mean distance of a bin's confidence from its share of
        right words, by words (Naeini et al. 2015).
    separation: chance that a right word has more confidence than a wrong one; 0.5 is a guess.
    """

    bins: tuple[Bin, ...]
    error: float
    separation: float


@dataclass(frozen=True)
class SegmentEvidence:
    """The words of a segment, and which of them are hits."""

    words: tuple[DecodedWord, ...]
    hits: tuple[bool, ...]


class _EvidenceDecoder(WrappedDecoder):
    """Keeps what the search saw of every word, segment by segment."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self.segments: list[list[DecodedWord]] = []

    def finish_segment(self, keep_open_word: bool = False) -> list[DecodedWord]:
        words = super().finish_segment(keep_open_word)
        self.segments.append(words)
        return words


def measure_delay(
    recognizer: Recognizer, clips: Iterable[tuple[Samples, Sequence[SpokenWord]]]
) -> Delay:
    """Compare the uncorrected word times of `recognizer` with true ones.

    Args:
        recognizer: its stored `TimingConfig` is left out of the measurement.
        clips: mono 16 kHz samples (n,) and their reference words with true times.

    Raises:
        AlignmentError: not one word was recognized, so there is nothing to measure.
    """
    raw = recognizer.with_timing(TimingConfig())
    starts: list[float] = []
    ends: list[float] = []
    for samples, spoken in clips:
        hypothesis = raw.transcribe(samples, SAMPLE_RATE).words
        for i, j in match_words([w.text for w in spoken], [w.text for w in hypothesis]).hits:
            starts.append(hypothesis[j].start - spoken[i].start)
            ends.append(hypothesis[j].end - spoken[i].end)
    if not starts:
        raise AlignmentError(
            "0 words were recognized, so their delay cannot be measured; train the model further."
        )
    return Delay(median(starts), median(ends), _spread(starts), _spread(ends), len(starts))


def _spread(values: list[float]) -> float:
    low, high = np.percentile(values, [16, 84])
    return float(high - low) / 2


def collect(
    recognizer: Recognizer, clips: Iterable[tuple[Samples, str]]
) -> list[tuple[WordEvidence, bool]]:
    """Return the evidence of every word recognized in mono 16 kHz samples (n,), and if it is a hit.

    Raises:
        ConfigError: the recognizer decodes greedily, or not one word was recognized.
    """
    return evidence_of(collect_segments(recognizer, clips))


def evidence_of(segments: Iterable[SegmentEvidence]) -> list[tuple[WordEvidence, bool]]:
    """Return the evidence of every word, and if it is a hit."""
    pairs = (pair for s in segments for pair in zip(s.words, s.hits, strict=True))
    return [(word.evidence, hit) for word, hit in pairs if word.evidence]


def collect_segments(
    recognizer: Recognizer, clips: Iterable[tuple[Samples, str]]
) -> list[SegmentEvidence]:
    """Return the segments with words that are recognized in mono 16 kHz samples (n,).

    Raises:
        ConfigError: the recognizer decodes greedily, or not one word was recognized.
    """
    if recognizer.settings.name == "greedy":
        raise ConfigError("greedy decoding has 0 settings of confidence to fit; use the beam.")
    found: list[SegmentEvidence] = []
    for samples, text in clips:
        decoder = _EvidenceDecoder(recognizer.decoding.decoder())
        stream = recognizer.stream(decoder=decoder)
        stream.accept(samples)
        stream.finish()
        found += _with_hits(text.split(), decoder.segments)
    if not found:
        raise ConfigError(
            "0 words were recognized, so confidence cannot be fitted; give more speech."
        )
    return found


def _with_hits(
    reference: Sequence[str], segments: Sequence[Sequence[DecodedWord]]
) -> Iterator[SegmentEvidence]:
    hypothesis = [word.text for words in segments for word in words]
    hits = {j for _, j in match_words(reference, hypothesis).hits}
    begin = 0
    for words in filter(None, segments):
        yield SegmentEvidence(tuple(words), tuple(begin + i in hits for i in range(len(words))))
        begin += len(words)


def speech_floor(segments: Iterable[SegmentEvidence], share: float = FLOOR_SHARE) -> float:
    """Return the mean log-probability a frame below which lies `share` of all hits, or fewer.

    Speech in another language, babble or a tape played backwards also becomes words, but words that
    fit it less well than these.

    Raises:
        ConfigError: no word is a hit.
    """
    ranked = sorted((mean_log_prob(s.words), sum(s.hits)) for s in segments)
    below = np.cumsum([hits for _, hits in ranked])
    if not len(below) or not below[-1]:
        raise ConfigError("0 words were right; give speech that the model can read.")
    first_kept = int(np.searchsorted(below, share * below[-1], "right"))
    return round(ranked[min(first_kept, len(ranked) - 1)][0] - FLOOR_MARGIN, 4)


def phone_priors(loaded: Checkpoint, clips: Iterable[Samples]) -> tuple[float, ...]:
    """Return the log of each phone's mean probability over mono 16 kHz samples (n,), blank first.

    Raises:
        ConfigError: the model writes no phones, or there is no sound.
    """
    if loaded.phones is None:
        raise ConfigError("the model writes 0 phones, so they have no priors; use another model.")
    sums, frames = np.zeros(len(loaded.phones)), 0
    for samples in clips:
        cut = SampleBlocks(PRIORS_BLOCK * STRIDE)
        state = loaded.engine.layout.zeros()
        for block in (*cut.push(samples), *cut.flush()):
            log_probs, state = loaded.engine.step(block[None], state)
            sums += np.exp(log_probs[0, :, len(loaded.tokenizer) :], dtype=np.float64).sum(axis=0)
            frames += log_probs.shape[1]
    if not frames:
        raise ConfigError("0 frames were heard, so priors cannot be measured; give more speech.")
    return tuple(round(float(p), 4) for p in np.log(np.maximum(sums / frames, LEAST_PRIOR)))


def fit(found: Sequence[tuple[WordEvidence, bool]], measured_on: str) -> ConfidenceConfig:
    """Fit the logistic regression by Newton's method."""
    rows = np.array([evidence.features for evidence, _ in found])
    hits = np.array([hit for _, hit in found], dtype=np.float64)
    weights = np.zeros(rows.shape[1])
    for _ in range(ROUNDS):
        chances = 1.0 / (1.0 + np.exp(-np.clip(rows @ weights, -30.0, 30.0)))
        slope = rows.T @ (hits - chances) - RIDGE * weights
        curve = (rows * (chances * (1.0 - chances))[:, None]).T @ rows
        weights = weights + np.linalg.solve(curve + RIDGE * np.eye(len(weights)), slope)
    bias, agreement, sharpness, phones = (round(float(weight), 4) for weight in weights)
    return ConfidenceConfig(bias, agreement, sharpness, phones, measured_on)


def reliability(
    found: Sequence[tuple[WordEvidence, bool]], config: ConfidenceConfig
) -> Reliability:
    """Compare the confidences that `config` gives with what was right."""
    confidences = np.array([evidence.confidence(config) for evidence, _ in found])
    hits = np.array([hit for _, hit in found])
    places = np.minimum((confidences * BINS).astype(int), BINS - 1)
    bins = tuple(_bin(confidences[places == i], hits[places == i]) for i in range(BINS))
    error = sum(b.words * abs(b.confidence - b.hit_rate) for b in bins) / len(found)
    return Reliability(bins, float(error), _separation(confidences, hits))


def _bin(confidences: npt.NDArray[np.float64], hits: npt.NDArray[np.bool_]) -> Bin:
    if not len(hits):
        return Bin(0, 0.0, 0.0)
    return Bin(len(hits), float(confidences.mean()), float(hits.mean()))


def _separation(confidences: npt.NDArray[np.float64], hits: npt.NDArray[np.bool_]) -> float:
    """Area under the receiver operating characteristic, by ranks (Mann and Whitney 1947)."""
    right, wrong = int(hits.sum()), int((~hits).sum())
    if not right or not wrong:
        return 0.5
    values = np.sort(confidences)
    low = np.searchsorted(values, confidences, "left")
    high = np.searchsorted(values, confidences, "right")
    ranks = (low + high + 1) / 2.0  # equal confidences share their rank
    return float((ranks[hits].sum() - right * (right + 1) / 2.0) / (right * wrong))
