"""Several files at once: the texts that they have alone, in their order, whatever befalls one."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from support import ROOT, SAMPLES
from support.sounds import write_sound

from rivulet.__main__ import main
from rivulet.audio import load

CLI = [sys.executable, str(ROOT / "cli.py"), "transcribe"]


def started(command, **pipes):
    """A child that heeds interrupts, which a shell's background jobs ignore."""

    def heed():
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(command, text=True, preexec_fn=heed, **pipes)


@pytest.fixture
def quick(small, monkeypatch):
    """The command with a small recognizer."""
    monkeypatch.setattr("rivulet.commands.batch.load_recognizer", lambda args: small)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Twelve sounds of very different lengths, the longest first."""
    folder = tmp_path_factory.mktemp("clips")
    sound = np.concatenate([load(path) for path in sorted(SAMPLES.glob("*.flac"))])
    lengths = [200_000, 800, 90_000, 30_000, 60_000, 1_600, 120_000, 50_000, 40_000, 7_000]
    return [
        str(write_sound(folder / f"{i:02}.wav", sound[i * 1000 :][:length]))
        for i, length in enumerate([*lengths, 100_000, 16_000])
    ]


def said(capsys, *arguments):
    assert main(["transcribe", *arguments]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    return out.out


@pytest.mark.slow
def test_texts_come_in_the_order_of_the_files_and_as_alone(quick, clips, capsys):
    alone = [said(capsys, clip) for clip in clips]
    together = [
        f"{clip}: {line}\n"
        for clip, text in zip(clips, alone, strict=True)
        for line in text.splitlines()
    ]
    assert said(capsys, *clips) == "".join(together)


@pytest.mark.slow
def test_events_of_many_files_come_in_order_and_as_alone(quick, clips, capsys):
    expected = [
        {**json.loads(line), "file": clip}
        for clip in clips
        for line in said(capsys, clip, "-t", "jsonl").splitlines()
    ]
    found = [json.loads(line) for line in said(capsys, *clips, "-t", "jsonl").splitlines()]
    assert found == expected


@pytest.mark.slow
def test_a_file_named_twice_is_written_twice(quick, clips, capsys):
    documents = json.loads(said(capsys, *clips[1:3], *clips[1:3], "-t", "json"))
    assert [d["file"] for d in documents] == [*clips[1:3], *clips[1:3]]
    assert documents[:2] == documents[2:]


@pytest.mark.slow
def test_files_of_a_folder_are_as_alone(quick, clips, tmp_path, capsys):
    out = tmp_path / "out"
    said(capsys, *clips, "-o", str(out), "-t", "json")
    for clip in clips:
        made = json.loads((out / os.path.basename(clip)).with_suffix(".json").read_text())
        assert made == json.loads(said(capsys, clip, "-t", "json"))
    assert len(list(out.iterdir())) == len(clips)


@pytest.mark.slow
def test_a_text_that_cannot_be_written_costs_one_file(quick, clips, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".03.txt.part").mkdir()  # where the text of 03.wav would grow
    assert main(["transcribe", *clips, "-o", str(out)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "out/03.txt cannot be written (Is a directory)" in told[0]
    assert sum(path.suffix == ".txt" for path in out.iterdir()) == len(clips) - 1


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk as Linux plays it")
def test_a_full_disk_ends_a_file_early(quick, tmp_path, clips, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00.txt").symlink_to("/dev/full")
    assert main(["transcribe", *clips[:3], "-o", str(tmp_path / "out")]) == 1
    assert "cannot be written (No space left" in capsys.readouterr().err
    assert (tmp_path / "out" / "01.txt").is_file()


@pytest.mark.slow
def test_a_file_that_ends_early_keeps_its_place(quick, clips, tmp_path, capsys):
    cut = tmp_path / "cut.wav"
    with open(clips[0], "rb") as file:
        cut.write_bytes(file.read()[:100_000])
    assert main(["transcribe", clips[2], str(cut), clips[4]]) == 1
    out = capsys.readouterr()
    assert out.err.count("is truncated") == 1
    names = [line.partition(": ")[0] for line in out.out.splitlines()]
    assert list(dict.fromkeys(names)) == [clips[2], str(cut), clips[4]]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_between_files_holds_up_nobody_before_it(clips, tmp_path):
    """Its writer waits until the text of the file before it was read."""
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    arguments = [*clips[2:4], str(pipe), clips[4], "-t", "jsonl", "--decoder", "greedy"]
    with subprocess.Popen([*CLI, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        before = []
        while not before or before[-1]["file"] == clips[2] or before[-1]["type"] != "final":
            before.append(json.loads(process.stdout.readline()))
        with open(clips[6], "rb") as file:
            pipe.write_bytes(file.read())
        after = [json.loads(line) for line in process.stdout]
    assert process.returncode == 0
    files = list(dict.fromkeys(event["file"] for event in [*before, *after]))
    assert files == [clips[2], clips[3], str(pipe), clips[4]]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_batch_leaves_whole_texts_only(clips, tmp_path, number, status):
    """The first sound is an hour long; the short ones beside it are done before."""
    hour = write_sound(tmp_path / "hour.wav", np.tile(load(clips[0]), 288))
    out = tmp_path / "out"
    command = [*CLI, str(hour), *clips[1:6], "-o", str(out), "--decoder", "greedy"]
    with started(command, stderr=subprocess.PIPE) as process:
        while len(list(out.glob("0*.txt"))) < 5:
            assert process.poll() is None
            threading.Event().wait(0.05)
        process.send_signal(number)
        told = process.communicate()[1]
    assert process.returncode == status
    assert told == ""
    assert sorted(path.name for path in out.iterdir()) == [f"0{i}.txt" for i in range(1, 6)]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_what_was_finished_is_printed_where_a_batch_is_interrupted(clips, tmp_path):
    hour = write_sound(tmp_path / "hour.wav", np.tile(load(clips[0]), 288))
    command = [*CLI, str(hour), *clips[6:9], str(hour), "-t", "jsonl", "--decoder", "greedy"]
    with started(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:  # until the hour is far beyond the longest of the short ones
            if json.loads(line)["at"] > 60.0:
                break
        process.send_signal(signal.SIGINT)
        rest = process.communicate()[0]
    files = dict.fromkeys(json.loads(line)["file"] for line in rest.splitlines())
    assert [name for name in files if name != str(hour)] == clips[6:9]
