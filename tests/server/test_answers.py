"""Text that is only added to, OpenAI's answers, and who may connect; without a socket."""

import io
import json
from dataclasses import replace

import pytest

from rivulet.errors import ConfigError
from rivulet.events import DisplayToken, Final, Partial, Word
from rivulet.server.rendering import rendered
from rivulet.server.settings import Access, Limits, check_host
from rivulet.server.settled import SettledText
from rivulet.server.transcription import Deltas, RequestError, Wishes, render, wishes_of
from rivulet.writers import event_to_dict, open_writer

FINAL = Final(
    0,
    "HELLO WORLD",
    (Word("HELLO", 0.1, 0.5, 0.9), Word("WORLD", 0.5, 1.0, 0.8)),
    0.1,
    1.0,
    2.0,
)


def test_what_was_given_out_joined_is_the_text_of_the_finals() -> None:
    settled = SettledText()
    events = [
        Partial(0, "HELLO", 0, 0.5),
        Partial(0, "HELLO WORK", 1, 0.9),
        Partial(0, "HELLO WORLD", 1, 1.0),
        FINAL,
        Partial(1, "BYE", 0, 3.0),
        Final(1, "BYE NOW", (), 2.0, 3.0, 4.0),
    ]
    deltas = [settled.push(event) for event in events]
    assert deltas == ["", "HELLO", "", " WORLD", "", " BYE NOW"]
    assert settled.text == "".join(deltas) == "HELLO WORLD BYE NOW"


def test_what_a_formatter_shows_is_given_out_token_by_token() -> None:
    settled = SettledText()
    one, two = DisplayToken("Hello,", 0, 1), DisplayToken("42.", 1, 3)
    partial = Partial(0, "HELLO FORTY TWO", 3, 0.5, (), (one, two), stable_tokens=1)
    final = Final(0, "HELLO FORTY TWO", (), 0.0, 1.0, 1.0, tokens=(one, two))
    assert [settled.push(partial), settled.push(final)] == ["Hello,", " 42."]


def test_a_verbose_answer_has_words_where_they_are_asked_for() -> None:
    fields = [
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    ]
    answer = json.loads(render(wishes_of(fields, 4.0), [FINAL], 2.5))
    assert answer["words"][1] == {"word": "WORLD", "start": 0.5, "end": 1.0}
    assert answer["segments"][0]["text"] == answer["text"] == "HELLO WORLD"
    assert answer["duration"] == 2.5
    assert -0.17 < answer["segments"][0]["avg_logprob"] < -0.16  # the mean of ln 0.9 and ln 0.8
    only_segments = json.loads(render(Wishes("verbose_json"), [FINAL], 2.5))
    assert "words" not in only_segments


def test_words_are_given_as_they_are_shown() -> None:
    tokens = (DisplayToken("Hello,", 0, 1), DisplayToken("World.", 1, 2), DisplayToken("—", 2, 2))
    answer = json.loads(
        render(Wishes("verbose_json", words=True), [replace(FINAL, tokens=tokens)], 2.5)
    )
    assert answer["text"] == "Hello, World. —"
    assert answer["words"] == [
        {"word": "Hello", "start": 0.1, "end": 0.5},
        {"word": "World", "start": 0.5, "end": 1.0},
    ]


def test_a_streamed_answer_ends_with_the_whole_text() -> None:
    deltas = Deltas(Wishes(stream=True))
    lines = [deltas.push(Partial(0, "HELLO", 1, 0.5)), deltas.push(FINAL), deltas.close(2.0)]
    told = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [t.get("delta", t.get("text")) for t in told] == ["HELLO", " WORLD", "HELLO WORLD"]


def test_keywords_are_hot_words() -> None:
    assert wishes_of([("keywords[]", "rivulet")], 4.0).hot_words == {"rivulet": 4.0}


