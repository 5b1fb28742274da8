from dataclasses import replace

import numpy as np
import pytest
import torch

from rivulet.__main__ import main
from rivulet.errors import ConfigError
from rivulet.text.labels import Case, Mark
from rivulet.text.language import WrittenLanguage
from rivulet.text.tagger import Tagger, save
from rivulet.training import tagger_data
from rivulet.training.punctuated import examples, parse, spell
from rivulet.training.tagger import TaggerConfig, TaggerNetwork, export, weights_of
from rivulet.training.tagger_loop import Material, rate, train
from rivulet.training.tagger_tuning import best_bias, logits, mean_f1, tuned_bias

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
    return Material(corpus, vocabulary, similar)


SMALL = TaggerConfig(
    40, 16, 24, 12, past=1, lookahead=2, words=60_000, batch=8, steps=16, peak_lr=2e-2
)


def quiet(line):
    """Report nothing."""


def random_rows(count, seed=1):
    rng = np.random.default_rng(seed)
    return [tuple(map(int, rng.integers(0, 5, 5))) for _ in range(count)]


def torch_logits(network, rows):
    with torch.inference_mode():
        found, _, _ = network(torch.tensor([rows]), None, network.begin(1))
    return found[0].numpy()


def test_numpy_says_what_torch_says():
    torch.manual_seed(1)
    network = TaggerNetwork(TaggerConfig(20, 8, 12, 6, past=1, lookahead=2)).eval()
    tagger = Tagger.of(weights_of(network), 2)
    rows = random_rows(30)
    state = tagger.initial_state()
    for row, expected in zip(rows, torch_logits(network, rows), strict=True):
        scores, state = tagger.scores(row[:4], row[4], state)
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_tagger_without_a_head_is_read_too(tmp_path):
    """Languages made before the head was there keep working."""
    torch.manual_seed(1)
    weights = weights_of(TaggerNetwork(TaggerConfig(20, 8, 12, 6, lookahead=2)).eval())
    old = {n: w for n, w in weights.items() if n not in ("window", "memory", "headbias")}
    old["out"] = np.ones((len(Mark) + len(Case), 12 + 8), np.float32)  # GRU and word
    save(old, 2, tmp_path)
    tagger = Tagger.load(tmp_path)
    assert tagger.head is None
    state = tagger.initial_state()
    for row in random_rows(5):
        scores, state = tagger.scores(row[:4], row[4], state)
    assert scores.shape == (len(Mark) + len(Case),)


def test_what_was_written_is_read_as_it_was(tmp_path):
    torch.manual_seed(2)
    network = TaggerNetwork(TaggerConfig(20, 8, 12, 6, past=1, lookahead=2)).eval()
    export(network, tiny().vocabulary, "english", tmp_path, [0.0, 1.0, 0.0, 0.0, 0.0])
    tagger = Tagger.load(tmp_path)
    assert tagger.head.past == 1
    plain = Tagger.of(weights_of(network), 2)
    row = random_rows(1)[0]
    found, _ = tagger.scores(row[:4], row[4], tagger.initial_state())
    before, _ = plain.scores(row[:4], row[4], plain.initial_state())
    assert found[Mark.COMMA] - before[Mark.COMMA] == pytest.approx(1.0, abs=0.1)
    assert found[Mark.PERIOD] == pytest.approx(before[Mark.PERIOD], abs=0.1)


@pytest.mark.slow
def test_a_small_network_learns_a_small_text():
    material = tiny()
    network = train(material, SMALL, quiet)
    tagger = Tagger.of(weights_of(network), SMALL.lookahead)
    example = parse(SENTENCES[0])
    state, said = tagger.initial_state(), []
    for word in [*example.words, "when", "the"]:
        found, state = tagger.step(material.vocabulary.features(word), 0, state)
        said.append(found)
    assert [one.mark for one in said[2:]] == example.marks
    assert said[2 + example.words.index("london")].case == Case.TITLE


