import dataclasses
import json
import shutil

import numpy as np
import pytest
from support import ROOT, SAMPLES

from rivulet import checkpoint
from rivulet.__main__ import main
from rivulet.audio import read
from rivulet.decoding.settings import TimingConfig
from rivulet.evaluation.ctm import SpokenWord, write_ctm
from rivulet.events import Final
from rivulet.recognizer import Recognizer

LATE_S = 0.12


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(ROOT / "checkpoints" / "default", tmp_path / "model")


@pytest.fixture(params=["beam", "greedy"])
def decoder(request):
    return request.param


@pytest.fixture
def reference(tmp_path, folder, decoder):
    """Times of the model's own words in a clip, all earlier by a known delay."""
    stream = Recognizer.load(folder, decoder=decoder).with_timing(TimingConfig()).stream()
    events = stream.accept(np.concatenate(list(read(SAMPLES / "slt.flac")))) + stream.finish()
    words = [w for e in events if isinstance(e, Final) for w in e.words]
    spoken = [SpokenWord(w.text, w.start - LATE_S, w.end - LATE_S) for w in words[1:]]
    write_ctm(tmp_path / "words.ctm", {"slt": spoken})
    text = " ".join(w.text for w in words[1:])
    (tmp_path / "list.tsv").write_text(
        f"id\tpath\tseconds\tspeaker\ttext\nslt\t{SAMPLES / 'slt.flac'}\t4.0\tme\t{text}\n"
    )
    return tmp_path / "words.ctm"


def test_the_measured_delay_is_stored_and_taken_off(folder, reference, decoder, tmp_path, capsys):
    before = checkpoint.load(folder)
    arguments = ["calibrate", str(folder), "--manifest", str(tmp_path / "list.tsv")]
    arguments += ["--decoder", decoder]
    assert main([*arguments, "--reference", str(reference), "--name", "a known delay"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    after = checkpoint.load(folder)
    assert report["start_s"] == pytest.approx(LATE_S, abs=0.005)
    stored, other = after.timing, after.beam.timing
    if decoder == "beam":
        stored, other = other, stored
    assert other in (before.timing, before.beam.timing)
    assert stored == TimingConfig(
        round(report["start_s"], 3), round(report["end_s"], 3), "a known delay"
    )
    assert (folder / "model.safetensors").read_bytes() == (
        ROOT / "checkpoints" / "default" / "model.safetensors"
    ).read_bytes()
    assert before.tokenizer == after.tokenizer


def test_files_that_do_not_belong_together_are_refused(folder, reference, tmp_path, capsys):
    write_ctm(tmp_path / "other.ctm", {"another": [SpokenWord("A", 0.1, 0.2)]})
    arguments = ["calibrate", str(folder), "--manifest", str(tmp_path / "list.tsv")]
    assert main([*arguments, "--reference", str(tmp_path / "other.ctm")]) == 1
    assert "times of 1 clips and none is in" in capsys.readouterr().err


def test_confidence_is_fitted_and_stored(folder, tmp_path, capsys):
    rows = [
        f"{clip.stem}\t{clip}\t4.0\tme\t{clip.with_suffix('.txt').read_text().upper().strip()}"
        for clip in sorted(SAMPLES.glob("*.flac"))
    ]
    (tmp_path / "list.tsv").write_text("id\tpath\tseconds\tspeaker\ttext\n" + "\n".join(rows))
    arguments = ["calibrate", str(folder), "--manifest", str(tmp_path / "list.tsv")]
    assert main([*arguments, "--confidence", "--name", "samples"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    beam = checkpoint.load(folder).beam
    fitted = beam.confidence
    assert beam.min_log_prob < 0.0
    assert fitted.measured_on == "samples"
    assert dataclasses.asdict(fitted) == report["fitted"]
    assert sum(group["words"] for group in report["reliability"]["bins"]) > 10


def test_calibrating_nothing_is_refused(folder, tmp_path, capsys):
    (tmp_path / "list.tsv").write_text("id\tpath\tseconds\tspeaker\ttext\n")
    assert main(["calibrate", str(folder), "--manifest", str(tmp_path / "list.tsv")]) == 1
    assert "0 things to measure" in capsys.readouterr().err


def test_a_weight_of_priors_needs_priors(folder, capsys):
    beam = checkpoint.load(folder).beam
    checkpoint.store_beam(folder, dataclasses.replace(beam, priors=()))
    clip = str(SAMPLES / "awb.flac")
    assert main(["transcribe", clip, "--model", str(folder), "--prior-weight", "0.5"]) != 0
    assert "knows 0 priors" in capsys.readouterr().err


def test_priors_are_the_mean_of_what_the_network_writes(folder, tmp_path, capsys):
    line = f"slt\t{SAMPLES / 'slt.flac'}\t4.0\tme\tANY WORDS\n"
    (tmp_path / "list.tsv").write_text("id\tpath\tseconds\tspeaker\ttext\n" + line)
    assert (
        main(["calibrate", str(folder), "--manifest", str(tmp_path / "list.tsv"), "--priors"]) == 0
    )
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    after = checkpoint.load(folder)
    assert list(report["priors"]) == list(after.phones.tokens)
    assert tuple(report["priors"].values()) == after.beam.priors
    chances = np.exp(after.beam.priors)
    assert chances.sum() == pytest.approx(1.0, abs=0.01)
    assert chances.argmax() == 0  # the blank


def test_a_dry_run_measures_and_changes_nothing(folder, reference, decoder, tmp_path, capsys):
    before = (folder / "config.json").read_bytes()
    arguments = ["calibrate", str(folder), "--manifest", str(tmp_path / "list.tsv")]
    arguments += ["--decoder", decoder, "--reference", str(reference), "--dry-run"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1])["start_s"] == pytest.approx(LATE_S, abs=0.005)
    assert "nothing was changed" in printed.err
    assert (folder / "config.json").read_bytes() == before