@pytest.mark.parametrize(
    "fields", [[("response_format", "docx")], [("language", "de")], [("language", "ende")]]
)
def test_what_cannot_be_granted_is_refused_with_its_field(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(RequestError, match=r"\.$") as raised:
        wishes_of(fields, 4.0)
    assert raised.value.param == fields[0][0]


def test_other_machines_need_a_token_or_insecure() -> None:
    check_host("127.0.0.1", None, insecure=False)
    check_host("localhost", None, insecure=False)
    check_host("::1", None, insecure=False)
    check_host("0.0.0.0", "secret", insecure=False)
    check_host("0.0.0.0", None, insecure=True)
    for host in ("0.0.0.0", "192.168.1.2", "::", "example.org"):
        with pytest.raises(ConfigError, match="--token"):
            check_host(host, None, insecure=False)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"host": "localhost:2700"}, True),
        ({"host": "127.0.0.1:2700"}, True),
        ({"host": "[::1]:2700"}, True),
        ({"host": "localhost:2700", "origin": "http://localhost:2700"}, True),
        ({"host": "localhost:2700", "origin": "http://localhost:8080"}, False),
        ({"host": "localhost:2700", "origin": "https://evil.example"}, False),
        ({"host": "localhost:2700", "origin": "null"}, False),
        ({"host": "evil.example:2700", "origin": "http://evil.example:2700"}, False),
        ({"host": "evil.example:2700"}, False),
        ({"host": "[::1"}, False),
        ({}, False),
    ],
)
def test_a_foreign_page_is_refused(headers: dict[str, str], allowed: bool) -> None:
    assert (Access().refusal(headers, None) is None) is allowed


def test_a_page_can_be_allowed() -> None:
    access = Access(origins=frozenset({"https://captions.example"}))
    assert access.refusal({"host": "x:1", "origin": "https://captions.example"}, None) is None
    assert access.refusal({"host": "x:1", "origin": "https://evil.example"}, None)


def test_a_token_has_to_be_right() -> None:
    access = Access(token="sécret", local=False)
    assert access.refusal({"host": "x"}, "sécret") is None
    assert access.refusal({"host": "x"}, "secret")
    assert access.refusal({"host": "x"}, "")
    assert access.refusal({"host": "x"}, None)


def test_limits_of_zero_are_refused() -> None:
    with pytest.raises(ConfigError, match="streams"):
        Limits(streams=0)
    with pytest.raises(ConfigError, match="idle_s"):
        Limits(idle_s=float("nan"))


def test_finals_are_rendered_by_the_writers_of_the_command_line() -> None:
    line = json.dumps(event_to_dict(FINAL)).encode()
    expected = io.StringIO()
    writer = open_writer("srt", expected, "", several=False)
    writer.write(FINAL)
    assert rendered(line, "srt") == expected.getvalue()
    assert rendered(line + b"\n" + line, "txt") == "HELLO WORLD\nHELLO WORLD\n"
    assert rendered(b"", "vtt") == "WEBVTT\n\n"


@pytest.mark.parametrize(
    "change",
    [
        {"words": 7},
        {"words": [{"text": "A"}]},
        {"start": float("nan")},
        {"end": 1e300},
        {"segment": None},
        {"tokens": [{"text": "A", "first": 0, "last": 99}]},
    ],
)
def test_lines_that_are_no_finals_are_refused(change: dict[str, object]) -> None:
    line = json.dumps({**event_to_dict(FINAL), **change}).encode()
    with pytest.raises(RequestError, match="line 1"):
        rendered(line, "srt")
    with pytest.raises(RequestError, match="docx"):
        rendered(line, "docx")


def test_warnings_reach_the_client() -> None:
    assert json.loads(render(Wishes(), [FINAL], 2.0, ["a sentence."]))["warnings"] == [
        "a sentence."
    ]
    lines = Deltas(Wishes("jsonl")).close(2.0, ["a sentence."]).splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["warning", "end"]
