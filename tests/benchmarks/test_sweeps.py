"""The parts of `benchmarks/cells.py`, `growth.py` and `shape.py` that could be wrong unseen."""

import dataclasses
import math
import sys

import pytest
import torch
from support import ROOT
from torch.utils.flop_counter import FlopCounterMode

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.model import AcousticModel
from rivulet.errors import ConfigError
from rivulet.training.config import Recipe, read_recipe

sys.path.insert(0, str(ROOT / "benchmarks"))
import cells
import growth
import shape
import sweep

SMALL = ModelConfig(tokens=41, channels=4, hidden=48, layers=2, dropout=0.0)
HOURS = (3.1, 6.2, 12.4, 24.9)


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
@pytest.mark.parametrize("hidden", [48, 160])
def test_a_matched_width_is_the_nearest_in_parameters(cell, hidden):
    reference = dataclasses.replace(SMALL, hidden=hidden)
    wanted = cells.parameters(reference)
    width = cells.matched_width(reference, cell)

    def off(hidden):
        config = dataclasses.replace(reference, cell=cell, hidden=hidden)
        return abs(AcousticModel(config).num_parameters - wanted)

    assert off(width) == min(off(width + step) for step in (-1, 0, 1))
    assert off(width) < 0.01 * wanted
    assert (width < hidden) == (cell == "lstm")


def test_a_gru_has_three_quarters_of_the_recurrent_parameters_of_an_lstm():
    counts = {
        cell: cells.recurrent_parameters(dataclasses.replace(SMALL, cell=cell))
        for cell in cells.CELLS
    }
    assert counts["gru"] / counts["lstm"] == 0.75
    assert counts["rnn"] / counts["lstm"] == 0.25


@pytest.mark.slow
def test_every_shape_runs_with_every_seed_and_every_cell_once_unclipped(tmp_path):
    planned = cells.trials(Recipe(model=SMALL), 3, tmp_path)
    assert len({trial.name for trial in planned}) == len(planned) == 18
    assert sum(trial.recipe.clip_norm is None for trial in planned) == 3


@pytest.mark.slow
def test_a_cell_that_forgets_at_once_reaches_no_farther_than_the_convolutions():
    torch.manual_seed(1)
    model = AcousticModel(dataclasses.replace(SMALL, cell="rnn"))
    frames = torch.randn(3, 4 * 80, SMALL.n_mels)
    far = cells.reach(model, frames, 2, 1)
    assert max(far) == 1.0
    assert len(far) == cells.REACH_STEPS + 1
    assert far[20] > 0.0
    for layer in model.layers:
        torch.nn.init.zeros_(layer.cell.weight_hh_l0)
    near = cells.reach(model, frames, 2, 1)
    assert near[0] > 0.0
    assert not any(near[3:])


def test_gradient_norms_are_described_from_the_log(tmp_path):
    rows = [{"step": n, "norm": float(norm)} for n, norm in enumerate([1, 1, 3, math.inf, 9], 1)]
    sweep.write_csv(tmp_path / "steps.csv", [rows[0], *rows])  # a resumed run repeats steps
    found = cells.norms(tmp_path, 2.0)
    assert (found["norm_median"], found["norm_max"]) == (2.0, 9.0)
    assert (found["norm_clipped"], found["norm_not_finite"]) == pytest.approx((0.4, 0.2))
    assert cells.norms(tmp_path, None)["norm_clipped"] == 0


def test_one_number_of_the_network_is_changed_at_a_time(tmp_path):
    reference = read_recipe(shape.RECIPE).model
    planned = shape.trials(read_recipe(shape.RECIPE), tuple(shape.VARIED), 2, tmp_path)
    assert len({trial.name for trial in planned}) == len(planned) == 2 * 9
    assert len(shape.shapes(reference, ["lookahead"])) == 4
    for config in shape.shapes(reference):
        changed = {
            f.name
            for f in dataclasses.fields(config)
            if getattr(config, f.name) != getattr(reference, f.name)
        }
        assert changed - {"lookahead_ms"} in ({"lookahead"}, {"hidden"}, {"layers"}, set())


