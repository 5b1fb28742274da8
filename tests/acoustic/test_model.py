import pytest
import torch
from support import small_model

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.frames import STRIDE
from rivulet.acoustic.model import AcousticModel, ModelState
from rivulet.errors import ConfigError

FRAMES = torch.randn(1, 160, 80, generator=torch.Generator().manual_seed(3))
CELLS = ["gru", "lstm", "rnn"]


def blocks(model, frames, size):
    state = model.initial_state(len(frames))
    rows = []
    for start in range(0, frames.shape[1], size):
        log_probs, state = model(frames[:, start : start + size], state)
        rows.append(log_probs)
    return torch.cat(rows, 1), state


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", [4, 16, 32])
def test_the_same_frames_in_blocks_give_the_same_rows(cell, size):
    model = small_model(cell)
    whole, last = blocks(model, FRAMES, 160)
    pieces, state = blocks(model, FRAMES, size)
    torch.testing.assert_close(pieces, whole, atol=2e-4, rtol=1e-4)
    for a, b in zip(state.tensors, last.tensors, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    again, _ = blocks(model, FRAMES, size)
    assert torch.equal(again, pieces)


def test_one_row_per_40_ms_and_each_a_distribution():
    rows, _ = blocks(small_model(), FRAMES, 16)
    assert rows.shape == (1, 160 // STRIDE, 29)
    torch.testing.assert_close(rows.exp().sum(-1), torch.ones(1, 40))


@pytest.mark.parametrize("cell", CELLS)
def test_later_frames_leave_earlier_rows_unchanged(cell):
    model = small_model(cell)
    changed = FRAMES.clone()
    changed[:, 80:] += 1.0  # from input step 20 on, which row 20 is the first to hear
    before, _ = blocks(model, FRAMES, 16)
    after, _ = blocks(model, changed, 16)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.equal(before[:, 20], after[:, 20])


@pytest.mark.parametrize("lookahead", [0, 3])
def test_row_i_hears_input_up_to_step_i_whatever_the_lookahead(lookahead):
    """Row i speaks of step i - lookahead, so it knows `lookahead` steps of that step's future."""
    model = small_model(lookahead=lookahead)
    impulse = FRAMES.clone()
    impulse[:, 40:44] += 5.0
    difference = (blocks(model, FRAMES, 16)[0] - blocks(model, impulse, 16)[0]).abs().amax((0, 2))
    assert difference[:10].max() == 0.0
    assert difference[10] > 0.0


def test_states_stack_and_split():
    model = small_model("lstm")
    others = torch.randn(3, 64, 80, generator=torch.Generator().manual_seed(5))
    single = [blocks(model, others[i : i + 1], 16) for i in range(3)]
    together, state = blocks(model, others, 16)
    torch.testing.assert_close(together, torch.cat([rows for rows, _ in single]), atol=2e-4, rtol=0)
    parts = state.split()
    assert [p.nbytes for p in parts] == [single[0][1].nbytes] * 3
    for a, b in zip(ModelState.stack(parts).tensors, state.tensors, strict=True):
        assert torch.equal(a, b)


def test_the_state_is_a_value():
    model = small_model()
    state = model.initial_state()
    kept = [tensor.clone() for tensor in state.tensors]
    model(FRAMES[:, :16], state)
    assert all(torch.equal(a, b) for a, b in zip(state.tensors, kept, strict=True))


def test_a_gru_has_three_quarters_of_the_recurrent_weights_of_an_lstm():
    sizes = {}
    for cell in CELLS:
        layer = AcousticModel(ModelConfig(hidden=64, layers=1, cell=cell)).layers[0]
        sizes[cell] = sum(p.numel() for p in layer.cell.parameters())
    assert sizes["gru"] * 4 == sizes["lstm"] * 3
    assert sizes["rnn"] * 4 == sizes["lstm"]


@pytest.mark.parametrize(
    ("field", "value"), [("cell", "transformer"), ("hidden", 0), ("lookahead", 5), ("layers", -1)]
)
def test_an_impossible_shape_is_refused(field, value):
    with pytest.raises(ConfigError, match=str(value)):
        ModelConfig(**{field: value})


def test_odd_band_counts_work():
    config = ModelConfig(n_mels=41, channels=2, hidden=8, layers=1)
    model = AcousticModel(config).eval()
    rows, _ = model(torch.zeros(1, 16, 41), model.initial_state())
    assert rows.shape == (1, 4, 29)
