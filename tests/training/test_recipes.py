"""The recipes that a user trains with, on sound and words made up."""

import csv
import dataclasses
import json
import math
import wave

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import ROOT

from rivulet.acoustic.model import ModelConfig
from rivulet.corpora.manifest import Utterance, write_manifest
from rivulet.errors import ConfigError
from rivulet.recognizer import Recognizer
from rivulet.training import loop
from rivulet.training.augment import AugmentConfig
from rivulet.training.batches import draw_epoch
from rivulet.training.config import DataConfig, Recipe, read_recipe
from rivulet.training.data import prepare
from rivulet.training.dev_scores import DevScores
from rivulet.training.export import ExportConfig, export
from rivulet.training.initial_weights import BEST_FILE
from rivulet.training.loop import RESUME_FILE, train

RECIPES = ROOT / "data" / "recipes"
RATE = 16_000
PHONES = {
    "A": "AA1", "B": "B", "D": "D", "E": "EH1", "F": "F", "G": "G", "I": "IH1", "K": "K",
    "L": "L", "M": "M", "N": "N", "O": "OW1", "P": "P", "R": "R", "S": "S", "T": "T",
}  # fmt: skip


@pytest.fixture
def data(tmp_path):
    """Two corpora of random words, a tone a letter, enough of them for 1000 pieces."""
    rng = np.random.default_rng(3)
    words = ["".join(rng.choice(list(PHONES), 6)) for _ in range(400)]
    lines = [f"{word} {' '.join(PHONES[letter] for letter in word)}\n" for word in words]
    (tmp_path / "dictionary.txt").write_text("".join(lines))
    texts = [" ".join(words[first : first + 10]) for first in range(0, len(words), 10)]
    items = [spoken(text, tmp_path / f"{index}.wav") for index, text in enumerate(texts)]
    write_manifest(tmp_path / "librispeech.tsv", items[:20])
    write_manifest(tmp_path / "mine.tsv", items[20:])
    write_manifest(tmp_path / "dev.tsv", items[:4])
    return DataConfig(
        (str(tmp_path / "librispeech.tsv"), str(tmp_path / "mine.tsv")),
        str(tmp_path / "dev.tsv"),
        None,
        str(tmp_path / "dictionary.txt"),
        str(tmp_path / "cache"),
    )


