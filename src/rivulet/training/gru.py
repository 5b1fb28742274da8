"""A GRU layer whose training step is half as long on a CPU as `nn.GRU`'s."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class TrainingGRU(nn.GRU):
    """`nn.GRU` of one layer with its own gradient, for training on a CPU; same weights and names.

    torch differentiates step by step and adds a (3·hidden, hidden) gradient at each, in the
    precision of autocast. Here the recurrence keeps its state in float32, and the weights' gradient
    is one product over all steps. Anywhere but in training on a CPU this is `nn.GRU`.
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, input) and (1, B, hidden) → (B, T, hidden) and (1, B, hidden)."""
        if not self.training or x.device.type != "cpu":
            return super().forward(x, hidden)  # type: ignore[no-any-return, has-type]
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        # torch orders the gates: reset, update, new; only the new gate's second bias is under reset
        kept = 2 * self.hidden_size
        under_reset = torch.cat([torch.zeros_like(self.bias_hh_l0[:kept]), self.bias_hh_l0[kept:]])
        bias = self.bias_ih_l0 + self.bias_hh_l0 - under_reset
        with torch.autocast("cpu", enabled=False):
            steps_first = x.transpose(0, 1).to(dtype)
            gates = functional.linear(steps_first, self.weight_ih_l0.to(dtype), bias.to(dtype))
            y, last = _Recurrence.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
                gates, hidden[0].float(), self.weight_hh_l0.to(dtype), under_reset.to(dtype)
            )
        return y.transpose(0, 1), last.unsqueeze(0)


class _Recurrence(torch.autograd.Function):
    """h' = (1 - z) · n + z · h, step by step over the gates that the input asks for."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, start: Tensor, weight: Tensor, bias: Tensor) -> Any:
        """(T, B, 3H), (B, H) float32, (3H, H), (3H) → (T, B, H) as `gates`, (B, H) float32."""
        steps, batch, width = gates.shape[0], gates.shape[1], weight.shape[1]
        across = weight.t().contiguous()
        reset_update = gates.new_empty(steps, batch, 2 * width)
        recurrent = gates.new_empty(steps, batch, 3 * width)
        new = gates.new_empty(steps, batch, width)
        hidden = torch.empty(steps + 1, batch, width)
        rounded = gates.new_empty(steps + 1, batch, width)
        hidden[0] = rounded[0] = start
        for t in range(steps):
            asked, own = gates[t], recurrent[t]
            torch.addmm(bias, rounded[t], across, out=own)
            both = torch.add(asked[:, : 2 * width], own[:, : 2 * width], out=reset_update[t])
            reset, update = both.sigmoid_().chunk(2, dim=1)
            torch.addcmul(asked[:, 2 * width :], reset, own[:, 2 * width :], out=new[t]).tanh_()
            torch.lerp(new[t].float(), hidden[t], update.float(), out=hidden[t + 1])
            rounded[t + 1] = hidden[t + 1]
        ctx.save_for_backward(reset_update, recurrent[..., 2 * width :], new, rounded, weight)
        return rounded[1:], hidden[-1].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Walk back through the steps; the weights wait until all steps are known."""
        reset_update, under_reset, new, rounded, weight = ctx.saved_tensors
        steps, batch, width = new.shape
        reset, update = reset_update.chunk(2, dim=2)
        into_new = (1 - update) * (1 - new * new)  # dh' / d(input of tanh)
        slopes = torch.empty(steps, batch, 3, width, dtype=new.dtype)
        slopes[:, :, 0] = into_new * under_reset * reset * (1 - reset)
        slopes[:, :, 1] = (rounded[:-1] - new) * update * (1 - update)
        slopes[:, :, 2] = into_new * reset
        update = update.float()
        outputs = gradients[0].float()
        hidden = torch.empty(steps, batch, width)
        recurrent = torch.empty_like(slopes)
        flat = recurrent.view(steps, batch, 3 * width)
        carried = gradients[1].float()
        for t in range(steps - 1, -1, -1):
            torch.add(carried, outputs[t], out=hidden[t])
            torch.mul(slopes[t], hidden[t].to(new.dtype).unsqueeze(1), out=recurrent[t])
            carried = torch.addcmul((flat[t] @ weight).float(), hidden[t], update[t])
        rows = flat.reshape(-1, 3 * width)
        weight_gradient = rows.t() @ rounded[:-1].reshape(-1, width)
        bias_gradient = rows.sum(0, dtype=torch.float32).to(new.dtype)
        asked = flat.clone()  # the input's share of the new gate is not under reset
        asked[..., 2 * width :] = into_new * hidden
        return asked, carried, weight_gradient, bias_gradient
