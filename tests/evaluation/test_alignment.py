"""Word times: CTM files, and the aligner against exact times."""

import sys
from pathlib import Path

import numpy as np
import pytest

from rivulet.__main__ import main
from rivulet.errors import AlignmentError, EngineError
from rivulet.evaluation.alignment import Aligner, deviation
from rivulet.evaluation.ctm import SpokenWord, check_text, read_ctm, write_ctm
from rivulet.evaluation.synthesis import SpokenClip, speak
from rivulet.language.g2p_rules import guess, spell

TEXT = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG"
HELLO = (SpokenWord("HELLO", 0.25, 0.7), SpokenWord("YOU", 0.7, 0.913))


@pytest.fixture(scope="module")
def spoken() -> SpokenClip:
    try:
        return speak(TEXT, "flite:slt")
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    pytest.importorskip("pocketsphinx")
    return Aligner()


def test_a_ctm_reads_back_as_it_was_written(tmp_path: Path) -> None:
    assert write_ctm(tmp_path / "a.ctm", {"x-1": HELLO, "x-2": HELLO[:1]}, "by hand") == 3
    assert read_ctm(tmp_path / "a.ctm") == {"x-1": HELLO, "x-2": HELLO[:1]}
    assert (tmp_path / "a.ctm").read_text().startswith(";; by hand\nx-1 1 0.250 0.450 HELLO\n")


