import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from support import ROOT, small_checkpoint

from rivulet import checkpoint
from rivulet.acoustic.moments import input_moments
from rivulet.acoustic.quantization import StoredWeights, quantize
from rivulet.checkpoint import HASHED, PACKED_FILE, WEIGHTS_FILE
from rivulet.decoding.settings import TimingConfig
from rivulet.errors import CheckpointError, ConfigError

EVERY_FILE = (WEIGHTS_FILE, *HASHED)


@pytest.fixture
def folder(tmp_path):
    checkpoint.save(
        dataclasses.replace(small_checkpoint(), timing=TimingConfig(0.1, 0.05, "test")), tmp_path
    )
    return tmp_path


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.slow
def test_what_is_saved_comes_back(folder):
    before, after = small_checkpoint(), checkpoint.load(folder, "torch")
    assert after.tokenizer == before.tokenizer
    assert after.features == before.features
    assert after.config == before.config
    assert after.timing == TimingConfig(0.1, 0.05, "test")
    for a, b in zip(after.torch.model.parameters(), before.torch.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=0.0, rtol=1e-3)  # half precision


@pytest.mark.slow
def test_full_precision_is_exact(tmp_path):
    checkpoint.save(small_checkpoint(), tmp_path, bits=32)
    for a, b in zip(
        checkpoint.load(tmp_path, "torch").torch.model.parameters(),
        small_checkpoint().torch.model.parameters(),
        strict=True,
    ):
        assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 6, 5])
def test_few_bits_are_off_by_half_a_step_at_most_and_small(tmp_path, bits):
    checkpoint.save(small_checkpoint(), tmp_path, bits=16)
    whole = (tmp_path / WEIGHTS_FILE).stat().st_size
    checkpoint.save(small_checkpoint(), tmp_path, bits=bits)
    assert not (tmp_path / WEIGHTS_FILE).exists()
    assert (tmp_path / PACKED_FILE).stat().st_size < whole * (bits + 4) / 16
    after = checkpoint.load(tmp_path, "torch").torch.model.state_dict()
    for name, before in small_checkpoint().torch.model.state_dict().items():
        assert (after[name] - before).square().mean().sqrt() <= before.abs().max() / 2**bits


def test_a_row_with_one_large_value_is_clipped_where_that_errs_least():
    row = np.append(np.linspace(-1, 1, 999), 1.2)[None].astype(np.float32)
    whole = row - np.rint(row / (1.2 / 3)) * (1.2 / 3)
    clipped = row - StoredWeights(quantize({"w": row}, 3))["w"]
    assert np.square(clipped).sum() < np.square(whole).sum()
    zeros = np.zeros((2, 5), np.float32)
    assert np.array_equal(StoredWeights(quantize({"w": zeros}, 6))["w"], zeros)


def test_a_matrix_is_rounded_so_that_its_outputs_stay():
    """Inputs that move together let one weight make up for another's error."""
    random = np.random.default_rng(3)
    inputs = random.standard_normal((500, 8)) @ random.standard_normal((8, 64))
    inputs += 0.1 * random.standard_normal(inputs.shape)
    matrix = random.standard_normal((20, 64)).astype(np.float32)
    moments = {"w": (inputs.T @ inputs / len(inputs)).astype(np.float32)}
    off = {}
    for name, known in (("alone", None), ("together", moments)):
        stored = quantize({"w": matrix}, 4, known)
        assert np.abs(stored["w"]).max() <= 7
        off[name] = np.square(inputs @ (StoredWeights(stored)["w"] - matrix).T).mean()
    assert off["together"] < 0.3 * off["alone"]
    silent = {"w": np.zeros((64, 64), np.float32)}  # nothing was heard: nothing makes up
    plain, quiet = (StoredWeights(quantize({"w": matrix}, 4, m))["w"] for m in (None, silent))
    assert np.abs(quiet - matrix).max() < 1.5 * np.abs(plain - matrix).max()


@pytest.mark.slow
def test_weights_rounded_together_come_back_as_they_were_written(tmp_path):
    """A file takes an array's bytes as they lie: columns first, weights came back in disorder."""
    made = small_checkpoint()
    frames = torch.randn(1, 40, made.config.n_mels, generator=torch.Generator().manual_seed(1))
    moments = input_moments(made.torch.model, [frames])
    checkpoint.save(made, tmp_path, bits=8, moments=moments)
    after = checkpoint.load(tmp_path, "torch").torch.model.state_dict()
    for name, before in made.torch.model.state_dict().items():
        assert (after[name] - before).abs().max() <= 0.15 * before.abs().max(), name


def test_the_moments_of_a_network_are_those_of_what_its_matrices_multiply():
    model = small_checkpoint().torch.model
    frames = torch.randn(1, 40, model.config.n_mels, generator=torch.Generator().manual_seed(1))
    moments = input_moments(model, [frames, frames])
    weights = {n: t for n, t in model.state_dict().items() if t.dim() > 1 and "row" not in n}
    assert {n: len(m) for n, m in moments.items()} == {n: t[0].numel() for n, t in weights.items()}
    outputs, _ = model.encode(frames, model.initial_state(1))
    expected = outputs[-1][0].T @ outputs[-1][0] / outputs[-1].shape[1]
    torch.testing.assert_close(torch.from_numpy(moments["output.weight"]), expected)


def test_other_numbers_of_bits_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot have 4 bits; use 5, 6, 8, 16 or 32"):
        checkpoint.save(small_checkpoint(), tmp_path, bits=4)


@pytest.mark.slow
def test_packed_weights_cut_short_are_refused(tmp_path):
    checkpoint.save(small_checkpoint(), tmp_path, bits=8)
    cut = (tmp_path / PACKED_FILE).read_bytes()[:-100]
    (tmp_path / PACKED_FILE).write_bytes(cut)
    with pytest.raises(CheckpointError, match="was altered"):
        checkpoint.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EVERY_FILE, "config.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        checkpoint.load(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_FILE)
def test_an_altered_file_is_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} was altered"):
        checkpoint.load(folder)


@pytest.mark.slow
def test_a_newer_version_asks_for_an_upgrade(folder):
    change(folder, version=99)
    with pytest.raises(CheckpointError, match=r"format version 99 .* up to 1; upgrade"):
        checkpoint.load(folder)


@pytest.mark.slow
def test_a_config_that_does_not_fit_the_weights_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    change(folder, model=config["model"] | {"hidden": 64})
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoint.load(folder)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{", '{"format": "other"}', "[]"])
def test_a_config_of_something_else_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError):
        checkpoint.load(folder)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(CheckpointError, match=r"no model 'nonesuch'.*default"):
        checkpoint.load("nonesuch")


@pytest.mark.slow
def test_the_shipped_model_is_small_and_whole():
    folder = ROOT / "checkpoints" / "default"
    assert checkpoint.find("default") == folder
    assert sum(path.stat().st_size for path in folder.iterdir()) < 40e6
    assert (folder / "README.md").is_file()
    assert checkpoint.load().config.cell == "gru"


@pytest.mark.slow
def test_the_digest_names_the_content(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("copy")
    shutil.copytree(folder, other, dirs_exist_ok=True)
    assert checkpoint.load(folder).digest == checkpoint.load(other).digest
    checkpoint.save(small_checkpoint(seed=1), other)
    assert checkpoint.load(folder).digest != checkpoint.load(other).digest


@pytest.mark.slow
def test_the_tiny_model_keeps_to_8_megabytes():
    folder = ROOT / "checkpoints" / "tiny"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 8_000_000
    assert checkpoint.load("tiny").language_model is not None
