import json
import shutil
import subprocess
import sys

import av
import numpy as np
import pytest
from support import ROOT, SAMPLES
from support.sounds import at_rate, spread, write_sound, write_video

from rivulet import checkpoint
from rivulet.__main__ import main
from rivulet.audio import load as read_all
from rivulet.audio import read
from rivulet.decoding.settings import BeamConfig

CLIPS = [str(SAMPLES / f"{name}.flac") for name in ("slt", "rms")]


@pytest.fixture(scope="module")
def speech():
    return np.concatenate(list(read(CLIPS[0])))


@pytest.mark.slow
def test_a_clip_becomes_text(capsys):
    assert main(["transcribe", CLIPS[0]]) == 0
    out = capsys.readouterr()
    assert len(out.out.split()) >= 5
    assert out.err == ""


@pytest.mark.slow
def test_several_files_go_to_a_folder(tmp_path, capsys):
    out = tmp_path / "text"
    assert main(["transcribe", *CLIPS, "--format", "srt", "--output", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["rms.srt", "slt.srt"]
    assert "-->" in (out / "slt.srt").read_text()
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_json_of_one_file_and_of_several(capsys):
    assert main(["transcribe", CLIPS[0], "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == CLIPS[0]
    assert document["seconds"] == pytest.approx(4.2, abs=1.0)
    assert document["text"] == " ".join(s["text"] for s in document["segments"])
    assert main(["transcribe", *CLIPS, "--format", "json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert [d["file"] for d in documents] == CLIPS
    assert documents[0] == document


@pytest.mark.slow
def test_jsonl_partials_lead_to_the_final(capsys):
    assert main(["transcribe", CLIPS[0], "--format", "jsonl", "--block-ms", "80"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["type"] for event in events} == {"partial", "final"}
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert all("file" not in event for event in events)


@pytest.mark.slow
def test_wav_comes_through_standard_input(tmp_path, speech):
    wav = tmp_path / "talk.wav"
    write_sound(wav, speech, 16_000, "pcm_s16le")
    command = [sys.executable, str(ROOT / "cli.py"), "transcribe"]
    piped = subprocess.run([*command, "-"], input=wav.read_bytes(), capture_output=True, check=True)
    named = subprocess.run([*command, str(wav)], capture_output=True, check=True)
    assert piped.stdout == named.stdout != b""


def words(path, capsys):
    assert main(["transcribe", str(path)]) == 0
    return capsys.readouterr().out.split()


FORMATS = [
    ("wav", "pcm_s16le", 8_000, 1),
    ("wav", "pcm_s16le", 44_100, 2),
    ("flac", "flac", 48_000, 1),
    ("mp3", "libmp3lame", 44_100, 2),
    ("m4a", "aac", 48_000, 2),
    ("opus", "libopus", 48_000, 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "codec", "rate", "channels"), FORMATS)
def test_formats_and_rates_give_the_same_words_within_reason(
    tmp_path, speech, capsys, suffix, codec, rate, channels
):

    from rivulet.metrics import error_counts

    path = tmp_path / f"talk.{suffix}"
    write_sound(path, spread(at_rate(speech, rate), channels), rate, codec)
    expected = words(CLIPS[0], capsys)
    bound = 0.5 if rate == 8_000 else 0.35  # telephone band loses half of what the model hears
    assert error_counts(expected, words(path, capsys)).rate <= bound


def fails(arguments, capsys, says):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("rivulet: ")
    assert error.count("\n") == 1
    assert says in error


def test_bad_files_get_one_sentence_each(tmp_path, capsys):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound\n" * 1000)
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    for name, says in [
        ("missing.wav", "does not exist"),
        ("empty.wav", "is empty (0 bytes)"),
        ("text.wav", "not a sound file"),
        ("film.mp4", "no sound track"),
    ]:
        fails(["transcribe", str(tmp_path / name)], capsys, says)


@pytest.mark.slow
def test_a_truncated_file_keeps_its_words_and_fails(tmp_path, speech, capsys):
    path = tmp_path / "cut.wav"
    write_sound(path, np.tile(speech, 2), 16_000, "pcm_s16le")
    path.write_bytes(path.read_bytes()[: len(speech) * 2])
    assert main(["transcribe", str(path)]) == 1
    out = capsys.readouterr()
    assert "is truncated" in out.err
    assert len(out.out.split()) >= 3


@pytest.mark.slow
def test_a_sample_that_is_no_number_costs_itself_and_a_warning(tmp_path, speech, capsys):
    path = tmp_path / "nan.wav"
    write_sound(path, speech, 16_000, "pcm_f32le")
    content = bytearray(path.read_bytes())
    content[-400:-396] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    assert main(["transcribe", str(path)]) == 0
    out = capsys.readouterr()
    assert "is damaged: 0.000 s of its sound cannot be decoded" in out.err
    assert out.out.split()


@pytest.mark.slow
def test_one_bad_file_does_not_stop_the_others(tmp_path, capsys):
    missing = str(tmp_path / "missing.wav")
    assert main(["transcribe", missing, *CLIPS]) == 1
    out = capsys.readouterr()
    assert out.err.count("\n") == 1
    assert all(any(line.startswith(clip) for line in out.out.splitlines()) for clip in CLIPS)


def test_outputs_are_checked_before_the_work(tmp_path, capsys):
    fails(["transcribe", *CLIPS, "--format", "vtt"], capsys, "name a folder with --output")
    twin = tmp_path / "slt.flac"
    shutil.copy(CLIPS[0], twin)
    output = ["--output", str(tmp_path / "out")]
    fails(["transcribe", CLIPS[0], str(twin), *output], capsys, "would share slt.txt")
    output = ["--output", str(tmp_path / "none" / "x.txt")]
    fails(["transcribe", CLIPS[0], *output], capsys, "does not exist; make it first")


def test_bad_models_and_settings_fail(tmp_path, capsys):
    fails(["transcribe", CLIPS[0], "--model", str(tmp_path)], capsys, "has no config.json")
    fails(["transcribe", CLIPS[0], "--model", "nonesuch"], capsys, "no model 'nonesuch'")
    fails(["transcribe", CLIPS[0], "--threads", "0"], capsys, "0 threads cannot compute")
    fails(
        ["transcribe", CLIPS[0], "--trailing-silence", "0"], capsys, "trailing_silence_s is 0.0 s"
    )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "samples.tsv"
    assert main(["data", "folder", str(SAMPLES), "--output", str(path)]) == 0
    return path


@pytest.mark.slow
def test_evaluate_ends_with_one_json_object(manifest, capsys):
    assert main(["evaluate", "--manifest", str(manifest)]) == 0
    lines = capsys.readouterr().out.splitlines()
    summary = json.loads(lines[-1])
    assert set(summary) == {"wer", "cer", "sets", "rtf", "seconds"}
    (only,) = summary["sets"].values()
    assert only["words"] == sum(len(path.read_text().split()) for path in SAMPLES.glob("*.txt"))
    assert 0.0 <= summary["cer"] <= summary["wer"] <= 1.0
    assert 0.0 < summary["rtf"] < 1.0


@pytest.mark.slow
def test_evaluate_counts_words_in_sound_without_speech(tmp_path, capsys):
    listed = tmp_path / "list.tsv"
    assert main(["data", "noise", str(SAMPLES), "--output", str(listed)]) == 0
    assert main(["evaluate", "--manifest", str(listed)]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["false_words_per_hour"] > 1000.0  # the clips are speech, said to be noise


def test_evaluate_names_what_is_wrong_with_a_manifest(manifest, tmp_path, capsys):
    bad = tmp_path / "bad.tsv"
    bad.write_text("id\tpath\tseconds\tspeaker\n")
    fails(["evaluate", "--manifest", str(bad)], capsys, "lacks the column text")
    bad.write_text(manifest.read_text().replace("slt.flac", "gone.flac"))
    fails(["evaluate", "--manifest", str(bad)], capsys, "gone.flac, which does not exist")


def test_a_manifest_of_noise_leaves_out_what_is_excluded(tmp_path, capsys):
    out = tmp_path / "noise.tsv"
    arguments = ["data", "noise", str(SAMPLES), "--exclude", "slt", "RMS", "--output", str(out)]
    assert main(arguments) == 0
    assert "2 utterances" in capsys.readouterr().out
    assert "slt" not in out.read_text()


def test_bench_speed_ends_with_one_json_object(tmp_path, capsys):
    picture = tmp_path / "speed.png"
    arguments = ["bench", "speed", CLIPS[0], "--seconds", "20", "--streams", "1,3"]
    assert main([*arguments, "--plot", str(picture)]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["audio_s"] == pytest.approx(20.0)
    assert 0.0 < report["rtf"] < 1.0
    assert 0.0 < report["block_p50_ms"] <= report["block_p99_ms"] <= report["block_max_ms"]
    assert report["machine"]["threads"] >= 1
    assert report["state_bytes"] < 100_000
    start = report["start"]
    assert 0.0 < start["import_s"] < start["load_s"] < start["words_s"]
    assert 0 < start["import_bytes"] <= start["load_bytes"] <= start["words_bytes"]
    assert min(report["parts"].values()) > 0.0
    assert [row["streams"] for row in report["crowds"]] == [1, 3]
    assert report["network"]["blocks"][0]["distance"] > 0.5  # nothing beats the machine by far
    assert picture.stat().st_size > 10_000


@pytest.mark.skipif(sys.platform == "win32", reason="what a process took is told by POSIX")
def test_bench_speed_runs_another_engine_in_turns(capsys):
    arguments = ["bench", "speed", CLIPS[0], "--seconds", "5", "--streams", "1"]
    assert main([*arguments, "--decoder", "greedy", "--against", "torch", "--rounds", "1"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0.0 < report["against"]["ratios"]["cpu"] < 1.0  # importing PyTorch alone takes longer
    assert report["against"]["own"]["peak_bytes"] > 10_000_000


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--streams", "1,x"], "no list of numbers"),
        (["--streams", "0"], "no list of numbers"),
        (["--streams", "1", "--against", "no-such-revision"], "is no engine"),
        (["--streams", "1", "--against", "torch", "--rounds", "0"], "0 rounds measure nothing"),
    ],
)
def test_bench_speed_refuses_what_it_cannot_measure(flags, told, capsys):
    arguments = ["bench", "speed", CLIPS[0], "--seconds", "3", "--decoder", "greedy"]
    fails([*arguments, *flags], capsys, told)


def test_train_and_export_run_from_the_command_line(manifest, tmp_path, capsys):
    recipe = tmp_path / "tiny.json"
    model = {"channels": 2, "hidden": 16, "layers": 1, "dropout": 0.0}
    recipe.write_text(json.dumps({"model": model, "head_weights": {"characters": 1.0}}))
    run, made = str(tmp_path / "run"), str(tmp_path / "made")
    arguments = ["--recipe", str(recipe), "--train", str(manifest), "--dev", str(manifest)]
    arguments += ["--cache", str(tmp_path / "cache"), "--threads", "1", "--epochs", "1"]
    assert main(["train", *arguments, "--output", run]) == 0
    assert main(["export", run, "--beam", "default", "--output", made]) == 0
    settings = checkpoint.load(made).beam.config
    assert settings == checkpoint.load("default").beam.config != BeamConfig()
    assert main(["transcribe", CLIPS[0], "--model", made]) == 0
    assert "29 tokens" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("rivulet 0.")


@pytest.fixture
def quick(small, monkeypatch):
    """The command with a small recognizer."""
    monkeypatch.setattr("rivulet.commands.batch.load_recognizer", lambda args: small)


@pytest.mark.slow
def test_a_folder_is_gone_on_with(tmp_path, quick, capsys):
    folder = tmp_path / "out"
    assert main(["transcribe", *CLIPS, "-o", str(folder)]) == 0
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(written) == {"slt.txt", "rms.txt"}
    (folder / "rms.txt").unlink()
    (folder / "slt.txt").write_text("corrected by hand")
    assert main(["transcribe", *CLIPS, "-o", str(folder)]) == 0
    assert "1 of 2 files are done already" in capsys.readouterr().err
    assert (folder / "slt.txt").read_text() == "corrected by hand"
    assert (folder / "rms.txt").read_bytes() == written["rms.txt"]
    assert main(["transcribe", *CLIPS, "-o", str(folder), "--overwrite"]) == 0
    assert (folder / "slt.txt").read_bytes() == written["slt.txt"]


def test_what_cannot_be_read_is_said_before_a_model_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rivulet.commands.batch.load_recognizer", lambda args: 1 / 0)
    assert main(["transcribe", str(tmp_path / "none.wav"), "y" * 300]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "does not exist" in said[0]
    assert "too long" in said[1]


@pytest.mark.slow
def test_json_holds_the_files_that_could_be_read(tmp_path, quick, capsys):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound" * 100)
    assert main(["transcribe", str(bad), "y" * 300, *CLIPS, "-t", "json"]) == 1
    assert [item["file"] for item in json.loads(capsys.readouterr().out)] == CLIPS


@pytest.mark.slow
def test_a_track_is_chosen_and_several_are_said(tmp_path, quick, capsys):
    speech = read_all(CLIPS[0])
    path = write_video(tmp_path / "obs.mp4", [(0 * speech, 0.0), (speech, 0.0)], 4.0)
    assert main(["transcribe", str(path)]) == 0
    said = capsys.readouterr()
    assert "has 2 sound tracks, of which number 1 is transcribed" in said.err
    assert main(["transcribe", str(path), "--track", "2"]) == 0
    assert capsys.readouterr().out != said.out
    assert main(["transcribe", str(path), "--track", "3"]) == 1
    assert "choose one of 1 to 2" in capsys.readouterr().err


def test_closed_streams_are_sentences(quick, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", None)
    assert main(["transcribe", "-"]) == 1
    assert "standard input is closed" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdout", None)
    assert main(["transcribe", CLIPS[0]]) == 1
    assert "standard output is closed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_name_outside_the_console_is_escaped(tmp_path, quick, monkeypatch):
    import io

    paths = [tmp_path / "日本.flac", tmp_path / "é.flac"]
    for path in paths:
        shutil.copy(CLIPS[0], path)
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", console)
    assert main(["transcribe", *map(str, paths)]) == 0
    console.flush()
    lines = console.buffer.getvalue().decode("cp1252")
    assert "\\u65e5\\u672c.flac: " in lines
    assert "é.flac: " in lines


@pytest.mark.parametrize(
    "setting",
    [
        ["--lm-weight", "nan"],
        ["--lm-weight", "inf"],
        ["--word-insertion-bonus", "nan"],
        ["--prior-weight", "-inf"],
        ["--subword-bonus", "x"],
        ["--beam-size", "1"],
        ["--beam-size", "nan"],
    ],
)
def test_numbers_that_are_none_are_one_sentence(setting, capsys):
    with pytest.raises(SystemExit) as end:
        main(["transcribe", CLIPS[0], *setting])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert setting[0] in said


def test_a_folder_of_the_models_name_is_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("default", "tiny"):
        (tmp_path / name).mkdir()
        assert (checkpoint.find(name) / "config.json").is_file()
        assert checkpoint.find(f"./{name}").samefile(tmp_path / name)
