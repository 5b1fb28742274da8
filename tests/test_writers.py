import io
import json
from dataclasses import replace

import pytest
from support import ROOT

from rivulet.events import DisplayToken, Final, Partial, Word
from rivulet.writers import FORMATS, FormattingWriter, open_writer

GOLDEN = ROOT / "tests" / "golden"
EVENTS = (
    Partial(0, "HELLO", 0, 0.8),
    Partial(0, "HELLO WO", 1, 1.12),
    Final(
        0,
        "HELLO WORLD",
        (Word("HELLO", 0.31, 0.7, 0.98), Word("WORLD", 0.75, 1.2, 0.5)),
        0.31,
        1.2,
        2.08,
    ),
    Final(1, "LATER", (Word("LATER", 3725.04, 3725.5, 0.9),), 3725.04, 3725.5, 3726.0),
)


class Fixed:
    """A formatter that shows Hello for the first segment, and nothing for others."""

    def push(self, event):
        token = DisplayToken("Hello!", 0, 2)
        return replace(event, tokens=(token,) if event.segment == 0 else ())


def written(format_name, several=False, formatter=None):
    out = io.StringIO()
    writer = FormattingWriter(open_writer(format_name, out, "talk.wav", several), formatter)
    for event in EVENTS:
        writer.write(event)
    writer.close(3726.5)
    return out.getvalue()


@pytest.mark.parametrize("format_name", FORMATS)
def test_formats_are_as_agreed(format_name, request):
    path = GOLDEN / f"talk.{format_name}"
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(written(format_name))
    assert written(format_name) == path.read_text()


def test_json_has_the_promised_shape():
    document = json.loads(written("json"))
    assert list(document) == ["file", "seconds", "text", "segments"]
    assert document["text"] == "HELLO WORLD LATER"
    assert list(document["segments"][0]) == ["start", "end", "text", "words"]
    assert list(document["segments"][0]["words"][0]) == ["text", "start", "end", "confidence"]


def test_jsonl_has_the_promised_shape():
    lines = [json.loads(line) for line in written("jsonl").splitlines()]
    assert [list(line) for line in (lines[0], lines[2])] == [
        ["type", "segment", "text", "stable", "at"],
        ["type", "segment", "text", "words", "start", "end", "at"],
    ]


def test_several_files_are_told_apart():
    assert written("txt", several=True).startswith("talk.wav: HELLO WORLD\n")
    assert json.loads(written("jsonl", several=True).splitlines()[0])["file"] == "talk.wav"


def test_what_is_shown_stands_beside_the_text_in_json_and_in_its_place_elsewhere():
    assert written("txt", formatter=Fixed()) == "Hello!\n"
    assert "Hello!" in written("srt", formatter=Fixed())
    assert "HELLO" not in written("vtt", formatter=Fixed())
    document = json.loads(written("json", formatter=Fixed()))
    assert list(document) == ["file", "seconds", "text", "display", "segments"]
    assert (document["text"], document["display"]) == ("HELLO WORLD LATER", "Hello!")
    assert document["segments"][0]["tokens"] == [{"text": "Hello!", "first": 0, "last": 2}]


def test_jsonl_says_how_many_tokens_are_settled():
    first, *_, last = map(json.loads, written("jsonl", formatter=Fixed()).splitlines())
    assert list(first) == [
        *("type", "segment", "text", "stable", "at", "display", "tokens", "stable_tokens")
    ]
    assert list(last)[-2:] == ["display", "tokens"]
