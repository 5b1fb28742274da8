"""Utterances → batches of frames and targets, the same for the same seed, epoch and place."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.features import FeatureConfig, band_centers
from rivulet.acoustic.frames import FRAMES_PER_SECOND, STRIDE
from rivulet.acoustic.log_mel import FeatureStatistics, LogMel
from rivulet.audio import SAMPLE_RATE, Samples, from_int16
from rivulet.training import heap
from rivulet.training.augment import (
    AugmentConfig,
    augment_sound,
    draw_timing,
    mask_frames,
    warp_bands,
)
from rivulet.training.corpus import Corpus
from rivulet.training.targets import Encoded, Target

TAIL_STEPS = (
    4,
    14,
)  # output frames of digital silence after an utterance: 0.16 to 0.56 s, as `Stream.finish` feeds
JITTER = 0.02  # by how much the order of lengths is disturbed, so that neighbors differ each epoch
MOST_WORKERS = 16  # that make batches for one GPU
STATISTICS_SAMPLE = 600  # utterances that the feature statistics are measured on


@dataclass(frozen=True)
class HeadTarget:
    """One head's targets for a batch.

    rows: the utterances of the batch that have a target, (R,).
    ids: their token ids one after the other; lengths: (R,).
    """

    rows: torch.Tensor
    ids: torch.Tensor
    lengths: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """What one optimizer step sees.

    frames: (B, T, n_mels) normalized, T a multiple of STRIDE; steps: (B,) output frames of each;
    audio_s: seconds of sound in all, however many views there are of it. Of two views the first
    is the first half of the rows, the second the other half in the same order.
    """

    frames: torch.Tensor
    steps: torch.Tensor
    targets: dict[str, HeadTarget]
    texts: list[str]
    audio_s: float

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with what the network reads on `device`, perhaps still on its way."""
        return replace(self, frames=self.frames.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the batch where a GPU can fetch it by itself; a DataLoader asks for this."""
        return replace(self, frames=self.frames.pin_memory())


@dataclass(frozen=True)
class BatchMaker:
    """Builds any batch of any epoch from indices; picklable, so that a worker process can.

    views: how often each utterance is in its batch, each time with other masks and bands.
    """

    corpus: Corpus
    noise: Corpus | None
    augment: AugmentConfig | None
    features: FeatureConfig
    statistics: FeatureStatistics
    model: ModelConfig
    encoded: Encoded
    seed: int
    views: int = 1

    def make(self, indices: list[int], epoch: int) -> Batch:
        """Return the batch of `indices`; randomness depends on seed, epoch and utterance only."""
        rngs = [self._rng(index, epoch) for index in indices]
        sounds = [self._sound(i, rng) for i, rng in zip(indices, rngs, strict=True)]
        tails = [int(rng.integers(*TAIL_STEPS)) for rng in rngs]
        counts = [_steps(len(s)) for s in sounds]
        steps = [n + t + self.model.lookahead for n, t in zip(counts, tails, strict=True)]
        log_mel = _log_mel(sounds, max(steps) * STRIDE, self.features)
        frames = torch.cat([self._view(log_mel, counts, rngs) for _ in range(self.views)])
        rows = indices * self.views
        targets = {name: _head_target(ids, rows) for name, ids in self.encoded.items()}
        audio_s = sum(map(len, sounds)) / SAMPLE_RATE
        texts = [self.corpus.utterances[i].text for i in rows]
        return Batch(frames, torch.tensor(steps * self.views), targets, texts, audio_s)

    def augmented_seconds(self, epoch: int) -> npt.NDArray[np.float64]:
        """Return each utterance's length in `epoch`, (N,): at its speed, with what is around it."""
        seconds = self.corpus.seconds()
        if self.augment is not None:
            indices = range(len(seconds))
            drawn = np.array([draw_timing(self.augment, self._rng(i, epoch)) for i in indices])
            seconds = seconds / drawn[:, 0] + drawn[:, 1]
        after = sum(TAIL_STEPS) / 2 + self.model.lookahead
        return seconds + after * STRIDE / FRAMES_PER_SECOND

    def _view(
        self, log_mel: torch.Tensor, counts: list[int], rngs: list[np.random.Generator]
    ) -> torch.Tensor:
        """(B, T, n_mels) → what the network reads; each call draws other bands and masks."""
        if self.augment is None:
            return self.statistics.normalize(log_mel)
        if self.augment.vtlp_range != (1.0, 1.0):
            centers_hz = band_centers(self.features)
            factors = [rng.uniform(*self.augment.vtlp_range) for rng in rngs]
            warped = [warp_bands(f, centers_hz, w) for f, w in zip(log_mel, factors, strict=True)]
            log_mel = torch.stack(warped)
        frames = self.statistics.normalize(log_mel)
        for row, (count, rng) in enumerate(zip(counts, rngs, strict=True)):
            mask_frames(frames[row], count * STRIDE, self.augment, rng)
        return frames

    def _rng(self, index: int, epoch: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch, index))

    def _sound(self, index: int, rng: np.random.Generator) -> Samples:
        sound = self.corpus.sound(index)
        if self.augment is None:
            return from_int16(sound)
        return augment_sound(sound, self.noise, self.augment, rng)


