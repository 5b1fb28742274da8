"""The ledger: what is new, changed and done, held by one driver, and whole after any kill."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from support import ROOT

from rivulet.archive.ledger import Ledger
from rivulet.archive.records import Found, Job, Result, Settings
from rivulet.decoding.settings import BeamConfig, DecoderSettings
from rivulet.errors import ConfigError

SETTINGS = Settings("tiny", "digest", DecoderSettings("beam"), format="txt")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


def found(folder, name, content=b"sound"):
    path = folder / "in" / name
    path.write_bytes(content)
    about = path.stat()
    return Found(str(path), f"in/{name}", about.st_size, str(about.st_mtime_ns))


def opened(folder, settings=SETTINGS):
    ledger = Ledger(folder / "out")
    ledger.settle(settings)
    return ledger


def do(ledger, folder, job, error=None, text=b"words", digest=None):
    path = folder / "out" / f"{job.place}.txt"
    path.parent.mkdir(exist_ok=True)
    if error is None:
        path.write_bytes(text)
    result = Result(job, seconds=2.0, elapsed_s=0.5, error=error, digest=digest)
    ledger.add(result, None if error else len(text))


def counts(plan):
    return plan.new, plan.changed, plan.done, plan.failed


def test_what_is_done_is_not_done_again(folder):
    inputs = [found(folder, name) for name in ("a.wav", "b.wav", "c.wav")]
    with opened(folder) as ledger:
        assert counts(ledger.plan(inputs)) == (3, 0, 0, 0)
        a, b, c = ledger.waiting()
        do(ledger, folder, a)
        do(ledger, folder, b, error="b.wav is empty (0 bytes); record it again.")
    with opened(folder) as ledger:
        assert counts(ledger.plan(inputs)) == (1, 0, 1, 1)
        assert list(ledger.waiting()) == [c]
        assert counts(ledger.plan(inputs, retry=True)) == (1, 1, 1, 0)
        assert list(ledger.waiting()) == [b, c]


@pytest.mark.slow
def test_the_largest_comes_first_and_results_may_come_meanwhile(folder):
    inputs = [found(folder, f"{n:04}.wav", b"x" * (n % 7)) for n in range(2_500)]
    with opened(folder) as ledger:
        ledger.plan(inputs)
        sizes, places = [], set()
        for job in ledger.waiting():
            sizes.append(job.size)
            places.add(job.place)
            do(ledger, folder, job)
        assert sizes == sorted(sizes, reverse=True)
        assert places == {one.place for one in inputs}
        assert len(sizes) == len(inputs)


def test_a_changed_input_is_done_again(folder):
    inputs = [found(folder, "a.wav"), found(folder, "b.wav")]
    with opened(folder) as ledger:
        ledger.plan(inputs)
        for job in ledger.waiting():
            do(ledger, folder, job)
        changed = found(folder, "a.wav", b"another sound")
        assert counts(ledger.plan([changed, inputs[1]])) == (0, 1, 1, 0)
        assert [job.place for job in ledger.waiting()] == ["in/a.wav"]


def test_verify_looks_into_files_of_the_same_size_and_time(folder):
    from rivulet.archive.members import sha256

    one = found(folder, "a.wav")
    with opened(folder) as ledger:
        ledger.plan([one])
        (job,) = ledger.waiting()
        do(ledger, folder, job, digest=sha256(one.source))
        os.utime(one.source)
        touched = replace(one, stamp="later")
        assert counts(ledger.plan([touched])) == (0, 1, 0, 0)
        do(ledger, folder, job, digest=sha256(one.source))
        assert counts(ledger.plan([replace(one, stamp="even later")], verify=True)) == (0, 0, 1, 0)
        (folder / "in" / "a.wav").write_bytes(b"SOUND")
        assert counts(ledger.plan([replace(one, stamp="even later")])) == (0, 0, 1, 0)
        assert counts(ledger.plan([replace(one, stamp="even later")], verify=True)) == (0, 1, 0, 0)


def test_a_text_that_is_gone_or_cut_off_is_made_again(folder):
    inputs = [found(folder, name) for name in ("a.wav", "b.wav", "c.wav")]
    with opened(folder) as ledger:
        ledger.plan(inputs)
        for job in ledger.waiting():
            do(ledger, folder, job)
        (folder / "out" / "in" / "a.wav.txt").unlink()
        (folder / "out" / "in" / "b.wav.txt").write_bytes(b"wo")
        assert counts(ledger.plan(inputs)) == (0, 2, 1, 0)


def with_a_text(folder):
    """Leave a ledger that has a result."""
    with opened(folder) as ledger:
        ledger.plan([found(folder, "a.wav")])
        do(ledger, folder, next(ledger.waiting()))


def test_settings_may_change_until_there_is_a_result(folder):
    opened(folder).__exit__(None, None, None)
    opened(folder, replace(SETTINGS, format="srt")).__exit__(None, None, None)
    with_a_text(folder)
    with pytest.raises(ConfigError, match="format txt, now srt"):
        opened(folder, replace(SETTINGS, format="srt"))


def test_an_input_that_is_given_twice_is_one(folder):
    one = found(folder, "a.wav")
    with opened(folder) as ledger:
        assert counts(ledger.plan([one, one])) == (1, 0, 0, 0)
        do(ledger, folder, next(ledger.waiting()))
        assert counts(ledger.plan([one, one])) == (0, 0, 1, 0)


def test_what_failed_and_is_gone_is_forgotten(folder):
    inputs = [found(folder, name) for name in ("a.wav", "b.wav")]
    with opened(folder) as ledger:
        ledger.plan(inputs)
        for job in ledger.waiting():
            do(ledger, folder, job, error="it is empty (0 bytes).")
        os.unlink(inputs[0].source)
        assert counts(ledger.plan(inputs[1:])) == (0, 0, 0, 1)
        assert [file for file, _ in ledger.errors()] == [inputs[1].source]


@pytest.mark.parametrize(("name", "kind"), [("summary", "json"), ("errors", "jsonl")])
def test_no_text_takes_the_place_of_what_the_archive_writes(folder, name, kind):
    one = replace(found(folder, name), place=name)
    with (
        opened(folder, replace(SETTINGS, format=kind)) as ledger,
        pytest.raises(ConfigError, match="which the archive writes itself"),
    ):
        ledger.plan([one])


def test_other_settings_are_named_and_refused(folder):
    with_a_text(folder)
    wider = replace(SETTINGS, decoder=DecoderSettings("beam", BeamConfig(beam_size=300)))
    with pytest.raises(ConfigError, match=r"decoder.beam.beam_size 200, now 300.*--restart"):
        opened(folder, wider)


def test_the_same_model_in_another_folder_is_the_same(folder):
    with_a_text(folder)
    opened(folder, replace(SETTINGS, model="/elsewhere/tiny")).__exit__(None, None, None)
    with pytest.raises(ConfigError, match="digest"):
        opened(folder, replace(SETTINGS, digest="another"))


def test_forgetting_deletes_the_texts_and_nothing_else(folder):
    one = found(folder, "a.wav")
    with opened(folder) as ledger:
        ledger.plan([one])
        do(ledger, folder, next(ledger.waiting()))
        (folder / "out" / "in" / "notes.txt").write_text("mine")
    with Ledger(folder / "out") as ledger:
        ledger.forget()
        ledger.settle(replace(SETTINGS, format="srt"))
        assert counts(ledger.plan([one])) == (1, 0, 0, 0)
    assert [path.name for path in (folder / "out" / "in").iterdir()] == ["notes.txt"]


def test_two_inputs_never_share_a_text(folder):
    one = found(folder, "a.wav")
    (folder / "in2").mkdir()
    other = replace(one, source=str(folder / "in2" / "a.wav"))
    (folder / "in2" / "a.wav").write_bytes(b"other")
    with opened(folder) as ledger, pytest.raises(ConfigError, match="would share the text"):
        ledger.plan([one, other])
    with opened(folder) as ledger:
        ledger.plan([one])
        with pytest.raises(ConfigError, match="would share the text"):
            ledger.plan([other])


def test_an_input_that_moved_with_its_folder_is_known(folder):
    one = found(folder, "a.wav")
    with opened(folder) as ledger:
        ledger.plan([one])
        do(ledger, folder, next(ledger.waiting()))
        (folder / "in").rename(folder / "moved")
        moved = replace(one, source=str(folder / "moved" / "a.wav"))
        assert counts(ledger.plan([moved])) == (0, 0, 1, 0)


def test_one_driver_at_a_time(folder):
    with opened(folder), pytest.raises(ConfigError, match="another run is at work"):
        Ledger(folder / "out")
    opened(folder).__exit__(None, None, None)


def test_a_damaged_ledger_is_said_to_be(folder):
    (folder / "out" / ".rivulet").mkdir(parents=True)
    (folder / "out" / ".rivulet" / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match="is damaged"):
        Ledger(folder / "out")


def test_what_was_committed_is_there_after_a_kill(folder):
    inputs = [found(folder, f"{n}.wav") for n in range(4)]
    program = (
        "import os, sys, signal, json\n"
        "from pathlib import Path\n"
        "from rivulet.archive.ledger import Ledger\n"
        "from rivulet.archive.records import Found, Result, Settings\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "ledger.settle(Settings.from_json(sys.argv[2]))\n"
        "ledger.plan([Found(**one) for one in json.loads(sys.argv[3])])\n"
        "jobs = list(ledger.waiting())\n"
        "ledger.add(Result(jobs[0]), None)\n"
        "ledger.commit()\n"
        "ledger.add(Result(jobs[1]), None)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    told = json.dumps([vars(one) for one in inputs])
    done = subprocess.run(
        [sys.executable, "-c", program, folder / "out", SETTINGS.to_json(), told],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode < 0
    with opened(folder) as ledger:
        assert counts(ledger.plan(inputs)) == (3, 0, 1, 0)


def test_names_that_are_no_text_are_kept(folder):
    source = os.fsdecode(b"/in/caf\xe9.wav")
    odd = Found(source, "in/caf\\xe9.wav", 3, "1")
    with opened(folder) as ledger:
        ledger.plan([odd])
        assert list(ledger.waiting()) == [Job(source, "in/caf\\xe9.wav", 3)]
        assert counts(ledger.plan([odd])) == (1, 0, 0, 0)
        do(ledger, folder, Job(source, "in/caf\\xe9.wav", 3), error=f"{source} is empty.")
        (row,) = ledger.rows()
        assert row.file == "/in/caf\\xe9.wav"
        assert row.error == "/in/caf\\xe9.wav is empty."
