"""`rivulet bench latency` as a whole: clocks, replay, the document, tables, pictures, bad input."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import small_checkpoint

from rivulet import checkpoint
from rivulet.__main__ import main
from rivulet.audio import Samples
from rivulet.audio.pcm import write_wav
from rivulet.errors import ConfigError
from rivulet.evaluation.ctm import SpokenWord, write_ctm
from rivulet.evaluation.plots import draw_cdf
from rivulet.evaluation.speed import measure_streams
from rivulet.evaluation.streaming import Clip, ReplayConfig, replay, run_system, with_tail
from rivulet.evaluation.systems import SystemConfig, TimedEvent
from rivulet.evaluation.systems.rivulet import RivuletStream
from rivulet.events import Final, Partial
from rivulet.recognizer import Recognizer


class Counter:
    """A session that shows a partial with every piece and a final at the end."""

    def __init__(self) -> None:
        self.pieces: list[int] = []

    def accept(self, samples: Samples) -> list[TimedEvent]:
        self.pieces.append(len(samples))
        return [TimedEvent(Partial(0, f"N{len(self.pieces)}", 0, sum(self.pieces) / 16_000))]

    def finish(self) -> list[TimedEvent]:
        return [TimedEvent(Final(0, "END", (), 0.0, 0.0, sum(self.pieces) / 16_000))]


def test_the_virtual_clock_delivers_a_piece_when_its_last_sample_was_spoken() -> None:
    session = Counter()
    seen, _ = replay(session, np.zeros(1000, np.float32), 320, ReplayConfig())
    assert session.pieces == [320, 320, 320, 40]
    assert [o.delivered_us for o in seen] == [20_000, 40_000, 60_000, 62_500, 62_500]
    assert [o.emitted_us for o in seen] == [o.delivered_us for o in seen]
    assert [o.flushed for o in seen] == [False, False, False, False, True]


def test_a_price_for_computing_queues_up() -> None:
    config = ReplayConfig(compute_factor=1.5)
    seen, _ = replay(Counter(), np.zeros(960, np.float32), 320, config)
    assert [o.emitted_us for o in seen] == [50_000, 80_000, 110_000, 110_000]


def test_the_real_clock_never_hands_over_sound_before_it_was_spoken() -> None:
    seen, compute_s = replay(Counter(), np.zeros(4800, np.float32), 1600, ReplayConfig(real=True))
    assert [o.delivered_us for o in seen] == [100_000, 200_000, 300_000, 300_000]
    assert all(o.emitted_us >= o.delivered_us for o in seen)
    assert seen[-1].emitted_us < 2_000_000
    assert 0.0 <= compute_s < 1.0


def test_the_tail_is_as_loud_as_the_background_and_always_the_same() -> None:
    rng = np.random.default_rng(3)
    speech = rng.standard_normal(16_000).astype(np.float32) * 0.3
    hum = rng.standard_normal(8_000).astype(np.float32) * 0.001
    clip = np.concatenate([hum, speech])
    made = with_tail(clip, 0.5)
    assert np.array_equal(made[: len(clip)], clip)
    assert len(made) == len(clip) + 8000
    assert made[len(clip) :].std() == pytest.approx(0.001, rel=0.15)
    assert np.array_equal(made, with_tail(clip, 0.5))
    assert np.array_equal(with_tail(clip, 0.0), clip)
    assert not with_tail(np.zeros(10, np.float32), 0.1).any()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    checkpoint.save(small_checkpoint(), folder, bits=32)
    return folder


@pytest.fixture
def clip(small: Recognizer, babble: np.ndarray) -> Clip:
    """Six seconds in which the small model is right about every other word."""
    stream = small.stream()
    heard = [*stream.accept(babble), *stream.finish()]
    words = [word for event in heard if isinstance(event, Final) for word in event.words]
    said = [
        SpokenWord(w.text if i % 2 else "XYZ", w.start, w.end) for i, w in enumerate(words[:12])
    ]
    return Clip("babble", babble, tuple(said))


def test_parts_sum_to_the_whole_for_every_word_on_both_clocks(model: Path, clip: Clip) -> None:
    short = replace(clip, samples=clip.samples[:48_000])
    for config, used in (
        (ReplayConfig((20, 333), compute_factor=0.5, tail_s=1.0), clip),
        (ReplayConfig((80,), real=True, tail_s=0.2), short),
    ):
        done = run_system(SystemConfig("rivulet", str(model)), [used], config)
        for run in done.runs:
            words = run.clips[0].words
            assert words
            for word in words:
                assert word.parts.total_us == word.first_us <= word.settled_us <= word.final_us
                assert word.parts.lookahead_us == 80_000
                assert min(word.parts.chunk_us, word.parts.block_us) >= 0
                assert word.parts.compute_us > 0
            assert run.clips[0].stability.settled_revised == 0


def test_waiting_for_the_chunk_is_all_that_the_chunk_changes(model: Path, clip: Clip) -> None:
    done = run_system(SystemConfig("rivulet", str(model)), [clip], ReplayConfig((5, 20, 320)))
    fine, *coarse = (run.clips[0] for run in done.runs)
    for other in coarse:
        assert other.substitutions == fine.substitutions
        for a, b in zip(fine.words, other.words, strict=True):
            assert replace(a.parts, chunk_us=0) == replace(b.parts, chunk_us=0)
            assert a.parts.chunk_us <= b.parts.chunk_us
    assert {word.parts.chunk_us for word in fine.words} == {0}  # blocks end at 15 ms + n * 120 ms


def test_a_smaller_block_shortens_the_wait_for_it(model: Path, clip: Clip) -> None:
    waits = []
    for block_ms in (40, 320):
        config = SystemConfig("rivulet", str(model), block_ms=block_ms)
        words = run_system(config, [clip], ReplayConfig((20,))).runs[0].clips[0].words
        waits.append(np.mean([word.parts.block_us for word in words]))
    assert waits[0] == 0.0
    assert 20_000 < waits[1] < 300_000


@pytest.fixture
def bench(tmp_path: Path, model: Path, clip: Clip) -> list[str]:
    """The arguments of a run on one clip that needs no aligner."""
    write_wav(tmp_path / "babble.wav", clip.samples, 16_000)
    (tmp_path / "babble.txt").write_text(" ".join(word.text for word in clip.reference).lower())
    write_ctm(tmp_path / "words.ctm", {"babble": clip.reference})
    return [
        "bench",
        "latency",
        str(tmp_path / "babble.wav"),
        *("--reference", str(tmp_path / "words.ctm")),
        *("--model", str(model), "--chunk-ms", "20,160"),
    ]


def last_line(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    out = capsys.readouterr().out
    document: dict[str, Any] = json.loads(out.splitlines()[-1])
    return out, document


def test_two_runs_give_the_same_document_apart_from_the_machine(
    bench: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for name in ("a.json", "b.json"):
        assert main([*bench, "--json", str(tmp_path / name)]) == 0
        text = (tmp_path / name).read_text()
        document = json.loads(text)
        begin = text.index(',"machine":')
        machine = json.dumps(document.pop("machine"), separators=(",", ":"))
        made.append(text[:begin] + text[begin:].replace(machine, ""))
        _, printed = last_line(capsys)
        printed.pop("machine")
        for system in document["systems"].values():
            assert system.pop("words_chunk_ms") == 20
            assert system.pop("words")
        document.pop("word_columns")
        assert printed == document
    assert made[0] == made[1]


def test_the_document_and_the_table_hold_every_number(
    bench: list[str], clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*bench, "--json", str(tmp_path / "a.json")]) == 0
    out, document = last_line(capsys)
    run = document["systems"]["rivulet"]["chunks"]["20"]
    assert run["reference_words"] == len(clip.reference)
    assert run["hits"] + run["substitutions"] + run["deletions"] == run["reference_words"]
    assert run["settled_revised"] == 0
    assert sum(run["parts_mean_ms"].values()) == pytest.approx(run["first"]["mean_ms"], abs=0.01)
    assert document["machine"]["commit"]
    assert document["machine"]["systems"]["rivulet"]["rtf"]["20"] > 0
    assert document["reference"] == {
        "source": "words.ctm",
        "clips": 1,
        "left_out": 0,
        "words": len(clip.reference),
    }
    assert f"{100 * run['wer']:.1f} %" in out
    full = json.loads((tmp_path / "a.json").read_text())
    columns = full["word_columns"]
    for row in full["systems"]["rivulet"]["words"]:
        word = dict(zip(columns, row, strict=True))
        parts = ("chunk", "block", "lookahead", "compute", "model")
        assert round(sum(word[f"{p}_ms"] for p in parts) - word["first_ms"], 6) == 0


def test_blocks_of_one_model_stand_side_by_side(
    bench: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*bench, "--chunk-ms", "20", "--system", "rivulet@40,rivulet@320"]) == 0
    _, document = last_line(capsys)
    small, large = (system["chunks"]["20"] for system in document["systems"].values())
    assert small["parts_mean_ms"]["block"] < large["parts_mean_ms"]["block"]
    assert document["systems"]["rivulet@40"]["model"].endswith("/block 40 ms")


def test_systems_stand_side_by_side_and_are_drawn(
    bench: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("matplotlib")
    both = [*bench, "--system", "rivulet,pocketsphinx", "--json", str(tmp_path / "a.json")]
    assert main([*both, "--plot", str(tmp_path / "p.png")]) == 0
    out, document = last_line(capsys)
    assert list(document["systems"]) == ["rivulet", "pocketsphinx"]
    header = out.splitlines()[0]
    assert header.index("rivulet, 20 ms") < header.index("pocketsphinx, 20 ms")
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == ["p-cdf.png", "p-waterfall.png", "p-wer.png"]
    drawn = {path.name: path.read_bytes() for path in tmp_path.glob("p-*.png")}
    assert all(content.startswith(b"\x89PNG") and len(content) > 5000 for content in drawn.values())
    again = tmp_path / "again"
    again.mkdir()
    assert main(["bench", "plot", str(tmp_path / "a.json"), "-o", str(again / "p.png")]) == 0
    assert {path.name: path.read_bytes() for path in again.glob("*.png")} == drawn


def test_bad_input_is_one_sentence_and_exit_status_1(
    bench: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.ctm"
    write_ctm(other, {"babble": (SpokenWord("HELLO", 0.0, 1.0),)})
    stranger = tmp_path / "stranger.ctm"
    write_ctm(stranger, {"nobody": (SpokenWord("HELLO", 0.0, 1.0),)})
    for arguments, says in (
        (["--reference", str(other)], "does not match the text of babble: it times 1 words"),
        (["--reference", str(stranger)], "0 of 1 clips have true word times in stranger.ctm"),
        (["--reference", str(tmp_path / "none.ctm")], "does not exist"),
        (["--system", "kaldi"], "there is no system 'kaldi'"),
        (["--system", "rivulet,rivulet"], "one of them twice"),
        (["--system", "rivulet@50"], "rivulet@50 is no system"),
        (["--system", "pocketsphinx@40"], "only rivulet has blocks"),
        (["--chunk-ms", "20,x"], "no list of whole numbers"),
        (["--chunk-ms", "0"], "a chunk of 0 ms"),
        (["--chunk-ms", "20,20"], "each size once"),
        (["--tail", "-1"], "a tail of -1.0 s"),
        (["--compute-factor", "-1"], "a compute factor of -1.0"),
        (["--json", str(tmp_path / "no" / "a.json")], "make it first"),
        (["--limit", "0"], "--limit 0 leaves 0 clips"),
        (["--model", str(tmp_path)], "config.json"),
    ):
        assert main([*bench, *arguments]) == 1, arguments
        error = capsys.readouterr().err
        assert says in error.splitlines()[-1], (arguments, error)


def test_a_system_that_is_not_installed_stops_the_run_before_it_begins(
    bench: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vosk", None)
    assert main([*bench, "--system", "rivulet,vosk=/tmp"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip().endswith("install it with `pip install vosk`.")


def test_a_clip_without_words_is_refused(
    bench: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "babble.txt").write_text("...\n")
    assert main(bench) == 1
    assert "the clip babble has 0 words" in capsys.readouterr().err


def test_two_clips_of_one_name_are_refused(
    bench: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b").mkdir()
    for name in ("babble.wav", "babble.txt"):
        shutil.copy(tmp_path / name, tmp_path / "b")
    assert main([*bench[:3], str(tmp_path / "b" / "babble.wav"), *bench[3:]]) == 1
    assert "2 clips are called babble" in capsys.readouterr().err


def test_plot_refuses_what_is_no_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in ("{}", "[1", '{"bench":"speed"}', "[]"):
        (tmp_path / "x.json").write_text(content)
        assert main(["bench", "plot", str(tmp_path / "x.json"), "-o", str(tmp_path / "p.png")]) == 1
        assert "is no document of" in capsys.readouterr().err
    assert main(["bench", "plot", str(tmp_path / "none"), "-o", str(tmp_path / "p.png")]) == 1


def test_pictures_without_matplotlib_say_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install rivulet\[bench\]"):
        draw_cdf({"systems": {}, "word_columns": []})


def test_many_streams_are_counted_together(
    small: Recognizer, tmp_path: Path, babble: np.ndarray
) -> None:
    write_wav(tmp_path / "a.wav", babble, 16_000)
    one = measure_streams(small, [tmp_path / "a.wav"], 2.4, 1)
    four = measure_streams(small, [tmp_path / "a.wav"], 2.4, 4)
    assert (one.audio_s, four.audio_s) == (pytest.approx(2.4), pytest.approx(9.6))
    assert four.state_bytes == 4 * one.state_bytes
    assert four.streams_per_core == pytest.approx(four.audio_s / four.compute_s)
    assert four.keeps_up == (four.round_p99_ms < small.block_ms)
    with pytest.raises(ConfigError, match="0 streams"):
        measure_streams(small, [tmp_path / "a.wav"], 1.0, 0)
    with pytest.raises(ConfigError, match=r"0\.0 s"):
        measure_streams(small, [tmp_path / "a.wav"], 0.0, 1)


def test_a_watched_stream_costs_the_words_nothing(small: Recognizer, babble: np.ndarray) -> None:
    seen, _ = replay(RivuletStream(small), babble, 320, ReplayConfig())
    finals = [o.event for o in seen if isinstance(o.event, Final)]
    stream = small.stream()
    plain = [*stream.accept(babble), *stream.finish()]
    assert finals == [event for event in plain if isinstance(event, Final)]
