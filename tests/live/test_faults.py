"""`listen` when the machine sleeps, the device stalls, or a disk is full."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest
from support import kept
from support.faults import FaultyDevice, fake_portaudio, text_on_a_full_disk
from support.microphone import SimulatedMicrophone, babble, looped

from rivulet.__main__ import main
from rivulet.errors import DeviceError, RecordingError
from rivulet.events import Final
from rivulet.live import microphone, wav
from rivulet.live.checks import InputWarning
from rivulet.live.listening import LiveSession
from rivulet.live.microphone import Gap, SignalFormat
from rivulet.live.recording import Recording
from rivulet.live.replay import ReplayReport, replay
from rivulet.live.stream import LiveEvent
from rivulet.live.wav import export_wav
from rivulet.recognizer import Recognizer
from rivulet.testing import fake_recognizer

NIGHT_S = 8 * 3600.0
MONO = SignalFormat("simulated", 16_000, 1)
SOUND = babble(16_000, 1)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FaultyDevice:
    return FaultyDevice(fake_portaudio(monkeypatch))


def simulated(seconds: float) -> SimulatedMicrophone:
    return SimulatedMicrophone(MONO, looped(SOUND), seconds)


def finals(events: list[LiveEvent]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


# the machine sleeps


def test_a_night_asleep_is_a_gap_and_no_storm_of_old_sound(
    device: FaultyDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    streams = kept(monkeypatch, Recognizer, "stream")
    recognizer = fake_recognizer([("BEFORE", 1.0, 1.4), ("AFTER", 5.0, 5.4)])
    device.play(SOUND[:48_000])
    device.sleep(NIGHT_S)
    device.play(SOUND[48_000:96_000])
    device.source.stop()
    path = tmp_path / "night.rvl"
    session = LiveSession(recognizer, device.source, path)
    events = list(session)
    (stream,) = streams
    (gap,) = (event for event in events if isinstance(event, Gap))
    assert gap == Gap(3.0, 3.0 + NIGHT_S, int(NIGHT_S * 16_000), "machine asleep")
    assert not [event for event in events if isinstance(event, InputWarning)]
    heard = [(final.text, round(final.start, 2)) for final in finals(events)]
    assert heard == [("BEFORE", 1.0), ("AFTER", gap.end + 1.0)]
    assert stream.seconds == 3.0 + 1.0 + 3.0  # of the night one second is heard
    assert session.now_s == 6.0 + NIGHT_S
    report = ReplayReport()
    assert list(replay(Recording(path), recognizer, report)) == events
    assert report.identical


@pytest.mark.parametrize("device_goes_on", [False, True])
def test_sleep_is_counted_once_whatever_the_device_says_of_it(
    device: FaultyDevice, device_goes_on: bool
):
    device.play(SOUND[:3200])
    device.sleep(60.0, device_goes_on)
    device.device_s += 0.25  # what PortAudio lost
    device.clock.running_s += 0.25
    device.play(SOUND[:3200], overflow=True)
    device.source.stop()
    lost = [block for block in device.source if block.lost]
    assert [(block.asleep_lost, block.overflow_lost) for block in lost] == [(960_000, 4_000)]


def test_clocks_that_differ_a_little_make_no_gap(device: FaultyDevice):
    device.play(SOUND[:3200])
    device.sleep(0.01)
    device.play(SOUND[:3200])
    device.source.stop()
    assert not any(block.lost for block in device.source)


def test_what_is_queued_when_the_queue_is_full_keeps_the_sleep(device: FaultyDevice):
    device.play(SOUND[:160_000])  # all that it holds
    device.sleep(60.0)
    device.play(SOUND[:3200])
    blocks = iter(device.source)
    for _ in range(300):  # now it is half empty
        next(blocks)
    device.play(SOUND[:320])
    device.source.stop()
    last = list(blocks)[-1]
    assert (last.asleep_lost, last.queue_lost) == (960_000, 3200)


def test_a_clock_that_jumped_while_nothing_was_queued_is_no_stall(device: FaultyDevice):
    """Where the running clock counts sleep, as on Windows, the reader wakes before the device."""
    device.play(SOUND[:320])
    blocks = iter(device.source)
    next(blocks)
    device.clock.running_s += NIGHT_S
    threading.Timer(0.3, device.play, (SOUND[:320],)).start()
    assert len(next(blocks).samples) == 320


def test_a_clock_of_the_system_says_that_it_was_not_asleep_just_now():
    clock = microphone.Clock()
    before = clock.asleep()
    assert 0.0 <= clock.asleep() - before < microphone.LEAST_SLEEP_S


@pytest.mark.slow
def test_a_night_is_taken_out_of_a_recording_piece_by_piece(
    device: FaultyDevice, tiny: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    device.play(SOUND[:16_000])
    device.sleep(90.0)
    device.play(SOUND[:16_000])
    device.source.stop()
    list(LiveSession(tiny, device.source, tmp_path / "talk.rvl"))
    saved = Recording(tmp_path / "talk.rvl")
    assert export_wav(saved, tmp_path / "talk.wav") == 92.0
    monkeypatch.setattr(wav, "WAV_BYTES", 32_000 * 60)
    with pytest.raises(RecordingError, match="more sound than a WAV can hold"):
        export_wav(saved, tmp_path / "talk.wav")


# the device stalls or goes


@pytest.fixture
def command(model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `rivulet listen` with the tiny model and some source."""

    def run(source: object, *flags: str) -> int:
        monkeypatch.setattr(microphone, "microphone", lambda *_: source)
        return main(["listen", "-m", str(model), "--raw", *flags])

    return run