def spoken(text, path):
    """Write a tone of 0.06 s for each letter."""
    tones = [300.0 + 150.0 * sorted(PHONES).index(letter) for letter in text.replace(" ", "")]
    turns = np.cumsum(np.repeat(tones, RATE * 6 // 100)) / RATE
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((10_000 * np.sin(2 * math.pi * turns)).astype("<i2").tobytes())
    return Utterance(path.stem, path, len(turns) / RATE, "nobody", text, "made-up")


def small(recipe, **changes):
    """The recipe with a network that takes no time; one epoch of CTC, two of MMI."""
    model = dataclasses.replace(recipe.model, hidden=24, channels=4)
    return dataclasses.replace(
        recipe,
        model=model,
        **{"epochs": 3, "ctc_epochs": 1, "clean_epochs": 1, "batch_s": 60.0, "log_every": 1}
        | changes,
    )


@pytest.mark.parametrize("name", ["default", "librispeech-960"])
def test_a_recipe_goes_from_nothing_through_mmi_to_a_recognizer(name, tmp_path, data):
    recipe = small(read_recipe(RECIPES / f"{name}.json"))
    train(recipe, data, tmp_path / "run")
    with (tmp_path / "run" / "steps.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert {row["epoch"] for row in rows} == {0, 1, 2}
    for row in rows:
        rivals_count = row["phones-mmi"] < row["phones"]
        assert rivals_count == (row["epoch"] >= recipe.ctc_epochs)
        assert all(map(math.isfinite, row.values()))
    heads = {"head": "bpe-1000", "phones": "phones"}
    export(tmp_path / "run", tmp_path / "model", ExportConfig(name, bits=5, **heads))
    made = Recognizer.load(tmp_path / "model")
    assert isinstance(made.transcribe(tmp_path / "0.wav").text, str)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model"]["tokens"] == 1000


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "last_is_kept"), [(1.0, True), (0.0, False)])
def test_with_mmi_the_last_weights_are_kept_however_dev_is_read(
    weight, last_is_kept, tmp_path, data, monkeypatch
):
    worse = iter([0.1, 0.2])
    monkeypatch.setattr(loop, "dev_scores", lambda *_: DevScores({"characters": next(worse)}))
    recipe = Recipe(
        epochs=2,
        batch_s=60.0,
        head_weights={"characters": 1.0, "phones": 1.0},
        head_layers={},
        mmi_weight=weight,
        model=ModelConfig(channels=4, hidden=8, layers=1),
    )
    train(recipe, dataclasses.replace(data, train=data.train[1:]), tmp_path / "run")
    best, point = (load_file(tmp_path / "run" / name) for name in (BEST_FILE, RESUME_FILE))
    equal = (torch.equal(value, point[f"average.{name}"]) for name, value in best.items())
    assert all(equal) == last_is_kept


@pytest.mark.slow
def test_corpora_are_heard_as_often_as_they_weigh(tmp_path, data):
    recipe = Recipe(
        epochs=40,
        batch_s=60.0,
        head_weights={"characters": 1.0},
        corpus_weights={"libri*": 2.5, "mine": 0.25},
        augment=AugmentConfig(),
        model=ModelConfig(channels=4, hidden=8, layers=1),
    )
    prepared = prepare(recipe, data, tmp_path, None, 1)
    ids = [item.id for item in prepared.makers[0].corpus.utterances]
    heard = [[ids[index] for batch in plan for index in batch] for plan in prepared.plans]
    first = [sum(int(name) < 20 for name in epoch) for epoch in heard]
    second = [len(epoch) - count for epoch, count in zip(heard, first, strict=True)]
    assert all(40 <= count <= 60 for count in first)  # twice all of 20, and some once more
    assert np.mean(first) == pytest.approx(50, abs=2)
    assert np.mean(second) == pytest.approx(5, abs=1)
    assert all(max(map(epoch.count, epoch)) <= 3 for epoch in heard)
    assert len(set(map(tuple, heard))) == len(heard)


def test_weights_that_fit_no_corpus_are_said(tmp_path, data, capsys):
    recipe = Recipe(
        epochs=1,
        head_weights={"characters": 1.0},
        corpus_weights={"nowhere*": 0.5},
        model=ModelConfig(channels=4, hidden=8, layers=1),
    )
    prepare(recipe, data, tmp_path, None, 1)
    assert "corpus_weights weighs none of" in capsys.readouterr().err


def test_without_weights_an_epoch_hears_everything_once():
    assert draw_epoch(np.ones(50), 1, 7).tolist() == list(range(50))
    assert Recipe().corpus_weight("any") == 1.0


def test_the_first_pattern_that_fits_a_corpus_is_its_weight():
    recipe = Recipe(corpus_weights={"common-voice-1": 2.5, "common*": 3.0})
    assert recipe.corpus_weight("common-voice-1", "train") == 2.5
    assert recipe.corpus_weight("clips", "common-voice-delta") == 3.0
    assert recipe.corpus_weight("vctk", "train") == 1.0


def test_a_weight_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="corpus_weights of vctk is 0; use more than 0"):
        Recipe(corpus_weights={"vctk": 0})


@pytest.mark.slow
def test_the_last_epochs_are_distorted_as_the_recipe_says(tmp_path, data):
    recipe = small(read_recipe(RECIPES / "default.json"))
    for run in ("mild", "level"):
        (tmp_path / run).mkdir()
    prepared = prepare(recipe, data, tmp_path / "mild", None, 1)
    mild = [maker.augment for maker in prepared.makers]
    assert mild == [recipe.augment] * 2 + [recipe.clean_augment]
    without = dataclasses.replace(recipe, clean_augment=None)
    level_only = prepare(without, data, tmp_path / "level", None, 1).makers[-1].augment
    assert level_only == recipe.augment.gain_only()
