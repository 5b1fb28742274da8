"""The training loop, straight down the page; on a CPU, a GPU, or many under torchrun."""

import contextlib
import copy
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save as serialized
from torch.nn.parallel import DistributedDataParallel

from rivulet.errors import ConfigError
from rivulet.replacing import replacing
from rivulet.training import heap, targets
from rivulet.training.batches import Batch, load_batches
from rivulet.training.config import DataConfig, Recipe
from rivulet.training.data import TrainingData, prepare
from rivulet.training.denominator import Denominator
from rivulet.training.dev_scores import MmiOf, dev_scores
from rivulet.training.heads import (
    HeadedModel,
    average_weights,
    cr_ctc_losses,
    ctc_losses,
    denominator_loss,
)
from rivulet.training.initial_weights import BEST_FILE, InitialWeights
from rivulet.training.log import TrainingLog, forget_after, say
from rivulet.training.optimizer import make_optimizers, step_all
from rivulet.training.precision import autocast
from rivulet.training.resume import Progressed, TrainState, load_point, on_cpu, save_point

SAVE_EVERY_S = 300.0  # seconds between two resume points: what a crash can cost
RESUME_FILE = "last.safetensors"


@dataclass(frozen=True)
class Rank:
    """This process among all: its number from 0, how many there are, and its device."""

    index: int
    world_size: int
    device: torch.device


def train(
    recipe: Recipe, data: DataConfig, folder: Path, start: InitialWeights | None = None
) -> Path:
    """Train, or go on where an earlier call stopped; return the file of the best weights.

    With `start` the network begins with the weights and feature statistics of an earlier one.

    Raises:
        ConfigError, ManifestError, AudioError: the settings or the data cannot be used.
    """
    rank = _join()
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed + rank.index)
    with first_alone(rank):
        prepared = prepare(recipe, data, folder, start, rank.world_size)
    state = _train_state(recipe, prepared, rank, start)
    denominator = prepared.denominator and prepared.denominator.to(rank.device)
    runner = DistributedDataParallel(state.model) if rank.world_size > 1 else state.model
    steps = sum(len(plan) // rank.world_size for plan in prepared.plans)
    if steps == 0:
        raise ConfigError(
            f"{len(prepared.makers[0].corpus)} utterances give 0 batches of {recipe.batch_s} s for "
            "each of "
            f"{rank.world_size} processes; make batches smaller."
        )
    steps_wanted = min(steps, recipe.max_steps or steps)
    at = load_point(folder / RESUME_FILE, state)
    loud = rank.index == 0
    if loud:
        forget_after(folder, at.step)
    saved = time.monotonic()
    with TrainingLog(folder, steps_wanted, recipe.log_every, loud) as log:
        while at.epoch < recipe.epochs and at.step < steps_wanted:
            plan = prepared.plans[at.epoch]
            share = plan[rank.index :: rank.world_size]
            rival = denominator if at.epoch >= recipe.ctc_epochs else None
            for batch in load_batches(prepared.makers[at.epoch], share[at.batch :], at.epoch):
                rate = learning_rate(recipe, at.step, steps)
                losses, norm = _step(recipe, runner, state, batch, at.step, rate, rival)
                average_weights(state.average, state.model, _decay(recipe, at.step))
                at.step, at.batch = at.step + 1, at.batch + 1
                heap.give_back(at.step)
                log.step(at, losses, norm, rate, batch.audio_s * rank.world_size)
                if loud and time.monotonic() - saved > SAVE_EVERY_S:
                    save_point(folder / RESUME_FILE, state, at)
                    saved = time.monotonic()
                if at.step >= steps_wanted:
                    break
            if at.batch >= len(share):
                at.epoch, at.batch = at.epoch + 1, 0
            ended = at.epoch == recipe.epochs or at.step >= steps_wanted
            if loud and (ended or at.epoch % recipe.measure_every == 0):
                _measure(recipe, prepared, state, at, rank.device, folder, log)
    if rank.world_size > 1:
        dist.barrier()
        dist.destroy_process_group()
    return folder / BEST_FILE


def _measure(
    recipe: Recipe,
    data: TrainingData,
    state: TrainState,
    at: Progressed,
    device: torch.device,
    folder: Path,
    log: TrainingLog,
) -> None:
    """Note how the averaged weights do on dev, keep them if they are the best, and save.

    With MMI they are kept in any case: it helps the search, and dev is read greedily here.
    """
    mmi = None
    if recipe.mmi_head is not None and data.denominator is not None:
        mmi = MmiOf(recipe.mmi_head, data.denominator.to(device))
    scores = dev_scores(state.average, data.heads, data.dev, device, mmi)
    losses = {} if scores.mmi is None else {f"{recipe.mmi_head}-mmi": scores.mmi}
    errors = scores.error_rates
    log.dev(at, errors, losses)
    words = [rate for name, rate in errors.items() if not targets.is_phones(name)]
    wer = min(words or errors.values())  # a run that writes phones only is judged by them
    if wer <= at.best_wer or recipe.mmi_head is not None:
        at.best_wer = min(wer, at.best_wer)
        with replacing(folder / BEST_FILE) as part:
            part.write_bytes(serialized(on_cpu(state.average.state_dict())))
    save_point(folder / RESUME_FILE, state, at)


def _step(
    recipe: Recipe,
    runner: torch.nn.Module,
    state: TrainState,
    batch: Batch,
    step: int,
    rate: float,
    denominator: Denominator | None,
) -> tuple[dict[str, torch.Tensor], float]:
    """Move the weights once; return each loss and the gradient norm before clipping."""
    runner.train()
    device = next(state.model.parameters()).device
    with autocast(device):
        log_probs = runner(batch.to(device).frames)
    losses, loss = _losses(recipe, log_probs, batch, denominator)
    state.model.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if step < recipe.frozen_steps:
        for parameter in state.model.trunk_parameters():
            parameter.grad = None  # the optimizer passes over it
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_norm or math.inf)
    if torch.isfinite(
        norm
    ):  # one broken batch must not destroy the run; the norm in the log shows it
        step_all(state.optimizers, rate)
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
    if recipe.cr_ctc_weight:
        apart = cr_ctc_losses(log_probs, batch)
        loss = loss + recipe.cr_ctc_weight * _weighted(weights, apart)
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


