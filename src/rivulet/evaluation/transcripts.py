"""How well a model does on a manifest, by the same streaming path that users run."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rivulet import audio
from rivulet.corpora.manifest import Utterance
from rivulet.metrics import ErrorCounts, character_counts, error_counts
from rivulet.recognizer import Recognizer


@dataclass(frozen=True)
class UtteranceResult:
    """One utterance: what was said, what was heard, the errors, and the seconds it took."""

    utterance: Utterance
    text: str
    words: ErrorCounts
    characters: ErrorCounts
    audio_s: float
    compute_s: float


@dataclass(frozen=True)
class Evaluation:
    """Results of a whole manifest."""

    results: tuple[UtteranceResult, ...]

    @property
    def wer(self) -> float:
        """Word errors per reference word over all utterances."""
        return rate([r.words for r in self.results])

    @property
    def cer(self) -> float:
        """Character errors per reference character, spaces counted."""
        return rate([r.characters for r in self.results])

    @property
    def audio_s(self) -> float:
        """Seconds of sound."""
        return sum(r.audio_s for r in self.results)

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of computing per second of sound, file decoding left out."""
        return sum(r.compute_s for r in self.results) / self.audio_s

    def sets(self) -> dict[str, list[UtteranceResult]]:
        """Results by the first folder of the path."""
        groups: dict[str, list[UtteranceResult]] = {}
        for result in self.results:
            groups.setdefault(result.utterance.set_name, []).append(result)
        return groups

    @property
    def false_words_per_hour(self) -> float | None:
        """Words heard where nothing was said, per hour of such sound; None if there is none."""
        silent = [r for r in self.results if not r.words.reference]
        if not silent:
            return None
        seconds = sum(r.audio_s for r in silent)
        return 3600.0 * sum(r.words.insertions for r in silent) / seconds

    def worst(self, count: int = 10) -> list[UtteranceResult]:
        """Utterances by number of word errors, most first."""
        return sorted(self.results, key=lambda r: (-r.words.errors, r.utterance.id))[:count]


def rate(counts: list[ErrorCounts]) -> float:
    """Errors per reference item over several utterances."""
    return sum(c.errors for c in counts) / max(1, sum(c.reference for c in counts))


def evaluate(
    recognizer: Recognizer,
    utterances: list[Utterance],
    each: Callable[[UtteranceResult], None] = lambda result: None,
) -> Evaluation:
    """Transcribe every utterance in a stream of its own and compare."""
    results = []
    for utterance in utterances:
        results.append(_evaluate_one(recognizer, utterance))
        each(results[-1])
    return Evaluation(tuple(results))


def _evaluate_one(recognizer: Recognizer, utterance: Utterance) -> UtteranceResult:
    samples = audio.load(utterance.path)
    started = time.perf_counter()
    text = recognizer.transcribe(samples, audio.SAMPLE_RATE).text
    compute_s = time.perf_counter() - started
    return UtteranceResult(
        utterance,
        text,
        error_counts(utterance.text.split(), text.split()),
        character_counts(utterance.text, text),
        len(samples) / audio.SAMPLE_RATE,
        compute_s,
    )
