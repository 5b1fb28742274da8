import csv
import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import ROOT, SAMPLES

from rivulet import checkpoint
from rivulet.__main__ import main
from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.features import FeatureConfig, band_centers
from rivulet.acoustic.log_mel import FeatureStatistics, LogMel
from rivulet.acoustic.model import RecurrentLayer
from rivulet.corpora.manifest import read_manifest, write_manifest
from rivulet.corpora.sources import sound_folder
from rivulet.errors import ConfigError
from rivulet.evaluation.transcripts import evaluate
from rivulet.recognizer import Recognizer
from rivulet.training import loop
from rivulet.training.augment import (
    AugmentConfig,
    add_noise,
    augment_sound,
    equalize,
    mask_frames,
    reverberate,
    warp_bands,
)
from rivulet.training.batches import BatchMaker, plan_epoch
from rivulet.training.config import DataConfig, Recipe, read_recipe
from rivulet.training.corpus import pack
from rivulet.training.export import ExportConfig, export
from rivulet.training.heads import HeadedModel, consistency_losses
from rivulet.training.loop import RESUME_FILE, learning_rate, train
from rivulet.training.optimizer import Float32Muon, make_optimizers, step_all
from rivulet.training.start import BEST_FILE, STATISTICS_FILE, TOP, read_run, read_start
from rivulet.training.targets import (
    bpe,
    characters,
    complete_dictionary,
    learn_bpe,
    phones,
    read_dictionary,
)

TINY = Recipe(
    epochs=2,
    plain_epochs=1,
    batch_s=9.0,
    learning_rate=3e-3,
    warmup_steps=5,
    head_weights={"characters": 1.0, "phones": 0.5},
    head_layers={"phones": 1},
    model=ModelConfig(channels=4, hidden=48, layers=2, dropout=0.1),
)
DICTIONARY = "THE 1 DH AH0\nBOAT 1 B OW1 T\nBREAD 1 B R EH1 D\nWATER(2) W AO1 T ER0\n"


@pytest.fixture
def data(tmp_path):
    """Every sample clip, as a manifest with a dictionary of a few of their words."""
    items = [dataclasses.replace(item, text="THE BOAT") for item in sound_folder(SAMPLES)]
    write_manifest(tmp_path / "list.tsv", items)
    (tmp_path / "dictionary.txt").write_text(DICTIONARY)
    listed = str(tmp_path / "list.tsv")
    return DataConfig(
        (listed,), listed, None, str(tmp_path / "dictionary.txt"), str(tmp_path / "cache")
    )


