# mypy: disable-error-code="no-untyped-def,untyped-decorator,import-untyped"
"""The denominator of a phone trigram on a GPU: one kernel for each pass, instead of ten a frame.

One program walks through one utterance. A state (x, r) lies at x · V + r, and a step over phone q
leads to (r, q), at r · V + q: what a thread computes for the new state stands where it keeps the
old one, so that only the sum over x, the forgotten phone, reads what other threads wrote.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

ALIGNED = 32  # floats that a row is padded to a multiple of, so that threads load four at once
WARPS = 16


@triton.jit(do_not_specialize=["length"])  # or each sixteenth length is compiled anew
def _walk_forward(  # noqa: PLR0913 (what a kernel reads and writes)
    log_probs,  # (B, T, V)
    steps,  # (B,)
    leave,  # (V, stride): [x, (r, q)]
    end,  # (stride,)
    states,  # (B, T + 1, 2, stride): at a phone, and at the blank after it
    scratch,  # (B, 2, 2, stride): for odd and even frames, either state and the blank alone
    scales,  # (B, T)
    total,  # (B,)
    length,
    floor: tl.constexpr,
    tokens: tl.constexpr,
    stride: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, block)
    real = at < stride
    rest, phone = at // tokens, at % tokens
    log_probs += row * length * tokens
    states += row * (length + 1) * 2 * stride
    scratch += row * 4 * stride
    # a phone follows itself over a blank alone
    source = rest + tl.where(rest == phone, stride, 0)
    at_phone = tl.zeros((block,), tl.float32)
    at_blank = tl.where(at == 0, 1.0, 0.0)
    tl.store(states + at, at_phone, mask=real)
    tl.store(states + stride + at, at_blank, mask=real)
    tl.store(scratch + at, at_blank, mask=real)
    tl.store(scratch + stride + at, at_blank, mask=real)
    scale = 1.0
    value = 0.0
    for t in range(tl.load(steps + row)):
        tl.debug_barrier()
        old = scratch + (t % 2) * 2 * stride
        entered = tl.zeros((block,), tl.float32)
        for x in tl.static_range(tokens):
            weight = tl.load(leave + x * stride + at, mask=real, other=0.0)
            entered += weight * tl.load(old + x * tokens + source, mask=real, other=0.0)
        frame = log_probs + t * tokens
        written = tl.exp(tl.maximum(tl.load(frame + phone), floor)) * scale
        blank = tl.exp(tl.maximum(tl.load(frame), floor)) * scale
        either = at_phone + at_blank
        at_phone = (at_phone + entered) * written
        at_blank = either * blank
        tl.store(scales + row * length + t, scale)
        either = at_phone + at_blank
        new = scratch + ((t + 1) % 2) * 2 * stride
        tl.store(new + at, either, mask=real)
        tl.store(new + stride + at, at_blank, mask=real)
        after = states + (t + 1) * 2 * stride
        tl.store(after + at, at_phone, mask=real)
        tl.store(after + stride + at, at_blank, mask=real)
        value -= tl.log(scale)
        scale = 1.0 / tl.sum(either, 0)
    ended = tl.sum((at_phone + at_blank) * tl.load(end + at, mask=real, other=0.0), 0)
    tl.store(total + row, value + tl.log(ended))


@triton.jit(do_not_specialize=["length"])  # or each sixteenth length is compiled anew
def _walk_back(  # noqa: PLR0913 (what a kernel reads and writes)
    log_probs,  # (B, T, V)
    steps,  # (B,)
    enter,  # (V, stride): [q, (x, r)], 0 where q follows itself
    again,  # (stride,): (x, r) → r
    end,  # (stride,)
    states,  # (B, T + 1, 2, stride); occupancies take their place
    scratch,  # (B, 2, stride)
    scales,  # (B, T)
    length,
    floor: tl.constexpr,
    tokens: tl.constexpr,
    stride: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, block)
    real = at < stride
    rest, phone = at // tokens, at % tokens
    log_probs += row * length * tokens
    states += row * (length + 1) * 2 * stride
    scratch += row * 2 * stride
    count = tl.load(steps + row)
    last = states + count * 2 * stride
    at_phone = tl.load(end + at, mask=real, other=0.0)
    reached = tl.load(last + at, mask=real, other=0.0)
    reached += tl.load(last + stride + at, mask=real, other=0.0)
    at_phone = at_phone / tl.sum(at_phone * reached, 0)
    at_blank = at_phone
    twice = tl.load(again + at, mask=real, other=0.0)
    for i in range(count):
        t = count - 1 - i
        here = states + (t + 1) * 2 * stride
        was_phone = tl.load(here + at, mask=real, other=0.0)
        was_blank = tl.load(here + stride + at, mask=real, other=0.0)
        tl.store(here + at, was_phone * at_phone, mask=real)
        tl.store(here + stride + at, was_blank * at_blank, mask=real)
        scale = tl.load(scales + row * length + t)
        frame = log_probs + t * tokens
        written = tl.exp(tl.maximum(tl.load(frame + phone), floor)) * scale
        blank = tl.exp(tl.maximum(tl.load(frame), floor)) * scale
        stay = at_phone * written
        silent = at_blank * blank
        turned = scratch + (i % 2) * stride  # [q, r]
        tl.store(turned + phone * tokens + rest, stay, mask=at < tokens * tokens)
        tl.debug_barrier()
        left = tl.zeros((block,), tl.float32)
        for q in tl.static_range(1, tokens):
            weight = tl.load(enter + q * stride + at, mask=real, other=0.0)
            left += weight * tl.load(turned + q * tokens + phone, mask=real, other=0.0)
        repeated = twice * tl.load(turned + phone * tokens + phone, mask=real, other=0.0)
        at_phone = stay + silent + left
        at_blank = silent + left + repeated


class Kernels:
    """A trigram's transitions as both kernels read them, on one device."""

    def __init__(self, leave: Tensor, end: Tensor, floor: float) -> None:
        """Lay out what a `Denominator` of order 3 holds; log_probs below `floor` count as that."""
        tokens = self.tokens = len(leave)
        self.floor = floor
        self.stride = -(-tokens * tokens // ALIGNED) * ALIGNED
        over_blank = leave[:, tokens:].transpose(0, 1)  # (x, r, q)
        self.leave = self._rows(over_blank)
        rests = torch.arange(tokens, device=over_blank.device)
        at_once = over_blank.clone()
        at_once[:, rests, rests] = 0.0
        self.enter = self._rows(at_once.permute(2, 0, 1))
        self.again = self._rows(over_blank[:, rests, rests].unsqueeze(0))
        self.end = self._rows(end[:, 0, :tokens].t().unsqueeze(0))

    def _rows(self, values: Tensor) -> Tensor:
        """(N, V, V) → (N, stride), zeros at the end of each row."""
        rows = values.new_zeros(len(values), self.stride)
        rows[:, : self.tokens**2] = values.flatten(1)
        return rows

    def run(self, log_probs: Tensor, steps: Tensor, occupied: bool) -> tuple[Tensor, Tensor | None]:
        """Return the sum over all phone sequences (B,) and, if wanted, occupancies (B, T, V)."""
        batch, length, tokens = log_probs.shape
        stride = self.stride
        log_probs = log_probs.float().contiguous()
        steps = steps.to(log_probs.device, torch.int32)
        states = log_probs.new_empty(batch, length + 1, 2, stride)
        scratch = log_probs.new_empty(batch, 4, stride)
        scales = log_probs.new_empty(batch, length)
        total = log_probs.new_empty(batch)
        shape = {
            "floor": self.floor,
            "tokens": tokens,
            "stride": stride,
            "block": triton.next_power_of_2(stride),
            "num_warps": WARPS,
            "num_stages": 1,
        }
        _walk_forward[(batch,)](
            log_probs, steps, self.leave, self.end, states, scratch, scales, total, length, **shape
        )
        if not occupied:
            return total, None
        _walk_back[(batch,)](
            log_probs,
            steps,
            self.enter,
            self.again,
            self.end,
            states,
            scratch,
            scales,
            length,
            **shape,
        )
        times = torch.arange(length, device=steps.device)
        within = times < steps.unsqueeze(1)  # states after the end were never written
        at_phone = states[:, 1:, 0, : tokens**2].view(batch, length, tokens, tokens).sum(2)
        at_phone[..., 0] = states[:, 1:, 1].sum(2)
        return total, torch.where(within.unsqueeze(2), at_phone, 0.0)
