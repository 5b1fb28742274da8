"""`rivulet bench accuracy`: the same clips through several systems, errors, intervals, failures."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import SAMPLES

from rivulet.__main__ import main
from rivulet.audio import Samples
from rivulet.audio.pcm import write_wav
from rivulet.corpora.manifest import Utterance
from rivulet.errors import EngineError
from rivulet.evaluation import accuracy
from rivulet.evaluation.accuracy import ClipTranscript, SystemTranscripts, compare, transcribe_all
from rivulet.evaluation.streaming import apart
from rivulet.evaluation.systems import SystemConfig, TimedEvent
from rivulet.evaluation.systems.common import Screen
from rivulet.metrics import ErrorCounts, add_counts, error_counts, interval_95, resampled_rates
from rivulet.recognizer import Recognizer

RATE = 16_000


class Parrot:
    """A system that says what it is told to for a clip of so many seconds, or raises."""

    digest = "parrot 1"
    lookahead_s = 0.0
    size_bytes = 7

    def __init__(self, says: dict[int, str | Exception]) -> None:
        self.says = says

    def stream(self) -> "ParrotStream":
        return ParrotStream(self.says)


class ParrotStream:
    def __init__(self, says: dict[int, str | Exception]) -> None:
        self.says = says
        self.pieces: list[int] = []
        self.screen = Screen()

    def accept(self, samples: Samples) -> list[TimedEvent]:
        self.pieces.append(len(samples))
        return self.screen.partial("WRONG WORDS")

    def finish(self) -> list[TimedEvent]:
        text = self.says.get(sum(self.pieces) // RATE, "")
        if isinstance(text, Exception):
            raise text
        return self.screen.final(text)


SAID = {
    3: ("near/a", "anna", "one two three"),
    4: ("near/b", "bert", "four five"),
    5: ("far/c", "carl", "six's seven eight nine"),
    6: ("far/d", "carl", ""),
}
GOOD = {3: "One, two three!", 4: "FOUR FIVE", 5: "SIX’S SEVEN EIGHT", 6: ""}
BAD = {3: "one too three four", 4: "", 5: "SIX'S", 6: "WELL"}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four clips of two parts and three speakers; 3, 4, 5 and 6 seconds long."""
    lines = ["id\tpath\tseconds\tspeaker\ttext"]
    for seconds, (name, speaker, text) in SAID.items():
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        write_wav(path, np.zeros(seconds * RATE, np.float32), RATE)
        lines.append(f"{path.stem}\t{name}.wav\t{seconds}\t{speaker}\t{text}")
    made = tmp_path / "dev.tsv"
    made.write_text("\n".join(lines) + "\n")
    return made


