"""Training as a whole: it resumes, learns, is shared between processes, and says what is wrong."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import ROOT, SAMPLES
from support.training import TINY, weights

from rivulet.__main__ import main
from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.model import RecurrentLayer
from rivulet.corpora.manifest import read_manifest, write_manifest
from rivulet.corpora.sources import sound_folder
from rivulet.errors import ConfigError
from rivulet.evaluation.transcripts import evaluate
from rivulet.recognizer import Recognizer
from rivulet.training import loop
from rivulet.training.augment import (
    AugmentConfig,
)
from rivulet.training.corpus import pack
from rivulet.training.export import ExportConfig, export
from rivulet.training.initial_weights import BEST_FILE, read_run
from rivulet.training.loop import train
from rivulet.training.targets import (
    phones,
)


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
    copies = [dataclasses.replace(u, id=f"{u.id}-{n}") for n in range(20) for u in items]
    write_manifest(tmp_path / "train.tsv", copies)
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
    second = loop.Rank(1, 2, torch.device("cpu"))
    with pytest.raises(ConfigError, match="the first process ended"), loop.first_alone(second):
        pass


def test_no_process_at_all_is_refused(tmp_path, capfd):
    missing = ["train", "--recipe", str(tmp_path / "none.json"), "--train", "x", "--dev", "x"]
    missing += ["--output", str(tmp_path / "run"), "--processes"]
    assert main([*missing, "0"]) != 0
    assert "0 processes cannot train" in capfd.readouterr().err


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


def test_a_run_can_ask_two_views_to_agree(tmp_path, data):
    augment = AugmentConfig(vtlp_range=(0.9, 1.12))
    recipe = dataclasses.replace(TINY, cr_ctc_weight=0.2, augment=augment, log_every=1)
    train(recipe, data, tmp_path / "run")
    assert read_run(tmp_path / "run").recipe == recipe
    with (tmp_path / "run" / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    distorted = [float(row["characters-apart"]) for row in rows if row["epoch"] == "0"]
    assert all(value > 0.0 for value in distorted)
