"""What training begins with, and what ships."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support import SAMPLES
from support.training import TINY

from rivulet import audio, checkpoint
from rivulet.__main__ import main
from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.frames import STRIDE
from rivulet.errors import ConfigError
from rivulet.training.export import ExportConfig, export
from rivulet.training.heads import HeadedModel
from rivulet.training.initial_weights import STATISTICS_FILE, TOP, read_initial_weights, read_run
from rivulet.training.loop import learning_rate, train
from rivulet.training.targets import (
    phones,
)


def test_training_can_begin_with_a_checkpoint(tmp_path, data):
    """Fine-tuning: the first weights are the checkpoint's, and another width is refused."""
    recipe = dataclasses.replace(TINY, head_weights={"characters": 1.0}, max_steps=1)
    train(recipe, data, tmp_path / "run")
    whole = ExportConfig("first", "characters", bits=32)
    start = export(tmp_path / "run", tmp_path / "model", whole)
    still = dataclasses.replace(recipe, learning_rate=1e-12, seed=9)
    train(still, data, tmp_path / "tuned", read_initial_weights(str(tmp_path / "model")))
    tuned = export(tmp_path / "tuned", tmp_path / "tuned-model", whole)
    assert torch.equal(tuned.torch.statistics.mean, start.torch.statistics.mean)
    for a, b in zip(tuned.torch.model.parameters(), start.torch.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=0)
    wider = dataclasses.replace(still, model=ModelConfig(channels=4, hidden=64, layers=2))
    with pytest.raises(ConfigError, match=r"differs from the recipe's in [0-9]+ tensors"):
        train(wider, data, tmp_path / "other", read_initial_weights(str(tmp_path / "model")))


def test_a_new_head_learns_over_a_frozen_trunk(tmp_path, data):
    """A run begins with all heads of another that fit; while frozen, only the heads move."""
    train(dataclasses.replace(TINY, max_steps=1), data, tmp_path / "run")
    recipe = dataclasses.replace(
        TINY,
        head_weights={"characters": 1.0, "phones": 1.0, "phones-1": 0.5},
        head_layers={"phones-1": 1},
        frozen_steps=9,
        max_steps=1,
        average_decay=0.0,
    )
    assert learning_rate(recipe, 0, 20) == recipe.learning_rate
    train(recipe, data, tmp_path / "more", read_initial_weights(str(tmp_path / "run")))
    before, after = read_run(tmp_path / "run").model, read_run(tmp_path / "more").model
    for a, b in zip(before.trunk_parameters(), after.trunk_parameters(), strict=True):
        assert torch.equal(a, b)
    old = before.head("phones").state_dict()  # reads layer 1 there
    new = after.head("phones-1").state_dict()
    assert not torch.equal(old["1.weight"], new["1.weight"])
    torch.testing.assert_close(old["1.weight"], new["1.weight"], atol=0.01, rtol=0)
    shipped = after.with_output("characters", "phones")
    assert (shipped.config.tokens, shipped.config.phones) == (
        29,
        len(phones(Path(data.dictionary)).tokenizer),
    )


def test_training_can_begin_with_both_heads_of_a_shipped_model():
    start = read_initial_weights("default")
    sizes = {"bpe-1000": 1000, "phones": 41}
    tokenizers = {
        name: next(t for t, _, _ in start.heads if len(t) == size) for name, size in sizes.items()
    }
    shipped = checkpoint.load("default", "torch").torch.model
    model = HeadedModel(dataclasses.replace(shipped.config, phones=0), sizes, {})
    start.give_to(model, tokenizers)
    assert torch.equal(model.acoustic.output.weight, shipped.output.weight)
    assert torch.equal(model.head("phones").weight, shipped.phone_output.weight)
    assert torch.equal(model.acoustic.row.weight, shipped.row.weight)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_a_deeper_network_begins_as_the_one_it_grows_from(tmp_path, data, cell):
    """It says the same at first, and what its new layers add is learned."""
    recipe = dataclasses.replace(
        TINY, max_steps=1, model=dataclasses.replace(TINY.model, cell=cell)
    )
    train(recipe, data, tmp_path / "run")
    run, start = read_run(tmp_path / "run"), read_initial_weights(str(tmp_path / "run"))
    assert [layer for _, layer, _ in start.heads] == [TOP, 1]
    sizes = {name: len(tokenizer) for name, tokenizer in run.tokenizers.items()}
    deeper = HeadedModel(dataclasses.replace(recipe.model, layers=4), sizes, {"phones": 1})
    start.give_to(deeper, run.tokenizers)
    frames = torch.randn(2, 40, 80)
    before, after = run.model.eval()(frames), deeper.eval()(frames)
    assert all(torch.equal(before[name], after[name]) for name in sizes)
    deeper.train()(frames)["characters"][..., 0].sum().backward()
    assert all(layer.cell.weight_ih_l0.grad.abs().sum() > 0 for layer in deeper.acoustic.layers)
    shallower = HeadedModel(dataclasses.replace(recipe.model, layers=1), sizes, {})
    with pytest.raises(ConfigError, match="as many layers or more"):
        start.give_to(shallower, run.tokenizers)


