"""A manifest's sound, decoded once to one flat file that epochs read without decoding."""

import hashlib
import json
import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rivulet import audio
from rivulet.audio import Samples
from rivulet.corpora.manifest import Utterance
from rivulet.errors import AudioError
from rivulet.replacing import replacing

PACK_FORMAT = 1  # changes when the layout of the packed file does
ALONE = -1
PAUSE_S = (0.2, 1.2)  # between two utterances of a speaker
LONGEST_ROW_S = 25.0
QUIET_FRAME = audio.SAMPLE_RATE // 20  # the quietest so many samples tell how loud a room is


@dataclass(frozen=True)
class Corpus:
    """Utterances and their sound.

    `samples[starts[i]:starts[i] + lengths[i]]` is utterance i, int16 at 16 kHz. What is listed
    twice lies there once. With `earlier`, utterance i is heard after utterance earlier[i] and
    pauses[i] samples of quiet, unless that is ALONE, and its text holds both.
    """

    utterances: list[Utterance]
    samples: npt.NDArray[np.int16]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    earlier: npt.NDArray[np.int64] | None = None
    pauses: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.utterances)

    def sound(self, index: int) -> npt.NDArray[np.int16]:
        """Return utterance `index` as int16 (n,) at 16 kHz, with what is heard before it."""
        own = self._alone(index)
        if self.earlier is None or self.pauses is None or self.earlier[index] == ALONE:
            return own
        before = self._alone(int(self.earlier[index]))
        pause = np.random.default_rng(index).normal(0.0, quietest(before), int(self.pauses[index]))
        return np.concatenate([before, pause.astype(np.int16), own])

    def seconds(self) -> npt.NDArray[np.float64]:
        """Return the true length of every utterance in seconds."""
        lengths = self.lengths
        if self.earlier is not None and self.pauses is not None:
            before = np.where(self.earlier == ALONE, 0, lengths[self.earlier] + self.pauses)
            lengths = lengths + before
        seconds: npt.NDArray[np.float64] = lengths / audio.SAMPLE_RATE
        return seconds

    def _alone(self, index: int) -> npt.NDArray[np.int16]:
        return self.samples[self.starts[index] : self.starts[index] + self.lengths[index]]


def in_rows(corpus: Corpus, share: float, seed: int) -> Corpus:
    """Return `corpus` with a `share` of its utterances after another one of their speaker.

    So a network learns to go on where it stands, and what a speaker's last words tell of the next.
    What would be longer than LONGEST_ROW_S together stays alone.
    """
    rng = np.random.default_rng((seed, 2))
    speakers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, item in enumerate(corpus.utterances):
        speakers[item.set_name, item.speaker].append(index)
    seconds = corpus.seconds()
    earlier = np.full(len(corpus), ALONE)
    for index in np.flatnonzero(rng.random(len(corpus)) < share).tolist():
        item = corpus.utterances[index]
        others = speakers[item.set_name, item.speaker]
        other = others[int(rng.integers(len(others)))]
        fits = seconds[index] + seconds[other] + PAUSE_S[1] <= LONGEST_ROW_S
        if fits and corpus.utterances[other].path != item.path:
            earlier[index] = other
    pauses = (rng.uniform(*PAUSE_S, len(corpus)) * audio.SAMPLE_RATE).astype(np.int64)
    texts = [item.text for item in corpus.utterances]
    rows = [
        item if before == ALONE else replace(item, text=f"{texts[before]} {item.text}")
        for item, before in zip(corpus.utterances, earlier.tolist(), strict=True)
    ]
    return replace(corpus, utterances=rows, earlier=earlier, pauses=pauses)


def quietest(sound: npt.NDArray[np.int16] | Samples, frame: int = QUIET_FRAME) -> float:
    """Return the root mean square of the quietest `frame` samples of (n,), 0 of fewer."""
    whole = sound[: len(sound) // frame * frame].reshape(-1, frame)
    powers = np.mean(np.square(whole, dtype=np.float64), axis=1)
    return float(np.sqrt(powers.min())) if len(powers) else 0.0


def pack(utterances: list[Utterance], cache: Path, workers: int | None = None) -> Corpus:
    """Decode every file once into `cache` (115 MB an hour), or reuse what an earlier call decoded.

    It takes `workers` processes, or as many as there are cores.

    Raises:
        AudioError: a file cannot be read; the sentence names it.
    """
    paths = sorted({u.path for u in utterances})  # sorted: lists of the same files share the cache
    sizes = [(str(path), path.stat().st_size) for path in paths]
    key = hashlib.sha256(json.dumps([PACK_FORMAT, *sizes]).encode()).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    samples_path, offsets_path = cache / f"{key}.i16", cache / f"{key}.offsets.npy"
    if not offsets_path.exists():
        _decode_all(paths, samples_path, offsets_path, workers)
    offsets = np.load(offsets_path)
    samples = np.memmap(samples_path, np.int16, "r", shape=(int(offsets[-1]),))
    place = {path: index for index, path in enumerate(paths)}
    at = np.array([place[u.path] for u in utterances], np.int64)
    return Corpus(utterances, samples, offsets[at], np.diff(offsets)[at])


def _decode_all(
    paths: list[Path], samples_path: Path, offsets_path: Path, workers: int | None
) -> None:
    lengths = [0]
    own = samples_path.with_suffix(f".{os.getpid()}")  # another run may be decoding the same
    try:
        with own.open("wb") as file, ProcessPoolExecutor(workers) as pool:
            for sound in pool.map(_decode, paths, chunksize=32):
                file.write(sound.tobytes())
                lengths.append(len(sound))
        own.replace(samples_path)
    finally:
        own.unlink(missing_ok=True)
    # last, so that a broken run is done again
    with replacing(offsets_path) as part, part.open("wb") as file:
        np.save(file, np.cumsum(lengths))


def _decode(path: Path) -> npt.NDArray[np.int16]:
    sound = audio.load(path)
    if not len(sound):
        raise AudioError(f"{path} contains 0 samples of sound; take it out of the manifest.")
    return audio.to_int16(sound)
