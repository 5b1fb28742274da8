"""Train by the clock on a lent GPU: `python train.py PACK SOUND OUT`; see README.md.

PACK holds what `pack.py` wrote, SOUND what `decode.py` makes of the packs. The training begins when
all packs are there, and ends when the seconds that the file PACK/go holds have gone by since it was
written. Learning rate and distortions follow that clock. OUT gets `average.pt` (the moving average
of the weights, every 90 s and at the end) and `last.pt`, in half precision.
"""

import copy
import json
import math
import multiprocessing
import os
import pickle
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packed import Packed

from rivulet.acoustic.features import FeatureConfig, band_centers
from rivulet.acoustic.frames import STRIDE
from rivulet.acoustic.log_mel import FeatureStatistics, LogMel
from rivulet.audio import SAMPLE_RATE
from rivulet.corpora.manifest import Utterance
from rivulet.tokenizer import Tokenizer
from rivulet.training import batches, targets
from rivulet.training.augment import AugmentConfig, warp_bands
from rivulet.training.batches import Batch, BatchMaker, draw_epoch, plan_epoch
from rivulet.training.config import Recipe
from rivulet.training.corpus import Corpus
from rivulet.training.denominator import Denominator
from rivulet.training.dev_scores import dev_scores
from rivulet.training.heads import HeadedModel, average_weights
from rivulet.training.loop import _losses
from rivulet.training.optimizer import make_optimizers, step_all
from rivulet.training.precision import autocast

BEGAN = time.time()
EPOCHS = 20  # planned; more than there is time for
MILD_FROM = 0.8  # of the time, from where on `clean_augment` distorts
SAVE_EVERY_S = 90.0
MEASURED_AT = (0.25, 0.5, 0.8)  # of the time
MILD = multiprocessing.Value("b", 0)  # seen by the processes that make batches
Plan = list[tuple[int, list[int]]]  # epoch and utterances of each batch


@dataclass
class Raw:
    """A batch as processes make it: padded sound, and what its log-mel frames will go through.

    sound: float16 (B, n). For both views, one after the other: warps (2 B, n_mels, n_mels), hidden
    frames (2 B, T) and hidden bands (2 B, n_mels).
    """

    sound: torch.Tensor
    warps: torch.Tensor
    frames: torch.Tensor
    bands: torch.Tensor
    steps: torch.Tensor
    targets: dict[str, batches.HeadTarget]
    audio_s: float

    def pin_memory(self) -> "Raw":
        """Put what travels where a GPU fetches it by itself; a DataLoader asks for this."""
        for name in ("sound", "warps", "frames", "bands"):
            setattr(self, name, getattr(self, name).pin_memory())
        return self


class Finisher:
    """Raw batches → batches, on the GPU."""

    def __init__(
        self, features: FeatureConfig, statistics: FeatureStatistics, device: torch.device
    ) -> None:
        """Put what it computes with on `device`."""
        self.device = device
        self.log_mel = LogMel(features).to(device)
        self.statistics = FeatureStatistics(statistics.mean.to(device), statistics.std.to(device))

    @torch.no_grad()
    def __call__(self, raw: Raw) -> Batch:
        """Return log-mel frames of both views, warped, normalized and masked."""
        with torch.autocast(self.device.type, enabled=False):
            frames = self.log_mel(self._here(raw.sound).float())
            frames = torch.cat([frames, frames]) @ self._here(raw.warps)
            frames = self.statistics.normalize(frames)
        hidden = self._here(raw.frames)[:, :, None] | self._here(raw.bands)[:, None, :]
        return Batch(frames.masked_fill(hidden, 0.0), raw.steps, raw.targets, [], raw.audio_s)

    def _here(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, non_blocking=True)


def make_raw(maker: BatchMaker, indices: list[int], epoch: int) -> Raw:
    """Do as `BatchMaker.make` up to the sound, and draw what it would do to the frames."""
    augment, bands = maker.augment, maker.features.n_mels
    assert augment is not None
    rngs = [maker._rng(index, epoch) for index in indices]
    sounds = [maker._sound(i, rng) for i, rng in zip(indices, rngs, strict=True)]
    tails = [int(rng.integers(*batches.TAIL_STEPS)) for rng in rngs]
    counts = [batches._steps(len(sound)) for sound in sounds]
    steps = [n + t + maker.model.lookahead for n, t in zip(counts, tails, strict=True)]
    length, rows = max(steps) * STRIDE, 2 * len(indices)
    window = LogMel(maker.features).mel
    padded = np.zeros((len(sounds), (length - 1) * window.hop_length + window.n_fft), np.float16)
    for row, sound in enumerate(sounds):
        padded[row, : len(sound)] = sound
    centers, unit = band_centers(maker.features), torch.eye(bands)
    warps = torch.empty(rows, bands, bands)
    hidden_frames, hidden_bands = np.zeros((rows, length), bool), np.zeros((rows, bands), bool)
    for view in (0, len(indices)):
        for row, rng in enumerate(rngs):
            warps[view + row] = warp_bands(unit, centers, rng.uniform(*augment.vtlp_range))
        for row, (count, rng) in enumerate(zip(counts, rngs, strict=True)):
            frames, there = count * STRIDE, view + row
            for _ in range(augment.frequency_masks):
                _hide(hidden_bands[there], bands, augment.frequency_mask_bins, rng)
            for _ in range(round(augment.time_masks_per_s * frames / 100)):
                width = int(rng.integers(augment.time_mask_frames + 1))
                first = int(rng.integers(max(1, frames - width)))
                hidden_frames[there, first : first + width] = True
    return Raw(
        torch.from_numpy(padded),
        warps,
        torch.from_numpy(hidden_frames),
        torch.from_numpy(hidden_bands),
        torch.tensor(steps * 2),
        {name: batches._head_target(ids, indices * 2) for name, ids in maker.encoded.items()},
        sum(map(len, sounds)) / SAMPLE_RATE,
    )


