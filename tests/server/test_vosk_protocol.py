"""vosk's messages, without a socket."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivulet.events import Alternative, Final, Partial, Word
from rivulet.server.protocol import (
    INVALID,
    Close,
    Feed,
    Finish,
    Open,
    ProtocolError,
    Send,
    StreamSettings,
    reason_of,
)
from rivulet.server.vosk_protocol import VoskProtocol

EOF = '{"eof" : 1}'
RESET = '{"reset" : 1}'


def config(**values: Any) -> str:
    return json.dumps({"config": values})


def final(text: str = "HELLO WORLD", start: float = 1.0, **more: Any) -> Final:
    words = tuple(Word(w, start + i, start + i + 0.5, 0.9) for i, w in enumerate(text.split()))
    return Final(0, text, words, words[0].start, words[-1].end, start + 5.0, **more)


def sent(actions: list[Any]) -> dict[str, Any]:
    assert [type(action) for action in actions[:1]] == [Send]
    return dict(json.loads(actions[0].text))


def test_a_config_is_not_answered_and_shapes_the_stream() -> None:
    protocol = VoskProtocol()
    assert protocol.receive(config(sample_rate=48000.0, phrase_list=["turn on", "[unk]"])) == []
    opening, feed = protocol.receive(bytes(4))
    assert opening == Open(StreamSettings(48_000, {"turn on": 4.0}, formatted=False))
    assert isinstance(feed, Feed)
    assert feed.samples.tolist() == [0, 0]


def test_without_a_config_audio_is_at_8_khz_as_with_vosk_server() -> None:
    assert VoskProtocol().receive(bytes(2))[0] == Open(StreamSettings(8_000, formatted=False))


def test_every_message_of_audio_has_one_reply() -> None:
    protocol = VoskProtocol()
    assert sent(protocol.heard([], ())) == {"partial": ""}
    assert sent(protocol.heard([Partial(0, "HELLO", 0, 1.0)], ())) == {"partial": "hello"}
    assert sent(protocol.heard([], ())) == {"partial": "hello"}
    both = protocol.heard([final(), Partial(1, "NEXT", 0, 6.0)], ())
    assert len(both) == 1
    assert sent(both)["text"] == "hello world"
    assert sent(protocol.heard([], ())) == {"partial": "next"}


def test_a_result_has_words_times_and_confidence() -> None:
    assert sent(VoskProtocol().heard([final()], ())) == {
        "result": [
            {"conf": 0.9, "end": 1.5, "start": 1.0, "word": "hello"},
            {"conf": 0.9, "end": 2.5, "start": 2.0, "word": "world"},
        ],
        "text": "hello world",
    }


def test_words_can_be_left_out() -> None:
    protocol = VoskProtocol()
    protocol.receive(config(words=0))
    assert sent(protocol.heard([final()], ())) == {"text": "hello world"}


def test_partial_words_are_given_when_asked_for() -> None:
    protocol = VoskProtocol()
    protocol.receive(config(partial_words=True))
    feed = protocol.receive(bytes(2))[1]
    assert isinstance(feed, Feed)
    assert feed.words
    reply = sent(protocol.heard([Partial(0, "HELLO", 0, 1.0)], [Word("HELLO", 0.1, 0.4, 0.8)]))
    assert reply["partial_result"] == [{"conf": 0.8, "end": 0.4, "start": 0.1, "word": "hello"}]


def test_several_readings_are_given_when_asked_for() -> None:
    protocol = VoskProtocol()
    protocol.receive(config(max_alternatives=2))
    readings = tuple(Alternative(text, -float(n)) for n, text in enumerate(("A B", "A C", "A D")))
    reply = sent(protocol.heard([final("A B", alternatives=readings)], ()))
    assert [a["text"] for a in reply["alternatives"]] == ["a b", "a c"]
    assert reply["alternatives"][0]["result"][0] == {"end": 1.5, "start": 1.0, "word": "a"}


def test_segments_that_end_in_one_message_are_one_result() -> None:
    reply = sent(VoskProtocol().heard([final("ONE"), final("TWO", 9.0)], ()))
    assert reply["text"] == "one two"
    assert [word["word"] for word in reply["result"]] == ["one", "two"]


@pytest.mark.parametrize("message", [EOF, '{"eof":1}', '{"eof": true}'])
def test_eof_is_answered_with_the_last_result_and_a_close(message: str) -> None:
    protocol = VoskProtocol()
    protocol.receive(bytes(2))
    assert protocol.receive(message) == [Finish()]
    reply, close = protocol.finished([final()])
    assert sent([reply])["text"] == "hello world"
    assert close == Close()


def test_eof_before_any_audio_is_answered() -> None:
    reply, close = VoskProtocol().receive(EOF)
    assert sent([reply]) == {"text": ""}
    assert close == Close()


def test_times_go_on_after_a_reset() -> None:
    protocol = VoskProtocol(16_000)
    protocol.receive(bytes(2 * 16_000 * 3))
    assert protocol.receive(RESET) == [Finish()]
    assert len(protocol.finished([])) == 1
    assert isinstance(protocol.receive(bytes(2))[0], Open)
    assert sent(protocol.heard([final()], ()))["result"][0]["start"] == 4.0


def test_half_a_sample_waits_for_its_other_byte() -> None:
    protocol = VoskProtocol()
    signal = np.arange(100, dtype="<i2").tobytes()
    pieces = [signal[:3], signal[3:4], signal[4:51], signal[51:]]
    feeds = [a for piece in pieces for a in protocol.receive(piece) if isinstance(a, Feed)]
    assert np.concatenate([feed.samples for feed in feeds]).tolist() == list(range(100))


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "[1]",
        "{}",
        '{"config": 3}',
        config(sample_rate="fast"),
        config(sample_rate=1e400),
        config(sample_rate=100),
        config(max_alternatives=-1),
        config(phrase_list=["word"] * 3 + [7]),
        config(phrase_list=[f"word {i}" for i in range(10_000)]),
        config(phrase_list=["a" * 33]),
        config(phrase_list=["a b " * 2000]),
        config(model="/etc/passwd"),
        "[" * 100_000,
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(message: str) -> None:
    with pytest.raises(Exception, match=r"\.$") as raised:
        VoskProtocol().receive(message)
    assert isinstance(raised.value, ProtocolError) or "grammar" in str(raised.value)


def test_the_rate_cannot_change_while_audio_is_heard() -> None:
    protocol = VoskProtocol()
    protocol.receive(bytes(2))
    with pytest.raises(ProtocolError, match="reset"):
        protocol.receive(config(sample_rate=16_000))
    protocol.receive(RESET)
    protocol.finished([])
    assert protocol.receive(config(sample_rate=16_000)) == []


@pytest.mark.slow
@given(st.one_of(st.text(), st.binary(), st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(
        st.one_of(st.text(), st.sampled_from(["config", "eof", "reset", "sample_rate"])), inner)),
).map(json.dumps)))  # fmt: skip
def test_no_message_breaks_the_protocol(message: str | bytes) -> None:
    try:
        actions = VoskProtocol().receive(message)
    except ProtocolError as error:
        assert error.code >= 1000  # noqa: PT017 (either way is right)
    else:
        assert isinstance(actions, list)


def test_a_reason_fits_into_a_close_frame() -> None:
    assert reason_of("short") == "short"
    assert len(reason_of("ü" * 200).encode()) <= 123
    error = ProtocolError("x" * 300, INVALID)
    assert VoskProtocol().failed(error) == [Close(INVALID, "x" * 120 + "…")]