def weights(folder):
    return {k: v for k, v in load_file(folder / RESUME_FILE).items() if k.startswith("model.")}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_that_was_interrupted_gives_the_same_weights(tmp_path, data, optimizer):
    recipe = dataclasses.replace(TINY, optimizer=optimizer)
    train(recipe, data, tmp_path / "whole")
    for steps in (1, 3, None):
        train(dataclasses.replace(recipe, max_steps=steps), data, tmp_path / "parts")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with (tmp_path / "whole" / "dev.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"characters", "phones"} <= set(rows[0])


def test_a_model_learns_its_sentences_by_heart_and_ships(tmp_path, data):
    """Overfit clips of several voices with one text each; the exported model then writes it."""
    items = list(sound_folder(SAMPLES))
    write_manifest(tmp_path / "list.tsv", items)
    write_manifest(tmp_path / "train.tsv", items * 20)
    data = dataclasses.replace(data, train=(str(tmp_path / "train.tsv"),))
    still = AugmentConfig((1.0,), (0.0, 0.0), 0.0, (5.0, 5.0), 0.0, 0, 0, 0.0, 0)
    recipe = dataclasses.replace(
        TINY,
        epochs=11,
        batch_s=15.0,
        learning_rate=5e-3,
        head_weights={"characters": 1.0},
        average_decay=0.9,
        augment=still,
        model=ModelConfig(channels=8, hidden=96, layers=2, dropout=0.0),
    )
    train(recipe, data, tmp_path / "run")
    export(tmp_path / "run", tmp_path / "model", ExportConfig("clips", "characters"))
    result = evaluate(Recognizer.load(tmp_path / "model"), items)
    assert result.wer < 0.2
    assert result.rtf < 1.0


def test_a_run_may_write_phones_only_unclipped_and_log_every_step(tmp_path, data):
    tokens = len(phones(Path(data.dictionary)).tokenizer)
    model = dataclasses.replace(TINY.model, tokens=tokens, cell="lstm")
    recipe = dataclasses.replace(
        TINY, head_weights={"phones": 1.0}, clip_norm=None, log_every=1, model=model
    )
    train(recipe, data, tmp_path / "run")
    assert read_run(tmp_path / "run").recipe == recipe
    with (tmp_path / "run" / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    assert all(float(row["norm"]) > 0.0 for row in rows)


def test_training_can_begin_with_a_checkpoint(tmp_path, data):
    """Fine-tuning: the first weights are the checkpoint's, and another width is refused."""
    recipe = dataclasses.replace(TINY, head_weights={"characters": 1.0}, max_steps=1)
    train(recipe, data, tmp_path / "run")
    whole = ExportConfig("first", "characters", bits=32)
    start = export(tmp_path / "run", tmp_path / "model", whole)
    still = dataclasses.replace(recipe, learning_rate=1e-12, seed=9)
    train(still, data, tmp_path / "tuned", read_start(str(tmp_path / "model")))
    tuned = export(tmp_path / "tuned", tmp_path / "tuned-model", whole)
    assert torch.equal(tuned.statistics.mean, start.statistics.mean)
    for a, b in zip(tuned.model.parameters(), start.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=0)
    wider = dataclasses.replace(still, model=ModelConfig(channels=4, hidden=64, layers=2))
    with pytest.raises(ConfigError, match=r"differs from the recipe's in [0-9]+ tensors"):
        train(wider, data, tmp_path / "other", read_start(str(tmp_path / "model")))


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
    train(recipe, data, tmp_path / "more", read_start(str(tmp_path / "run")))
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
    start = read_start("default")
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
    run, start = read_run(tmp_path / "run"), read_start(str(tmp_path / "run"))
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


def test_dev_is_measured_every_few_epochs_and_at_the_end(tmp_path, data):
    recipe = dataclasses.replace(TINY, epochs=5, measure_every=2)
    train(recipe, data, tmp_path / "run")
    with (tmp_path / "run" / "dev.csv").open(newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [2, 4, 5]
    with pytest.raises(ConfigError, match="measure_every is 0"):
        dataclasses.replace(TINY, measure_every=0)


def test_what_is_listed_twice_is_decoded_once(data, tmp_path):
    once = read_manifest(Path(data.dev))
    corpus = pack([*once, once[1], once[0]], tmp_path / "cache")
    assert len(corpus) == len(once) + 2
    assert len(corpus.samples) == corpus.lengths[: len(once)].sum()
    for twice, first in ((-2, 1), (-1, 0)):
        assert np.array_equal(corpus.sound(len(corpus) + twice), corpus.sound(first))
    assert corpus.seconds()[-1] == pytest.approx(once[0].seconds, abs=0.02)
    other_order = pack(once[::-1], tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.i16"))) == 1
    assert np.array_equal(other_order.sound(0), corpus.sound(len(once) - 1))


def test_two_processes_train_together(tmp_path, data):
    """DistributedDataParallel over gloo: both processes take part, one set of weights comes out."""
    recipe = dataclasses.replace(TINY, optimizer="muon", batch_s=16.0)  # two clips a batch
    (tmp_path / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe)))
    command = [sys.executable, "-m", "rivulet", "train", "--processes", "2"]
    command += ["--recipe", str(tmp_path / "recipe.json"), "--train", data.train[0]]
    command += ["--dev", data.dev, "--dictionary", str(data.dictionary), "--cache", data.cache]
    command += ["--output", str(tmp_path / "run")]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    out = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert out.returncode == 0, out.stderr[-3000:]
    assert out.stdout.count("best weights") == 1
    assert (tmp_path / "run" / BEST_FILE).is_file()
    with (tmp_path / "run" / "dev.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == [1, 2]  # 4 clips, 2 batches an epoch, one for each process


def test_a_mistake_is_said_once_however_many_processes_were_asked_for(tmp_path, data, capfd):
    (tmp_path / "recipe.json").write_text(json.dumps(dataclasses.asdict(TINY)))
    command = ["train", "--recipe", str(tmp_path / "recipe.json"), "--train", data.train[0]]
    command += ["--output", str(tmp_path / "run"), "--processes", "2", "--dev"]
    assert main([*command, "nowhere.tsv"]) == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "nowhere.tsv does not exist" in said


def test_a_process_says_that_the_first_one_ended(monkeypatch):
    def barrier():
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(loop.dist, "barrier", barrier)
    second = loop.Place(1, 2, torch.device("cpu"))
    with pytest.raises(ConfigError, match="the first process ended"), loop._first_alone(second):
        pass


def test_no_process_at_all_is_refused(tmp_path, capfd):
    missing = ["train", "--recipe", str(tmp_path / "none.json"), "--train", "x", "--dev", "x"]
    missing += ["--output", str(tmp_path / "run"), "--processes"]
    assert main([*missing, "0"]) != 0
    assert "0 processes cannot train" in capfd.readouterr().err


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


def test_a_dropped_unit_is_dropped_all_along_a_sequence():
    layer = RecurrentLayer(ModelConfig(hidden=64, dropout=0.5)).train()
    x = torch.randn(3, 20, 64)
    y, _ = layer(x, (torch.zeros(3, 64),))
    dropped = (y - x) == 0.0
    assert (dropped.all(1) == dropped.any(1)).all()
    assert 0.3 < dropped.all(1).float().mean() < 0.7


def test_a_head_that_cannot_be_trained_says_why(tmp_path, data):
    for recipe, dictionary, says in [
        (TINY, None, "needs a pronouncing dictionary"),
        (dataclasses.replace(TINY, head_weights={"words": 1.0}), None, "head 'words' is unknown"),
        (
            dataclasses.replace(TINY, head_weights={"phones": 1.0}),
            data.dictionary,
            "the first head has",
        ),
    ]:
        with pytest.raises(ConfigError, match=says):
            train(recipe, dataclasses.replace(data, dictionary=dictionary), tmp_path / "run")


def test_only_heads_at_the_top_ship(tmp_path, data):
    train(dataclasses.replace(TINY, max_steps=1), data, tmp_path / "run")
    with pytest.raises(ConfigError, match="reads layer 1"):
        export(tmp_path / "run", tmp_path / "model", ExportConfig("x", "phones"))
    with pytest.raises(ConfigError, match="no head 'bpe-9'"):
        export(tmp_path / "run", tmp_path / "model", ExportConfig("x", "bpe-9"))
    with pytest.raises(ConfigError, match="no finished epoch"):
        export(tmp_path / "nothing", tmp_path / "model", ExportConfig("x", "bpe"))


def test_export_averages_the_weights_of_runs_and_checkpoints(tmp_path, data):
    recipe = dataclasses.replace(TINY, head_weights={"characters": 1.0}, max_steps=1)
    train(recipe, data, tmp_path / "a")
    whole = ExportConfig("a", "characters", bits=32)
    a = export(tmp_path / "a", tmp_path / "model", whole).torch.model
    first = read_start(str(tmp_path / "model"))
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


def test_the_learning_rate_warms_up_and_falls():
    rates = [learning_rate(TINY, step, 100) for step in range(100)]
    assert np.argmax(rates) == pytest.approx(5, abs=1)
    assert rates[0] == pytest.approx(TINY.learning_rate / 5)
    assert max(rates) == pytest.approx(TINY.learning_rate)
    assert rates[-1] < 0.02 * TINY.learning_rate


def test_every_utterance_is_in_one_batch_and_batches_are_bounded():
    seconds = np.random.default_rng(0).uniform(1.0, 15.0, 300)
    for epoch, shortest_first in ((0, True), (1, False)):
        plan = plan_epoch(seconds, 60.0, 1, epoch, shortest_first)
        assert sorted(i for batch in plan for i in batch) == list(range(300))
        assert all(max(seconds[batch]) * len(batch) <= 60.0 for batch in plan)
        lengths = [np.mean(seconds[batch]) for batch in plan]
        assert (np.diff(lengths) > -1.0).all() == shortest_first
        assert plan == plan_epoch(seconds, 60.0, 1, epoch, shortest_first)


def test_batches_of_one_moment_are_of_like_lengths_for_all_processes():
    seconds = np.random.default_rng(0).uniform(1.0, 15.0, 3001)
    plan = plan_epoch(seconds, 60.0, 1, 1, False, world=3)
    assert len(plan) % 3 == 0
    chosen = [i for batch in plan for i in batch]
    assert len(chosen) == len(set(chosen))
    assert len(chosen) > 3001 - 3 * 60  # what is left out is less than three batches
    for first in range(0, len(plan), 3):
        lengths = [max(seconds[batch]) for batch in plan[first : first + 3]]
        assert max(lengths) < 2.0 * min(lengths)


def test_an_epoch_is_planned_by_the_lengths_it_will_hear(data):
    corpus = pack(read_manifest(Path(data.train[0])), Path(data.cache))
    augment = AugmentConfig(speeds=(0.5, 1.0, 2.0))
    statistics = FeatureStatistics(torch.zeros(80), torch.ones(80))
    maker = BatchMaker(corpus, None, augment, FeatureConfig(), statistics, TINY.model, {}, seed=1)
    for epoch in range(3):
        heard = maker.heard_seconds(epoch)
        for index, seconds in enumerate(heard):
            steps = int(maker.make([index], epoch).steps[0])
            assert steps * 0.04 == pytest.approx(seconds, abs=0.3)  # the silence after it varies


def test_two_views_of_a_batch_differ_in_masks_and_bands_only(data):
    """The second half of the rows is the first again: the same sound, masked elsewhere."""
    corpus = pack(read_manifest(Path(data.train[0])), Path(data.cache))
    statistics = FeatureStatistics(torch.zeros(80), torch.ones(80))
    bare = {"frequency_masks": 0, "time_masks_per_s": 0.0}

    def batch(**augment):
        config = AugmentConfig(**augment)
        encoded = {"characters": [[1, 2]] * len(corpus)}
        of = FeatureConfig(), statistics, TINY.model, encoded
        return BatchMaker(corpus, None, config, *of, seed=1, views=2).make([0, 2, 1], 0)

    plain, masked, warped = batch(**bare), batch(), batch(**bare, warp=(0.9, 1.12))
    one, two = plain.frames.chunk(2)
    assert torch.equal(one, two)
    for other in (masked, warped):
        assert other.steps.tolist() == plain.steps.tolist() == plain.steps[:3].tolist() * 2
        assert other.audio_s == plain.audio_s
        assert other.targets["characters"].rows.tolist() == list(range(6))
        one, two = other.frames.chunk(2)
        assert not torch.equal(one, two)
    same = masked.frames == plain.frames
    assert 0.5 < same.float().mean() < 1.0
    assert torch.all(masked.frames[~same] == 0.0)


def test_views_that_are_read_alike_lose_nothing_and_padding_does_not_count(data):
    corpus = pack(read_manifest(Path(data.train[0])), Path(data.cache))
    statistics = FeatureStatistics(torch.zeros(80), torch.ones(80))
    of = corpus, None, AugmentConfig(), FeatureConfig(), statistics, TINY.model
    batch = BatchMaker(*of, {"phones": [[1, 2]] * len(corpus)}, seed=1, views=2).make([0, 1], 0)
    shape = len(batch.steps), int(max(batch.steps)), 5
    view = torch.randn((2, *shape[1:]), generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    alike = torch.cat([view, view])
    assert float(consistency_losses({"phones": alike}, batch)["phones"]) == pytest.approx(0.0)
    shorter = int(batch.steps[:2].argmin())
    noisy = alike.clone()
    noisy[shorter, int(batch.steps[shorter]) :] = -9.0
    assert float(consistency_losses({"phones": noisy}, batch)["phones"]) == pytest.approx(0.0)
    moved = alike.clone().requires_grad_()
    other = torch.full((5,), 0.2).log()
    with torch.no_grad():
        moved[2, 3] = other
    there = view[0, 3]
    expected = (there.exp() * (there - other)).sum() + (other.exp() * (other - there)).sum()
    loss = consistency_losses({"phones": moved}, batch)["phones"]
    assert float(loss.detach()) == pytest.approx(float(expected) / 8)  # 4 utterances of 2 tokens
    loss.backward()
    assert moved.grad[0, 3].abs().sum() > 0.0
    assert moved.grad[2, 3].abs().sum() > 0.0
    one_view = dataclasses.replace(batch, steps=batch.steps[:2] + torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="one view"):
        consistency_losses({"phones": view}, one_view)


def test_a_run_can_ask_two_views_to_agree(tmp_path, data):
    augment = AugmentConfig(warp=(0.9, 1.12))
    recipe = dataclasses.replace(TINY, consistency=0.2, augment=augment, log_every=1)
    train(recipe, data, tmp_path / "run")
    assert read_run(tmp_path / "run").recipe == recipe
    with (tmp_path / "run" / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    distorted = [float(row["characters-apart"]) for row in rows if row["epoch"] == "0"]
    assert all(value > 0.0 for value in distorted)


def test_a_longer_vocal_tract_sounds_lower():
    """A tone moves to its frequency divided by the factor; silence and the ends stay."""
    centers_hz = band_centers(FeatureConfig())
    log_mel = LogMel(FeatureConfig())
    peaks_hz = torch.arange(201)[log_mel.mel.mel_scale.fb.argmax(0)] * 40.0
    np.testing.assert_allclose(centers_hz, peaks_hz, atol=20.0)  # half a bin of the spectrum
    time = np.arange(16_000) / 16_000
    for hertz in (400.0, 1500.0, 3000.0):
        tone = torch.from_numpy(np.sin(2 * np.pi * hertz * time).astype(np.float32))
        for factor in (0.9, 1.0, 1.12):
            warped = warp_bands(log_mel(tone), centers_hz, factor)
            heard_hz = centers_hz[int(warped.mean(0).argmax())]
            assert heard_hz == pytest.approx(hertz / factor, rel=0.05)
    silence = log_mel(torch.zeros(1_600))
    torch.testing.assert_close(warp_bands(silence, centers_hz, 0.9), silence)
    frames = torch.randn(9, 80)
    assert torch.equal(warp_bands(frames, centers_hz, 1.0), frames)
    torch.testing.assert_close(warp_bands(frames, centers_hz, 1.12)[:, -1], frames[:, -1])


def test_noise_is_added_at_the_asked_ratio():
    rng = np.random.default_rng(0)
    speech = rng.standard_normal(16_000).astype(np.float32)
    noise = 7.0 * rng.standard_normal(16_000).astype(np.float32)
    for snr_db in (0.0, 10.0, 20.0):
        added = add_noise(speech, noise, snr_db) - speech
        assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(
            snr_db, abs=0.1
        )


def test_a_room_keeps_level_and_length_and_adds_a_tail():
    click = np.zeros(16_000, np.float32)
    click[1_000] = 1.0
    wet = reverberate(click, 0.3, np.random.default_rng(0))
    assert len(wet) == 16_000
    assert np.sqrt(np.mean(wet**2)) == pytest.approx(np.sqrt(np.mean(click**2)), rel=0.01)
    assert np.abs(wet[:1_000]).max() < 1e-6
    early, late = np.mean(wet[1_001:2_000] ** 2), np.mean(wet[4_800:5_800] ** 2)
    assert early > 10 * late > 0.0


def test_an_equalizer_colors_within_its_limit_and_moves_nothing():
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    colored = equalize(noise, 6.0, np.random.default_rng(1))
    assert colored.shape == noise.shape
    assert colored.dtype == np.float32
    assert int(np.argmax(np.correlate(colored[:8_000], noise[:8_000], "full"))) == 7_999
    bands_db = 20.0 * np.log10(
        [
            np.linalg.norm(after) / np.linalg.norm(before)
            for before, after in zip(
                np.array_split(np.fft.rfft(noise)[1:], 40),
                np.array_split(np.fft.rfft(colored)[1:], 40),
                strict=True,
            )
        ]
    )
    assert np.abs(bands_db).max() < 6.5
    assert np.ptp(bands_db) > 2.0


def test_augmentation_is_the_same_for_the_same_seed():
    sound = (np.random.default_rng(0).standard_normal(16_000) * 3_000).astype(np.int16)
    config = AugmentConfig(noise_probability=1.0, reverb_probability=1.0, equalizer_probability=1.0)
    one, two, other = (
        augment_sound(sound, None, config, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one[:10_000], other[:10_000])
    assert np.abs(one).max() <= 1.0


def test_the_last_epochs_vary_only_the_level():
    sound = (np.random.default_rng(0).standard_normal(16_000) * 3_000).astype(np.int16)
    plain = AugmentConfig(
        noise_probability=1.0, reverb_probability=1.0, equalizer_probability=1.0, warp=(0.9, 1.12)
    ).gain_only()
    assert plain.warp == (1.0, 1.0)
    heard = augment_sound(sound, None, plain, np.random.default_rng(5))
    gain = heard / (sound / 32768.0 + 1e-12)
    assert np.ptp(gain[np.abs(sound) > 500]) < 1e-3
    frames = torch.ones(400, 80)
    mask_frames(frames, 400, plain, np.random.default_rng(0))
    assert frames.min() == 1.0


def test_speed_changes_length():
    sound = np.zeros(16_000, np.int16)
    lengths = {
        len(augment_sound(sound, None, AugmentConfig((s,)), np.random.default_rng(0)))
        for s in (0.8, 1.0, 1.25)
    }
    assert lengths == {20_000, 16_000, 12_800}


def test_sound_that_a_dictionary_leaves_without_phones_is_named(tmp_path, data, capsys):
    short = tmp_path / "short.txt"
    words = [line for line in Path(data.dictionary).read_text().splitlines() if line[:1] == "T"]
    short.write_text("\n".join(words))
    whole, missing = complete_dictionary(short, ["THE NEW BOAT"], lambda word: ["B", word])
    assert missing == ["BOAT", "NEW"]
    assert whole["BOAT"] == ["B", "BOAT"]
    assert whole["THE"] == read_dictionary(short)["THE"]
    recipe = dataclasses.replace(TINY, max_steps=1)
    train(recipe, dataclasses.replace(data, dictionary=str(short)), tmp_path / "run")
    assert re.search(r"head phones has no target for 0\.\d+ of", capsys.readouterr().err)


def test_masks_cover_bands_and_stretches():
    frames = torch.ones(400, 80)
    mask_frames(frames, 400, AugmentConfig(), np.random.default_rng(0))
    covered = float((frames == 0.0).float().mean())
    assert 0.01 < covered < 0.6


def test_a_dictionary_gives_phones_without_stress(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# comment\n" + DICTIONARY)
    assert read_dictionary(path)["WATER"] == ["W", "AO", "T", "ER"]
    target = phones(path)
    assert [target.tokenizer.tokens[i] for i in target.encode("THE BOAT")] == [
        "DH",
        "AH",
        "B",
        "OW",
        "T",
    ]
    assert target.encode("THE SHIP") is None
    assert characters().encode("A B") == [2, 1, 3]


def test_bpe_pieces_spell_what_they_were_made_of():
    """Merged in the order of the pieces, which is what SentencePiece does."""
    sentencepiece = pytest.importorskip("sentencepiece")
    texts = ["THE BOAT WENT DOWN THE RIVER", "THE CHILDREN WAVED FROM THE BRIDGE"] * 5
    target = bpe(learn_bpe(texts, 40))
    assert len(target.tokenizer) == 40
    assert [target.tokenizer.decode(target.encode(text)) for text in texts] == texts
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=40,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    others = [*texts, "THEN THE WENT BRIDE RODE DOWN FROM THERE"]
    assert [target.encode(text) for text in others] == [theirs.encode(text) for text in others]
    assert target.encode("THE QUIZ") is None


def test_a_run_keeps_the_pieces_of_what_it_begins_with(tmp_path, data, capsys):
    """Other texts would give other pieces, and the head that has learned the old ones be lost."""
    pytest.importorskip("sentencepiece")
    model = dataclasses.replace(TINY.model, tokens=16)
    recipe = dataclasses.replace(TINY, head_weights={"bpe-16": 1.0}, model=model, max_steps=1)
    train(recipe, data, tmp_path / "run")
    listed = Path(data.train[0])
    listed.write_text(listed.read_text().replace("THE BOAT", "A HOT BOAT BEE"))
    more = dataclasses.replace(recipe, head_weights={"bpe-16": 1.0, "characters": 0.5})
    train(more, data, tmp_path / "more", read_start(str(tmp_path / "run")))
    assert "no head like characters: begun anew" in capsys.readouterr().err
    kept = read_run(tmp_path / "more").tokenizers["bpe-16"]
    assert kept == read_run(tmp_path / "run").tokenizers["bpe-16"]
    train(recipe, data, tmp_path / "other")
    assert read_run(tmp_path / "other").tokenizers["bpe-16"] != kept


def test_shipped_recipes_are_readable():
    recipes = sorted((ROOT / "data" / "recipes").glob("*.json"))
    assert recipes
    for path in recipes:
        assert read_recipe(path, epochs=3).epochs == 3


def test_a_bad_recipe_names_the_field(tmp_path):
    path = tmp_path / "recipe.json"
    for text, says in [
        ('{"epoch": 3}', "has no field 'epoch'; its fields are epochs"),
        ("{", "cannot be read"),
        ('{"epochs": 0}', "epochs is 0"),
        ('{"model": {"cell": "cnn"}}', "model.cell: invalid enum value 'cnn'; use gru"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=says):
            read_recipe(path)
