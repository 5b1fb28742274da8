"""The training loop, straight down the page; on a CPU, a GPU, or many under torchrun."""

import contextlib
import copy
import ctypes
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch.nn.parallel import DistributedDataParallel

from rivulet.decoder import GreedyDecoder
from rivulet.errors import ConfigError
from rivulet.features import FeatureStatistics
from rivulet.metrics import error_counts
from rivulet.tokenizer import Tokenizer
from rivulet.training import targets
from rivulet.training.augment import AugmentConfig
from rivulet.training.batches import (
    Batch,
    BatchMaker,
    BatchStream,
    encode_all,
    measure_statistics,
    plan_epoch,
)
from rivulet.training.config import DataConfig, Recipe
from rivulet.training.corpus import Corpus, pack
from rivulet.training.heads import (
    HeadedModel,
    average_weights,
    consistency_losses,
    ctc_losses,
)
from rivulet.training.log import TrainingLog, say
from rivulet.training.manifest import read_manifest
from rivulet.training.optimizer import make_optimizers, step_all
from rivulet.training.precision import autocast
from rivulet.training.resume import Learner, Progressed, load_point, on_cpu, save_point
from rivulet.training.start import (
    BEST_FILE,
    SETTINGS_FILE,
    STATISTICS_FILE,
    Start,
    tokenizers_of,
)

SAVE_EVERY_S = 300.0  # seconds between two resume points: what a crash can cost
DEV_BATCH_S = 400.0
MOST_WORKERS = 16  # that make batches for one GPU
RESUME_FILE = "last.safetensors"


@dataclass(frozen=True)
class Place:
    """This process among all: its rank, their number, and the device it computes on."""

    rank: int
    world: int
    device: torch.device


@dataclass(frozen=True)
class Material:
    """What the loop feeds on: a maker of batches for each epoch, and the plan of each."""

    makers: list[BatchMaker]
    dev: BatchMaker
    heads: list[targets.Target]
    plans: list[list[list[int]]]


