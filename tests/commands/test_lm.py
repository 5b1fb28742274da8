"""`rivulet lm`: from texts and ARPA files to a folder that can be loaded, and bad input."""

import json

import pytest
from support import SAMPLES
from support.language import TinyModel

from rivulet import checkpoint
from rivulet.__main__ import main
from rivulet.errors import LanguageModelError
from rivulet.language.build import arpa, kenlm_tools
from rivulet.language.model import LanguageModel

TEXT = """The cat sat on the mat. A dog sat there too, and the cats' mats were the dog's.
The dog ran; the bird sat on a tree!
A bird sat on the cat, and the cat ran to a tree.
"""
DICTIONARY = """A AH
AND AE N D
BIRD B ER D
CAT K AE T
DOG D AO G
MAT M AE T
ON AA N
RAN R AE N
SAT S AE T
THE 1 DH AH0
THE 2 DH IY0
THERE DH EH R
TOO T UW
TREE T R IY
WERE W ER
"""
READY = ["THE CAT SAT", "THE PIANO", "A PIANO SAT ON THE CAT"]


@pytest.fixture(scope="session")
def tools():
    """KenLM's programs, where they were built."""
    try:
        return kenlm_tools.find()
    except LanguageModelError as error:
        pytest.skip(str(error))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "dictionary").write_text(DICTIONARY)
    TinyModel(READY, 3).write(tmp_path / "ready.arpa")
    return tmp_path


def build(folder, *flags):
    """Run the command; flags that begin with @ are files in `folder`."""
    named = [str(folder / flag[1:]) if flag.startswith("@") else flag for flag in flags]
    return main(["lm", "build", "-o", str(folder / "model"), *named])