@pytest.mark.slow
@pytest.mark.parametrize("unplugged", [False, True])
def test_a_device_that_stalls_or_is_unplugged_ends_with_every_word(
    device: FaultyDevice,
    command: Callable[..., int],
    tiny: Recognizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unplugged: bool,
):
    monkeypatch.setattr(microphone, "STALL_S", 0.2)
    device.play(SOUND[: 16_000 * 6])
    if unplugged:
        device.end()
    path = tmp_path / "talk.rvl"
    assert command(device.source, "--save", str(path)) == 1
    out, err = capsys.readouterr()
    expected = finals(list(LiveSession(tiny, simulated(6.0))))
    assert out.splitlines() == [final.text for final in expected]
    assert "the microphone 'USB Microphone' vanished" in err.splitlines()[-1]
    report = ReplayReport()
    assert finals(list(replay(Recording(path), tiny, report))) == expected
    assert report.complete


def test_a_device_that_never_begins_is_one_sentence(
    device: FaultyDevice,
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(microphone, "FIRST_BLOCK_S", 0.2)
    assert command(device.source) == 1
    assert "delivered nothing in" in capsys.readouterr().err.splitlines()[-1]


# a disk is full


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Let `path` take so many bytes when it is opened as text."""
    usual = Path.open

    def limit(path: Path, room: int) -> None:
        def opened(self: Path, *given: object, **named: object) -> object:
            if self == path:
                return text_on_a_full_disk(path.with_name("taken"), room)
            return usual(self, *given, **named)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", opened)

    return limit


@contextlib.contextmanager
def standard_output(out: TextIO) -> Iterator[None]:
    before, sys.stdout = sys.stdout, out
    try:
        yield
    finally:
        sys.stdout = before


@pytest.mark.parametrize("room", [0, 30])
@pytest.mark.parametrize("kind", ["txt", "srt", "json", "jsonl"])
def test_a_full_disk_under_the_transcript_costs_no_word_on_standard_output(
    command: Callable[..., int],
    full: Callable[[Path, int], None],
    tiny: Recognizer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    room: int,
    kind: str,
):
    path = tmp_path / "talk.out"
    full(path, room)
    assert command(simulated(9.0), "-o", str(path), "-t", kind) == 1
    out, err = capsys.readouterr()
    expected = finals(list(LiveSession(tiny, simulated(9.0))))
    assert out.splitlines() == [final.text for final in expected]
    (told,) = (line for line in err.splitlines() if "cannot be written" in line)
    assert f"{path} cannot be written any more (No space left on device) after" in told
    assert len((tmp_path / "taken").read_bytes()) == room
    assert "9.0 s heard" in err


def test_standard_output_on_a_full_disk_costs_no_word_of_the_transcript(
    command: Callable[..., int],
    tiny: Recognizer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    path = tmp_path / "talk.txt"
    with standard_output(text_on_a_full_disk(tmp_path / "taken", 10)):
        assert command(simulated(9.0), "-o", str(path)) == 1
    expected = finals(list(LiveSession(tiny, simulated(9.0))))
    assert path.read_text().splitlines() == [final.text for final in expected]
    assert capsys.readouterr().err.count("standard output cannot be written any more") == 1


@pytest.mark.slow
@pytest.mark.parametrize("saved", [False, True])
def test_a_session_goes_on_only_while_something_keeps_its_words(
    command: Callable[..., int],
    tiny: Recognizer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    saved: bool,
):
    flags = ["--save", str(tmp_path / "talk.rvl")] if saved else []
    taken = tmp_path / "taken"
    with standard_output(text_on_a_full_disk(taken, 10)):
        assert command(simulated(9.0), *flags) == 1
    err = capsys.readouterr().err
    heard_s = float(err.split(" s heard")[0].split()[-1])
    expected = finals(list(LiveSession(tiny, simulated(9.0))))
    assert "\n".join(final.text for final in expected).encode()[:10] == taken.read_bytes()
    assert "Traceback" not in err
    if not saved:
        assert "the session ends" in err
        assert heard_s < 9.0
        return
    assert heard_s == 9.0
    events = list(replay(Recording(tmp_path / "talk.rvl"), tiny, ReplayReport()))
    assert finals(events) == expected


def test_a_device_may_vanish_when_the_disk_is_full_already(
    command: Callable[..., int],
    full: Callable[[Path, int], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    path = tmp_path / "talk.txt"
    full(path, 0)
    gone = DeviceError("the microphone 'x' vanished")
    source = SimulatedMicrophone(MONO, looped(SOUND), 6.0, ends_with=gone)
    assert command(source, "-o", str(path)) == 1
    err = capsys.readouterr().err
    assert "cannot be written any more" in err
    assert err.splitlines()[-1] == "rivulet: the microphone 'x' vanished"
