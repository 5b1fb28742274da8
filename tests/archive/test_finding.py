"""What an archive says about words: exact before near, in its place and time."""

import pytest

from rivulet.archive.finding import find
from rivulet.archive.index import INDEX_FILE, Index
from rivulet.archive.query import Query, Span, windows
from rivulet.archive.records import Job, Result
from rivulet.checkpoint.folder import LM_FOLDER
from rivulet.checkpoint.folder import find as find_model
from rivulet.errors import ConfigError
from rivulet.events import DisplayToken, Final, Word

LEXICON = find_model("default") / LM_FOLDER


def result(place, *segments, source=None):
    """A result whose words last 0.4 s each, every segment a second after the one before."""
    finals, at = [], 0.0
    for number, text in enumerate(segments):
        words = tuple(
            Word(word, round(at + 0.4 * i, 3), round(at + 0.4 * i + 0.3, 3), 0.8)
            for i, word in enumerate(text.split())
        )
        at = words[-1].end + 1.0 if words else at
        finals.append(Final(number, text, words, words[0].start, words[-1].end, at))
    return Result(Job(source or f"/sound/{place}", place, 1), tuple(finals), at)


ARCHIVE = (
    result("one.wav", "WE MET MISTER COAL CHICK", "AND MERKLE IN THE HAGUE"),
    result("two.wav", "THE CHANCELLOR ANGELA MERKEL", "SPOKE OF REFORM AND REFORMERS"),
    result("three.wav", "AN JELLO MERKLE SAID ICELAND IS COLD IN MAY"),
    result("silence.wav"),
)


@pytest.fixture(scope="module")
def index():
    made = Index(None, LEXICON)
    for one in ARCHIVE:
        made.add(one)
    return made


def said(index, query, **flags):
    return [
        (hit.place, hit.kind, hit.match) for hit in find(index, Query.parse(query), **flags).hits
    ]


def test_exact_comes_before_near(index):
    assert said(index, "merkel") == [
        ("two.wav", "exact", "merkel"),
        ("one.wav", "near", "merkle"),
        ("three.wav", "near", "merkle"),
    ]
    assert said(index, "merkel", near=False) == [("two.wav", "exact", "merkel")]


def test_a_name_is_found_in_the_two_words_it_was_recognized_as(index):
    assert said(index, "Kowalczyk") == [("one.wav", "near", "coal chick")]


def test_a_phrase_goes_over_the_ends_of_segments(index):
    assert said(index, '"merkel spoke"', near=False) == [("two.wav", "exact", "merkel spoke")]
    assert said(index, '"spoke merkel"', near=False) == []


def test_words_without_quotes_may_stand_in_any_order_near_each_other(index):
    assert said(index, "reform angela", near=False) == [
        ("two.wav", "exact", "angela merkel spoke of reform")
    ]


def test_a_phrase_sounds_alike_word_for_word(index):
    assert said(index, '"angela merkel"')[1] == ("three.wav", "near", "an jello merkle")
    assert said(index, '"ice land"') == [("three.wav", "near", "iceland")]


def test_a_prefix_finds_what_begins_with_it(index):
    found = said(index, "reform*")
    assert found == [("two.wav", "exact", "reform"), ("two.wav", "exact", "reformers")]
    assert said(index, '"spoke of ref*"', near=False) == []  # a star within quotes is no letter
    assert said(index, '"spoke of ref"*', near=False) == [("two.wav", "exact", "spoke of reform")]


def test_a_hit_says_when_and_in_what_context(index):
    (hit,) = find(index, Query.parse("reformers"), near=False).hits
    assert (hit.start, hit.end) == (4.1, 4.4)
    assert hit.before == "the chancellor angela merkel spoke of reform and"
    assert hit.after == ""
    assert hit.link == "file:///sound/two.wav#t=3.6"
    assert hit.confidence == pytest.approx(0.8, abs=0.01)


def test_a_link_of_a_url_is_that_url():
    made = Index(None)
    made.add(result("x.mp3", "HELLO", source="https://example.org/x.mp3"))
    (hit,) = find(made, Query.parse("hello")).hits
    assert hit.link == "https://example.org/x.mp3#t=0.0"