class BatchStream(torch.utils.data.IterableDataset[Batch]):
    """Batches in a given order, for a DataLoader that makes them in another process."""

    def __init__(self, maker: BatchMaker, plan: list[list[int]], epoch: int) -> None:
        """Go through `plan`, a list of batches of indices."""
        super().__init__()
        self.maker, self.plan, self.epoch = maker, plan, epoch

    def __iter__(self) -> Iterator[Batch]:
        """Make this worker's share of the batches."""
        worker = torch.utils.data.get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            torch.set_num_threads(1)
        for made, indices in enumerate(self.plan[first::step], 1):
            yield self.maker.make(indices, self.epoch)
            heap.give_back(made)


def load_batches(maker: BatchMaker, plan: list[list[int]], epoch: int) -> Iterator[Batch]:
    """Batches made ahead by one other process; on a machine with many cores by several."""
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    workers = max(1, min(MOST_WORKERS, cores - 1))
    loader = torch.utils.data.DataLoader(
        BatchStream(maker, plan, epoch),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own: a resume restores the common one
    )
    yield from loader


def draw_epoch(chances: npt.NDArray[np.float64], seed: int, epoch: int) -> npt.NDArray[np.intp]:
    """Return the indices that an epoch hears, each with its chance."""
    rng = np.random.default_rng((seed, epoch, 0, 1))  # other numbers than the plan's
    return np.flatnonzero(rng.random(len(chances)) < chances)


def plan_epoch(
    seconds: npt.NDArray[np.float64],
    batch_s: float,
    seed: int,
    epoch: int,
    shortest_first: bool,
    world_size: int = 1,
) -> list[list[int]]:
    """Cut an epoch into batches of like lengths and at most `batch_s` seconds, padding included.

    With `shortest_first` batches come in order of length: CTC leaves its all-blank plateau on short
    utterances first (Amodei et al. 2016, section 3.3, "SortaGrad"). Otherwise their order is
    shuffled. The batches that `world_size` processes compute at the same time stand one after the
    other and are of like lengths, so that none waits for another; up to `world_size` - 1 batches,
    drawn by chance, are left out of the epoch to make them come out even.
    """
    rng = np.random.default_rng((seed, epoch))
    jittered = seconds * rng.uniform(1.0 - JITTER, 1.0 + JITTER, len(seconds))
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = 0.0
    for index in np.argsort(jittered).tolist():
        longest = max(longest, float(seconds[index]))
        if batch and longest * (len(batch) + 1) > batch_s:
            batches.append(batch)
            batch, longest = [], float(seconds[index])
        batch.append(index)
    if batch:
        batches.append(batch)
    for _ in range(len(batches) % world_size):
        del batches[int(rng.integers(len(batches)))]
    groups = [batches[start : start + world_size] for start in range(0, len(batches), world_size)]
    if not shortest_first:
        rng.shuffle(groups)
    return [batch for group in groups for batch in group]


def measure_statistics(corpus: Corpus, config: FeatureConfig, seed: int) -> FeatureStatistics:
    """Return mean and standard deviation of log-mel frames over a random part of `corpus`."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(corpus))[:STATISTICS_SAMPLE]
    log_mel = LogMel(config)
    frames = [log_mel(torch.from_numpy(from_int16(corpus.sound(int(i))))) for i in chosen]
    every = torch.cat(frames)
    return FeatureStatistics(every.mean(0), every.std(0))


def _steps(samples: int) -> int:
    """Output frames of 40 ms that `samples` fill, the last one begun counted."""
    return -(-samples * FRAMES_PER_SECOND // (SAMPLE_RATE * STRIDE))


def _log_mel(sounds: list[Samples], frames: int, config: FeatureConfig) -> torch.Tensor:
    log_mel = LogMel(config)
    hop, window = log_mel.mel.hop_length, log_mel.mel.n_fft
    padded = torch.zeros(len(sounds), (frames - 1) * hop + window)
    for row, sound in enumerate(sounds):
        padded[row, : len(sound)] = torch.from_numpy(sound)
    frames_of: torch.Tensor = log_mel(padded)
    return frames_of


def _head_target(encoded: list[list[int] | None], indices: list[int]) -> HeadTarget:
    rows = [row for row, index in enumerate(indices) if encoded[index]]
    lists = [encoded[indices[row]] or [] for row in rows]
    return HeadTarget(
        torch.tensor(rows, dtype=torch.long),
        torch.tensor([token for ids in lists for token in ids], dtype=torch.long),
        torch.tensor([len(ids) for ids in lists], dtype=torch.long),
    )


def encode_all(corpus: Corpus, targets: list[Target]) -> Encoded:
    """Write every text in every head's tokens."""
    return {t.name: [t.encode(u.text) for u in corpus.utterances] for t in targets}
