import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivulet.errors import ConfigError
from rivulet.events import DisplayToken, Final, Word
from rivulet.text.subtitles import SubtitleLayout, cues, wrap

LAYOUT = SubtitleLayout()


def spoken(texts, second=0.35, pauses=(), silence=0.8):
    """Return a segment that says one text each `second`, pausing before those of `pauses`."""
    words, at = [], 1.0
    for index, text in enumerate(texts):
        at += 0.6 if index in pauses else 0.0
        words.append(Word(text.upper().strip(".,?!"), round(at, 3), round(at + second, 3), 0.9))
        at += second
    tokens = tuple(DisplayToken(text, i, i + 1) for i, text in enumerate(texts))
    text = " ".join(word.text for word in words)
    end = words[-1].end
    return Final(0, text, tuple(words), 1.0, end, end + silence, tokens=tokens)


def test_a_short_segment_is_one_cue_that_stays_a_second():
    (cue,) = cues(spoken(["Yes."], second=0.3), LAYOUT)
    assert cue.lines == ("Yes.",)
    assert cue.start == 1.0
    assert cue.end == pytest.approx(1.8)  # a word may begin 0.3 s before the silence was known


def test_cues_break_at_sentences_before_they_break_at_commas_and_words():
    said = (
        "When he came home, it was late. Nobody was there to open the door for him, and it rained."
    )
    lines = [" ".join(cue.lines) for cue in cues(spoken(said.split()), LAYOUT)]
    assert lines == [
        "When he came home, it was late.",
        "Nobody was there to open the door for him, and it rained.",
    ]


def test_cues_break_at_pauses_where_there_is_no_mark():
    words = [f"word{n}" for n in range(20)]
    broken = cues(spoken(words, pauses=(10,)), LAYOUT)
    assert " ".join(broken[0].lines).split() == words[:10]


def test_a_line_breaks_behind_a_mark_if_both_fit():
    assert wrap("If you really want to, we can go there tomorrow.", LAYOUT) == (
        "If you really want to,",
        "we can go there tomorrow.",
    )


def test_a_word_longer_than_a_line_stands_alone():
    long = "x" * 60
    assert wrap(f"a {long} b", LAYOUT) == ("a", long, "b")


def test_what_has_no_words_is_one_cue():
    gap = Final(-1, "[0.50 s of sound lost: queue full]", (), 2.0, 2.5, 2.5)
    assert [cue.lines for cue in cues(gap, LAYOUT)] == [(gap.text,)]


def test_a_segment_of_which_nothing_is_shown_has_no_cue():
    final = spoken(["UM"])
    assert cues(Final(0, "UM", final.words, 1.0, 1.3, 2.0, tokens=()), LAYOUT) == []


@settings(deadline=None)
@given(
    st.lists(st.text("abcdefgh", min_size=1, max_size=12), min_size=1, max_size=60),
    st.sets(st.integers(0, 59)),
    st.integers(20, 60),
    st.integers(1, 3),
)
def test_every_cue_keeps_to_the_layout(texts, marked, width, lines):
    said = [text + ("." if index in marked else "") for index, text in enumerate(texts)]
    layout = SubtitleLayout(width, lines)
    made = cues(spoken(said), layout)
    assert " ".join(line for cue in made for line in cue.lines).split() == said
    for cue in made:
        assert len(cue.lines) <= lines
        assert max(map(len, cue.lines)) <= width
        assert cue.end - cue.start <= layout.max_s + 1e-9
    for earlier, later in itertools.pairwise(made):
        assert earlier.end <= later.start


def test_reading_speed_is_kept_where_the_sound_leaves_the_time():
    slow = cues(spoken(["slowly"] * 9, 0.6), LAYOUT)
    for cue in slow:
        assert len(" ".join(cue.lines)) / (cue.end - cue.start) <= LAYOUT.reading_speed


def test_a_layout_nobody_can_set_is_refused():
    with pytest.raises(ConfigError, match="at least 1 line"):
        SubtitleLayout(line_width=5)