def test_what_people_read_is_shown_where_there_is_some():
    words = tuple(
        Word(w, i / 2, i / 2 + 0.4, 0.9) for i, w in enumerate(["IN", "TWENTY", "SIX", "UM", "YES"])
    )
    shown = (DisplayToken("In", 0, 1), DisplayToken("26,", 1, 3), DisplayToken("yes.", 4, 5))
    final = Final(0, "IN TWENTY SIX UM YES", words, 0.0, 2.4, 3.0, tokens=shown)
    made = Index(None)
    made.add(Result(Job("/x", "x", 1), (final,), 3.0))
    (hit,) = find(made, Query.parse("six"), near=False).hits
    assert (hit.before, hit.match, hit.after) == ("In", "26,", "yes.")
    (hit,) = find(made, Query.parse("um"), near=False).hits  # left out of what people read
    assert hit.match == "um"


def test_limits_hold_and_say_that_there_is_more(index):
    made = Index(None)
    for number in range(10):
        made.add(result(f"{number}.wav", "NO NO NO NO NO"))
    answer = find(made, Query.parse("no"), limit=4, a_file=2)
    assert len(answer.hits) == 4
    assert answer.more
    assert answer.files == 10
    assert [hit.place for hit in answer.hits].count(answer.hits[0].place) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('"open', "has 1 quotes; close the phrase"),
        ("2026 -- !", "has 0 words of letters; search for 1 to 16"),
        ("one " * 17, "has 17 words"),
        ("", "has 0 words"),
    ],
)
def test_a_query_that_cannot_be_used_says_why(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Query.parse(text)


def test_signs_of_fts5_are_no_commands(index):
    for text in ("NEAR(a b)", "words:merkel", "a AND", "merkel^2", "x OR (", "don't 'quote"):
        find(index, Query.parse(text))


def test_windows_hold_one_span_of_each_and_do_not_overlap():
    near = [[Span(0, 1), Span(5, 6), Span(40, 41)], [Span(2, 3), Span(20, 21)]]
    assert windows(near) == [Span(0, 3)]
    assert windows([[Span(0, 2)], [Span(1, 3)]]) == []
    assert windows([[Span(0, 2, 1.0), Span(1, 3, 0.5), Span(4, 5, 0.1)]]) == [
        Span(1, 3, 0.5),
        Span(4, 5, 0.1),
    ]


def test_the_same_result_again_changes_nothing_and_a_new_one_replaces_it(tmp_path):
    made = Index(tmp_path)
    made.add(result("a.wav", "GREEN APPLES"))
    made.commit()
    before = made.connection.total_changes
    made.add(result("a.wav", "GREEN APPLES"))
    assert made.connection.total_changes == before
    made.add(result("a.wav", "RED PEARS"))
    made.close()
    again = Index(tmp_path)
    assert said(again, "apples", near=False) == []
    assert said(again, "pears", near=False) == [("a.wav", "exact", "pears")]
    assert again.places() == {"a.wav"}
    again.connection.execute("INSERT INTO spoken(spoken) VALUES ('integrity-check')")


def test_what_was_not_committed_is_gone_and_nothing_else(tmp_path):
    made = Index(tmp_path)
    made.add(result("a.wav", "APPLES"))
    made.commit()
    made.add(result("b.wav", "PEARS"))
    made.connection.close()  # as a kill does
    assert Index(tmp_path).places() == {"a.wav"}


def test_a_damaged_index_or_one_of_another_version_is_begun_anew(tmp_path):
    (tmp_path / INDEX_FILE).write_bytes(b"no database" * 100)
    made = Index(tmp_path)
    made.add(result("a.wav", "APPLES"))
    made.connection.execute("COMMIT")
    made.connection.execute("PRAGMA user_version = 99")
    made.close()
    assert Index(tmp_path).places() == set()


def test_names_without_a_letter_and_odd_words_keep_their_places():
    made = Index(None)
    made.add(result("a.wav", "CAFÉ 12 DON'T — ŁÓDŹ AT&T"))
    (hit,) = find(made, Query.parse("dont lodz att"), near=False).hits or (None,)
    assert hit is None  # don't is no dont
    (hit,) = find(made, Query.parse('"don\'t" Łódź'), near=False).hits
    assert hit.match == "don't — łódź"
    assert said(made, "cafe", near=False)


@pytest.mark.slow
def test_thirty_thousand_words_that_sound_alike_are_no_burden():
    made = Index(None)
    for number in range(50):
        made.add(result(f"{number}.wav", *["MERKLE MARKEL MIRACLE " * 70] * 3))
    assert len(said(made, "merkel")) == 20