def numbers(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_model_from_text_can_be_loaded_and_knows_its_words(tools, files, capsys):
    flags = ("@text.txt", "--dictionary", "@dictionary", "--held-out", "4")
    assert build(files, *flags, "--evaluate", "@text.txt") == 0
    printed = numbers(capsys)
    model = LanguageModel.load(files / "model")
    assert "CATS'" in model.words
    assert printed["words"] == len(model.words)
    assert printed["pronunciations"] == len(model.pronunciations) == len(model.words) + 1
    assert printed["sources"]["known word with a regular ending"] == 3  # CATS' MATS DOG'S
    assert printed["g2p"]["words"] == 4
    assert printed["evaluation"]["text.txt"]["unknown"] == 0
    assert 1 < printed["evaluation"]["text.txt"]["perplexity"] < len(model.words)
    assert set(printed["bytes"]) == {path.name for path in (files / "model").iterdir()}
    assert model.pronounce("the") == [("DH", "AH"), ("DH", "IY")]


def test_a_mixture_has_the_weighted_probabilities_of_both(tools, files, capsys):
    own = ("@text.txt", "--dictionary", "@dictionary", "--held-out", "0", "--order", "3")
    assert build(files, *own, "--write-arpa", "@own.arpa") == 0
    mixing = ("--arpa", "@ready.arpa", "--mix", "0.25", "--write-arpa", "@mixed.arpa")
    assert build(files, *own, *mixing) == 0
    one, other, mixed = (arpa.read(files / f"{name}.arpa") for name in ("own", "ready", "mixed"))
    assert mixed.vocabulary == tuple(sorted({*one.vocabulary, *other.vocabulary}))
    for gram in (("THE", "CAT", "SAT"), ("THE", "PIANO"), ("DOG",), ("SAT", "ON", "THE")):
        shares = [share * _prob(model, gram) for share, model in ((0.25, one), (0.75, other))]
        assert _prob(mixed, gram) == pytest.approx(sum(shares), rel=1e-4)
    assert "PIANO" in LanguageModel.load(files / "model").words


def _prob(model, gram):
    import numpy as np

    if not set(gram) <= set(model.vocabulary):
        return 0.0
    return float(10.0 ** model.log_probs(np.array([[model.vocabulary.index(w) for w in gram]]))[0])


def test_a_ready_model_needs_no_text(tools, files, capsys):
    assert build(files, "--arpa", "@ready.arpa", "--dictionary", "@dictionary") == 0
    assert numbers(capsys)["ngrams"] == arpa.read(files / "ready.arpa").counts


def test_without_a_dictionary_words_sound_as_in_the_shipped_model(
    tools, files, capsys, monkeypatch
):
    flags = ("@text.txt", "--held-out", "0")
    assert build(files, *flags, "--dictionary", "@dictionary") == 0
    (files / "shipped").mkdir()
    (files / "model").rename(files / "shipped" / checkpoint.LM_FOLDER)
    monkeypatch.setattr(checkpoint, "find", lambda model: files / "shipped")
    capsys.readouterr()
    assert build(files, *flags) == 0
    printed = numbers(capsys)
    assert printed["sources"] == {
        "lexicon.txt.xz": printed["words"],
        "known word with a regular ending": 0,
        "letter-to-sound": 0,
    }
    for name in printed["bytes"]:
        made, shipped = files / "model" / name, files / "shipped" / "lm" / name
        assert made.read_bytes() == shipped.read_bytes()


def test_the_vocabulary_bounds_the_words(tools, files, capsys):
    flags = ("@text.txt", "--dictionary", "@dictionary", "--vocabulary", "5", "--held-out", "0")
    assert build(files, *flags) == 0
    assert len(LanguageModel.load(files / "model").words) == 5


def test_a_ready_model_can_be_made_smaller(tools, files, capsys):
    flags = ("--arpa", "@ready.arpa", "--dictionary", "@dictionary", "--held-out", "0")
    assert build(files, *flags, "--vocabulary", "3", "--entropy-prune", "0.05") == 0
    printed = numbers(capsys)
    assert printed["words"] == 3
    assert {"letters.bin", "letters.txt"} <= printed["bytes"].keys()
    assert build(files, *flags, "--no-g2p") == 0
    assert numbers(capsys)["bytes"].keys() == {"graph.bin", "lexicon.txt.xz"}
    assert LanguageModel.load(files / "model").g2p is None
    assert sum(printed["ngrams"]) < sum(arpa.read(files / "ready.arpa").counts)


def test_a_manifest_is_measured_by_set(tools, files, capsys):
    build(files, "@text.txt", "--dictionary", "@dictionary", "--held-out", "0")
    clip = SAMPLES / "slt.flac"
    for name in ("one", "two"):
        (files / name).mkdir()
        (files / name / "a.flac").write_bytes(clip.read_bytes())
    (files / "manifest.tsv").write_text(
        "id\tpath\tseconds\tspeaker\ttext\n"
        "a\tone/a.flac\t1\tx\tThe cat sat\nb\ttwo/a.flac\t1\tx\tA zebra sat\n"
    )
    capsys.readouterr()
    assert main(["lm", "evaluate", str(files / "model"), str(files / "manifest.tsv")]) == 0
    found = numbers(capsys)["evaluation"]
    assert {name: part["unknown"] for name, part in found.items()} == {"one": 0, "two": 1, "all": 1}


def test_words_are_pronounced_a_line_each(tools, files, capsys):
    build(files, "@text.txt", "--dictionary", "@dictionary", "--held-out", "0")
    capsys.readouterr()
    assert main(["lm", "pronounce", str(files / "model"), "the", "cat's", "--count", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == ["the DH AH", "the DH IY", "cat's K AE T S"]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ((), "nothing to build from"),
        (("@text.txt", "--order", "0"), "order 0"),
        (("@text.txt", "--prune", "2", "1"), "pruning counts 2 1"),
        (("@text.txt", "--arpa", "@ready.arpa", "--mix", "1"), "mix 1 "),
        (("--arpa", "@ready.arpa", "--entropy-prune", "2"), "pruning by 2 "),
        (("@text.txt", "--vocabulary", "0"), "vocabulary of 0"),
        (("@text.txt", "--held-out", "-1"), "-1 words cannot be held out"),
    ],
)
def test_bad_flags_are_refused_in_one_sentence(files, capsys, flags, complaint):
    assert build(files, *flags, "--dictionary", "@dictionary") == 1
    printed = capsys.readouterr().err
    assert complaint in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("@empty.txt",), "0 words"),
        (("@nowhere.txt",), "nowhere.txt does not exist"),
        (("@text.txt", "--vocabulary", "@nowhere"), "nowhere does not exist"),
        (("--arpa", "@text.txt"), "no whole ARPA"),
        (("--arpa", "@lower.arpa"), "'cat'"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(tools, files, capsys, flags, complaint):
    (files / "empty.txt").write_text("\n42\n")
    TinyModel(["the cat"], 2).write(files / "lower.arpa")
    assert build(files, *flags, "--dictionary", "@dictionary") == 1
    printed = capsys.readouterr().err
    assert complaint in printed
    assert printed.count("\n") == 1
    assert not list((files / "model").iterdir())


def test_without_tools_the_remedy_is_named(files, capsys, monkeypatch):
    monkeypatch.setenv(kenlm_tools.ENVIRONMENT, str(files))
    assert build(files, "@text.txt", "--dictionary", "@dictionary") == 1
    assert "rivulet lm tools" in capsys.readouterr().err