def test_how_much_later_a_phone_is_said_counts_the_same_phones_only():
    reference = {
        "hypotheses": [{"phones": ["DH", "AH", "K", "AE", "T"], "steps": [4, 6, 8, 10, 12]}]
    }
    later = {"hypotheses": [{"phones": ["AH", "K", "IY", "AE", "T"], "steps": [8, 10, 30, 12, 14]}]}
    assert shape.later_ms(later, reference) == pytest.approx(80.0)
    assert shape.later_ms(reference, reference) == 0.0


@pytest.mark.parametrize("floor", [0.0, 0.12])
def test_a_fit_finds_the_power_law_that_made_the_points(floor):
    law = growth.PowerLaw(0.9, 0.35, floor)
    found = growth.fit(HOURS, [law.at(h) for h in HOURS], floor=True)
    assert found.exponent == pytest.approx(0.35, abs=1e-3)
    assert found.floor == pytest.approx(floor, abs=1e-3)
    assert found.at(960.0) == pytest.approx(law.at(960.0), abs=1e-3)


def test_a_fit_without_a_floor_has_none_and_leaving_a_size_out_shows_its_doubt():
    law = growth.PowerLaw(0.9, 0.35)
    exact = [law.at(h) for h in HOURS]
    assert growth.fit(HOURS, exact, floor=False).floor == 0.0
    assert growth.without_one(HOURS, exact, 100.0) == pytest.approx([law.at(100.0)] * 2)
    bent = [e + extra for e, extra in zip(exact, (0.0, 0.01, -0.01, 0.0), strict=True)]
    low, high = growth.without_one(HOURS, bent, 960.0)
    assert low < growth.fit(HOURS, bent, floor=False).at(960.0) < high


def test_the_tables_of_growth_hold_every_size_and_every_law():
    made = {"utterances": 9, "epochs": 2, "best_epoch": 2, "steps": 7}
    law = growth.PowerLaw(0.9, 0.35, 0.1)
    rows = [{"hours": h, "per": law.at(h), "wer": law.at(h) + 0.1, **made} for h in HOURS]
    assert growth.size_table(rows).count("\n") == 2 + len(HOURS)
    lines = growth.law_table(growth.laws(rows)).splitlines()
    assert len(lines) == 2 + 2 * len(growth.WHAT)
    assert " to " in lines[2]
    assert "90.0 · h^-0.350 + 10.0" in lines[3]


@pytest.mark.slow
def test_flop_are_counted_as_torch_counts_them():
    """An RNN's, step by step: torch's counter sees no further into a fused cell."""
    config = dataclasses.replace(SMALL, cell="rnn")
    model = AcousticModel(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randn(1, 100, config.n_mels), model.initial_state())
    assert growth.forward_flops(config, [41]) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_cost_of_a_training_is_its_formula():
    cost = growth.Cost(hours=960.0, epochs=10, forward_flops=1e9, cpu_rate=100.0)
    assert cost.train_flops == pytest.approx(3 * 1e9 * 960 * 3600 * 10)
    assert cost.cpu_hours == pytest.approx(96.0)
    assert cost.gpu_hours(100.0, 0.1) == pytest.approx(cost.train_flops / 1e13 / 3600)


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/recipes/*.json")), ids=str)
def test_every_recipe_can_be_read(path):
    assert read_recipe(path).epochs > 0


def test_gradients_need_not_be_clipped(tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"clip_norm": null}')
    assert read_recipe(recipe).clip_norm is None
    with pytest.raises(ConfigError, match="clip_norm is 0"):
        Recipe(clip_norm=0.0)


def test_a_table_has_a_line_a_row_and_deviations_only_of_several():
    assert sweep.markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
    assert sweep.spread([0.5], 1, 100) == "50.0"
    assert sweep.spread([1.0, 3.0]) == "2.0 ± 1.4"