def _hide(row: Any, length: int, widest: int, rng: np.random.Generator) -> None:
    width = int(rng.integers(widest + 1))
    first = int(rng.integers(length - width + 1))
    row[first : first + width] = True


class Batches(torch.utils.data.IterableDataset[Raw]):
    """Every batch of every epoch, without a pause between epochs."""

    def __init__(self, makers: list[BatchMaker], plan: Plan) -> None:
        """Distort by the first maker, and by the second from where MILD is set."""
        super().__init__()
        self.makers, self.plan = makers, plan

    def __iter__(self) -> Iterator[Raw]:
        """Make this process's share."""
        worker = torch.utils.data.get_worker_info()
        torch.set_num_threads(1)
        for epoch, indices in self.plan[worker.id :: worker.num_workers]:
            yield make_raw(self.makers[MILD.value], indices, epoch)


def main() -> None:
    """Train until the time is over."""
    pack, sound, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    packed: Packed = pickle.loads((pack / "data.pickle").read_bytes())
    start = torch.load(pack / "start.pt")
    statistics = FeatureStatistics(start["mean"], start["std"])
    makers, dev, plan = material(packed, statistics, *read_sound(sound, packed))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = {name: len(tokens) for name, tokens in packed.tokens.items()}
    model = HeadedModel(packed.recipe.model, sizes, {}).to(device)
    model.load_state_dict({name: weight.float() for name, weight in start["weights"].items()})
    denominator = Denominator(start["leave"], start["end"]).to(device)
    heads = heads_of(packed)
    say("dev at the start", dev_scores(model, heads, dev, device).error_rates)
    while not (pack / "go").exists():
        time.sleep(0.2)
    end = (pack / "go").stat().st_mtime + float((pack / "go").read_text())
    run = Run(packed, model, copy.deepcopy(model), denominator, out, heads, dev)
    run.until(
        end, loader(makers, plan, device), Finisher(packed.recipe.features, statistics, device)
    )
    for name, trained in (("average", run.average), ("last", model)):
        say("dev", name, dev_scores(trained, heads, dev, device).error_rates)


@dataclass
class Run:
    """Weights in training."""

    packed: Packed
    model: HeadedModel
    average: HeadedModel
    denominator: Denominator
    out: Path
    heads: list[targets.Target]
    dev: BatchMaker

    def until(self, end: float, raws: Iterator[Raw], finish: Finisher) -> None:
        """Take steps until `end`, a time of the clock; store the weights."""
        recipe = self.packed.recipe
        optimizers = make_optimizers(
            self.model, recipe.optimizer, recipe.learning_rate, recipe.weight_decay
        )
        began = saved = time.time()
        step, heard, measured = 0, 0.0, 0
        for raw in raws:
            along = (time.time() - began) / max(end - began, 1.0)
            if along >= 1.0:
                break
            MILD.value = along >= MILD_FROM
            warm = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
            rate = recipe.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * along))
            losses = self._step(finish(raw), optimizers, rate)
            average_weights(
                self.average, self.model, min(recipe.average_decay, (1 + step) / (10 + step))
            )
            step, heard = step + 1, heard + raw.audio_s
            if step % 100 == 0:
                told = {name: round(float(loss.detach()), 3) for name, loss in losses.items()}
                say(f"step {step}, {heard / 3600:.0f} h, rate {rate:.2e}", told)
            if time.time() - saved > SAVE_EVERY_S:
                self._store("average", self.average)
                saved = time.time()
            if measured < len(MEASURED_AT) and along > MEASURED_AT[measured]:
                measured += 1
                scores = dev_scores(self.average, self.heads, self.dev, finish.device)
                say("dev", scores.error_rates)
        self._store("average", self.average)
        self._store("last", self.model)
        say(f"{step} steps, {heard / 3600:.0f} h")

    def _step(
        self, batch: Batch, optimizers: tuple[torch.optim.Optimizer, ...], rate: float
    ) -> dict[str, torch.Tensor]:
        self.model.train()
        with autocast(batch.frames.device):
            log_probs = self.model(batch.frames)
        losses, loss = _losses(self.packed.recipe, log_probs, batch, self.denominator)
        self.model.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip = self.packed.recipe.clip_norm or math.inf
        fine = torch.isfinite(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip))
        for weight in self.model.parameters():  # a broken batch moves nothing; nobody waits for it
            if weight.grad is not None:
                weight.grad = torch.where(fine, weight.grad, 0.0)
        step_all(optimizers, rate)
        return losses

    def _store(self, name: str, model: HeadedModel) -> None:
        part = self.out / f"{name}.part"
        torch.save({key: value.half().cpu() for key, value in model.state_dict().items()}, part)
        part.rename(self.out / f"{name}.pt")


