"""The denominator of lattice-free MMI: every phone sequence, each as likely as a phone n-gram says.

MMI raises the text's probability over that of all other texts (Povey et al. 2016; from end to end
without a first model: Hadian et al. 2018). Here the alignments are CTC's, and what competes are
all sequences of phones:

    log P_ctc(frames, phones of the text) - log sum over all s of P_ngram(s) · P_ctc(frames, s)

The first term is minus `ctc_loss`. The second is a forward pass over states: the last `order` - 1
phones, and whether the network still writes the last of them or blanks after it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

ORDERS = (3, 4)
DISCOUNT = 0.7  # counts taken off every n-gram seen and given to those of lower order
UNSEEN = 0.5  # counts that every phone has before anything is counted
FLOOR = -25.0  # nats; less likely tokens count as this, so that no state underflows in float32


def phone_ngram(
    sequences: Iterable[Sequence[int]], tokens: int, order: int, discount: float = DISCOUNT
) -> Tensor:
    """Estimate an n-gram over phones by interpolated absolute discounting (Ney et al. 1994).

    Args:
        sequences: an utterance's phones each, ids from 1 to `tokens` - 1.
        tokens: ids with CTC's blank, 0, which stands here for the edges of an utterance.
        order: 3 or 4.
        discount: counts taken off each n-gram seen.

    Returns:
        (tokens,) * order: P(next | phones before, the oldest first). Before the first phone stand
        zeros, and a next of 0 is the end.
    """
    padded = [[0] * (order - 1) + list(sequence) + [0] for sequence in sequences]
    grams = [s[i : i + order] for s in padded for i in range(len(s) - order + 1)]
    places = torch.tensor(grams, dtype=torch.long).reshape(-1, order)
    probabilities = torch.bincount(places[:, -1], minlength=tokens).double() + UNSEEN
    probabilities = probabilities / probabilities.sum()
    for length in range(2, order + 1):
        digits = tokens ** torch.arange(length - 1, -1, -1)
        numbers = (places[:, -length:] * digits).sum(1)
        counts = torch.bincount(numbers, minlength=tokens**length).double()
        probabilities = _interpolate(counts.view((tokens,) * length), probabilities, discount)
    return probabilities.float()


def _interpolate(counts: Tensor, lower: Tensor, discount: float) -> Tensor:
    """Return P(next | history) from counts of one order and the probabilities of the one below."""
    total = counts.sum(-1, keepdim=True)
    seen = (counts > 0).sum(-1, keepdim=True)
    backed_off = torch.where(total > 0, discount * seen, 1.0)
    return ((counts - discount).clamp(min=0.0) + backed_off * lower) / total.clamp(min=1.0)


@dataclass(frozen=True)
class Denominator:
    """The phone n-gram as a network of states; V tokens, X the oldest phone of a state, R the rest.

    leave: (R, 2 V, V), from a state that writes its phone (X below V) or the blank after it (from V
        on) to the next phone. A phone follows itself only over a blank: CTC merges repeats.
    end: (R, 1, 2 V), the end of the utterance.
    """

    leave: Tensor
    end: Tensor

    @classmethod
    def of(cls, ngram: Tensor) -> "Denominator":
        """Build it from what `phone_ngram` returns."""
        tokens, order = len(ngram), ngram.ndim
        rest = tokens ** (order - 2)
        by_rest = ngram.reshape(tokens, rest, tokens).transpose(0, 1)  # (R, X, next)
        over_blank = by_rest.clone()
        over_blank[..., 0] = 0.0  # 0 is no phone
        at_once = over_blank.clone()
        rests = torch.arange(rest)
        at_once[rests, :, rests % tokens] = 0.0
        ends = by_rest[..., 0].unsqueeze(1)
        return cls(torch.cat([at_once, over_blank], 1), torch.cat([ends, ends], 2).contiguous())

    @property
    def tokens(self) -> int:
        """Number of tokens with the blank."""
        return self.leave.shape[2]

    @property
    def rest(self) -> int:
        """Number of histories without their oldest phone."""
        return self.leave.shape[0]

    @cached_property
    def kernels(self) -> Any:
        """What walks through a trigram on a GPU without ten launches a frame, or None."""
        if self.leave.device.type != "cuda" or self.rest != self.tokens:
            return None
        try:
            from rivulet.training.denominator_cuda import Kernels
        except ImportError:  # torch has no Triton here
            return None
        return Kernels(self.leave, self.end, FLOOR)

    def to(self, place: torch.device | torch.dtype) -> "Denominator":
        """Return it on another device or in another precision."""
        return Denominator(self.leave.to(place), self.end.to(place))

    def __call__(self, log_probs: Tensor, steps: Tensor) -> Tensor:
        """Sum over all phone sequences.

        Args:
            log_probs: (B, T, V), natural log, float32 or float64.
            steps: (B,), the frames of each that count.

        Returns:
            (B,), natural log; its gradient are the tokens' occupancies, which sum to 1 each frame.
        """
        value: Tensor = _ForwardBackward.apply(log_probs, steps, self)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return value


class _ForwardBackward(torch.autograd.Function):
    """Both passes at once, when the gradient is wanted."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, steps: Tensor, denominator: Denominator) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        if denominator.kernels is not None:
            value: Tensor
            value, occupancies = denominator.kernels.run(log_probs, steps, wanted)
            ctx.save_for_backward(occupancies)
            return value
        probabilities = _probabilities(log_probs, steps)
        states, scales, total = _forward(denominator, probabilities)
        if wanted:
            ctx.save_for_backward(_occupancies(denominator, probabilities, states, scales, steps))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (occupancies,) = ctx.saved_tensors
        return occupancies * gradients[0].view(-1, 1, 1), None, None


