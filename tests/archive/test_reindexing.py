"""A lost index is made again from the texts, of every format."""

import io
import json
import sqlite3

import pytest

from rivulet.__main__ import main
from rivulet.archive.finding import find
from rivulet.archive.index import INDEX_FILE, Index
from rivulet.archive.ledger import Ledger
from rivulet.archive.query import Query
from rivulet.archive.recording import Recorder
from rivulet.archive.records import Found, Job, Result, Settings
from rivulet.archive.reindexing import open_index
from rivulet.decoding.settings import DecoderSettings
from rivulet.errors import ConfigError
from rivulet.events import DisplayToken, Final, Word

WORDS = (Word("GREEN", 1.0, 1.4, 0.9), Word("APPLES", 1.5, 2.0, 0.7), Word("FALL", 2.1, 2.5, 0.8))
SHOWN = (DisplayToken("Green", 0, 1), DisplayToken("apples", 1, 2), DisplayToken("fall.", 2, 3))
FINAL = Final(0, "GREEN APPLES FALL", WORDS, 1.0, 2.5, 3.0, tokens=SHOWN)


def archive(folder, kind="jsonl"):
    """Write an archive of one file with words and one of silence, and leave its ledger closed."""
    places = ("talks/one.flac", "talks/silence.flac")
    with Ledger(folder) as ledger:
        settings = Settings("default", "", DecoderSettings(), format=kind)
        ledger.settle(settings)
        ledger.plan([Found(f"/sound/{place}", place, 1, "1") for place in places])
        recorder = Recorder(folder, ledger, settings, [Index(folder)])
        jobs = list(ledger.waiting())
        for job in jobs:
            heard = (FINAL,) if job.place == places[0] else ()
            recorder.add(Result(job, heard, 4.0, 0.1))
        recorder.close()
    return folder


def first(index):
    (hit,) = find(index, Query.parse("apples"), near=False).hits
    index.close()
    return hit


@pytest.mark.parametrize("kind", ["jsonl", "json", "srt", "vtt", "txt"])
def test_a_lost_index_is_made_again(tmp_path, kind):
    archive(tmp_path, kind)
    said = []
    before = first(open_index(tmp_path, said.append))
    assert said == []
    (tmp_path / INDEX_FILE).unlink()
    again = first(open_index(tmp_path, said.append))
    assert said == ["the index lacks 2 of 2 texts; reading them ..."]
    if kind in ("json", "jsonl"):
        assert again == before
    else:
        assert (again.place, again.source, again.match) == (before.place, before.source, "apples")
        assert again.start == pytest.approx(before.start if kind != "txt" else 0.0, abs=0.5)
    said.clear()
    first(open_index(tmp_path, said.append))
    assert said == []  # it was kept


def spoil(path):
    """Leave the first page of a database and overwrite the rest."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"x" * (len(content) - 4096))


def test_an_index_that_is_damaged_within_is_made_again(tmp_path):
    archive(tmp_path)
    spoil(tmp_path / INDEX_FILE)
    assert main(["search", str(tmp_path), "apples"]) == 0
    spoil(tmp_path / INDEX_FILE)
    index = Index(tmp_path)  # as a run opens it
    index.add(Result(Job("/sound/new", "new", 1), (FINAL,), 4.0, 0.1))
    assert first(index).place == "new"


def test_a_damaged_ledger_is_a_sentence(tmp_path, capsys):
    archive(tmp_path)
    (tmp_path / ".rivulet" / "ledger.sqlite").write_bytes(b"no database" * 1000)
    assert main(["search", str(tmp_path), "apples"]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_a_text_that_is_gone_counts_as_empty(tmp_path):
    archive(tmp_path)
    (tmp_path / INDEX_FILE).unlink()
    (tmp_path / "talks" / "one.flac.jsonl").unlink()
    assert not find(open_index(tmp_path, print), Query.parse("apples")).hits


def test_while_a_run_is_at_work_its_index_is_read_as_it_is(tmp_path):
    archive(tmp_path)
    with Ledger(tmp_path):
        assert first(open_index(tmp_path, pytest.fail)).match == "apples"
        (tmp_path / INDEX_FILE).unlink()
        with pytest.raises(ConfigError, match="a run is at work"):
            open_index(tmp_path, pytest.fail)


def test_a_folder_that_is_no_archive_says_so(tmp_path, capsys):
    assert main(["search", str(tmp_path), "apples"]) == 1
    assert "holds no archive; make one with `rivulet archive`" in capsys.readouterr().err


def test_search_prints_place_time_and_link(tmp_path, capsys):
    archive(tmp_path)
    assert main(["search", str(tmp_path), "green", "apples"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "talks/one.flac"
    assert "0:00:01" in out
    assert "Green apples fall.  file:///sound/talks/one.flac#t=0.5" in out
    assert "green apples: 1 file has it exactly." in out


def test_search_on_a_terminal_makes_links(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    archive(tmp_path)
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert main(["search", str(tmp_path), "apples"]) == 0
    import sys

    assert ";file:///sound/talks/one.flac#t=1.0\x1b\\" in sys.stdout.getvalue()  # OSC 8


def test_search_gives_json(tmp_path, capsys):
    archive(tmp_path)
    assert main(["search", str(tmp_path), "--json", "aples"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    hit = json.loads(line)
    assert (hit["match"], hit["kind"], hit["start"]) == ("apples", "near", 1.5)
    assert hit["link"] == "file:///sound/talks/one.flac#t=1.0"


def test_search_says_when_there_is_nothing_and_when_it_was_asked_nothing(tmp_path, capsys):
    archive(tmp_path)
    assert main(["search", str(tmp_path), "--exact", "aples"]) == 1
    assert "aples: 0 files have it exactly." in capsys.readouterr().out
    assert main(["search", str(tmp_path), "?!"]) == 1
    assert "has 0 words of letters" in capsys.readouterr().err
    assert main(["search", str(tmp_path), "apples", "--limit", "0"]) == 1
    assert "--limit 0 is outside 1 to 10000" in capsys.readouterr().err


def test_a_name_that_is_no_text_is_searched_all_the_same(tmp_path, capsys):
    archive(tmp_path)
    index = Index(tmp_path)
    index.add(Result(Job("/sound/\udcff.flac", "talks/\\xff.flac", 1), (FINAL,), 4.0))
    index.close()
    assert main(["search", str(tmp_path), "--json", "apples"]) == 0
    assert "/sound/%FF.flac#t=1.0" in capsys.readouterr().out


def test_the_ledger_is_never_written(tmp_path):
    archive(tmp_path)
    ledger = tmp_path / ".rivulet" / "ledger.sqlite"
    before = ledger.read_bytes()
    (tmp_path / INDEX_FILE).unlink()
    open_index(tmp_path, print).close()
    assert ledger.read_bytes() == before
    sqlite3.connect(ledger).close()
