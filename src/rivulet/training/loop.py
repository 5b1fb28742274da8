"""The training loop, straight down the page; on a CPU, a GPU, or many under torchrun."""

import contextlib
import copy
import ctypes
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel

from rivulet.errors import ConfigError
from rivulet.training import targets
from rivulet.training.batches import Batch, load_batches
from rivulet.training.config import DataConfig, Recipe
from rivulet.training.denominator import Denominator
from rivulet.training.heads import (
    HeadedModel,
    average_weights,
    consistency_losses,
    ctc_losses,
    denominator_loss,
)
from rivulet.training.log import TrainingLog, say
from rivulet.training.material import Material, gather
from rivulet.training.optimizer import make_optimizers, step_all
from rivulet.training.precision import autocast
from rivulet.training.rates import error_rates
from rivulet.training.resume import Learner, Progressed, load_point, on_cpu, save_point
from rivulet.training.start import BEST_FILE, Start

SAVE_EVERY_S = 300.0  # seconds between two resume points: what a crash can cost
RESUME_FILE = "last.safetensors"


@dataclass(frozen=True)
class Place:
    """This process among all: its rank, their number, and the device it computes on."""

    rank: int
    world: int
    device: torch.device


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
        material = gather(recipe, data, folder, start, place.world)
    learner = _learner(recipe, material, place, start)
    denominator = material.denominator and material.denominator.to(place.device)
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
            rival = denominator if at.epoch >= recipe.ctc_epochs else None
            for batch in load_batches(material.makers[at.epoch], share[at.batch :], at.epoch):
                rate = learning_rate(recipe, at.step, steps)
                losses, norm = _step(recipe, runner, learner, batch, at.step, rate, rival)
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
                _measure(recipe, material, learner, at, place.device, folder, log)
    if place.world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return folder / BEST_FILE


def _measure(
    recipe: Recipe,
    material: Material,
    learner: Learner,
    at: Progressed,
    device: torch.device,
    folder: Path,
    log: TrainingLog,
) -> None:
    """Note the averaged weights' error rates on dev, keep them if they are the best, and save.

    With MMI they are kept in any case: it helps the search, and dev is read greedily here.
    """
    rates = error_rates(learner.average, material.heads, material.dev, device)
    log.dev(at, rates)
    words = [rate for name, rate in rates.items() if not targets.is_phones(name)]
    wer = min(words or rates.values())  # a run that writes phones only is judged by them
    if wer <= at.best_wer or recipe.mmi_head is not None:
        at.best_wer = min(wer, at.best_wer)
        save_file(on_cpu(learner.average.state_dict()), folder / BEST_FILE)
    save_point(folder / RESUME_FILE, learner, at)


def _step(
    recipe: Recipe,
    runner: torch.nn.Module,
    learner: Learner,
    batch: Batch,
    step: int,
    rate: float,
    denominator: Denominator | None,
) -> tuple[dict[str, torch.Tensor], float]:
    """Move the weights once; return each loss and the gradient norm before clipping."""
    runner.train()
    device = next(learner.model.parameters()).device
    with autocast(device):
        log_probs = runner(batch.to(device).frames)
    losses, loss = _losses(recipe, log_probs, batch, denominator)
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


def _losses(
    recipe: Recipe,
    log_probs: dict[str, torch.Tensor],
    batch: Batch,
    denominator: Denominator | None,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return each loss, as the log names it, and their weighted sum."""
    weights = dict(recipe.head_weights)
    losses = ctc_losses(log_probs, batch)
    loss = _weighted(weights, losses)
    head = recipe.mmi_head
    if head is not None:
        mmi = losses[head]
        if denominator is not None:
            mmi = mmi + denominator_loss(log_probs, batch, head, denominator)
        loss = loss + recipe.mmi_weight * mmi
        losses[f"{head}-mmi"] = mmi
        weights[head] += recipe.mmi_weight
    if recipe.consistency:
        apart = consistency_losses(log_probs, batch)
        loss = loss + recipe.consistency * _weighted(weights, apart)
        losses |= {f"{name}-apart": value for name, value in apart.items()}
    return losses, loss


def _weighted(weights: dict[str, float], losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


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
