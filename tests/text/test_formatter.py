from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivulet.errors import CheckpointError, ConfigError
from rivulet.events import DisplayToken, Final, Partial, Word
from rivulet.text.formatter import FormatConfig, Formatter
from rivulet.text.labels import Case, Mark
from rivulet.text.language import Style, WrittenLanguage, find
from rivulet.text.numbers import NumberRules
from rivulet.text.tagger import Tagger
from rivulet.text.words import AFFIX_ROWS, CASE_ROWS, PAUSE_ROWS, SPECIAL, Vocabulary

ENGLISH = WrittenLanguage.load()
WORDS = [
    *(
        "the",
        "a",
        "and",
        "in",
        "at",
        "to",
        "of",
        "i",
        "he",
        "paid",
        "left",
        "um",
        "london",
        "mister",
    ),
    *("twenty", "five", "hundred", "dollars", "nineteen", "eighty", "four", "point", "second"),
]


def erratic():
    """Return English with a tagger that says all sorts of things."""
    rng = np.random.default_rng(3)
    width, hidden = 8, 6

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    rows = (len(WORDS) + SPECIAL, AFFIX_ROWS, AFFIX_ROWS, CASE_ROWS, PAUSE_ROWS)
    layers = tuple(
        (draw(3 * hidden, size), draw(3 * hidden, hidden), draw(3 * hidden), draw(3 * hidden))
        for size in (width, hidden)
    )
    labels = len(Mark) + len(Case)
    tagger = Tagger(
        tuple(draw(n, width) for n in rows), layers, draw(labels, hidden + width), draw(labels), 3
    )
    vocabulary = Vocabulary(WORDS, {"london": "London"})
    return WrittenLanguage(vocabulary, tagger, ENGLISH.numbers, ENGLISH.style)


ERRATIC = erratic()


def timed(words, pauses):
    """Return words of 0.3 s with the pauses before them."""
    at, made = 0.0, []
    for word, pause in zip(words, pauses, strict=True):
        made.append(Word(word.upper(), round(at + pause, 3), round(at + pause + 0.3, 3), 0.9))
        at += pause + 0.3
    return tuple(made)


def final(words, segment=0, silence=0.9):
    text = " ".join(word.text for word in words)
    return Final(segment, text, words, words[0].start, words[-1].end, words[-1].end + silence)


def partials(words, schedule, segment=0):
    """Yield partials: (settled, shown) counts of leading words."""
    for settled, shown in schedule:
        text = " ".join(word.text for word in words[:shown])
        yield Partial(segment, text, settled, 1.0, words[:settled])


def shown(formatter, sentence, pauses=None):
    words = sentence.split()
    return formatter.push(final(timed(words, pauses or [0.05] * len(words)))).display


counts = st.lists(st.integers(0, 14), max_size=8)
segments = st.lists(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from([0.0, 0.1, 0.3, 0.6])), min_size=1),
    min_size=1,
    max_size=3,
)


@pytest.mark.slow
@settings(deadline=None)
@given(segments, st.data(), st.booleans())
def test_display_does_not_depend_on_the_partials_that_came_before(spoken, data, clean):
    config = FormatConfig(clean=clean)
    plain, live = Formatter(ERRATIC, config), Formatter(ERRATIC, config)
    for number, pairs in enumerate(spoken):
        words = timed([word for word, _ in pairs], [pause for _, pause in pairs])
        settled = sorted(min(count, len(words)) for count in data.draw(counts))
        seen = ()
        for event in partials(words, [(s, min(s + 2, len(words))) for s in settled], number):
            out = live.push(event)
            now = out.tokens[: out.stable_tokens]
            assert now[: len(seen)] == seen
            seen = now
        expected = plain.push(final(words, number))
        assert live.push(final(words, number)) == expected
        assert expected.tokens[: len(seen)] == seen


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=20))
def test_tokens_cover_every_word_once_and_in_order(words):
    tokens = Formatter(ERRATIC).push(final(timed(words, [0.1] * len(words)))).tokens
    assert [i for t in tokens for i in range(t.first, t.last)] == list(range(len(words)))


def test_text_and_words_stay_as_recognized():
    event = final(timed(["he", "paid", "twenty", "five", "dollars"], [0.1] * 5))
    out = Formatter(ENGLISH).push(event)
    assert (out.text, out.words, out.start, out.end) == (
        event.text,
        event.words,
        event.start,
        event.end,
    )
    assert DisplayToken("$25.", 2, 5) in out.tokens


def test_sentences_get_case_marks_and_digits():
    said = "he paid twenty five dollars and left did you see him i think he lives in london"
    assert shown(Formatter(ENGLISH), said, [0.1] * 7 + [0.7] + [0.1] * 3 + [0.7] + [0.1] * 5) == (
        "He paid $25 and left. Did you see him? I think he lives in London."
    )


def test_numbers_can_stay_words():
    formatter = Formatter(ENGLISH, FormatConfig(numbers="words"))
    assert "twenty five dollars" in shown(formatter, "he paid twenty five dollars")


def test_clean_leaves_out_fillers_and_stutters_and_raw_keeps_them():
    words = timed(["um", "i", "i", "think", "the", "the", "man", "uh", "left"], [0.1] * 9)
    out = Formatter(ENGLISH, FormatConfig(clean=True)).push(final(words))
    assert [token.text.lower().strip(".,") for token in out.tokens] == [
        "i",
        "think",
        "the",
        "man",
        "left",
    ]
    assert out.text == "UM I I THINK THE THE MAN UH LEFT"


def test_a_segment_of_fillers_alone_shows_nothing():
    out = Formatter(ENGLISH, FormatConfig(clean=True)).push(final(timed(["um"], [0.1])))
    assert out.display == ""


def test_a_number_is_not_settled_before_it_has_ended():
    words = timed(
        ["he", "paid", "twenty", "five", "dollars", "and", "left", "the", "house", "at", "once"],
        [0.1] * 11,
    )
    formatter = Formatter(ENGLISH)
    out = [formatter.push(event) for event in partials(words, [(n, n) for n in range(4, 12)])]
    texts = [" ".join(t.text for t in event.tokens[: event.stable_tokens]) for event in out]
    assert not any("twenty" in text or "$20" in text for text in texts)
    assert texts[-1].startswith("He paid $25")


def test_a_sentence_goes_on_over_a_segment_that_length_cut_off():
    formatter = Formatter(ENGLISH)
    first = timed(["i", "wanted", "to", "go", "to", "the"], [9.0] + [0.05] * 5)
    first = (replace(first[0], start=0.0), *first[1:])
    formatter.push(final(first, silence=0.0))
    second = formatter.push(final(timed(["market", "today"], [0.05] * 2), 1))
    assert second.display.startswith("market")


def test_partials_without_times_are_shown_too():
    out = Formatter(ENGLISH).push(Partial(0, "HELLO LONDON", 1, 1.0))
    assert out.display == "Hello London"


def test_wrong_choices_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="digits or words"):
        FormatConfig(numbers="roman")
    with pytest.raises(CheckpointError, match=r"words\.txt"):
        WrittenLanguage.load(tmp_path)


def test_a_path_is_no_name_of_a_shipped_language(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "english").mkdir()
    assert (find("english") / "style.json").is_file()
    assert find("./english").samefile(tmp_path / "english")
    assert find("_tagger") == Path("_tagger")  # a folder beside it in a checkout, no language


def test_a_language_is_a_folder():
    assert isinstance(ENGLISH.style, Style)
    assert isinstance(ENGLISH.numbers, NumberRules)