def test_words_of_a_ctm_come_in_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "a.ctm").write_text("x 1 0.7 0.213 YOU 0.9\nx 1 0.25 0.45 HELLO 0.5\n")
    assert read_ctm(tmp_path / "a.ctm") == {"x": HELLO}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "0 words"),
        ("x 1 0.2 HELLO\n", "line 1 cannot be read (4 fields)"),
        (";; note\nx 1 zero 0.2 HELLO\n", "line 2"),
        ("x 1 -0.5 0.2 HELLO\n", "start -0.5 s"),
        ("x 1 0.5 nan HELLO\n", "duration nan s"),
    ],
)
def test_a_damaged_ctm_is_refused_with_its_line(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.ctm").write_text(content)
    with pytest.raises(AlignmentError) as error:
        read_ctm(tmp_path / "a.ctm")
    assert says in str(error.value)


def test_a_missing_ctm_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(AlignmentError, match="rivulet align"):
        read_ctm(tmp_path / "none.ctm")


def test_a_clip_name_with_a_blank_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(AlignmentError, match="blank"):
        write_ctm(tmp_path / "a.ctm", {"my clip": HELLO})


def test_a_ctm_of_another_text_is_refused_at_the_first_difference() -> None:
    check_text("x", HELLO, "HELLO YOU")
    with pytest.raises(AlignmentError, match="word 2 is 'YOU' against 'ME'"):
        check_text("x", HELLO, "HELLO ME")
    with pytest.raises(AlignmentError, match=r"times 2 words and the text has 3.*against 'TOO'"):
        check_text("x", HELLO, "HELLO YOU TOO")
    with pytest.raises(AlignmentError, match="word 2 is 'YOU' against nothing"):
        check_text("x", HELLO, "HELLO")


def test_unknown_words_are_guessed_from_stem_and_suffix_or_spelled() -> None:
    known = {"hugh": "HH Y UW", "box": "B AA K S", "cat": "K AE T"}.get
    assert guess("hugh's", known) == "HH Y UW Z"
    assert guess("box's", known) == "B AA K S AH Z"
    assert guess("cats", known) == "K AE T S"
    assert guess("dowson", known) == "D OW S AA N"
    assert spell("smith") == "S M IH TH"
    assert spell("'") == "AH"  # never empty: the aligner needs a phone


@pytest.mark.slow
def test_the_aligner_finds_words_near_their_exact_times(
    aligner: Aligner, spoken: SpokenClip
) -> None:
    found = aligner.align(spoken.samples, TEXT)
    assert [word.text for word in found] == TEXT.split()
    ends = deviation([w.end for w in found], [w.end for w in spoken.words])
    starts = deviation([w.start for w in found], [w.start for w in spoken.words])
    assert abs(starts.median_s) < 0.015
    assert abs(ends.median_s) < 0.015
    assert ends.mean_abs_s < 0.03
    assert abs(found[-1].end - spoken.words[-1].end) < 0.06  # the pause is not the last word's


def test_an_alignment_rests_on_its_clip_alone(aligner: Aligner, spoken: SpokenClip) -> None:
    first = aligner.align(spoken.samples, TEXT)
    aligner.align(spoken.samples[8000:40000] * 0.1, "QUICK BROWN FOX")
    assert aligner.align(spoken.samples, TEXT) == first


def test_text_that_cannot_fit_is_refused(aligner: Aligner, spoken: SpokenClip) -> None:
    with pytest.raises(AlignmentError, match=r"18 words do not fit into 0\.20 s"):
        aligner.align(spoken.samples[:3200], f"{TEXT} {TEXT}")
    with pytest.raises(AlignmentError, match="without words"):
        aligner.align(spoken.samples, " ")
    with pytest.raises(AlignmentError, match="0 samples"):
        aligner.align(np.zeros(0, np.float32), "HELLO")


def test_spoken_words_tile_their_clip_in_order(spoken: SpokenClip) -> None:
    assert [word.text for word in spoken.words] == TEXT.split()
    bounds = [time for word in spoken.words for time in (word.start, word.end)]
    assert bounds == sorted(bounds)
    assert 0.05 < bounds[0] < bounds[-1] < len(spoken.samples) / 16_000
    level = [
        np.abs(spoken.samples[int(w.start * 16e3) : int(w.end * 16e3)]).max() for w in spoken.words
    ]
    assert min(level) > 20 * np.abs(spoken.samples[: int(bounds[0] * 16e3) - 800]).max()


def test_an_unknown_voice_is_refused_with_the_names() -> None:
    with pytest.raises(EngineError, match="flite:slt"):
        speak("HELLO", "nobody")


def test_a_missing_synthesizer_or_aligner_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(EngineError, match="apt install flite"):
        speak("HELLO", "flite:slt")
    with pytest.raises(EngineError, match="apt install espeak-ng"):
        speak("HELLO", "espeak:en-us")
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(EngineError, match=r"pip install rivulet\[bench\]"):
        Aligner()


def test_espeak_times_lie_where_the_sound_is() -> None:
    try:
        clip = speak("IT'S A DOG'S LIFE SAID THE OLD MAN", "espeak:en-us")
    except EngineError as error:
        pytest.skip(str(error))
    ends = [word.end for word in clip.words]
    assert ends == sorted(ends)
    assert clip.words[2].text == "DOG'S"
    last = clip.words[-1]
    sounding = np.abs(clip.samples[int(last.start * 16e3) : int(last.end * 16e3)])
    assert sounding.max() > 0.05
    assert np.abs(clip.samples[int((last.end + 0.1) * 16e3) :]).max(initial=0.0) < 0.05


def test_deviation_of_known_differences() -> None:
    made = deviation([0.10, 0.21, 0.36], [0.10, 0.20, 0.30])
    assert made.median_s == pytest.approx(0.01)
    assert made.mean_abs_s == pytest.approx(0.07 / 3)
    assert (made.within_20ms, made.within_50ms) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


@pytest.mark.slow
def test_align_writes_a_ctm_and_counts_the_clips_it_could_not(
    aligner: Aligner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lines.txt").write_text(f"{TEXT.title()}.\nHello again, old friend!\n")
    made = tmp_path / "made"
    assert main(["align", "--speak", str(tmp_path / "lines.txt"), "-o", str(made)]) == 0
    exact = read_ctm(made / "words.ctm")
    assert [w.text for w in exact["flite-slt-002"]] == ["HELLO", "AGAIN", "OLD", "FRIEND"]
    out = tmp_path / "aligned.ctm"
    assert main(["align", "--manifest", str(made / "manifest.tsv"), "-o", str(out)]) == 0
    assert [len(words) for words in read_ctm(out).values()] == [9, 4]
    (made / "flite-slt-001.txt").write_text("ONE")
    (made / "flite-slt-002.txt").write_text(" ".join([TEXT] * 30))
    files = [str(made / f"flite-slt-00{n}.wav") for n in (1, 2)]
    capsys.readouterr()
    assert main(["align", *files, "-o", str(out)]) == 1
    said = capsys.readouterr()
    assert "flite-slt-002: 270 words do not fit" in said.err
    assert said.out.splitlines()[-1].startswith('{"words": 1, "clips": 1, "failed": 1')


def test_align_refuses_what_it_cannot_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = tmp_path / "a.wav"
    sound.write_bytes(b"RIFF")
    for arguments, says in (
        (["-o", "x.ctm"], "0 files and 0 manifests"),
        ([str(sound), "-o", "x.ctm"], "has no text"),
        ([str(tmp_path / "b.wav"), "-o", "x.ctm"], "does not exist"),
        ([str(sound)], "--output"),
        (["--speak", str(tmp_path / "none.txt"), "-o", str(tmp_path)], "does not exist"),
    ):
        assert main(["align", *arguments]) == 1
        assert says in capsys.readouterr().err
    (tmp_path / "a.txt").write_text("123")
    assert main(["align", str(sound), "-o", "x.ctm"]) == 1
    assert "0 words" in capsys.readouterr().err


@pytest.mark.slow
def test_the_check_prints_how_good_the_aligner_is(
    aligner: Aligner, spoken: SpokenClip, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    assert main(["align", "--check", "--voice", "flite:slt"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    voice = last["voices"]["flite:slt"]
    assert (voice["words"], voice["clips_failed"]) == (94, 0)
    assert voice["end"]["within_50ms"] > 0.9
