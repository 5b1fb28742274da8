"""`data/usual_case.py` finds names in texts, and nothing that only begins a sentence."""

import sys

from support import ROOT

from rivulet.training.punctuated import examples

sys.path.insert(0, str(ROOT / "data"))
import usual_case

TEXT = ["Rivers flow. We saw the Spey and NASA.", "He said so to Agrippa, the king of Spey."] * 4


def test_words_with_the_same_capitals_inside_sentences_are_names():
    words = frozenset(["rivers", "spey", "nasa", "king", "agrippa", "bingham"])
    counts = usual_case.counted(examples(TEXT), words)
    assert set(usual_case.names(counts)) == {"Spey"}  # the others were seen four times, or never
    counts = usual_case.counted(examples(TEXT * 2), words)
    assert set(usual_case.names(counts)) == {"Spey", "NASA", "Agrippa"}


def test_a_word_written_both_ways_is_no_name():
    both = ["He has the will.", "He has Will."] * 9
    assert not list(usual_case.names(usual_case.counted(examples(both), frozenset(["will"]))))


def test_the_list_is_completed_with_what_the_lexicon_knows(tmp_path, monkeypatch, capsys):
    (tmp_path / "written.txt").write_text("London\n")
    (tmp_path / "words.txt").write_text("the\nking\n")
    text = tmp_path / "text.txt"
    text.write_text("\n".join([*TEXT, "We left London for Nowherewhatsoever."] * 5) + "\n")
    monkeypatch.setattr(sys, "argv", ["usual_case.py", str(tmp_path), str(text)])
    usual_case.main()
    assert (tmp_path / "written.txt").read_text().split() == ["Agrippa", "London", "NASA", "Spey"]
    assert capsys.readouterr().out.startswith("3 names added to the 1 words of")
