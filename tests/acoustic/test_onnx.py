import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SAMPLES, small_checkpoint

from rivulet import audio, checkpoint
from rivulet.acoustic.export import export_8bit_graph, export_graph
from rivulet.acoustic.features import SampleBlocks
from rivulet.acoustic.onnx import ANY, OnnxEngine

CELLS = ["gru", "lstm", "rnn"]
SOUND = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) * 0.1


def weights_of(made):
    return {name: tensor.numpy() for name, tensor in made.torch.model.state_dict().items()}


def onnx(made, name="onnx"):
    network = made.torch.network
    sizes = {"onnx": (), "onnx8": (1, 2, 4, 8)}[name]
    graphs = {frames: export_8bit_graph(network, frames) for frames in sizes}
    return OnnxEngine.load(graphs or {ANY: export_graph(network)}, weights_of(made), name)


def run(engine, sound, frames):
    """The log-probabilities (T, columns) of `sound` (n,) in blocks of so many output frames."""
    cut = SampleBlocks(frames * 4)
    state = engine.layout.zeros()
    rows = []
    for block in [*cut.push(sound), *cut.flush()]:
        log_probs, state = engine.step(block[None], state)
        rows.append(log_probs[0])
    return np.concatenate(rows)


@pytest.fixture(scope="module")
def shipped():
    """The shipped model on each engine."""
    return {name: checkpoint.load("default", name).engine for name in ("onnx", "onnx8", "torch")}


@pytest.fixture(scope="module")
def small_engines():
    made = small_checkpoint()
    return [made.engine, onnx(made), onnx(made, "onnx8")]


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("frames", [1, 2, 4, 8])
def test_every_cell_and_block_computes_what_pytorch_does(cell, frames):
    made = small_checkpoint(cell)
    expected, found = run(made.engine, SOUND, frames), run(onnx(made), SOUND, frames)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.slow
def test_the_shipped_graph_is_the_torchaudio_frontend_and_the_pytorch_network(shipped):
    for path in sorted(SAMPLES.glob("*.flac")):
        sound = np.concatenate(list(audio.read(path)))
        expected, found = run(shipped["torch"], sound, 4), run(shipped["onnx"], sound, 4)
        np.testing.assert_allclose(found, expected, atol=2e-4, rtol=1e-4)
        assert np.abs(found - expected).mean() < 1e-5
        assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


@pytest.mark.slow
def test_weights_of_8_bits_change_log_probabilities_by_a_few_hundredths(shipped):
    sound = np.concatenate(list(audio.read(SAMPLES / "slt.flac")))
    expected, found = run(shipped["torch"], sound, 4), run(shipped["onnx8"], sound, 4)
    assert 1e-4 < np.abs(found - expected).mean() < 0.06


@pytest.mark.slow
def test_with_weights_of_8_bits_the_block_does_not_matter_at_all(shipped):
    rows = [run(shipped["onnx8"], SOUND, frames) for frames in (1, 2, 3, 4, 8, 13)]
    for other in rows[1:]:
        count = min(len(rows[0]), len(other))
        assert np.array_equal(rows[0][:count], other[:count])


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(data=st.data(), frames=st.sampled_from([1, 2, 4, 8]), seed=st.integers(0, 2**32 - 1))
def test_a_row_is_the_same_bits_whatever_the_other_rows_hold(shipped, data, frames, seed):
    rng = np.random.default_rng(seed)
    streams = data.draw(st.integers(2, 40))
    loudness = 10.0 ** rng.uniform(-5.0, 0.0, (streams, 1))
    samples = rng.standard_normal((streams, (4 * frames - 1) * 160 + 400)) * loudness
    samples = samples.astype(np.float32)
    for name in data.draw(st.sampled_from([["onnx", "onnx8"], ["onnx8", "onnx"]])):
        engine = shipped[name]
        state = rng.standard_normal((streams, engine.layout.size)).astype(np.float32)
        log_probs, new = engine.step(samples, state)
        row = data.draw(st.integers(0, streams - 1))
        alone, alone_new = engine.step(samples[row : row + 1], state[row : row + 1])
        assert np.array_equal(log_probs[row], alone[0])
        assert np.array_equal(new[row], alone_new[0])


@pytest.mark.slow
def test_new_weights_need_no_new_graph():
    graph = export_graph(small_checkpoint(seed=0).torch.network)
    other = small_checkpoint(seed=1)
    engine = OnnxEngine.load({ANY: graph}, weights_of(other))
    np.testing.assert_allclose(
        run(engine, SOUND, 4), run(other.engine, SOUND, 4), atol=1e-4, rtol=1e-5
    )


@pytest.mark.slow
def test_equal_weights_stay_apart_in_the_graph():
    """The exporter makes one of two equal arrays; biases that begin at 0 are equal."""
    alike = small_checkpoint()
    with torch.no_grad():
        for parameter in alike.torch.model.parameters():
            parameter.fill_(0.01)
    other = small_checkpoint(seed=1)
    engine = OnnxEngine.load({ANY: export_graph(alike.torch.network)}, weights_of(other))
    np.testing.assert_allclose(
        run(engine, SOUND, 4), run(other.engine, SOUND, 4), atol=1e-4, rtol=1e-5
    )


@pytest.mark.slow
def test_exporting_leaves_model_and_chance_alone():
    made = small_checkpoint()
    before, chance = weights_of(made), torch.get_rng_state()
    before = {name: array.copy() for name, array in before.items()}
    export_graph(made.torch.network)
    export_8bit_graph(made.torch.network, 2)
    assert torch.equal(torch.get_rng_state(), chance)
    for name, array in weights_of(made).items():
        assert np.array_equal(array, before[name])


@pytest.mark.slow
def test_the_recurrent_state_is_reset_and_waiting_frames_stay(small_engines):
    for engine in small_engines:
        _, state = engine.step(SOUND[None, :2800], engine.layout.zeros())
        fresh = engine.layout.reset_recurrent(state)
        start, stop = engine.layout.recurrent
        assert stop - start == 2 * 32  # two layers of 32
        assert not fresh[:, start:stop].any()
        assert state[:, start:stop].any()  # a value: the old one is as it was
        assert np.array_equal(fresh[:, :start], state[:, :start])
        assert np.array_equal(fresh[:, stop:], state[:, stop:])


def test_an_engine_says_what_its_last_bits_depend_on(shipped):
    assert shipped["onnx"].arithmetic.startswith("onnxruntime ")
    assert shipped["torch"].arithmetic.startswith("torch ")