def train(recipe: Recipe, data: DataConfig, folder: Path, start: Start | None = None) -> Path:
    """Train, or go on where an earlier call stopped; return the file of the best weights.

    With `start` the network begins with the weights and feature statistics of an earlier one.

    Raises:
        ConfigError, ManifestError, AudioError: the settings or the data cannot be used.
    """
    place = _join()
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed + place.rank)
    with _first_alone(place):
        if start is not None:
            _store_statistics(start.statistics, folder)
        material = _material(recipe, data, folder, place, start)
    learner = _learner(recipe, material, place, start)
    runner = DistributedDataParallel(learner.model) if place.world > 1 else learner.model
    steps = sum(len(plan) // place.world for plan in material.plans)
    if steps == 0:
        raise ConfigError(
            f"{len(material.makers[0].corpus)} utterances give 0 batches of {recipe.batch_s} s for "
            "each of "
            f"{place.world} processes; make batches smaller."
        )
    steps_wanted = min(steps, recipe.max_steps or steps)
    at = load_point(folder / RESUME_FILE, learner)
    loud = place.rank == 0
    saved = time.monotonic()
    with TrainingLog(folder, steps_wanted, recipe.log_every, loud) as log:
        while at.epoch < recipe.epochs and at.step < steps_wanted:
            plan = material.plans[at.epoch]
            share = plan[place.rank :: place.world]
            for batch in _load(material.makers[at.epoch], share[at.batch :], at.epoch):
                rate = learning_rate(recipe, at.step, steps)
                losses, norm = _step(recipe, runner, learner, batch, at.step, rate, place.device)
                average_weights(learner.average, learner.model, _decay(recipe, at.step))
                at.step, at.batch = at.step + 1, at.batch + 1
                log.step(at, losses, norm, rate, batch.audio_s * place.world)
                if loud and time.monotonic() - saved > SAVE_EVERY_S:
                    save_point(folder / RESUME_FILE, learner, at)
                    saved = time.monotonic()
                if at.step >= steps_wanted:
                    break
            if at.batch >= len(share):
                at.epoch, at.batch = at.epoch + 1, 0
            _give_back_memory()
            ended = at.epoch == recipe.epochs or at.step >= steps_wanted
            if loud and (ended or at.epoch % recipe.measure_every == 0):
                _measure(material, learner, at, place.device, folder, log)
    if place.world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return folder / BEST_FILE


def _measure(
    material: Material,
    learner: Learner,
    at: Progressed,
    device: torch.device,
    folder: Path,
    log: TrainingLog,
) -> None:
    """Note the averaged weights' error rates on dev, keep them if they are the best, and save."""
    rates = error_rates(learner.average, material.heads, material.dev, device)
    log.dev(at, rates)
    words = [rate for name, rate in rates.items() if not targets.is_phones(name)]
    wer = min(words or rates.values())  # a run that writes phones only is judged by them
    if wer <= at.best_wer:
        at.best_wer = wer
        save_file(on_cpu(learner.average.state_dict()), folder / BEST_FILE)
    save_point(folder / RESUME_FILE, learner, at)


def _step(
    recipe: Recipe,
    runner: torch.nn.Module,
    learner: Learner,
    batch: Batch,
    step: int,
    rate: float,
    device: torch.device,
) -> tuple[dict[str, torch.Tensor], float]:
    """Move the weights once; return each head's loss and the gradient norm before clipping."""
    runner.train()
    with autocast(device):
        log_probs = runner(batch.to(device).frames)
    losses = ctc_losses(log_probs, batch)
    loss = _weighted(recipe, losses)
    if recipe.consistency:
        apart = consistency_losses(log_probs, batch)
        loss = loss + recipe.consistency * _weighted(recipe, apart)
        losses |= {f"{name}-apart": value for name, value in apart.items()}
    learner.model.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if step < recipe.frozen_steps:
        for parameter in learner.model.trunk_parameters():
            parameter.grad = None  # the optimizer passes over it
    norm = torch.nn.utils.clip_grad_norm_(learner.model.parameters(), recipe.clip_norm or math.inf)
    if torch.isfinite(
        norm
    ):  # one broken batch must not destroy the run; the norm in the log shows it
        step_all(learner.optimizers, rate)
    return losses, float(norm)


def _weighted(recipe: Recipe, losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([recipe.head_weights[name] * loss for name, loss in losses.items()]).sum()


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to `final_rate` of the peak.

    Heads that learn alone first, over a frozen trunk, do so at the peak.
    """
    if step < recipe.frozen_steps:
        return recipe.learning_rate
    step, steps = step - recipe.frozen_steps, steps - recipe.frozen_steps
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    along = min(1.0, (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps))
    cosine = 0.5 * (1.0 + math.cos(math.pi * along))
    return recipe.learning_rate * (recipe.final_rate + (1.0 - recipe.final_rate) * cosine)


def _decay(recipe: Recipe, step: int) -> float:
    """Decay of the moving average, shorter at the beginning, when the weights are far from good."""
    return min(recipe.average_decay, (1 + step) / (10 + step))


@torch.inference_mode()
def error_rates(
    model: HeadedModel, heads: list[targets.Target], batches: BatchMaker, device: torch.device
) -> dict[str, float]:
    """Return each head's greedy error rate over a corpus: of words, for phones of phones."""
    model.eval()
    errors = dict.fromkeys((head.name for head in heads), 0)
    words = dict(errors)
    plan = plan_epoch(batches.corpus.seconds(), DEV_BATCH_S, 0, 0, shortest_first=True)
    for batch in _load(batches, plan, 0):
        with autocast(device):
            log_probs = model(batch.to(device).frames)
        for head in heads:
            for row, text in enumerate(batch.texts):
                meant = _reference(text, head)
                if meant is not None:
                    said = _greedy(log_probs[head.name][row, : int(batch.steps[row])].cpu(), head)
                    errors[head.name] += error_counts(meant, said).errors
                    words[head.name] += len(meant)
    return {name: errors[name] / max(1, words[name]) for name in errors}


def _greedy(log_probs: torch.Tensor, head: targets.Target) -> list[str]:
    decoder = GreedyDecoder(head.tokenizer)
    decoder.push(log_probs)
    tokens = decoder.hypothesis().tokens
    if head.writes_words:
        return head.tokenizer.decode(tokens).split()
    return [head.tokenizer.tokens[token] for token in tokens]


def _reference(text: str, head: targets.Target) -> list[str] | None:
    if head.writes_words:
        return text.split()
    ids = head.encode(text)
    return None if ids is None else [head.tokenizer.tokens[token] for token in ids]


def _material(
    recipe: Recipe, data: DataConfig, folder: Path, place: Place, start: Start | None
) -> Material:
    """Decode the sound, settle the heads and the feature statistics, and plan every epoch."""
    cache = Path(data.cache).expanduser()
    corpus = pack([u for path in data.train for u in read_manifest(Path(path))], cache)
    dev = pack(read_manifest(Path(data.dev)), cache)
    noise = pack(read_manifest(Path(data.noise)), cache) if data.noise else None
    heads = _heads(recipe, data, corpus, _known_tokenizers(folder, start))
    statistics = _statistics(recipe, corpus, folder)
    _write_settings(recipe, data, heads, folder)

    def maker(of: Corpus, augment: AugmentConfig | None, views: int = 1) -> BatchMaker:
        return BatchMaker(
            of,
            noise,
            augment,
            recipe.features,
            statistics,
            recipe.model,
            encode_all(of, heads),
            recipe.seed,
            views,
        )

    distorted = maker(corpus, recipe.augment, views=2 if recipe.consistency else 1)
    plain = replace(distorted, augment=recipe.augment.gain_only())
    _warn_of_lost_sound(distorted, corpus.seconds())
    first_plain = recipe.epochs - recipe.plain_epochs
    makers = [plain if epoch >= first_plain else distorted for epoch in range(recipe.epochs)]
    plans = [
        plan_epoch(
            heard.heard_seconds(epoch),
            recipe.batch_s,
            recipe.seed,
            epoch,
            epoch < recipe.shortest_first_epochs,
            place.world,
        )
        for epoch, heard in enumerate(makers)
    ]
    return Material(makers, maker(dev, None), heads, plans)


def _warn_of_lost_sound(maker: BatchMaker, seconds: npt.NDArray[np.float64]) -> None:
    """Say how much of the sound teaches a head nothing, for want of a pronunciation."""
    for head, texts in maker.encoded.items():
        lost = seconds[[ids is None for ids in texts]].sum()
        if lost:
            why = (
                "words are not in the dictionary; complete it with `rivulet data dictionary`."
                if targets.is_phones(head)
                else "they have letters that no piece has; begin without `--start`."
            )
            say(
                f"head {head} has no target for {lost / 3600:.2f} of {seconds.sum() / 3600:.2f} h: "
                f"{why}"
            )


def _learner(recipe: Recipe, material: Material, place: Place, start: Start | None) -> Learner:
    tokens = {head.name: len(head.tokenizer) for head in material.heads}
    model = HeadedModel(recipe.model, tokens, recipe.head_layers).to(place.device)
    if start is not None:
        tokenizers = {head.name: head.tokenizer for head in material.heads}
        start.give_to(model, tokenizers)
        new = tokenizers.keys() - start.heads_for(model, tokenizers).keys()
        if new and place.rank == 0:
            say(f"{start.name} has no head like {', '.join(sorted(new))}: begun anew.")
    optimizers = make_optimizers(model, recipe.optimizer, recipe.learning_rate, recipe.weight_decay)
    return Learner(model, copy.deepcopy(model), optimizers)


def _known_tokenizers(folder: Path, start: Start | None) -> list[Tokenizer]:
    """Those of this run if it goes on, or of what it begins with."""
    if (folder / SETTINGS_FILE).is_file():
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        return list(tokenizers_of(settings).values())
    return [tokenizer for tokenizer, _, _ in start.heads] if start is not None else []


def _heads(
    recipe: Recipe, data: DataConfig, corpus: Corpus, known: list[Tokenizer]
) -> list[targets.Target]:
    """The recipe's targets; BPE pieces that are `known` stay, or a head would begin anew."""
    heads = []
    for name in recipe.head_weights:
        if name == "characters":
            heads.append(targets.characters())
        elif name.removeprefix("bpe-").isdigit():
            size = int(name.removeprefix("bpe-"))
            kept = [t for t in known if len(t) == size and targets.is_bpe(t)]
            texts = (u.text for u in corpus.utterances)
            heads.append(targets.bpe(kept[0] if kept else targets.learn_bpe(texts, size)))
        elif targets.is_phones(name):
            if data.dictionary is None:
                raise ConfigError("a phone head needs a pronouncing dictionary; give --dictionary.")
            heads.append(targets.phones(Path(data.dictionary), name))
        else:
            raise ConfigError(
                f"a head {name!r} is unknown; use characters, phones, or for example bpe-256."
            )
    if len(heads[0].tokenizer) != recipe.model.tokens:
        raise ConfigError(
            f"the first head has {len(heads[0].tokenizer)} tokens and the model "
            f"{recipe.model.tokens}; make them equal."
        )
    return heads


def _store_statistics(statistics: FeatureStatistics, folder: Path) -> None:
    tensors = {"mean": statistics.mean, "std": statistics.std}
    save_file(tensors, folder / STATISTICS_FILE)


def _statistics(recipe: Recipe, corpus: Corpus, folder: Path) -> FeatureStatistics:
    path = folder / STATISTICS_FILE
    if not path.exists():
        _store_statistics(measure_statistics(corpus, recipe.features, recipe.seed), folder)
    stored = load_file(path)
    return FeatureStatistics(stored["mean"], stored["std"])


def _write_settings(
    recipe: Recipe, data: DataConfig, heads: list[targets.Target], folder: Path
) -> None:
    tokens = {head.name: list(head.tokenizer.tokens) for head in heads}
    settings = {"recipe": asdict(recipe), "data": asdict(data), "tokens": tokens}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n")


def _load(maker: BatchMaker, plan: list[list[int]], epoch: int) -> Iterator[Batch]:
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


def _join() -> Place:
    """Find this process's place; under torchrun join the process group."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    if world > 1:
        dist.init_process_group("nccl" if cuda else "gloo")
    if not cuda:
        return Place(rank, world, torch.device("cpu"))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return Place(rank, world, device)


@contextlib.contextmanager
def _first_alone(place: Place) -> Iterator[None]:
    """Let the first process decode and write files before the others look for them."""
    if place.world > 1 and place.rank > 0:
        try:
            dist.barrier()
        except RuntimeError as error:  # gloo: connection closed
            raise ConfigError("the first process ended early; it says why.") from error
    yield
    if place.world > 1 and place.rank == 0:
        dist.barrier()


def _give_back_memory() -> None:
    """Return what is free in glibc's heap: batches of all lengths leave it in pieces, GBs of it."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
