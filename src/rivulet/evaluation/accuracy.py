"""How well several systems hear the same clips: every clip streamed through each, errors counted.

All texts are normalized alike. Every clip counts for every system: where one fails, it has heard
nothing, and each word counts as missed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from rivulet import audio
from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.corpora.manifest import Utterance
from rivulet.errors import AudioError
from rivulet.evaluation.memory import peak_bytes
from rivulet.evaluation.streaming import ReplayConfig, apart, replay, warm_up
from rivulet.evaluation.systems import SystemConfig, load_system
from rivulet.events import Final
from rivulet.metrics import ErrorCounts, add_counts, error_counts, interval_95, resampled_rates
from rivulet.text.normalize import normalize

Unit = Literal["utterance", "speaker"]
Interval = tuple[float, float]
Rates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClipTranscript:
    """What a system recognized in a clip, its errors in words, seconds of sound and of a core.

    failure: why the system could not hear it; empty if it could.
    """

    text: str
    words: ErrorCounts
    audio_s: float
    compute_s: float
    failure: str = ""


@dataclass(frozen=True)
class SystemTranscripts:
    """One system and what it recognized, in the order of the clips.

    added_bytes: growth of the process from before loading the model to the peak.
    """

    name: str
    digest: str
    size_bytes: int
    load_s: float
    clips: tuple[ClipTranscript, ...]
    added_bytes: int = 0


@dataclass(frozen=True)
class Accuracy:
    """One system on several clips.

    words: errors and words of all clips.
    interval: in which the word error rate lies with 95 % confidence; None below two units.
    delta: word error rate of the first system minus this one's, and its interval; None for the
        first.
    rtf: seconds of a core per second of sound; None if no clip was heard.
    failed: clips that it could not hear.
    """

    words: ErrorCounts
    interval: Interval | None
    delta: float | None
    delta_interval: Interval | None
    rtf: float | None
    failed: int

    @property
    def wer(self) -> float:
        """Errors per reference word."""
        return self.words.errors / max(1, self.words.reference)

    @property
    def significantly_worse(self) -> bool:
        """Whether the first system makes fewer errors with 95 % confidence."""
        return self.delta_interval is not None and self.delta_interval[1] < 0.0


def hear_apart(
    config: SystemConfig, clips: Sequence[Utterance], chunk_ms: int
) -> SystemTranscripts:
    """Do `hear` in a process of its own.

    Raises:
        EngineError: the system has no model, or its process died.
        CheckpointError: rivulet's model is missing, altered or too new.
    """
    return apart(config, partial(transcribe_all, config, clips, chunk_ms))


def transcribe_all(
    config: SystemConfig, clips: Sequence[Utterance], chunk_ms: int
) -> SystemTranscripts:
    """Load a system and stream every clip through a stream of its own, `chunk_ms` at a time."""
    before = peak_bytes()
    began = time.perf_counter()
    listener = _Listener(config, chunk_ms)
    load_s = time.perf_counter() - began
    transcripts = tuple(listener.transcribe(clip) for clip in clips)
    system = listener.system
    name = config.label or config.name
    added = max(0, peak_bytes() - before)
    return SystemTranscripts(name, system.digest, system.size_bytes, load_s, transcripts, added)


class _Listener:
    """A system that is loaded again after it failed: it may have stopped within a sentence."""

    def __init__(self, config: SystemConfig, chunk_ms: int) -> None:
        self._config = config
        self._chunk = chunk_ms * SAMPLE_RATE // 1000
        self._load()

    def _load(self) -> None:
        self.system = load_system(self._config)
        self._cold = True

    def transcribe(self, clip: Utterance) -> ClipTranscript:
        try:
            return self._transcribe(clip, audio.load(clip.path))
        except AudioError as error:
            return _failed(clip, str(error))
        except Exception as error:  # a system of others may raise anything
            self._load()
            return _failed(clip, f"{type(error).__name__}: {error}")

    def _transcribe(self, clip: Utterance, samples: Samples) -> ClipTranscript:
        if self._cold:
            warm_up(self.system, samples)
            self._cold = False
        began = time.process_time()  # of the processor: other programs do not count
        seen, _ = replay(self.system.stream(), samples, self._chunk, ReplayConfig())
        compute_s = time.process_time() - began
        finals = (one.event.text for one in seen if isinstance(one.event, Final))
        text = normalize(" ".join(finals))
        counts = error_counts(normalize(clip.text).split(), text.split())
        return ClipTranscript(text, counts, len(samples) / SAMPLE_RATE, compute_s)


def _failed(clip: Utterance, why: str) -> ClipTranscript:
    counts = error_counts(normalize(clip.text).split(), [])
    return ClipTranscript("", counts, 0.0, 0.0, " ".join(why.split()))


def compare(
    clips: Sequence[Utterance],
    systems: Sequence[SystemTranscripts],
    unit: Unit,
    part: str | None = None,
) -> list[Accuracy]:
    """Return the accuracy of each system on the clips of `part`, or on all.

    Args:
        clips: n ≥ 1.
        systems: what each recognized in them; the others are compared with the first.
        unit: what chance draws for the intervals: utterances tell how sure the rate is for these
            speakers, speakers for others.
        part: first folder of the clips' paths.
    """
    places = [i for i, clip in enumerate(clips) if part in (None, clip.set_name)]
    groups = _groups([clips[i] for i in places], unit)
    first: Rates | None = None
    accuracies: list[Accuracy] = []
    for system in systems:
        transcripts = [system.clips[i] for i in places]
        units = [add_counts(transcripts[i].words for i in group) for group in groups]
        rates = resampled_rates(units) if len(units) > 1 else None
        accuracies.append(
            _accuracy(transcripts, rates, accuracies[0] if accuracies else None, first)
        )
        first = rates if first is None else first
    return accuracies


def _accuracy(
    transcripts: Sequence[ClipTranscript],
    rates: Rates | None,
    leader: Accuracy | None,
    first: Rates | None,
) -> Accuracy:
    words = add_counts(clip.words for clip in transcripts)
    wer = words.errors / max(1, words.reference)
    audio_s = sum(clip.audio_s for clip in transcripts)
    return Accuracy(
        words=words,
        interval=None if rates is None else interval_95(rates),
        delta=None if leader is None else leader.wer - wer,
        delta_interval=None if rates is None or first is None else interval_95(first - rates),
        rtf=sum(clip.compute_s for clip in transcripts) / audio_s if audio_s else None,
        failed=sum(bool(clip.failure) for clip in transcripts),
    )


def _groups(clips: Sequence[Utterance], unit: Unit) -> list[list[int]]:
    """Return the places of the clips that chance draws together."""
    groups: dict[object, list[int]] = {}
    for place, clip in enumerate(clips):
        groups.setdefault(clip.speaker if unit == "speaker" else place, []).append(place)
    return list(groups.values())
