"""rivulet's own messages, without a socket."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivulet.events import Final, Partial, Word
from rivulet.server.native_protocol import KEPT_EVENTS, Greeting, NativeProtocol
from rivulet.server.protocol import (
    Close,
    Feed,
    Finish,
    Open,
    ProtocolError,
    Resume,
    Send,
    StreamSettings,
)

START = {"type": "start", "sample_rate": 16_000}


def started(**more: Any) -> NativeProtocol:
    protocol = NativeProtocol(Greeting("default", 160, 335))
    protocol.receive(json.dumps({**START, **more}))
    protocol.opened("key")
    return protocol


def final(segment: int) -> Final:
    return Final(segment, "HI", (Word("HI", 1.0, 1.5, 0.9),), 1.0, 1.5, 2.0)


def messages(actions: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(action.text) for action in actions if isinstance(action, Send)]


def test_start_opens_a_stream_and_the_server_greets() -> None:
    protocol = NativeProtocol(Greeting("default", 160, 335))
    asked = {**START, "sample_rate": 48_000, "hot_words": {"rivulet": 6}, "block_ms": 80}
    assert protocol.receive(json.dumps({**asked, "alternatives": 3})) == [
        Open(StreamSettings(48_000, {"rivulet": 6.0}, 3, 80))
    ]
    assert messages(protocol.opened("key")) == [
        {
            "type": "ready",
            "stream": "key",
            "samples": 0,
            "sample_rate": 48_000,
            "model": "default",
            "block_ms": 80,
            "latency_ms": 255,
        }
    ]


def test_float32_and_channels_are_taken_apart() -> None:
    protocol = started(format="float32", channels=2)
    signal = np.arange(12, dtype="<f4")
    (feed,) = protocol.receive(signal.tobytes()[:44])
    (rest,) = protocol.receive(signal.tobytes()[44:])
    assert isinstance(feed, Feed)
    assert isinstance(rest, Feed)
    assert np.concatenate([feed.samples, rest.samples]).tolist() == signal.reshape(6, 2).tolist()


def test_events_are_numbered() -> None:
    protocol = started()
    events = messages(protocol.heard([Partial(0, "H", 0, 1.0), final(0)]))
    assert [(event["type"], event["seq"]) for event in events] == [("partial", 1), ("final", 2)]
    assert events[1]["words"] == [{"text": "HI", "start": 1.0, "end": 1.5, "confidence": 0.9}]


def test_partials_can_be_left_out() -> None:
    sent = messages(started(partials=False).heard([Partial(0, "H", 0, 1.0), final(0)]))
    assert [event["type"] for event in sent] == ["final"]


def test_finish_is_answered_with_last_events_an_end_and_a_close() -> None:
    protocol = started()
    protocol.receive(bytes(3200))
    assert protocol.receive('{"type": "finish"}') == [Finish()]
    actions = protocol.finished([final(0)])
    assert [m["type"] for m in messages(actions)] == ["final", "end"]
    assert messages(actions)[1]["samples"] == 1600
    assert actions[-1] == Close()


def test_a_gap_is_heard_as_silence_and_keeps_its_place_in_time() -> None:
    protocol = started()
    protocol.receive(bytes(32_000))
    said, feed = protocol.receive('{"type": "gap", "samples": 8000}')
    assert messages([said])[0] == {
        "type": "gap", "start": 1.0, "end": 1.5, "samples": 8000,
        "reason": "connection lost", "seq": 1,
    }  # fmt: skip
    assert isinstance(feed, Feed)
    assert feed.samples.tolist() == [0] * 8000


def test_a_long_gap_is_heard_piece_by_piece() -> None:
    _, *feeds = started().receive('{"type": "gap", "samples": 200000}')
    sizes = [len(feed.samples) for feed in feeds if isinstance(feed, Feed)]
    assert sizes == [80_000, 80_000, 40_000]


def test_a_client_that_comes_back_hears_what_it_missed() -> None:
    protocol = started()
    protocol.receive(bytes(3200))
    protocol.heard([Partial(0, "H", 0, 1.0), final(0), final(1), Partial(2, "A", 0, 3.0)])
    back = NativeProtocol(Greeting("default", 160, 335))
    assert back.receive('{"type": "start", "resume": "key", "after": 2}') == [Resume("key", 2)]
    ready, *missed = messages(protocol.resumed(2))
    assert (ready["type"], ready["samples"]) == ("ready", 1600)
    assert [(m["type"], m["seq"]) for m in missed] == [("final", 3), ("partial", 4)]


def test_a_client_that_comes_back_after_the_end_has_the_end() -> None:
    protocol = started()
    protocol.finished([final(0)])
    actions = protocol.resumed(0)
    assert [m["type"] for m in messages(actions)] == ["ready", "final", "end"]
    assert actions[-1] == Close()


def test_what_is_kept_for_a_lost_client_is_bounded() -> None:
    protocol = started()
    for segment in range(3 * KEPT_EVENTS):
        protocol.heard([final(segment)])
    assert len(protocol.resumed(0)) == 1 + KEPT_EVENTS


@pytest.mark.parametrize(
    "message",
    [
        {"type": "finish"},
        {"type": "gap", "samples": 1},
        {"type": "dance"},
        {},
        {**START, "sample_rate": None},
        {**START, "sample_rate": 16000.5},
        {**START, "format": "mp3"},
        {**START, "channels": 0},
        {**START, "channels": 10**9},
        {**START, "block_ms": 50},
        {**START, "block_ms": [80]},
        {**START, "alternatives": 1e9},
        {**START, "hot_words": "rivulet"},
        {**START, "hot_words": {"rivulet": "much"}},
        {**START, "hot_words": {"rivulet": float("nan")}},
        {**START, "resume": "key", "after": "x"},
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(message: dict[str, Any]) -> None:
    protocol = NativeProtocol(Greeting("default", 160, 335))
    with pytest.raises(ProtocolError, match=r"\.$") as raised:
        protocol.receive(json.dumps(message))
    said, close = protocol.failed(raised.value)
    assert messages([said])[0]["message"] == str(raised.value)
    assert isinstance(close, Close)


@pytest.mark.parametrize("message", [bytes(2), json.dumps(START)])
def test_the_order_is_start_first_and_once(message: str | bytes) -> None:
    protocol = started() if isinstance(message, str) else NativeProtocol(Greeting("d", 160, 335))
    with pytest.raises(ProtocolError, match="start"):
        protocol.receive(message)


@pytest.mark.slow
@given(st.lists(st.one_of(st.text(), st.binary(), st.dictionaries(
    st.sampled_from(["type", "samples", "sample_rate", "channels", "format", "hot_words",
                     "block_ms", "resume", "after"]),
    st.one_of(st.none(), st.floats(), st.integers(), st.booleans(), st.lists(st.integers()),
              st.sampled_from(["start", "gap", "finish", "int16"])),
).map(json.dumps)), max_size=5))  # fmt: skip
def test_no_message_breaks_the_protocol(received: list[str | bytes]) -> None:
    protocol = NativeProtocol(Greeting("default", 160, 335))
    for message in received:
        try:
            assert isinstance(protocol.receive(message), list)
        except ProtocolError as error:  # noqa: PERF203
            assert isinstance(protocol.failed(error)[-1], Close)  # noqa: PT017 (either is right)
