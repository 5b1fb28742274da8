"""The live view never redraws settled text differently; transcripts keep gaps in their place."""

import io
import json
from dataclasses import dataclass

import pytest
from rich.console import Console

from rivulet.events import DisplayToken, Final, Partial, Word
from rivulet.live.checks import InputWarning
from rivulet.live.console import (
    LiveView,
    Transcript,
    clock,
    line_of,
    open_line,
    status_line,
)
from rivulet.live.microphone import Gap
from rivulet.live.stream import LiveEvent

SENTENCE = "the little boat went down the river and the children waved from the bridge"
WORDS = SENTENCE.split()


def final(segment: int, text: str, start: float, end: float) -> Final:
    words = tuple(Word(word, start, end, 0.9) for word in text.split())
    return Final(segment, text, words, start, end, end + 0.5)


def test_settled_words_are_plain_and_open_words_dim():
    line = open_line(Partial(0, "THE LITTLE BO", 2, 1.0), room=80)
    assert line.plain.strip() == "THE LITTLE BO"
    spans = {line.plain[span.start : span.end]: str(span.style) for span in line.spans}
    assert spans == {"BO": "dim"}


def test_settled_tokens_are_plain_where_a_formatter_was_at_work():
    tokens = (DisplayToken("$25,", 0, 3), DisplayToken("and", 3, 4))
    partial = Partial(0, "TWENTY FIVE DOLLARS AND", 4, 1.0, tokens=tokens, stable_tokens=1)
    line = open_line(partial, room=80)
    assert line.plain.strip() == "$25, and"
    assert {line.plain[span.start : span.end] for span in line.spans if span.style} == {"and"}


def test_a_long_segment_shows_its_newest_words():
    line = open_line(Partial(0, " ".join(WORDS), 3, 1.0), room=30)
    assert line.plain.strip() == "… children waved from the bridge"


def test_one_word_wider_than_the_screen_is_still_shown():
    assert open_line(Partial(0, "X" * 50, 0, 1.0), room=10).plain.strip() == "X" * 50


def test_a_final_has_its_start_time():
    assert line_of(final(0, "HELLO THERE", 75.5, 76.0)).plain == "01:15.50  HELLO THERE"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "00:00.00"), (59.999, "01:00.00"), (3725.25, "1:02:05.25")]
)
def test_times_read_as_a_clock(seconds: float, text: str):
    assert clock(seconds) == text


def test_the_meter_is_full_at_full_scale_and_empty_in_silence():
    assert status_line(0.0, 0.0, 0.0, "Mic").plain.startswith("█" * 20 + "  ")
    assert status_line(-200.0, 0.0, 0.0, "Mic").plain.startswith("░" * 20 + "  ")
    assert status_line(-30.0, 0.0, 0.0, "Mic").plain.startswith("█" * 10 + "░" * 10)


def test_lag_and_drops_are_shown():
    line = status_line(-30.0, 2.345, 1.5, "Mic").plain
    assert "lag 2345 ms" in line
    assert "dropped 1.50 s" in line
    assert "dropped" not in status_line(-30.0, 2.345, 0.0, "Mic").plain


@dataclass
class FakeListening:
    level_db: float = -20.0
    lag_s: float = 0.012
    dropped_s: float = 0.0


