"""Results in their places: whole texts, tables of what is done, a full disk in a sentence."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rivulet.archive import recording
from rivulet.archive.index import Index
from rivulet.archive.ledger import Ledger
from rivulet.archive.recording import Recorder, write_parquet
from rivulet.archive.records import Found, Job, Result, Settings
from rivulet.decoding.settings import DecoderSettings
from rivulet.errors import ConfigError
from rivulet.events import Final, Word

SETTINGS = Settings("tiny", "digest", DecoderSettings("greedy"), format="txt")
LETTERS = str.maketrans("0123456789abcdef", "ABCDEFGHIJKLMNOP")
FOUND = [Found(f"/in/{n}.wav", f"in/{n}.wav", 3, "1") for n in range(3)]


class Sink:
    """Keeps what it is given, and in which order it is told to make it last."""

    def __init__(self):
        self.told = []

    def add(self, result):
        self.told.append(result.job.place)

    def commit(self):
        self.told.append("commit")

    def close(self):
        self.told.append("close")


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.settle(SETTINGS)
        ledger.plan(FOUND)
        yield ledger


def result(number, text="HELLO WORLD", **more):
    words = tuple(Word(word, 0.1, 0.4, 0.5) for word in text.split())
    segments = (Final(0, text, words, 0.1, 0.4, 1.0),) if text else ()
    return Result(Job(f"/in/{number}.wav", f"in/{number}.wav", 3), segments, 2.0, 0.5, **more)


@pytest.mark.slow
def test_a_result_is_a_text_a_row_and_what_sinks_make_of_it(tmp_path, ledger):
    sink = Sink()
    recorder = Recorder(tmp_path, ledger, SETTINGS, [sink])
    recorder.add(result(0))
    recorder.add(result(1, "", error="/in/1.wav is empty (0 bytes); record or copy it again."))
    recorder.close()
    assert (tmp_path / "in" / "0.wav.txt").read_text() == "HELLO WORLD\n"
    assert not (tmp_path / "in" / "1.wav.txt").exists()
    assert sink.told == ["in/0.wav", "in/1.wav", "commit", "close"]
    (line,) = (tmp_path / "errors.jsonl").read_text().splitlines()
    assert json.loads(line)["file"] == "/in/1.wav"
    assert "is empty" in json.loads(line)["error"]


def test_one_row_an_input_that_is_done(tmp_path, ledger):
    parquet = pytest.importorskip("pyarrow.parquet")
    recorder = Recorder(tmp_path, ledger, SETTINGS)
    for one in (result(0), result(1, "", error="/in/1.wav is empty."), result(0, "AGAIN")):
        recorder.add(one)
    recorder.close()
    rows = parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["file"] for row in rows] == ["/in/0.wav", "/in/1.wav"]
    assert rows[0] == {
        "file": "/in/0.wav",
        "text_file": "in/0.wav.txt",
        "seconds": 2.0,
        "words": 1,
        "text": "AGAIN",
        "confidence": 0.5,
        "real_time_factor": 0.25,
        "error": None,
        "warnings": None,
    }
    assert rows[1]["text_file"] is None
    assert rows[1]["error"] == "/in/1.wav is empty."


def test_a_table_of_nothing_can_be_read(tmp_path, ledger):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(tmp_path, ledger)
    assert parquet.read_table(tmp_path / "results.parquet").num_rows == 0


def test_the_text_of_an_input_that_fails_now_is_gone(tmp_path, ledger):
    recorder = Recorder(tmp_path, ledger, SETTINGS)
    recorder.add(result(0))
    recorder.add(result(0, "", error="it broke"))
    assert not (tmp_path / "in" / "0.wav.txt").exists()
    recorder.add(result(0))
    recorder.close()
    assert not (tmp_path / "errors.jsonl").exists()


def test_a_file_that_broke_off_has_its_text_and_its_error(tmp_path, ledger):
    recorder = Recorder(tmp_path, ledger, SETTINGS)
    recorder.add(result(0, error="/in/0.wav is truncated: 2 s of 3 s are there."))
    recorder.close()
    assert (tmp_path / "in" / "0.wav.txt").read_text() == "HELLO WORLD\n"
    assert "truncated" in (tmp_path / "errors.jsonl").read_text()


def test_a_full_disk_is_one_sentence_and_costs_nothing_that_was_done(tmp_path, ledger, monkeypatch):
    recorder = Recorder(tmp_path, ledger, SETTINGS)
    recorder.add(result(0))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ConfigError, match=r"1.wav.txt cannot be written \(No space left"):
            recorder.add(result(1))
    recorder.close()
    plan = ledger.plan(FOUND)
    assert (plan.new, plan.changed, plan.done) == (2, 0, 1)
    assert not (tmp_path / "in" / "1.wav.txt").exists()


@pytest.mark.parametrize("format_name", ["srt", "vtt", "json", "jsonl"])
def test_texts_are_those_of_the_writers(tmp_path, format_name):
    from dataclasses import replace

    text = recording.rendered(result(0), replace(SETTINGS, format=format_name))
    assert "HELLO WORLD" in text
    assert text.endswith("\n")


@pytest.mark.parametrize("name", ["x" * 250 + ".wav", "taken.wav"])
def test_a_text_without_a_place_fails_alone(tmp_path, ledger, name):
    (tmp_path / "taken.wav.txt").mkdir()
    ledger.plan([*FOUND, Found(f"/in/{name}", name, 3, "1")])
    recorder = Recorder(tmp_path, ledger, SETTINGS)
    noted = recorder.add(replace(result(0), job=Job(f"/in/{name}", name, 3)))
    assert "rename the input" in noted.error
    assert recorder.add(result(0)).error is None
    recorder.close()
    assert [file for file, _ in ledger.errors()] == [f"/in/{name}"]


def test_an_index_that_takes_no_more_is_a_sentence(tmp_path, ledger, monkeypatch):
    index = Index(tmp_path)
    recorder = Recorder(tmp_path, ledger, SETTINGS, [index])
    index.connection.execute("PRAGMA max_page_count = 1")
    words = " ".join(f"{number:x}".translate(LETTERS) for number in range(20_000))
    with pytest.raises(ConfigError, match=r"index.sqlite cannot be written .*full"):
        recorder.add(result(0, words))
