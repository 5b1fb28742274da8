"""How well each head of a network in training does on dev, greedily."""

import torch

from rivulet.decoding.greedy import GreedyDecoder
from rivulet.metrics import error_counts
from rivulet.training import targets
from rivulet.training.batches import BatchMaker, load_batches, plan_epoch
from rivulet.training.heads import HeadedModel
from rivulet.training.precision import autocast

DEV_BATCH_S = 400.0


@torch.inference_mode()
def dev_error(
    model: HeadedModel, heads: list[targets.Target], batches: BatchMaker, device: torch.device
) -> dict[str, float]:
    """Return each head's greedy error rate over a corpus: of words, for phones of phones."""
    model.eval()
    errors = dict.fromkeys((head.name for head in heads), 0)
    words = dict(errors)
    plan = plan_epoch(batches.corpus.seconds(), DEV_BATCH_S, 0, 0, shortest_first=True)
    for batch in load_batches(batches, plan, 0):
        with autocast(device):
            log_probs = model(batch.to(device).frames)
        for head in heads:
            for row, text in enumerate(batch.texts):
                reference = _reference(text, head)
                if reference is not None:
                    hypothesis = _greedy(
                        log_probs[head.name][row, : int(batch.steps[row])].cpu(), head
                    )
                    errors[head.name] += error_counts(reference, hypothesis).errors
                    words[head.name] += len(reference)
    return {name: errors[name] / max(1, words[name]) for name in errors}


def _greedy(log_probs: torch.Tensor, head: targets.Target) -> list[str]:
    decoder = GreedyDecoder(head.tokenizer)
    decoder.push(log_probs.float().numpy())
    tokens = decoder.hypothesis().tokens
    if head.writes_words:
        return head.tokenizer.decode(tokens).split()
    return [head.tokenizer.tokens[token] for token in tokens]


def _reference(text: str, head: targets.Target) -> list[str] | None:
    if head.writes_words:
        return text.split()
    ids = head.encode(text)
    return None if ids is None else [head.tokenizer.tokens[token] for token in ids]