def test_only_heads_at_the_top_ship(tmp_path, data):
    train(dataclasses.replace(TINY, max_steps=1), data, tmp_path / "run")
    with pytest.raises(ConfigError, match="reads layer 1"):
        export(tmp_path / "run", tmp_path / "model", ExportConfig("x", "phones"))
    with pytest.raises(ConfigError, match="no head 'bpe-9'"):
        export(tmp_path / "run", tmp_path / "model", ExportConfig("x", "bpe-9"))
    with pytest.raises(ConfigError, match="no finished epoch"):
        export(tmp_path / "nothing", tmp_path / "model", ExportConfig("x", "bpe"))


def test_few_bits_are_rounded_so_that_the_network_writes_the_same_for_speech(tmp_path, data):
    """`--rounding-speech`: nearer to full precision than rounding each weight by itself."""
    train(dataclasses.replace(TINY, max_steps=1), data, tmp_path / "run")
    whole, plain, careful = (tmp_path / name for name in ("whole", "plain", "careful"))
    export_run = ["export", str(tmp_path / "run"), "--output"]
    speech = ["--rounding-speech", *data.train]
    assert main([*export_run, str(whole), "--bits", "32"]) == 0
    assert main([*export_run, str(plain), "--bits", "5"]) == 0
    assert main([*export_run, str(careful), "--bits", "5", *speech]) == 0
    off = [(written(model) - written(whole)).square().mean() for model in (plain, careful)]
    assert 0.0 < off[1] < 0.7 * off[0]  # 0.53 of it when this was written


def written(folder):
    """The log-probabilities of a checkpoint for a sample clip."""
    network = checkpoint.load(folder, "torch").torch.network
    samples = torch.from_numpy(audio.load(SAMPLES / "slt.flac"))
    frames = network.statistics.normalize(network.frontend(samples[None]))
    frames = frames[:, : frames.shape[1] // STRIDE * STRIDE]
    return network.model(frames, network.model.initial_state())[0]


def test_export_averages_the_weights_of_runs_and_checkpoints(tmp_path, data):
    recipe = dataclasses.replace(TINY, head_weights={"characters": 1.0}, max_steps=1)
    train(recipe, data, tmp_path / "a")
    whole = ExportConfig("a", "characters", bits=32)
    a = export(tmp_path / "a", tmp_path / "model", whole).torch.model
    first = read_initial_weights(str(tmp_path / "model"))
    runs = {"b": dataclasses.replace(recipe, seed=2), "c": dataclasses.replace(recipe, seed=3)}
    for name, other in runs.items():
        train(other, data, tmp_path / name, first)
    b, c = (export(tmp_path / name, tmp_path / f"{name}-model", whole).torch.model for name in runs)
    sources = (str(tmp_path / "model"), str(tmp_path / "b"))
    averaged = dataclasses.replace(whole, average=sources)
    mean = export(tmp_path / "c", tmp_path / "mean", averaged).torch.model
    for x, y, z, m in zip(*(i.parameters() for i in (a, b, c, mean)), strict=True):
        torch.testing.assert_close(m, (x + y + z) / 3)
    assert not torch.equal(b.output.weight, c.output.weight)


def test_only_what_belongs_together_is_averaged(tmp_path, data):
    recipe = dataclasses.replace(TINY, head_weights={"characters": 1.0}, max_steps=1)
    train(recipe, data, tmp_path / "run")
    others = {
        "head": dataclasses.replace(
            recipe,
            head_weights={"bpe-16": 1.0},
            model=dataclasses.replace(recipe.model, tokens=16),
        ),
        "network": dataclasses.replace(recipe, model=ModelConfig(channels=4, hidden=32, layers=2)),
        "statistics": recipe,
    }
    says = {"head": "no head like characters", "network": "differs", "statistics": "statistics of"}
    for name, other in others.items():
        train(other, data, tmp_path / name)
        if name == "statistics":
            louder = {"mean": torch.ones(80), "std": torch.ones(80)}
            save_file(louder, tmp_path / name / STATISTICS_FILE)
        config = ExportConfig("x", "characters", average=(str(tmp_path / name),))
        with pytest.raises(ConfigError, match=says[name]):
            export(tmp_path / "run", tmp_path / "model", config)
        assert not (tmp_path / "model").exists()


def test_a_run_keeps_the_pieces_of_what_it_begins_with(tmp_path, data, capsys):
    """Other texts would give other pieces, and the head that has learned the old ones be lost."""
    pytest.importorskip("sentencepiece")
    model = dataclasses.replace(TINY.model, tokens=16)
    recipe = dataclasses.replace(TINY, head_weights={"bpe-16": 1.0}, model=model, max_steps=1)
    train(recipe, data, tmp_path / "run")
    listed = Path(data.train[0])
    listed.write_text(listed.read_text().replace("THE BOAT", "A HOT BOAT BEE"))
    more = dataclasses.replace(recipe, head_weights={"bpe-16": 1.0, "characters": 0.5})
    train(more, data, tmp_path / "more", read_initial_weights(str(tmp_path / "run")))
    assert "no head like characters: begun anew" in capsys.readouterr().err
    kept = read_run(tmp_path / "more").tokenizers["bpe-16"]
    assert kept == read_run(tmp_path / "run").tokenizers["bpe-16"]
    train(recipe, data, tmp_path / "other")
    assert read_run(tmp_path / "other").tokenizers["bpe-16"] != kept
