"""Muon for the matrices, AdamW for the rest."""

import numpy as np
import pytest
import torch
from support.training import TINY

from rivulet.training.heads import HeadedModel
from rivulet.training.loop import learning_rate
from rivulet.training.optimizer import Float32Muon, make_optimizers, step_all


def test_muon_takes_the_matrices_below_the_heads_and_adamw_the_rest():
    model = HeadedModel(TINY.model, {"characters": 29, "phones": 41}, {"phones": 1})
    adamw, muon = make_optimizers(model, "muon", 1e-3, 0.0)
    taken = {id(weight) for weight in muon.param_groups[0]["params"]}
    names = {name for name, weight in model.named_parameters() if id(weight) in taken}
    layers = [f"acoustic.layers.{i}.cell.weight_{kind}_l0" for i in (0, 1) for kind in ("ih", "hh")]
    assert names == {*layers, "acoustic.subsampling.project.weight"}
    assert len(taken) + len(adamw.param_groups[0]["params"]) == len(list(model.parameters()))
    assert len(make_optimizers(model, "adamw", 1e-3, 0.0)) == 1


def test_muon_in_float32_takes_the_steps_of_torchs_own():
    """Up to bfloat16, in which torch's own makes matrices orthogonal: 3 significant digits."""
    torch.manual_seed(0)
    theirs = [torch.nn.Parameter(torch.randn(shape)) for shape in ((96, 32), (32, 80))]
    ours = [torch.nn.Parameter(weight.detach().clone()) for weight in theirs]
    settings = {"lr": 1e-2, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    steps_of = torch.optim.Muon(theirs, **settings), Float32Muon(ours, **settings)
    before = [weight.detach().clone() for weight in ours]
    for _ in range(3):
        for one, other in zip(theirs, ours, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in steps_of:
            optimizer.step()
    for start, one, other in zip(before, theirs, ours, strict=True):
        moved = (one - start).norm()
        assert moved > 1e-2
        assert (one - other).norm() < 0.02 * moved


def test_a_step_of_muon_has_equal_singular_values():
    model = HeadedModel(TINY.model, {"characters": 29}, {})
    weight = model.acoustic.layers[0].cell.weight_hh_l0
    before = weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) * 1e-3
    step_all(make_optimizers(model, "muon", 1e-2, 0.0), 1e-2)
    values = torch.linalg.svdvals(weight.detach() - before)
    assert values.max() < 2.0 * values.min()


def test_the_learning_rate_warms_up_and_falls():
    rates = [learning_rate(TINY, step, 100) for step in range(100)]
    assert np.argmax(rates) == pytest.approx(5, abs=1)
    assert rates[0] == pytest.approx(TINY.learning_rate / 5)
    assert max(rates) == pytest.approx(TINY.learning_rate)
    assert rates[-1] < 0.02 * TINY.learning_rate
