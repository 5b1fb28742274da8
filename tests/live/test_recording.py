"""A recording holds every sample and event, survives a kill, and replays bit for bit."""

import sys
import time
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.faults import FullDisk
from support.microphone import SimulatedMicrophone, babble, looped, save_tiny_model

from rivulet.endpoint import EndpointConfig
from rivulet.errors import DeviceError, RecordingError
from rivulet.events import Final
from rivulet.live.checks import InputWarning
from rivulet.live.listening import LiveSession
from rivulet.live.microphone import Block, Gap, SignalFormat
from rivulet.live.recording import (
    FRAME,
    MAGIC,
    Recording,
    RecordingHeader,
    RecordingWriter,
)
from rivulet.live.replay import ReplayReport, replay
from rivulet.live.stream import LiveEvent, LiveStream, live_event_to_dict
from rivulet.live.wav import export_wav
from rivulet.recognizer import Recognizer


def record(
    tiny: Recognizer, path: Path, seconds: float = 12.0, slowness: float = 0.0, rate: int = 16_000
) -> list[dict[str, object]]:
    """Save a session of babble, return its events."""
    signal = SignalFormat("simulated", rate, 1)
    source = SimulatedMicrophone(signal, looped(babble(rate, 1)), seconds, slowness, queue_s=2.0)
    return [live_event_to_dict(event) for event in LiveSession(tiny, source, path)]


def run_again(path: Path, recognizer: Recognizer) -> tuple[ReplayReport, list[dict[str, object]]]:
    report = ReplayReport()
    events = [live_event_to_dict(e) for e in replay(Recording(path), recognizer, report)]
    return report, events


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 2), (8_000, 9)])
def test_sound_times_and_flags_come_back_exactly(
    tiny: Recognizer, tmp_path: Path, rate: int, channels: int
):
    rng = np.random.default_rng(rate)
    sizes = [0, 1, 960, 7, rate, 3 * rate + 1, 960, 0, 5]
    blocks = [
        Block(
            rng.integers(-32768, 32768, (size, channels)).astype(np.int16),
            arrived_s=float(rng.uniform()),
            queue_lost=index % 3,
            overflow_lost=index % 2,
            overflowed=index % 2 == 1,
            device_s=float(rng.uniform(1e9, 2e9)),
        )
        for index, size in enumerate(sizes)
    ]
    path = tmp_path / "talk.rvl"
    writer = RecordingWriter(path, RecordingHeader.of(tiny, SignalFormat("x", rate, channels)))
    for block in blocks:
        writer.write(block, [Gap(0.0, 1.0, 2, "queue full")], lag_s=0.25)
    writer.close([], "stopped")
    read = list(Recording(path))
    for heard, block in zip(read, blocks, strict=True):
        assert heard.block.samples.dtype == np.int16
        assert np.array_equal(heard.block.samples, block.samples)
        assert replace(heard.block, samples=None) == replace(block, samples=None)  # type: ignore[arg-type]
        assert heard.lag_s == 0.25
        assert heard.events[0]["reason"] == "queue full"


@pytest.mark.slow
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_replay_gives_every_event_again(tiny: Recognizer, tmp_path: Path, rate: int):
    events = record(tiny, tmp_path / "talk.rvl", rate=rate)
    report, again = run_again(tmp_path / "talk.rvl", tiny)
    assert again == events
    assert len(events) > 20
    assert (report.identical, report.complete, report.events) == (True, True, len(events))
    assert report.seconds == 12.0


@pytest.mark.slow
def test_a_session_with_gaps_replays_too(tiny: Recognizer, tmp_path: Path):
    events = record(tiny, tmp_path / "talk.rvl", seconds=20.0, slowness=2.0)
    assert any(event["type"] == "gap" for event in events)
    report, again = run_again(tmp_path / "talk.rvl", tiny)
    assert again == events
    assert report.identical


@pytest.mark.slow
def test_block_and_endpoints_of_the_session_are_used(tiny: Recognizer, tmp_path: Path):
    other = replace(tiny, block_ms=40, endpoint=EndpointConfig(1.0, 0.3, 4.0))
    events = record(other, tmp_path / "talk.rvl")
    assert events != record(tiny, tmp_path / "other.rvl")
    assert run_again(tmp_path / "talk.rvl", tiny)[1] == events


@pytest.mark.slow
def test_a_killed_session_is_read_up_to_its_last_second(tiny: Recognizer, tmp_path: Path):
    events = record(tiny, tmp_path / "talk.rvl")
    whole = (tmp_path / "talk.rvl").read_bytes()
    ends = record_ends(whole)
    assert len(ends) == 14  # header, 12 seconds, the end
    rng = np.random.default_rng(5)
    for cut in [*rng.integers(ends[0], ends[-2], 6), ends[-2], ends[-1] - 1]:
        path = tmp_path / f"cut{cut}.rvl"
        path.write_bytes(whole[:cut])
        seconds = sum(end <= cut for end in ends[1:])
        report, again = run_again(path, tiny)
        assert report.seconds == pytest.approx(seconds)
        assert report.identical
        assert not report.complete
        assert again[: report.events] == events[: report.events]
        assert report.events >= sum(
            float(str(e["at"])) < seconds - 0.5 for e in events if "at" in e
        )