def weights_after(words, resume=None, seed=1):
    network = train(tiny(), replace(SMALL, words=words), quiet, seed, resume)
    return {name: weight.clone() for name, weight in network.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path):
    whole = weights_after(6_000)
    point = tmp_path / "point.safetensors"

    def stop(line):
        if "0.00 M" not in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(), replace(SMALL, words=6_000), stop, 1, point)
    # cut off between two stretches, and behind the first point that was written
    train(tiny(), replace(SMALL, words=6_000), quiet, 1, point)
    assert same(whole, weights_after(6_000, point))
    assert not same(whole, weights_after(6_000, seed=2))


@pytest.mark.slow
def test_a_point_of_another_run_is_refused(tmp_path):
    point = tmp_path / "point.safetensors"
    weights_after(4_000, point)
    with pytest.raises(ConfigError, match="another seed"):
        weights_after(4_000, point, seed=2)
    with pytest.raises(ConfigError, match="--words 4000"):
        weights_after(9_000, point)
    point.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="delete it"):
        weights_after(4_000, point)


def test_the_rate_does_not_depend_on_the_words_until_it_falls():
    assert rate(0, 10_000_000) == rate(0, 40_000_000) < 0.01
    assert rate(5_000_000, 10_000_000) == rate(5_000_000, 40_000_000) == 1.0
    assert rate(9_900_000, 10_000_000) < 0.05


def test_thresholds_lift_a_mark_that_is_said_too_rarely():
    rng = np.random.default_rng(1)
    marks = (rng.random(4000) < 0.2).astype(np.int32)  # commas
    scores = np.zeros((4000, len(Mark)), np.float32)
    scores[:, Mark.COMMA] = 2.0 * marks - 2.2 + rng.normal(size=4000)
    scores[:, [Mark.PERIOD, Mark.QUESTION, Mark.EXCLAMATION]] = -9.0
    bias = best_bias([scores], [marks])
    assert bias[Mark.COMMA] > 0.2
    assert mean_f1(scores + bias, marks) > mean_f1(scores, marks)


@pytest.mark.slow
def test_thresholds_are_tuned_on_text_that_was_kept_out():
    material = tiny()
    network = train(material, replace(SMALL, words=4_000), quiet)
    held = material.corpus.part(slice(0, 600))
    bias = tuned_bias(network, material.vocabulary, held, material.similar)
    assert bias.shape == (len(Mark),)
    assert bias[Mark.EXCLAMATION] == bias[Mark.PERIOD]
    before = np.zeros(600, np.int32)
    rows = tagger_data.feature_table(held.spellings, material.vocabulary)
    assert logits(network, rows, held, before).shape == (600, len(Mark))


def test_the_end_of_each_text_is_kept_out():
    texts = tagger_data.read_texts([examples(SENTENCES * 100), examples(["One two three."] * 100)])
    assert len(texts.held.types) == int(0.02 * 3400) + int(0.02 * 300)
    assert texts.held.spellings is texts.corpus.spellings
    assert texts.corpus.spellings[texts.held.types[-1]] == "three"


def test_spoiling_keeps_the_marks_of_dropped_words():
    corpus = tiny().corpus
    rng = np.random.default_rng(1)
    similar = np.ones((len(corpus.spellings), 1), np.int32)
    spoiled = tagger_data.spoil(corpus, tagger_data.Noise(0.0, 0.3, 0.0), similar, rng)
    ends = [(c.marks >= Mark.PERIOD).sum() for c in (corpus, spoiled)]
    assert len(spoiled.types) < len(corpus.types)
    assert ends[1] > 0.8 * ends[0]


@pytest.mark.slow
def test_the_command_writes_a_language_that_loads(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES * 300))
    out = tmp_path / "language"
    arguments = ["train-text", str(tmp_path / "text.txt"), "-o", str(out), "--words", "1000"]
    assert main([*arguments, "--hidden", "16"]) == 0
    assert not (out / "training.safetensors").exists()
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