@pytest.fixture
def parrots(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Rivulet and Vosk, played by parrots in this process; what they say can be changed."""
    says: dict[str, Any] = {"rivulet": dict(GOOD), "vosk": dict(BAD)}

    def load(config: SystemConfig) -> Parrot:
        return Parrot(says[config.name])

    monkeypatch.setattr(accuracy, "load_system", load)
    monkeypatch.setattr(accuracy, "apart", lambda config, work: work())
    monkeypatch.setitem(sys.modules, "vosk", SimpleNamespace())
    return says


def bench(manifest: Path, *more: str) -> list[str]:
    systems = ("--system", "rivulet", "--system", "vosk=/models")
    return ["bench", "accuracy", "--manifest", str(manifest), *systems, *more]


@pytest.mark.slow
def test_parts_and_systems_stand_side_by_side(
    manifest: Path, parrots: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(bench(manifest, "--json", str(tmp_path / "a.json"))) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:5]]
    assert [row[:3] for row in cells] == [["near", "2", "5"], ["far", "2", "4"], ["all", "4", "9"]]
    assert [row[4] for row in cells] == ["0 / 0 / 0", "0 / 1 / 0", "0 / 1 / 0"]
    assert [row[7] for row in cells] == ["1 / 2 / 1", "0 / 3 / 1", "1 / 5 / 2"]
    assert cells[2][3].startswith("11.1 (0.0 to ")
    assert cells[2][9].startswith("-77.8 (-")
    assert "rivulet 0, vosk 0" in lines[6]
    assert lines[7].startswith("rivulet makes fewer errors than vosk on 2 of 2 parts, with 95 %")
    document = json.loads(lines[-1])
    assert document["parts"]["near"]["vosk"]["wer"] == 0.8
    assert document["parts"]["near"]["vosk"]["delta"] == -0.8
    assert document["all"]["rivulet"]["wer"] == round(1 / 9, 5)
    assert document["all"]["rivulet"]["delta"] is None
    assert document["machine"]["systems"]["vosk"]["rtf"]["all"] >= 0.0
    full = json.loads((tmp_path / "a.json").read_text())
    clips = full.pop("clips")
    assert {name: len(pairs) for name, pairs in full.pop("clips_s").items()} == {
        "rivulet": 4,
        "vosk": 4,
    }
    assert full == document
    assert clips[2]["reference"] == "SIX'S SEVEN EIGHT NINE"  # the same normalization for all
    assert [clips[2]["hypotheses"][name]["text"] for name in ("rivulet", "vosk")] == [
        "SIX'S SEVEN EIGHT",
        "SIX'S",
    ]


@pytest.mark.slow
def test_what_a_system_wrote_in_an_earlier_run_is_compared_anew(
    manifest: Path, parrots: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    assert main(bench(manifest, "--json", str(path))) == 0
    first = json.loads(path.read_text())
    parrots["rivulet"], parrots["vosk"] = {}, None  # one has changed, one cannot run
    capsys.readouterr()
    assert main(bench(manifest, "--reuse", str(path))) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert document["all"]["vosk"]["wer"] == first["all"]["vosk"]["wer"]
    assert document["all"]["rivulet"]["deletions"] == 9
    assert document["machine"]["systems"]["vosk"] == first["machine"]["systems"]["vosk"]
    assert main(bench(manifest, "--reuse", str(path), "--limit", "2")) != 0
    assert "has 4 clips, which are not the 2 of this run" in capsys.readouterr().err
    path.write_text("{}")
    assert main(bench(manifest, "--reuse", str(path))) != 0
    assert "cannot be read as results of bench accuracy" in capsys.readouterr().err


@pytest.mark.slow
def test_two_runs_differ_in_the_machine_alone(
    manifest: Path, parrots: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for jobs in ("1", "2"):
        assert main(bench(manifest, "--jobs", jobs)) == 0
        document = json.loads(capsys.readouterr().out.splitlines()[-1])
        document.pop("machine")
        made.append(document)
    assert made[0] == made[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "ids"),
    [
        (["--part", "far"], ["c", "d"]),
        (["--part", "far", "--part", "near"], ["a", "b", "c", "d"]),
        (["--every", "2"], ["a", "c"]),
        (["--part", "far", "--every", "2"], ["c"]),
        (["--limit", "2"], ["a", "c"]),
    ],
)
def test_a_part_of_the_clips_can_be_chosen(
    more: list[str], ids: list[str], manifest: Path, parrots: dict[str, Any], tmp_path: Path
) -> None:
    assert main(bench(manifest, *more, "--json", str(tmp_path / "a.json"))) == 0
    clips = json.loads((tmp_path / "a.json").read_text())["clips"]
    assert [clip["id"] for clip in clips] == ids


@pytest.mark.slow
def test_a_clip_that_fails_is_named_counted_and_its_words_missed(
    manifest: Path, parrots: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parrots["vosk"][4] = RuntimeError("out of\nluck")
    (tmp_path / "near" / "a.wav").write_bytes(b"no sound at all")
    assert main(bench(manifest, "--json", str(tmp_path / "a.json"))) == 1
    captured = capsys.readouterr()
    errors = captured.err.splitlines()[1:]
    assert len(errors) == 3
    assert errors[0].startswith("rivulet: rivulet failed on a: ")
    assert errors[1].startswith("rivulet: vosk failed on a: ")
    assert errors[2] == "rivulet: vosk failed on b: RuntimeError: out of luck"
    document = json.loads(captured.out.splitlines()[-1])
    assert document["parts"]["near"]["rivulet"]["failed"] == 1
    assert document["parts"]["near"]["rivulet"]["deletions"] == 3
    assert document["parts"]["near"]["vosk"]["deletions"] == 5
    assert document["parts"]["near"]["vosk"]["reference"] == 5
    assert document["all"]["vosk"]["failed"] == 2
    assert "rivulet 1, vosk 2" in captured.out
    clips = json.loads((tmp_path / "a.json").read_text())["clips"]
    assert clips[1]["hypotheses"]["vosk"]["failure"] == "RuntimeError: out of luck"


def test_a_system_that_failed_is_loaded_again(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def load(config: SystemConfig) -> Parrot:
        made.append(Parrot({**GOOD, 4: RuntimeError("once")}))
        return made[-1]

    monkeypatch.setattr(accuracy, "load_system", load)
    clips = [
        Utterance(name, manifest.parent / f"{name}.wav", 0.0, "", text.upper(), "x")
        for name, _, text in SAID.values()
    ]
    done = transcribe_all(SystemConfig("rivulet"), clips, 100)
    assert [bool(clip.failure) for clip in done.clips] == [False, True, False, False]
    assert len(made) == 2
    assert done.clips[0].audio_s == 3.0


def test_bad_input_is_one_sentence_and_exit_status_1(
    manifest: Path,
    parrots: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    nameless = tmp_path / "nameless.tsv"
    nameless.write_text(manifest.read_text().replace("carl", ""))
    for arguments, says in (
        (["--part", "middle"], "no part 'middle' among 4 clips; use near, far."),
        (["--every", "0"], "--every 0 cannot be used"),
        (["--limit", "0"], "--limit 0 leaves 0 clips"),
        (["--jobs", "0"], "--jobs 0 cannot be used"),
        (["--chunk-ms", "0"], "a chunk of 0 ms"),
        (["--json", str(tmp_path / "no" / "a.json")], "make it first"),
        (["--system", "vosk"], "one of them twice"),
        (["--system", "pocketsphinx"], "install it with `pip install pocketsphinx`."),
        (["--system", "kaldi"], "there is no system 'kaldi'"),
        (["--manifest", str(tmp_path / "none.tsv")], "does not exist"),
        (
            ["--manifest", str(nameless), "--resample", "speaker"],
            "2 of 4 clips name no speaker; use --resample utterance.",
        ),
    ):
        assert main(bench(manifest, *arguments)) == 1, arguments
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1, captured.err
        assert says in captured.err


# the numbers


def counts(*errors_and_words: tuple[int, int]) -> list[ErrorCounts]:
    return [ErrorCounts(errors, 0, 0, words) for errors, words in errors_and_words]


def test_sums_are_of_every_kind() -> None:
    several = [error_counts(["A", "B", "C"], ["A", "X"]), error_counts([], ["Y"])]
    assert add_counts(several) == ErrorCounts(1, 1, 1, 3)
    assert add_counts([]) == ErrorCounts(0, 0, 0, 0)


def test_the_interval_is_that_of_the_binomial_where_every_unit_is_a_word() -> None:
    rates = resampled_rates(counts(*[(int(i < 60), 1) for i in range(200)]))
    low, high = interval_95(rates)
    spread = 1.96 * (0.3 * 0.7 / 200) ** 0.5
    assert low == pytest.approx(0.3 - spread, abs=0.01)
    assert high == pytest.approx(0.3 + spread, abs=0.01)
    assert np.array_equal(rates, resampled_rates(counts(*[(int(i < 60), 1) for i in range(200)])))


def test_two_recognizers_with_the_same_errors_do_not_differ_by_chance() -> None:
    units = counts((3, 10), (1, 7), (0, 2), (5, 9))
    clips = [Utterance(str(i), Path(), 0.0, f"s{i % 2}", "", "x") for i in range(4)]
    heard = tuple(ClipTranscript("", unit, 1.0, 0.5) for unit in units)
    systems = [SystemTranscripts(name, "", 0, 0.0, heard) for name in ("a", "b")]
    first, second = compare(clips, systems, "utterance")
    assert first.interval == second.interval
    assert (second.delta, second.delta_interval) == (0.0, (0.0, 0.0))
    assert not second.significantly_worse
    assert second.rtf == 0.5
    by_speaker, _ = compare(clips, systems, "speaker")
    assert by_speaker.wer == first.wer
    assert by_speaker.interval != first.interval
    (alone,) = compare(clips[:1], [SystemTranscripts("a", "", 0, 0.0, heard[:1])], "utterance")
    assert alone.interval is None


def test_pairs_are_surer_than_their_rates() -> None:
    clips = [Utterance(str(i), Path(), 0.0, "", "", "x") for i in range(50)]
    hard = [i % 10 for i in range(50)]
    systems = [
        SystemTranscripts(
            name, "", 0, 0.0, tuple(ClipTranscript("", unit, 1.0, 0.1) for unit in counts(*errors))
        )
        for name, errors in (("a", [(h, 10) for h in hard]), ("b", [(h + 1, 10) for h in hard]))
    ]
    first, second = compare(clips, systems, "utterance")
    assert first.interval is not None
    assert second.interval is not None
    assert first.interval[1] > second.interval[0]  # they overlap, and yet
    assert second.significantly_worse
    assert second.delta == pytest.approx(-0.1)


# real systems


@pytest.mark.slow
def test_rivulet_is_heard_as_users_hear_it(
    small: Recognizer, babble: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rivulet.evaluation.systems.rivulet import RivuletSystem

    monkeypatch.setattr(accuracy, "load_system", lambda config: RivuletSystem(small, 1, False))
    write_wav(tmp_path / "a.wav", babble, RATE)
    clip = Utterance("a", tmp_path / "a.wav", 6.0, "", "HELLO", "x")
    fine, coarse = (
        transcribe_all(SystemConfig("rivulet"), [clip], ms).clips[0] for ms in (20, 1000)
    )
    assert fine.text == coarse.text != ""
    watched = RivuletSystem(small, 1).stream()
    plain = RivuletSystem(small, 1, False).stream()
    samples = np.concatenate(list(accuracy.audio.read(clip.path)))
    assert [h.event for h in watched.accept(samples)] == [h.event for h in plain.accept(samples)]
    assert [h.event for h in watched.finish()] == [h.event for h in plain.finish()]


def test_pocketsphinx_hears_a_clip_of_the_repository(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pocketsphinx")
    for suffix in (".flac", ".txt"):
        shutil.copy(SAMPLES / f"slt{suffix}", tmp_path)
    clip = str(tmp_path / "slt.flac")
    assert main(["bench", "accuracy", clip, "--system", "pocketsphinx"]) == 0
    out = capsys.readouterr().out
    document = json.loads(out.splitlines()[-1])
    numbers = document["all"]["pocketsphinx"]
    assert document["parts"] == {tmp_path.name: {"pocketsphinx": numbers}}
    assert numbers["reference"] == len((SAMPLES / "slt.txt").read_text().split())
    assert numbers["wer"] < 0.8
    assert numbers["wer_95"] is None
    assert numbers["failed"] == 0
    assert document["systems"]["pocketsphinx"]["model"] == "en-us of the package"
    assert 0.0 < document["machine"]["systems"]["pocketsphinx"]["rtf"]["all"] < 50.0


def _die() -> None:
    import os

    os._exit(9)


def test_a_process_that_dies_is_one_sentence() -> None:
    with pytest.raises(EngineError, match="the system vosk died"):
        apart(SystemConfig("vosk"), _die)