def record_ends(content: bytes) -> list[int]:
    at, ends = len(MAGIC), []
    while at < len(content):
        at += FRAME.size + FRAME.unpack_from(content, at)[1]
        ends.append(at)
    return ends


def test_a_replay_says_where_it_differs(tiny: Recognizer, tmp_path: Path):
    signal = SignalFormat("simulated", 16_000, 1)
    path = tmp_path / "talk.rvl"
    source = SimulatedMicrophone(signal, looped(babble(16_000, 1)), 6.0)
    live = LiveStream(tiny, signal)
    writer = RecordingWriter(path, RecordingHeader.of(tiny, signal))
    changed = None
    for block in source:
        events = live.accept(block)
        if changed is None and events and live.now_s > 3.0:
            changed = live.now_s
            events = [replace(events[0], text="CHANGED"), *events[1:]]  # type: ignore[call-arg]
        writer.write(block, events, 0.0)
    writer.close(live.finish(), "stopped")
    report, _ = run_again(path, tiny)
    assert not report.identical
    assert report.difference is not None
    assert report.difference.at_s == pytest.approx(changed)
    assert report.difference.recorded is not None
    assert report.difference.recorded["text"] == "CHANGED"
    assert report.difference.replayed is not None
    assert report.difference.replayed["text"] != "CHANGED"


@pytest.mark.slow
def test_another_model_is_refused(tiny: Recognizer, tmp_path: Path):
    record(tiny, tmp_path / "talk.rvl", seconds=1.0)
    other = Recognizer.load(save_tiny_model(tmp_path / "other", seed=1))
    with pytest.raises(
        RecordingError, match=r"made with the model 'tiny' of sha256 .* give the same"
    ):
        run_again(tmp_path / "talk.rvl", other)


def test_a_damaged_record_ends_the_replay_after_what_came_before(tiny: Recognizer, tmp_path: Path):
    path = tmp_path / "talk.rvl"
    record(tiny, path)
    content = bytearray(path.read_bytes())
    fifth = record_ends(bytes(content))[4]
    content[fifth + 100] ^= 1
    path.write_bytes(content)
    blocks = iter(Recording(path))
    assert sum(len(next(blocks).block.samples) for _ in range(40)) == 4 * 16_000
    with pytest.raises(RecordingError, match=f"damaged at byte {fifth} of {len(content)}"):
        next(blocks)


@pytest.mark.parametrize("content", [b"", b"RIFF1234WAVEfmt something", MAGIC[:-3]])
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "talk.rvl"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="is no rivulet recording"):
        Recording(path)


def test_a_session_without_a_header_is_refused(tmp_path: Path):
    path = tmp_path / "talk.rvl"
    path.write_bytes(MAGIC)
    with pytest.raises(RecordingError, match="ends before its header"):
        Recording(path)


def test_a_missing_session_is_refused(tmp_path: Path):
    with pytest.raises(RecordingError, match="cannot be read"):
        Recording(tmp_path / "none.rvl")


def test_a_session_is_never_overwritten(tiny: Recognizer, tmp_path: Path):
    path = tmp_path / "talk.rvl"
    path.write_text("precious")
    with pytest.raises(RecordingError, match="exists and is not overwritten"):
        record(tiny, path, seconds=1.0)
    assert path.read_text() == "precious"


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> list[FullDisk]:
    """The files that are created from now on, which take all until their room is set."""
    made: list[FullDisk] = []
    usual = Path.open

    def opened(self: Path, mode: str = "r", *given: object, **named: object) -> object:
        file = usual(self, mode, *given, **named)  # type: ignore[call-overload]
        if "x" not in mode:
            return file
        made.append(FullDisk(file, sys.maxsize))
        return made[-1]

    monkeypatch.setattr(Path, "open", opened)
    return made


