"""The GRU that training uses on a CPU is torch's GRU, with the same gradients."""

import pytest
import torch
from torch import nn

from rivulet.training.gru import TrainingGRU


def outcome(layer, x, hidden):
    """Output, last state, and every gradient of a loss that reads both."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    hidden = hidden.clone().requires_grad_()
    y, last = layer(x, hidden)
    weights = torch.linspace(-1, 1, y.numel()).view_as(y)
    ((y.float() * weights).sum() + last.float().square().sum()).backward()
    return [y, last, x.grad, hidden.grad, *(p.grad for p in layer.parameters())]


@pytest.fixture
def layers():
    torch.manual_seed(0)
    stock = nn.GRU(24, 24, batch_first=True)
    ours = TrainingGRU(24, 24, batch_first=True)
    ours.load_state_dict(stock.state_dict())
    return stock, ours


def test_outputs_and_gradients_are_those_of_torch(layers):
    x, hidden = torch.randn(3, 17, 24), torch.randn(1, 3, 24)
    for theirs, mine in zip(*(outcome(layer, x, hidden) for layer in layers), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_under_autocast_it_is_no_further_from_the_exact_gradient_than_torch(layers):
    stock, ours = layers
    x, hidden = torch.randn(4, 200, 24), torch.zeros(1, 4, 24)
    exact = outcome(stock, x, hidden)
    with torch.autocast("cpu", torch.bfloat16):
        theirs, mine = outcome(stock, x, hidden), outcome(ours, x, hidden)
    for right, their, my in zip(exact, theirs, mine, strict=True):
        error = (my.float() - right.float()).norm()
        assert error <= 1.25 * (their.float() - right.float()).norm() + 1e-6
        assert error <= 0.02 * right.float().norm()


def test_out_of_training_it_is_the_stock_layer(layers):
    stock, ours = (layer.eval() for layer in layers)
    x, hidden = torch.randn(2, 5, 24), torch.zeros(1, 2, 24)
    with torch.no_grad():
        assert torch.equal(stock(x, hidden)[0], ours(x, hidden)[0])