def drawn(events: list[LiveEvent], width: int = 60, height: int = 20) -> str:
    """Return everything a terminal receives."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=height, color_system=None)
    with LiveView(console, "Mic") as view:
        for event in events:
            view.meters(FakeListening())  # type: ignore[arg-type]
            view.show(event)
    return out.getvalue()


def test_finals_scroll_up_once_and_meters_disappear():
    events = [final(0, "FIRST LINE", 1.0, 2.0), final(1, "SECOND LINE", 3.0, 4.0)]
    text = drawn(events)
    assert text.count("FIRST LINE") == 1
    assert text.count("SECOND LINE") == 1
    assert text.index("00:01.00  FIRST") < text.index("00:03.00  SECOND")


def screen_after(received: str, width: int) -> list[str]:  # noqa: C901 (a terminal in 40 lines)
    """What a terminal shows that understands what rich sends: CR, LF, erase line, cursor up."""
    rows, row, column, index = [[" "] * width], 0, 0, 0
    while index < len(received):
        letter = received[index]
        index += 1
        if letter == "\x1b":
            assert received[index] == "["
            end = index + 1
            while not received[end].isalpha():
                end += 1
            number, kind = received[index + 1 : end], received[end]
            index = end + 1
            if kind == "A":
                row = max(0, row - int(number or 1))
            elif kind == "K":
                rows[row] = [" "] * width
            else:
                assert kind in "hlm", kind
        elif letter == "\r":
            column = 0
        elif letter == "\n":
            row, column = row + 1, 0
            if row == len(rows):
                rows.append([" "] * width)
        else:
            if column == width:
                row, column = row + 1, 0
                if row == len(rows):
                    rows.append([" "] * width)
            rows[row][column] = letter
            column += 1
    return ["".join(line).rstrip() for line in rows]


def test_settled_words_stay_where_they_are_on_the_screen_while_the_segment_grows():
    """Plays the bytes into a small terminal and looks at it after every event."""
    width = 40
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=20, color_system=None)
    before = ""
    with LiveView(console, "Mic") as view:
        view.show(final(0, "AN EARLIER SEGMENT", 0.5, 1.0))
        for count in range(1, len(WORDS) + 1):
            view.meters(FakeListening())  # type: ignore[arg-type]
            view.show(Partial(1, " ".join(WORDS[:count]), count - 1, 1.0 + count))
            rows = screen_after(out.getvalue(), width)
            assert rows[0] == "00:00.50  AN EARLIER SEGMENT"
            shown = "\n".join(rows[1:]).split("█")[0].rstrip()
            assert " ".join(shown.split()) == " ".join(WORDS[:count])
            assert shown.startswith(before)  # to the column: nothing settled has moved
            before = shown[: shown.rindex(WORDS[count - 1])].rstrip()
        view.show(final(1, " ".join(WORDS), 1.0, 5.0))
    rows = screen_after(out.getvalue(), width)
    assert "\n".join(rows[1:]).rstrip() == "00:01.00" + shown[8:]


def test_nothing_is_drawn_that_did_not_change_in_the_text():
    """A partial that only moves the border between settled and open keeps every letter."""
    one = open_line(Partial(0, "A B C", 1, 1.0), 80)
    two = open_line(Partial(0, "A B C", 2, 1.1), 80)
    assert one.plain == two.plain


EVENTS: list[LiveEvent] = [
    Partial(0, "HEL", 0, 1.0),
    InputWarning("quiet", "too quiet", 1.0),
    Gap(5.0, 6.5, 72_000, "queue full"),
    final(0, "HELLO", 1.0, 2.0),
    final(1, "WORLD", 7.0, 8.0),
    Gap(9.0, 9.5, 24_000, "device overflow"),
]


def written(kind: str) -> str:
    out = io.StringIO()
    transcript = Transcript(kind, out, "Mic")
    for event in EVENTS:
        transcript.write(event)
    transcript.close(10.0)
    return out.getvalue()


def test_a_gap_stands_in_the_text_where_the_sound_is_missing():
    assert written("txt").splitlines() == [
        "HELLO",
        "[1.50 s of sound lost: queue full]",
        "WORLD",
        "[0.50 s of sound lost: device overflow]",
    ]


def test_a_gap_is_a_subtitle():
    lines = written("srt").splitlines()
    assert lines[4:7] == [
        "2",
        "00:00:05,000 --> 00:00:06,500",
        "[1.50 s of sound lost: queue full]",
    ]


def test_json_lines_hold_every_event_as_it_happened():
    lines = [json.loads(line) for line in written("jsonl").splitlines()]
    assert [line["type"] for line in lines] == [
        "partial", "warning", "gap", "final", "final", "gap",
    ]  # fmt: skip
    assert lines[2] == {
        "type": "gap",
        "start": 5.0,
        "end": 6.5,
        "samples": 72_000,
        "reason": "queue full",
    }


def test_a_json_document_holds_gaps_and_warnings_and_clean_text():
    document = json.loads(written("json"))
    assert document["text"] == "HELLO WORLD"
    assert document["seconds"] == 10.0
    assert [gap["start"] for gap in document["gaps"]] == [5.0, 9.0]
    assert document["warnings"][0]["message"] == "too quiet"
