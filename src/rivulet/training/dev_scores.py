"""How well a network in training does on dev: each head read greedily, and what MMI leaves."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from rivulet.decoding.greedy import GreedyDecoder
from rivulet.metrics import ErrorCounts, error_counts
from rivulet.training import targets
from rivulet.training.batches import Batch, BatchMaker, load_batches, plan_epoch
from rivulet.training.denominator import Denominator
from rivulet.training.heads import HeadedModel, ctc_losses, denominator_loss
from rivulet.training.precision import autocast

DEV_BATCH_S = 400.0


@dataclass(frozen=True)
class DevScores:
    """What a network makes of dev.

    error_rates: of each head read greedily, by its name: of words, for phones of phones.
    mmi: the MMI loss of the phone head in nats per phone, or None where it was not asked for. It
        tells two trainings apart sooner than words do: on an hour of dev a paired difference of
        0.005 nats is sure, where one of 0.5 points of word errors may be chance.
    """

    error_rates: dict[str, float]
    mmi: float | None = None


@dataclass(frozen=True)
class MmiOf:
    """What the MMI loss is taken of: a phone head, and the n-gram of phones that it is held to."""

    head: str
    denominator: Denominator


@torch.inference_mode()
def dev_scores(
    model: HeadedModel,
    heads: list[targets.Target],
    batches: BatchMaker,
    device: torch.device,
    mmi: MmiOf | None = None,
) -> DevScores:
    """Read a corpus once with `model` and score every head, and `mmi` where it is given."""
    errors, words = Counter[str](), Counter[str]()
    loss, phones = 0.0, 0
    for batch, log_probs in _read(model, batches, device):
        for head in heads:
            for counts in _greedy_counts(batch, log_probs[head.name], head):
                errors[head.name] += counts.errors
                words[head.name] += counts.reference
        if mmi is not None:
            of_batch, count = _mmi_loss(batch, log_probs[mmi.head], mmi)
            loss, phones = loss + of_batch, phones + count
    rates = {head.name: errors[head.name] / max(1, words[head.name]) for head in heads}
    return DevScores(rates, None if mmi is None else loss / max(1, phones))


def _read(
    model: HeadedModel, batches: BatchMaker, device: torch.device
) -> Iterator[tuple[Batch, dict[str, torch.Tensor]]]:
    """Yield each batch of a corpus and what the network writes for it."""
    model.eval()
    plan = plan_epoch(batches.corpus.seconds(), DEV_BATCH_S, 0, 0, shortest_first=True)
    for batch in load_batches(batches, plan, 0):
        with autocast(device):
            log_probs = model(batch.to(device).frames)
        yield batch, log_probs


def _greedy_counts(
    batch: Batch, log_probs: torch.Tensor, head: targets.Target
) -> Iterator[ErrorCounts]:
    """Yield the errors of each row that has a reference; log_probs: (rows, steps, tokens)."""
    for row, text in enumerate(batch.texts):
        reference = _reference(text, head)
        if reference is not None:
            hypothesis = _greedy(log_probs[row, : int(batch.steps[row])].cpu(), head)
            yield error_counts(reference, hypothesis)


def _reference(text: str, head: targets.Target) -> list[str] | None:
    if head.writes_words:
        return text.split()
    ids = head.encode(text)
    return None if ids is None else [head.tokenizer.tokens[token] for token in ids]


def _greedy(log_probs: torch.Tensor, head: targets.Target) -> list[str]:
    decoder = GreedyDecoder(head.tokenizer)
    decoder.push(log_probs.float().numpy())
    tokens = decoder.hypothesis().tokens
    if head.writes_words:
        return head.tokenizer.decode(tokens).split()
    return [head.tokenizer.tokens[token] for token in tokens]


def _mmi_loss(batch: Batch, log_probs: torch.Tensor, mmi: MmiOf) -> tuple[float, int]:
    """Return the loss of a batch, in nats, and its number of phones."""
    one = {mmi.head: log_probs.float()}
    of_head = replace(batch, targets={mmi.head: batch.targets[mmi.head]})
    count = int(batch.targets[mmi.head].lengths.sum())
    if not count:
        return 0.0, 0
    ctc = ctc_losses(one, of_head)[mmi.head]
    rival = denominator_loss(one, of_head, mmi.head, mmi.denominator)
    return float(ctc + rival) * count, count
