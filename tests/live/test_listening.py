"""LiveSession: the iterator, the callback, a device that vanishes."""

import runpy
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.listening import finals, simulated
from support.microphone import (
    ROOT,
    SimulatedMicrophone,
    babble,
    looped,
)

import rivulet
from rivulet.errors import DeviceError
from rivulet.events import Final
from rivulet.live import listening, microphone
from rivulet.live.listening import Background, LiveSession
from rivulet.live.recording import Recording
from rivulet.live.replay import ReplayReport, replay
from rivulet.live.stream import LiveEvent
from rivulet.recognizer import Recognizer


@pytest.mark.slow
def test_listening_gives_what_a_stream_gives(tiny: Recognizer):
    sound = looped(babble(16_000, 1))(0, 15 * 16_000)
    stream = tiny.stream()
    assert list(LiveSession(tiny, simulated(15.0))) == stream.accept(sound) + stream.finish()


def test_the_iterator_flushes_the_last_words_after_stop(tiny: Recognizer):
    source = simulated(60.0)
    session = LiveSession(tiny, source)
    events = []
    for event in session:
        events.append(event)
        if session.now_s > 8.0:
            session.stop()
    stream = tiny.stream()
    sound = looped(babble(16_000, 1))(0, round(session.now_s * 16_000))
    assert events == stream.accept(sound) + stream.finish()
    assert session.summary.words == sum(len(final.words) for final in finals(events)) > 0


def test_a_callback_gets_the_same_events_from_a_thread(tiny: Recognizer):
    heard: list[LiveEvent] = []
    background = Background(LiveSession(tiny, simulated(15.0)), heard.append)
    while background.running:
        time.sleep(0.01)
    summary = background.stop()
    assert heard == list(LiveSession(tiny, simulated(15.0)))
    assert summary.heard_s == 15.0


def test_an_error_of_the_callback_comes_out_of_stop(tiny: Recognizer):
    background = Background(LiveSession(tiny, simulated(15.0)), lambda _event: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        background.stop()


def test_listen_opens_the_microphone_that_was_asked_for(
    tiny: Recognizer, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def open_it(*arguments: object) -> SimulatedMicrophone:
        asked.append(arguments)
        return simulated(12.0)

    monkeypatch.setattr(listening, "microphone", open_it)
    events = list(rivulet.listen("usb", sample_rate=48_000, channels=2, model=tiny))
    assert asked == [("usb", 48_000, 2, microphone.QUEUE_S)]
    assert events == list(LiveSession(tiny, simulated(12.0)))
    heard: list[LiveEvent] = []
    with rivulet.listen_in_background(heard.append, model=tiny) as background:
        while background.running:
            time.sleep(0.01)
    assert heard == events


@pytest.mark.slow
def test_a_device_that_vanishes_loses_nothing_that_was_heard(tiny: Recognizer, tmp_path: Path):
    source = simulated(7.5, ends_with=DeviceError("the microphone 'x' vanished"))
    events: list[LiveEvent] = []
    session = LiveSession(tiny, source, tmp_path / "talk.rvl")
    with pytest.raises(DeviceError, match="vanished"):
        events.extend(session)  # extend keeps what came before the error
    assert events == list(LiveSession(tiny, simulated(7.5)))
    report = ReplayReport()
    assert list(replay(Recording(tmp_path / "talk.rvl"), tiny, report)) == events
    assert report.identical
    assert report.complete
    assert "vanished" in report.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("listen.py", lambda formatter, final: formatter.push(final).display),
        ("callback.py", lambda _, final: final.text),
    ],
)
def test_the_examples_run(
    name: str,
    shown: Callable[[rivulet.Formatter, Final], str],
    tiny: Recognizer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(listening, "microphone", lambda *_: simulated(15.0))
    monkeypatch.setattr(Recognizer, "load", lambda *_: tiny)
    runpy.run_path(str(ROOT / "examples" / name))
    out = capsys.readouterr().out
    formatter = rivulet.Formatter()
    for final in finals(list(LiveSession(tiny, simulated(15.0)))):
        assert shown(formatter, final) in out
