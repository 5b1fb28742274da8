import numpy as np
import pytest
import torch

from rivulet.__main__ import main
from rivulet.text.labels import Case, Mark
from rivulet.text.language import WrittenLanguage
from rivulet.text.tagger import Tagger
from rivulet.training import tagger_data
from rivulet.training.punctuated import examples, parse, spell
from rivulet.training.tagger import TaggerConfig, TaggerNetwork, train, weights_of

SENTENCES = (
    "Did you see him in London? I think so, but he left.",
    "When the rain stopped, we walked to the market. It was closed!",
    "NASA pays the engineers in dollars. My iPhone is new.",
)


def labels(text):
    example = parse(text)
    return list(zip(example.words, example.marks, example.cases, strict=True))


def test_marks_and_cases_are_taken_off_a_text():
    assert labels("Well, is NASA there? I asked Mr. O'Brien.") == [
        ("well", Mark.COMMA, None),
        ("is", Mark.NONE, Case.LOWER),
        ("nasa", Mark.NONE, Case.UPPER),
        ("there", Mark.QUESTION, Case.LOWER),
        ("i", Mark.NONE, None),
        ("asked", Mark.NONE, Case.LOWER),
        ("mister", Mark.NONE, Case.TITLE),
        ("o'brien", Mark.PERIOD, Case.MIXED),
    ]


def test_a_capital_after_dots_or_a_quotation_mark_says_nothing_of_the_word():
    assert [case for _, _, case in labels('so... Then he said, "Are you there?"')] == [
        Case.LOWER, None, Case.LOWER, Case.LOWER, None, Case.LOWER, Case.LOWER,
    ]  # fmt: skip


def test_a_heading_is_no_example():
    assert parse("THE END OF CHAPTER ONE") is None
    assert parse("* * *") is None


@pytest.mark.parametrize(
    ("token", "spoken"),
    [
        ("$25", "twenty five dollars"),
        ("1984", "nineteen eighty four"),
        ("3.5%", "three point five percent"),
        ("21st", "twenty first"),
        ("3:30pm", "three thirty pm"),
        ("1,200", "one thousand two hundred"),
    ],
)
def test_figures_are_spelled_as_they_are_spoken(token, spoken):
    said, _ = spell(token)
    assert " ".join(word for word in said if word != "and") == spoken


def tiny():
    corpus, mixed = tagger_data.read_corpus(examples(SENTENCES * 300))
    vocabulary = tagger_data.build_vocabulary(corpus, mixed, 40)
    similar = np.zeros((len(corpus.spellings), 8), np.int32) + np.arange(1, 9, dtype=np.int32)
    config = TaggerConfig(40, 16, 24, 2, words=60_000, minutes=2, batch=8, steps=16, peak_lr=2e-2)
    return corpus, vocabulary, similar, config


def test_numpy_says_what_torch_says():
    torch.manual_seed(1)
    network = TaggerNetwork(TaggerConfig(20, 8, 12, 2)).eval()
    tagger = Tagger.of(weights_of(network), 2)
    rng = np.random.default_rng(1)
    rows = [tuple(map(int, rng.integers(0, 5, 5))) for _ in range(30)]
    with torch.inference_mode():
        logits, _, _ = network(torch.tensor([rows]), None, torch.zeros(1, 2, 8))
    state = tagger.initial_state()
    for row, expected in zip(rows, logits[0].numpy(), strict=True):
        scores, state = tagger.scores(row[:4], row[4], state)
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_small_network_learns_a_small_text():
    corpus, vocabulary, similar, config = tiny()
    network = train(corpus, vocabulary, similar, config, lambda line: None)
    tagger = Tagger.of(weights_of(network), config.lookahead)
    example = parse(SENTENCES[0])
    state, said = tagger.initial_state(), []
    for word in [*example.words, "when", "the"]:
        found, state = tagger.step(vocabulary.features(word), 0, state)
        said.append(found)
    assert [one.mark for one in said[2:]] == example.marks
    assert said[2 + example.words.index("london")].case == Case.TITLE


def test_spoiling_keeps_the_marks_of_dropped_words():
    corpus, *_ = tiny()
    rng = np.random.default_rng(1)
    similar = np.ones((len(corpus.spellings), 1), np.int32)
    spoiled = tagger_data.spoil(corpus, tagger_data.Noise(0.0, 0.3, 0.0), similar, rng)
    ends = [(c.marks >= Mark.PERIOD).sum() for c in (corpus, spoiled)]
    assert len(spoiled.types) < len(corpus.types)
    assert ends[1] > 0.8 * ends[0]


def test_the_command_writes_a_language_that_loads(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES * 300))
    out = tmp_path / "language"
    arguments = ["train-text", str(tmp_path / "text.txt"), "-o", str(out), "--words", "1000"]
    assert main([*arguments, "--minutes", "1"]) == 0
    assert "MB" in capsys.readouterr().out
    language = WrittenLanguage.load(out)
    assert language.vocabulary.written["nasa"] == "NASA"
    assert language.vocabulary.written["iphone"] == "iPhone"


def test_what_is_no_text_is_refused(tmp_path, capsys):
    (tmp_path / "sound.flac").write_bytes(bytes(range(256)) * 4)
    assert main(["train-text", str(tmp_path / "sound.flac"), "-o", str(tmp_path / "out")]) == 1
    assert "is no text" in capsys.readouterr().err


def test_too_little_text_is_refused_with_both_numbers(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("Hello there.\n")
    assert main(["train-text", str(tmp_path / "text.txt"), "-o", str(tmp_path / "out")]) == 1
    assert "2 words" in capsys.readouterr().err
