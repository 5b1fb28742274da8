"""A manifest's sound, decoded once to one flat file that epochs read without decoding."""

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rivulet import audio
from rivulet.corpora.manifest import Utterance
from rivulet.errors import AudioError
from rivulet.replacing import replacing

PACK_FORMAT = 1  # changes when the layout of the packed file does


@dataclass(frozen=True)
class Corpus:
    """Utterances and their sound.

    `samples[starts[i]:starts[i] + lengths[i]]` is utterance i, int16 at 16 kHz. What is listed
    twice lies there once.
    """

    utterances: list[Utterance]
    samples: npt.NDArray[np.int16]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.utterances)

    def sound(self, index: int) -> npt.NDArray[np.int16]:
        """Return utterance `index` as int16 (n,) at 16 kHz."""
        return self.samples[self.starts[index] : self.starts[index] + self.lengths[index]]

    def seconds(self) -> npt.NDArray[np.float64]:
        """Return the true length of every utterance in seconds."""
        seconds: npt.NDArray[np.float64] = self.lengths / audio.SAMPLE_RATE
        return seconds


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
