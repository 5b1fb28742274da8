"""Several files at a time in one process: each has the words that `transcribe` gives."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support import SAMPLES

from rivulet import audio
from rivulet.archive import members, parts, work
from rivulet.archive.assembly import Assembly
from rivulet.archive.members import Spooled, sha256
from rivulet.archive.records import Job, Result, Settings
from rivulet.archive.work import Company, Transcriber, recognizer_of
from rivulet.audio.pcm import write_wav
from rivulet.decoding.settings import DecoderSettings
from rivulet.recognizer import Recognizer


@pytest.fixture(scope="module")
def tiny():
    return Recognizer.load("tiny")


@pytest.fixture(scope="module")
def settings(tiny):
    return Settings("tiny", tiny.checkpoint.digest, tiny.settings)


def jobs_of(*paths, **more):
    return [Job(str(path), path.name, path.stat().st_size, **more) for path in paths]


def test_files_advanced_together_have_the_words_of_each_alone(tiny, settings):
    paths = sorted(SAMPLES.glob("*.flac"))
    results = {r.job.source: r for r in Transcriber(settings).run(jobs_of(*paths))}
    for path in paths:
        alone = tiny.transcribe(path)
        assert results[str(path)].segments == alone.segments
        assert results[str(path)].text == alone.display
        assert results[str(path)].words == len(alone.words)
        assert results[str(path)].seconds == alone.seconds
        assert results[str(path)].digest == sha256(str(path))


def test_a_file_that_fails_stops_no_other(settings, tmp_path):
    good = SAMPLES / "awb.flac"
    (tmp_path / "empty.wav").touch()
    (tmp_path / "noise.mp3").write_bytes(bytes(range(256)) * 40)
    cut_off = tmp_path / "cut.wav"
    write_wav(cut_off, audio.load(good), audio.SAMPLE_RATE)
    cut_off.write_bytes(cut_off.read_bytes()[:60_000])
    paths = [tmp_path / "gone.wav", tmp_path / "empty.wav", tmp_path / "noise.mp3", cut_off, good]
    jobs = [Job(str(path), path.name, 1) for path in paths]
    results = {r.job.place: r for r in Transcriber(settings).run(jobs)}
    assert "does not exist" in results["gone.wav"].error
    assert "empty" in results["empty.wav"].error
    assert results["noise.mp3"].error
    assert "truncated" in results["cut.wav"].error
    assert results["cut.wav"].text
    assert results["awb.flac"].error is None
    assert all(not results[n].segments for n in ("gone.wav", "empty.wav", "noise.mp3"))


def test_more_files_than_there_is_room_for_are_opened_as_others_end(settings, tmp_path):
    paths = [Path(shutil.copy(SAMPLES / "slt.flac", tmp_path / f"{n}.flac")) for n in range(11)]
    asked = []

    def jobs():
        for job in jobs_of(*paths):
            asked.append(job)
            yield job

    results = []
    for result in Transcriber(settings).run(jobs()):
        assert len(asked) - len(results) <= work.AT_ONCE
        results.append(result)
    assert len({result.text for result in results}) == 1
    assert len(results) == len(paths)


@pytest.mark.slow
def test_a_long_file_in_parts_has_the_words_of_the_uncut_file(settings, tmp_path, monkeypatch):
    for name, seconds in (("PART_S", 12.0), ("WARM_UP_S", 6.0), ("RUN_ON_S", 10.0)):
        monkeypatch.setattr(parts, name, seconds)
    monkeypatch.setattr(members, "LONG_S", 20.0)
    # a segment ends after each clip: parts that heard the pause begin a frame apart agree after it
    breath = np.zeros(16_000, np.float32)
    said = [(audio.load(path), breath) for path in sorted(SAMPLES.glob("*.flac"))]
    clips = [piece for both in said for piece in both]
    pause = np.zeros(9 * 16_000, np.float32)
    sound = tmp_path / "long.wav"
    whole = np.concatenate([*clips, *clips[:2], pause, *clips, *clips[2:4]])
    write_wav(sound, whole, audio.SAMPLE_RATE)
    results, pieces = in_parts(settings, jobs_of(sound, parts=4)[0], tmp_path / "spool")
    assert pieces == 2
    (whole,) = Transcriber(settings).run(jobs_of(sound))
    assert results.segments == whole.segments
    assert (results.seconds, results.digest) == (whole.seconds, whole.digest)
    assert list((tmp_path / "spool").iterdir()) == []


def in_parts(settings, job, spool):
    """Do a long file as the pool does, in this process; return its result and how many parts."""
    spool.mkdir()
    company, assembly = Company(recognizer_of(settings), settings, spool), Assembly(settings)
    company.add(job)
    pieces = 0
    while len(company):
        for outcome in company.step():
            if isinstance(outcome, Result):
                return outcome, pieces
            spooled = isinstance(outcome, Spooled)
            came = assembly.begin(outcome) if spooled else assembly.add(outcome)
            if isinstance(came, Result):
                return came, pieces
            pieces += len(came)
            for part in came:
                company.add(part)
    raise AssertionError("the file came to nothing")


def test_raw_text_has_no_tokens(tiny):
    settings = Settings("tiny", "", DecoderSettings("greedy"), text=None)
    (result,) = Transcriber(settings).run(jobs_of(SAMPLES / "awb.flac"))
    assert result.text == result.text.upper()
    assert all(final.tokens is None for final in result.segments)
