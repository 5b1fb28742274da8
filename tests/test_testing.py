"""What `rivulet.testing` gives to tests of other programs."""

import numpy as np
import pytest

import rivulet
from rivulet.live.listening import LiveSession
from rivulet.testing import FakeMicrophone, Trouble, fake_recognizer

SCRIPT = [("HELLO", 0.52, 0.92), ("WORLD", 1.0, 1.4), ("AGAIN", 4.0, 4.4)]
SILENCE = np.zeros(6 * 16_000, np.float32)


def test_a_fake_recognizer_says_its_script_with_its_times():
    transcript = fake_recognizer(SCRIPT).transcribe(SILENCE, 16_000)
    assert [final.text for final in transcript.segments] == ["HELLO WORLD", "AGAIN"]
    assert [word.text for word in transcript.words] == ["HELLO", "WORLD", "AGAIN"]
    assert transcript.text == "HELLO WORLD AGAIN"
    assert transcript.display == "Hello world! Again."
    for word, (_, start, end) in zip(transcript.words, SCRIPT, strict=True):
        assert word.start == pytest.approx(start, abs=0.021)
        assert word.end == pytest.approx(end, abs=0.021)
        assert word.confidence == pytest.approx(0.97, abs=1e-3)


def test_a_fake_stream_is_a_real_one_however_it_is_cut():
    recognizer = fake_recognizer(SCRIPT, block_ms=80)
    stream = recognizer.stream()
    events = [event for piece in np.array_split(SILENCE, 37) for event in stream.accept(piece)]
    events += stream.finish()
    whole = recognizer.stream()
    assert events == whole.accept(SILENCE) + whole.finish()
    first = next(event for event in events if isinstance(event, rivulet.Partial))
    assert (first.text, first.stable) == ("HELLO", 0)
    assert any(e.stable == 1 for e in events if isinstance(e, rivulet.Partial))


def test_a_whole_signal_reads_as_a_formatter_writes_its_live_stream():
    recognizer = fake_recognizer(SCRIPT)
    stream, formatter = recognizer.stream(), rivulet.Formatter()
    events = [event for piece in np.array_split(SILENCE, 37) for event in stream.accept(piece)]
    shown = [formatter.push(event) for event in events + stream.finish()]
    finals = tuple(event for event in shown if isinstance(event, rivulet.Final))
    assert recognizer.transcribe(SILENCE, 16_000).segments == finals


def test_no_script_is_silence():
    assert fake_recognizer([]).transcribe(SILENCE, 16_000).text == ""


def test_a_fake_microphone_stands_where_a_real_one_does():
    microphone = FakeMicrophone(SILENCE, 16_000, name="desk")
    session = LiveSession(fake_recognizer(SCRIPT), microphone)
    assert microphone.format.device == "desk"
    assert [e.text for e in session if isinstance(e, rivulet.Final)] == ["HELLO WORLD", "AGAIN"]
    assert session.summary.heard_s == pytest.approx(6.0)


def test_a_slow_recognizer_and_a_short_queue_drop_sound():
    microphone = FakeMicrophone(SILENCE, 16_000, trouble=Trouble(slowness=3.0, queue_s=1.0))
    session = LiveSession(fake_recognizer(SCRIPT), microphone)
    assert any(isinstance(event, rivulet.Gap) for event in session)