def listen_until_full(
    tiny: Recognizer,
    path: Path,
    disks: list[FullDisk],
    room: int,
    ends_with: Exception | None = None,
) -> tuple[LiveSession, list[LiveEvent], Exception]:
    """Save six seconds on a disk with `room` bytes after the header; return what came out."""
    signal = SignalFormat("simulated", 16_000, 1)
    sound = looped(babble(16_000, 1))
    source = SimulatedMicrophone(signal, sound, 6.0, ends_with=ends_with)
    session = LiveSession(tiny, source, path)
    disks[-1].room = room
    events: list[LiveEvent] = []
    with pytest.raises((RecordingError, DeviceError)) as raised:
        events.extend(session)
    return session, events, raised.value


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 1, 40_000, -1])
def test_a_full_disk_costs_no_word_and_nothing_that_was_saved(
    tiny: Recognizer, disks: list[FullDisk], tmp_path: Path, room: int
):
    expected = record(tiny, tmp_path / "whole.rvl", seconds=6.0)
    whole = (tmp_path / "whole.rvl").read_bytes()
    ends = record_ends(whole)
    if room < 0:  # all but the last byte: only the end of the session does not fit
        room = len(whole) - ends[0] - 1
    path = tmp_path / "talk.rvl"
    session, events, error = listen_until_full(tiny, path, disks, room)
    told = [event for event in events if isinstance(event, InputWarning) and event.check == "save"]
    assert [live_event_to_dict(e) for e in events if e not in told] == expected
    (finding,) = told
    assert finding.message == str(error) == str(session.unsaved)
    parts = sum(end <= ends[0] + room for end in ends[1:])
    left = path.read_bytes()
    saved = len(left)
    assert record_ends(left)[parts:] == [saved]  # whole records, and all that fit
    assert f"{path} cannot be written any more (No space left on device): {saved} bytes" in str(
        error
    )
    assert f"with {session.saved_s:.1f} s of sound are saved" in str(error)
    assert session.saved_s == float(parts)
    report, _ = run_again(path, tiny)
    assert report.identical
    assert not report.complete
    assert report.seconds == session.saved_s


def test_a_device_that_vanishes_after_the_disk_was_full_is_told_as_well(
    tiny: Recognizer, disks: list[FullDisk], tmp_path: Path
):
    gone = DeviceError("the microphone 'x' vanished")
    session, events, error = listen_until_full(
        tiny, tmp_path / "talk.rvl", disks, 0, ends_with=gone
    )
    assert error is gone
    assert session.unsaved is not None
    assert sum(isinstance(event, InputWarning) and event.check == "save" for event in events) == 1


def test_leaving_the_iterator_on_a_full_disk_is_harmless(
    tiny: Recognizer, disks: list[FullDisk], tmp_path: Path
):
    source = SimulatedMicrophone(
        SignalFormat("simulated", 16_000, 1), looped(babble(16_000, 1)), 6.0
    )
    session = LiveSession(tiny, source, tmp_path / "talk.rvl")
    disks[-1].room = 0
    events = iter(session)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert session.unsaved is not None


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE")
def test_a_disk_without_room_for_the_header_keeps_no_file(tiny: Recognizer, tmp_path: Path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(RecordingError, match=r"cannot be written \(File too large\); choose"):
            record(tiny, tmp_path / "talk.rvl", seconds=1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_folder_gets_a_file_named_by_the_date(tiny: Recognizer, tmp_path: Path):
    record(tiny, tmp_path, seconds=1.0)
    (path,) = tmp_path.glob("20*.rvl")
    assert run_again(path, tiny)[0].identical


def test_the_sound_can_be_taken_out_with_silence_in_the_gaps(tiny: Recognizer, tmp_path: Path):
    events = record(tiny, tmp_path / "talk.rvl", seconds=20.0, slowness=2.0)
    gaps = [event for event in events if event["type"] == "gap"]
    seconds = export_wav(Recording(tmp_path / "talk.rvl"), tmp_path / "talk.wav")
    assert seconds == 20.0
    with wave.open(str(tmp_path / "talk.wav")) as out:
        sound = np.frombuffer(out.readframes(out.getnframes()), "<i2")
    expected = looped(babble(16_000, 1))(0, 20 * 16_000)[:, 0].copy()
    for gap in gaps:
        start = round(float(str(gap["start"])) * 16_000)
        expected[start : start + int(str(gap["samples"]))] = 0
    assert np.array_equal(sound, expected)


def test_a_real_clock_waits_as_long_as_the_session_did(tiny: Recognizer, tmp_path: Path):
    record(tiny, tmp_path / "talk.rvl", seconds=1.5)
    began = time.monotonic()
    report = ReplayReport()
    list(replay(Recording(tmp_path / "talk.rvl"), tiny, report, real_clock=True))
    assert time.monotonic() - began >= 1.5
    assert report.identical


def test_a_session_left_in_the_middle_has_an_end(tiny: Recognizer, tmp_path: Path):
    source = SimulatedMicrophone(
        SignalFormat("simulated", 16_000, 1), looped(babble(16_000, 1)), 60.0
    )
    for event in LiveSession(tiny, source, tmp_path / "talk.rvl"):
        if isinstance(event, Final):
            break
    report, _ = run_again(tmp_path / "talk.rvl", tiny)
    assert report.identical
    assert report.reason == "left by the caller"
