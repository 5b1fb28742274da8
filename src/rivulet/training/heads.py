"""The network as it is trained: the acoustic model, and heads that are left behind."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.model import AcousticModel
from rivulet.errors import ConfigError
from rivulet.training.batches import Batch, HeadTarget
from rivulet.training.denominator import Denominator
from rivulet.training.gru import TrainingGRU


class HeadedModel(nn.Module):
    """The acoustic model with one CTC head per target; the first head is the model's own output.

    Heads named in `layers` read that layer (an intermediate CTC loss, Lee & Watanabe 2021), all
    others the top.
    """

    def __init__(
        self, config: ModelConfig, tokens: Mapping[str, int], layers: Mapping[str, int]
    ) -> None:
        """Make a head for each of `tokens`: name → number of tokens."""
        super().__init__()
        self.acoustic = AcousticModel(config)
        if config.cell == "gru":
            for layer in self.acoustic.layers:
                layer.cell = TrainingGRU(config.hidden, config.hidden, batch_first=True)
        self.first, *others = tokens
        self.layers = {name: layers.get(name, config.layers) - 1 for name in tokens}
        self.others = nn.ModuleDict(
            {
                name: nn.Linear(config.hidden, tokens[name])
                if self.reads_top(name)  # the model's own LayerNorm comes before it
                else nn.Sequential(
                    nn.LayerNorm(config.hidden), nn.Linear(config.hidden, tokens[name])
                )
                for name in others
            }
        )

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """(B, T, n_mels) → for each head the log-probabilities (B, T / STRIDE, its tokens)."""
        outputs, _ = self.acoustic.encode(frames, self.acoustic.initial_state(len(frames)))
        logits = {self.first: self.acoustic.output(outputs[-1])}
        logits |= {name: head(outputs[self.layers[name]]) for name, head in self.others.items()}
        return {name: functional.log_softmax(x.float(), dim=-1) for name, x in logits.items()}

    def reads_top(self, name: str) -> bool:
        """Whether a head reads the last layer, after the lookahead."""
        return self.layers[name] == self.acoustic.config.layers - 1

    def head(self, name: str) -> nn.Module:
        """Return the projection that writes `name`."""
        return self.acoustic.output if name == self.first else self.others[name]

    def trunk_parameters(self) -> list[nn.Parameter]:
        """Return the weights below the heads."""
        return [p for n, p in self.acoustic.named_parameters() if not n.startswith("output.")]

    def with_output(self, name: str, phones: str | None = None) -> AcousticModel:
        """Return the acoustic model as it ships, a copy: head `name` writes, head `phones` too."""
        weights = dict(self.acoustic.state_dict()) | self._projection(name, "output")
        if phones is not None:
            weights |= self._projection(phones, "phone_output")
        config = replace(
            self.acoustic.config,
            tokens=len(weights["output.bias"]),
            phones=len(weights["phone_output.bias"]) if phones is not None else 0,
        )
        shipped = AcousticModel(config)
        shipped.load_state_dict(weights)
        return shipped

    def _projection(self, name: str, to: str) -> dict[str, Tensor]:
        """Return the weights of head `name` under the name `to`."""
        head = self.head(name)
        if not isinstance(head, nn.Linear):
            raise ConfigError(
                f"head {name} reads layer {self.layers[name] + 1}; only a head at the top can ship."
            )
        return {f"{to}.weight": head.weight, f"{to}.bias": head.bias}


def ctc_losses(log_probs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Return each head's CTC loss in nats per token; what is too short for its text counts as 0."""
    return {
        name: _ctc(log_probs[name], batch.steps, target) for name, target in batch.targets.items()
    }


def denominator_loss(
    log_probs: Mapping[str, Tensor], batch: Batch, head: str, denominator: Denominator
) -> Tensor:
    """Return what MMI adds to the CTC loss of a phone `head`, in nats per phone.

    It is log P of all phone sequences, over the utterances that the CTC loss counts.
    """
    target = batch.targets[head]
    rows = target.rows[_long_enough(batch.steps[target.rows], target)]
    if not len(rows):
        return log_probs[head].sum() * 0.0
    totals = denominator(log_probs[head][rows.to(log_probs[head].device)], batch.steps[rows])
    return totals.sum() / int(target.lengths.sum())


def _long_enough(steps: Tensor, target: HeadTarget) -> Tensor:
    """Whether each text fits into its (R,) steps: repeated tokens need a blank between them."""
    rows = torch.repeat_interleave(torch.arange(len(steps)), target.lengths)
    repeats = (target.ids[1:] == target.ids[:-1]) & (rows[1:] == rows[:-1])
    blanks = torch.bincount(rows[1:][repeats], minlength=len(steps))
    return steps >= target.lengths + blanks


def cr_ctc_losses(log_probs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Return how far the two views of a batch lie apart for each head, in nats per token.

    Each view learns what the other one says, frame by frame: the mean of both Kullback-Leibler
    divergences, its goal held fixed (CR-CTC, Yao et al. 2024, arXiv 2410.05101, equation 4).
    """
    one, two = batch.steps.chunk(2)
    if not torch.equal(one, two):
        raise ValueError("a batch of one view has nothing to be consistent with.")
    losses = {}
    for name, values in log_probs.items():
        steps = torch.arange(values.shape[1], device=values.device)
        real = steps < one.to(values.device).unsqueeze(1)  # (B / 2, T): the rest is padding
        first, second = values.chunk(2)
        apart = _divergence(second.detach(), first) + _divergence(first.detach(), second)
        apart = torch.where(real, apart, 0.0).sum()  # picking frames would wait for the GPU
        losses[name] = apart / max(1, int(batch.targets[name].lengths.sum()))
    return losses


def _divergence(goal: Tensor, log_probs: Tensor) -> Tensor:
    """(B, T, tokens) twice → (B, T), nats."""
    return functional.kl_div(log_probs, goal, reduction="none", log_target=True).sum(-1)


def _ctc(log_probs: Tensor, steps: Tensor, target: HeadTarget) -> Tensor:
    if not len(target.rows):
        return (
            log_probs.sum() * 0.0
        )  # keeps the head in the graph, as DistributedDataParallel needs
    rows = target.rows.to(log_probs.device)
    loss = functional.ctc_loss(
        log_probs[rows].transpose(0, 1),
        target.ids.to(log_probs.device),
        steps[target.rows],
        target.lengths,
        blank=0,
        reduction="sum",
        zero_infinity=True,
    )
    return loss / target.lengths.sum().to(loss.device)


def average_weights(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `average` towards `model`: w ← decay · w + (1 - decay) · v."""
    with torch.no_grad():
        for kept, new in zip(average.parameters(), model.parameters(), strict=True):
            kept.lerp_(new, 1.0 - decay)
