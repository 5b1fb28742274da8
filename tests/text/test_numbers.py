from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivulet.errors import ConfigError
from rivulet.text.numbers import NumberRules, Spoken

SENTENCES = Path(__file__).with_name("numbers.txt")
ENGLISH = Path(__file__).parents[2] / "src/rivulet/text/english/numbers.txt"
RULES = NumberRules.parse(ENGLISH.read_text(encoding="utf-8"))
WORDS = sorted(RULES.vocabulary | {"people", "at", "in", "between", "room", "he"})


def written(sentence):
    """Return a sentence with its numbers written; a comma or period behind a word is a mark."""
    words = [
        Spoken(word.rstrip(",."), word.endswith(","), word.endswith("."))
        for word in sentence.split()
    ]
    spans = RULES.write(words)
    return " ".join(words[s.first].text if s.text is None else s.text for s in spans)


def sentences():
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()
    return [line.split(" => ") for line in lines if not line.startswith("#")]


@pytest.mark.slow
def test_numbers_are_written_as_a_person_would_write_them():
    wrong = [(spoken, written(spoken)) for spoken, meant in sentences() if written(spoken) != meant]
    assert len(sentences()) >= 200
    assert len(wrong) <= 0.05 * len(sentences()), wrong


def test_what_could_be_two_amounts_stays_words():
    for spoken in (
        "two or three hundred people",
        "between five and ten thousand people",
        "about twenty thirty people",
        "five dollars fifty",
        "half a million dollars",
        "a couple hundred dollars",
        "eight hundred five five five",
        "five fifty",
        "one two three four",
        "a thirty second break",
        "five and twenty blackbirds",
        "twenty five thirty",
    ):
        assert not any(character.isdigit() for character in written(spoken)), written(spoken)


def test_a_hundred_and_two_hundred_are_two_numbers():
    assert written("one hundred and two hundred sheep") == "100 and 200 sheep"
    assert written("one hundred and two sheep") == "102 sheep"


def test_a_mark_separates_numbers():
    assert written("in nineteen eighty four, twenty people came") == "in 1984 20 people came"
    assert written("twenty. five people") == "20 five people"


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_spans_cover_every_word_once_and_in_order(words):
    spans = RULES.write([Spoken(word) for word in words])
    assert [i for span in spans for i in range(span.first, span.last)] == list(range(len(words)))


@settings(deadline=None)
@given(st.integers(10, 999_999_999))
def test_every_number_is_written_with_its_value(number):
    num2words = pytest.importorskip("num2words").num2words
    spoken = num2words(number).replace("-", " ").replace(",", "")
    value = written(spoken).replace(",", "")
    for scale, factor in ((" million", 10**6), (" billion", 10**9)):
        if value.endswith(scale):
            value = str(int(value.removesuffix(scale)) * factor)
    assert int(value) == number


def test_a_line_that_is_no_rule_is_refused_with_its_number():
    with pytest.raises(ConfigError, match="line 2"):
        NumberRules.parse("@point point\nthis is nothing")
