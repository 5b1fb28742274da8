"""`train` and `lm build` killed at every file they write: what is there is whole; they go on."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import ROOT, SAMPLES
from support.language import TinyModel
from support.training import DICTIONARY, TINY, weights

from rivulet.__main__ import main
from rivulet.corpora.manifest import write_manifest
from rivulet.corpora.sources import sound_folder
from rivulet.language.model import FILES, LanguageModel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system"),
]


def killed_until_it_ends(folder: Path, words: list[str], limit: int, **more: str) -> list[dict]:
    """Run a command, killed at every file; return what is told of the attempts."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **more}
    command = [sys.executable, "-m", "support.killing", str(folder), str(limit), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"number"')]
    assert told, done.stderr[-2000:]
    assert told[-1]["status"] == 0, done.stderr[-2000:]
    assert all(t["status"] in (-9, -14, -15, 130) for t in told[:-1]), (told, done.stderr[-2000:])
    return told


def test_a_training_that_is_killed_at_every_file_ends_with_the_same_weights(tmp_path):
    items = [dataclasses.replace(item, text="THE BOAT") for item in sound_folder(SAMPLES)]
    write_manifest(tmp_path / "list.tsv", items)
    (tmp_path / "dictionary.txt").write_text(DICTIONARY)
    recipe = dataclasses.replace(TINY, log_every=1)
    (tmp_path / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe)))
    listed, words = str(tmp_path / "list.tsv"), str(tmp_path / "dictionary.txt")

    def command(name):
        flags = ["--recipe", str(tmp_path / "recipe.json"), "--train", listed, "--dev", listed]
        flags += ["--dictionary", words, "--cache", str(tmp_path / name / "cache")]
        return ["train", *flags, "--output", str(tmp_path / name)]

    (tmp_path / "killed").mkdir()
    told = killed_until_it_ends(tmp_path / "killed", command("killed"), 40)
    assert len(told) > 8
    (tmp_path / "whole").mkdir()
    killed_until_it_ends(tmp_path / "whole", command("whole"), 1)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    best = [load_file(tmp_path / name / "best.safetensors") for name in ("whole", "killed")]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])
    for name in ("steps.csv", "dev.csv"):
        rows = [steps_of(tmp_path / folder / name) for folder in ("whole", "killed")]
        assert rows[0] == rows[1]
    assert not list((tmp_path / "killed").rglob(".*.part"))


def steps_of(path: Path) -> list[str]:
    with path.open() as file:
        return [row["step"] for row in csv.DictReader(file)]


def test_a_language_model_that_is_killed_at_every_file_is_whole_in_the_end(tmp_path, monkeypatch):
    """KenLM's programs are not run: the n-grams are given."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("lmplz", "build_binary"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    TinyModel(["THE CAT SAT", "A PIANO SAT ON THE CAT"], 3).write(tmp_path / "ready.arpa")
    words = ["lm", "build", "--arpa", str(tmp_path / "ready.arpa"), "-o"]
    whole = tmp_path / "whole"
    attempts, folders = 0, []
    while attempts <= 8:  # what a late kill left finished is not done again: some series are short
        folders.append(killed := tmp_path / f"killed-{len(folders)}")
        killed.mkdir()
        build = [*words, str(killed)]
        attempts += len(killed_until_it_ends(killed, build, 60, RIVULET_KENLM=str(tools)))
    monkeypatch.setenv("RIVULET_KENLM", str(tools))
    assert main([*words, str(whole)]) == 0
    for killed in folders:
        assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())
        for name in FILES:
            if (whole / name).is_file():
                assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert "PIANO" in LanguageModel.load(killed).words