def read_sound(folder: Path, packed: Packed) -> tuple[Any, dict[str, tuple[int, int]]]:
    """Wait for all packs; return the samples, and where each recording begins and its length."""
    wanted = {*packed.train, *packed.dev, *packed.noise}
    while True:
        headers = sorted(folder.glob("sound*.json"))
        lists = [json.loads(path.read_text()) for path in headers]
        if wanted <= {name for names, _ in lists for name in names}:
            break
        time.sleep(0.3)
    parts = [np.fromfile(path.with_suffix(".i16"), np.int16) for path in headers]
    places, at = {}, 0
    for names, lengths in lists:
        for name, length in zip(names, lengths, strict=True):
            places[name] = (at, length)
            at += length
    say(f"{at / SAMPLE_RATE / 3600:.1f} h of sound")
    return np.concatenate(parts), places


def material(
    packed: Packed,
    statistics: FeatureStatistics,
    samples: Any,
    places: dict[str, tuple[int, int]],
) -> tuple[list[BatchMaker], BatchMaker, Plan]:
    """Return makers of distorted and of milder batches, one for dev, and what is heard when."""
    recipe = packed.recipe

    def corpus(names: list[str], texts: list[str]) -> Corpus:
        starts, lengths = (np.array([places[name][side] for name in names]) for side in (0, 1))
        utterances = [
            Utterance(name, Path(name), length / SAMPLE_RATE, "", text, "")
            for name, length, text in zip(names, lengths, texts, strict=True)
        ]
        return Corpus(utterances, samples, starts, lengths)

    def maker(
        of: Corpus, augment: AugmentConfig | None, encoded: targets.Encoded, views: int
    ) -> BatchMaker:
        noise = corpus(packed.noise, [""] * len(packed.noise))
        features, model, seed = recipe.features, recipe.model, recipe.seed
        return BatchMaker(of, noise, augment, features, statistics, model, encoded, seed, views)

    copies = [
        (index, min(1.0, weight - copy))
        for index, weight in enumerate(packed.weights)
        for copy in range(math.ceil(weight))
    ]
    heard = corpus([packed.train[index] for index, _ in copies], [""] * len(copies))
    encoded = {name: [ids[i] for i, _ in copies] for name, ids in packed.targets.items()}
    makers = [
        maker(heard, augment, encoded, 2) for augment in (recipe.augment, recipe.clean_augment)
    ]
    chances = np.array([chance for _, chance in copies])
    with ProcessPoolExecutor() as pool:
        planned = pool.map(partial(plan_of, makers[0], chances, recipe), range(EPOCHS))
        plan = [batch for epoch in planned for batch in epoch]
    say(f"{EPOCHS} epochs, {len(plan)} batches")
    dev = maker(corpus(packed.dev, packed.dev_texts), None, packed.dev_targets, 1)
    return makers, dev, plan


def plan_of(maker: BatchMaker, chances: Any, recipe: Recipe, epoch: int) -> Plan:
    """Draw what an epoch hears and cut it into batches."""
    drawn = draw_epoch(chances, recipe.seed, epoch)
    seconds = maker.augmented_seconds(epoch)[drawn]
    planned = plan_epoch(seconds, recipe.batch_s, recipe.seed, epoch, shortest_first=False)
    return [(epoch, drawn[batch].tolist()) for batch in planned]


def loader(makers: list[BatchMaker], plan: Plan, device: torch.device) -> Iterator[Raw]:
    """Return the batches, made ahead by processes on all cores but one."""
    return iter(
        torch.utils.data.DataLoader(
            Batches(makers, plan),
            batch_size=None,
            num_workers=max(1, (os.cpu_count() or 1) - 1),
            prefetch_factor=6,
            pin_memory=device.type == "cuda",
        )
    )


def heads_of(packed: Packed) -> list[targets.Target]:
    """Return the heads; they write dev's texts only, which are packed."""
    return [
        targets.Target(
            name,
            Tokenizer(tokens),
            dict(zip(packed.dev_texts, packed.dev_targets[name], strict=True)).__getitem__,
        )
        for name, tokens in packed.tokens.items()
    ]


def say(*what: Any) -> None:
    """Print with the seconds since the start."""
    print(f"{time.time() - BEGAN:7.1f}", *what, flush=True)


if __name__ == "__main__":
    main()