def _train_state(
    recipe: Recipe, data: TrainingData, rank: Rank, start: InitialWeights | None
) -> TrainState:
    tokens = {head.name: len(head.tokenizer) for head in data.heads}
    model = HeadedModel(recipe.model, tokens, recipe.head_layers).to(rank.device)
    if start is not None:
        tokenizers = {head.name: head.tokenizer for head in data.heads}
        start.give_to(model, tokenizers)
        new = tokenizers.keys() - start.heads_for(model, tokenizers).keys()
        if new and rank.index == 0:
            say(f"{start.name} has no head like {', '.join(sorted(new))}: begun anew.")
    optimizers = make_optimizers(model, recipe.optimizer, recipe.learning_rate, recipe.weight_decay)
    return TrainState(model, copy.deepcopy(model), optimizers)


def _join() -> Rank:
    """Find this process's rank; under torchrun join the process group."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    index = int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    if world_size > 1:
        dist.init_process_group("nccl" if cuda else "gloo")
    if not cuda:
        return Rank(index, world_size, torch.device("cpu"))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return Rank(index, world_size, device)


@contextlib.contextmanager
def first_alone(rank: Rank) -> Iterator[None]:
    """Let the first process decode and write files before the others look for them."""
    if rank.world_size > 1 and rank.index > 0:
        try:
            dist.barrier()
        except RuntimeError as error:  # gloo: connection closed
            raise ConfigError("the first process ended early; it says why.") from error
    yield
    if rank.world_size > 1 and rank.index == 0:
        dist.barrier()
