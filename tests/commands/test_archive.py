"""`rivulet archive` as a user runs it: results, resuming, mistakes, Ctrl-C."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
from support import ROOT, SAMPLES

from rivulet.__main__ import main
from rivulet.recognizer import Recognizer

PATIENCE_S = 600.0


def archive(*arguments):
    return main(["archive", *map(str, arguments), "--model", "tiny", "--workers", "2"])


@pytest.mark.slow
def test_a_folder_becomes_texts_a_table_and_a_summary(tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    talks, out = tmp_path / "talks", tmp_path / "out"
    (talks / "day 1").mkdir(parents=True)
    shutil.copy(SAMPLES / "awb.flac", talks / "day 1")
    shutil.copy(SAMPLES / "slt.flac", talks)
    (talks / "broken.wav").write_bytes(b"RIFF")
    assert archive(talks, "-o", out) == 1
    assert "3 of 3 files to do" in capsys.readouterr().err
    tiny = Recognizer.load("tiny")
    for name in ("day 1/awb.flac", "slt.flac"):
        alone = tiny.transcribe(talks / name)
        lines = (out / "talks" / f"{name}.jsonl").read_text().splitlines()
        said = [json.loads(line) for line in lines]
        assert [one["display"] for one in said] == [final.display for final in alone.segments]
        assert [word for one in said for word in one["words"]] == [asdict(w) for w in alone.words]
    rows = parquet.read_table(out / "results.parquet").to_pylist()
    assert [row["text_file"] is None for row in rows] == [True, False, False]
    assert json.loads((out / "errors.jsonl").read_text())["file"] == str(talks / "broken.wav")
    assert json.loads((out / "summary.json").read_text())["files"] == 3

    assert archive(talks, "-o", out) == 1  # one input has failed still
    said = capsys.readouterr().err
    assert "0 of 3 files to do; 2 are done already; 1 failed before" in said
    with_gap = [word for word in ("--raw", "-o", out)]
    assert archive(talks, *with_gap) == 1
    assert "were made with other settings (text" in capsys.readouterr().err
    texts = sorted(out.rglob("*.jsonl"))
    for mistake in (["--workers", "0"], ["--exclude", "*"]):
        assert main(["archive", str(talks), *map(str, with_gap), "--restart", *mistake]) == 1
    assert archive(talks / "none", *with_gap, "--restart") == 1
    assert sorted(out.rglob("*.jsonl")) == texts  # a mistake loses nothing
    assert archive(talks, *with_gap, "--restart", "--exclude", "broken.*") == 0
    assert parquet.read_table(out / "results.parquet").num_rows == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_run_that_is_ended_goes_on(tmp_path, number, status):
    talks, out = tmp_path / "talks", tmp_path / "out"
    talks.mkdir()
    for n in range(24):
        shutil.copy(SAMPLES / f"{('awb', 'slt', 'rms')[n % 3]}.flac", talks / f"{n:02}.flac")
    command = [sys.executable, ROOT / "cli.py", "archive", talks, "-o", out, "--format", "txt"]
    command += ["--model", "tiny", "--workers", "1"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE_S
    while not list(out.glob("talks/*.txt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(number)
    said = run.communicate(timeout=PATIENCE_S)[1]
    assert run.returncode in (status, 0), said  # it may have been over just then
    assert "Traceback" not in said
    if number != signal.SIGKILL and run.returncode:
        assert "files are left, the same command goes on" in said
        assert (out / "summary.json").is_file()
    before = {path: path.stat().st_mtime_ns for path in out.glob("talks/*.txt")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    texts = {path.name: path.read_text() for path in out.glob("talks/*.txt")}
    assert sorted(texts) == [f"{n:02}.flac.txt" for n in range(24)]
    assert len(set(texts.values())) == 3
    if number != signal.SIGKILL:  # the one that was being noted just then may be done again
        assert sum(path.stat().st_mtime_ns != at for path, at in before.items()) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "-o", "out"], "nowhere does not exist"),
        (["empty", "-o", "out"], "hold 0 sound files"),
        (["empty", "-o", "empty/notes.txt"], "is a file, and results need a folder"),
        (["empty", "-o", "out", "--threads", "2"], "use --workers instead"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, capsys, arguments, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no sound")
    monkeypatch.chdir(tmp_path)
    assert archive(*arguments) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.slow
def test_two_runs_at_a_time_are_refused(tmp_path, capsys):
    from rivulet.archive.ledger import Ledger

    with Ledger(tmp_path / "out"):
        assert archive(SAMPLES, "-o", tmp_path / "out") == 1
    assert "another run is at work" in capsys.readouterr().err