def _probabilities(log_probs: Tensor, steps: Tensor) -> Tensor:
    """(B, T, V) → (T, V, B); after an utterance's end the blank is certain, which adds nothing."""
    probabilities = log_probs.clamp(min=FLOOR).exp()
    times = torch.arange(log_probs.shape[1], device=log_probs.device)
    over = times >= steps.to(log_probs.device).unsqueeze(1)  # (B, T)
    probabilities.masked_fill_(over.unsqueeze(2), 0.0)
    probabilities[..., 0].masked_fill_(over, 1.0)
    return probabilities.permute(1, 2, 0).contiguous()


def _forward(denominator: Denominator, probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Walk through (T, V, B) frames from the start.

    Returns:
        Each frame's states (T + 1, R, B, 2 V), which sum to about 1; what they were multiplied by
        at each frame (T, B); log of the sum over all paths (B,).
    """
    length, tokens, batch = probabilities.shape
    rest = denominator.rest
    states = probabilities.new_empty(length + 1, rest, batch, 2 * tokens)
    states[0] = 0.0
    states[0, 0, :, tokens] = 1.0  # nothing is written yet, as after a blank
    scales = probabilities.new_empty(length, batch)
    split = (rest // tokens, tokens, batch, tokens)
    for t in range(length):
        old, new = states[t], states[t + 1]
        torch.reciprocal(old.sum((0, 2)), out=scales[t])
        scaled = probabilities[t] * scales[t]
        entered = torch.bmm(old, denominator.leave).view(tokens, rest // tokens, batch, tokens)
        phone = new[..., :tokens].view(split)
        stayed = old[..., :tokens].view(split)
        torch.add(stayed, entered.permute(1, 3, 2, 0), out=phone).mul_(scaled.unsqueeze(2))
        blank = torch.add(old[..., :tokens], old[..., tokens:], out=new[..., tokens:])
        blank.mul_(scaled[0].unsqueeze(1))
    ended = (states[-1] * denominator.end).sum((0, 2))
    return states, scales, ended.log() - scales.log().sum(0)


def _occupancies(
    denominator: Denominator, probabilities: Tensor, states: Tensor, scales: Tensor, steps: Tensor
) -> Tensor:
    """Walk back from the end; return how likely each token is at each frame, (B, T, V)."""
    length, tokens, batch = probabilities.shape
    rest = denominator.rest
    back = denominator.leave.transpose(1, 2).contiguous()
    occupancies = torch.empty_like(probabilities)
    split = (rest // tokens, tokens, batch, tokens)
    ahead = denominator.end / (states[-1] * denominator.end).sum((0, 2)).view(1, batch, 1)
    for t in range(length - 1, -1, -1):
        both = states[t + 1] * ahead
        at_phone = both[..., :tokens].sum(2).view(rest // tokens, tokens, batch)
        torch.sum(at_phone, 0, out=occupancies[t])
        occupancies[t, 0] = both[..., tokens:].sum((0, 2))  # no state writes 0 as its phone
        scaled = probabilities[t] * scales[t]
        entered = ahead[..., :tokens].view(split) * scaled.unsqueeze(2)
        blank = ahead[..., tokens:] * scaled[0].unsqueeze(1)
        left = entered.permute(3, 0, 2, 1).reshape(rest, batch, tokens)
        ahead = torch.bmm(left, back)
        ahead[..., :tokens] += entered.view(rest, batch, tokens)
        ahead.view(rest, batch, 2, tokens).add_(blank.unsqueeze(2))
    times = torch.arange(length, device=steps.device)
    within = (times < steps.unsqueeze(1)).to(probabilities.device)
    return occupancies.permute(2, 0, 1) * within.unsqueeze(2)
