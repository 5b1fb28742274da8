"""A real PortAudio device of a sound server, and real programs that end."""

import difflib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soxr
from support.microphone import (
    CLIPS,
    ROOT,
    NullSink,
    restore_sink,
    share_found,
    unload_every_sink,
)

import rivulet
from rivulet.audio import read
from rivulet.audio.pcm import write_wav
from rivulet.events import Final, Partial
from rivulet.live.listening import LiveSession
from rivulet.live.microphone import SignalFormat
from rivulet.live.recording import Recording
from rivulet.live.replay import ReplayReport, replay
from rivulet.live.stream import LiveEvent
from rivulet.live.wav import export_wav
from rivulet.recognizer import Recognizer

RATES_AND_CHANNELS = [(44_100, 2), (48_000, 1), (44_100, 1), (48_000, 2)]
TAKES = 4  # at a clip that is played
ALIKE = 0.6  # share of letters with the bare file, which begins elsewhere in a block


def write_clip(path: Path, rate: int) -> Path:
    """Write the last clip at `rate` Hz, so that the sound server need not resample."""
    sound = soxr.resample(np.concatenate(list(read(CLIPS[-1]))), 16_000, rate)
    return write_wav(path, sound, rate)


def text_of(events: list[LiveEvent] | list[rivulet.Event]) -> str:
    return " ".join(event.text for event in events if isinstance(event, Final))


def transcribed(recognizer: Recognizer, path: Path) -> str:
    stream = recognizer.stream()
    events = [event for samples in read(path) for event in stream.accept(samples)]
    return text_of(events + stream.finish())


def default_model() -> Recognizer:
    if not (ROOT / "checkpoints" / "default" / "config.json").is_file():
        pytest.skip("checkpoints/default is not there yet")
    return Recognizer.load()


@pytest.mark.parametrize(("rate", "channels"), RATES_AND_CHANNELS)
def test_a_clip_played_into_a_device_reads_as_its_file(
    server: str, tmp_path: Path, rate: int, channels: int
):
    """A busy sound server drops sound: then a take is repeated, and its words are not compared."""
    recognizer = default_model()
    clip = write_clip(tmp_path / "clip.wav", rate)
    expected = transcribed(recognizer, clip)
    assert len(expected.split()) > 5
    shares: list[float] = []
    for take in range(TAKES):
        folder = tmp_path / str(take)
        folder.mkdir()
        session, events = played(recognizer, clip, rate, channels, folder)
        assert session.source.format == SignalFormat("pulse", rate, channels)
        recorded = folder / "talk.wav"
        export_wav(Recording(folder / "talk.rvl"), recorded)
        if not session.summary.gaps:  # the same samples, so the same words
            assert text_of(events) == transcribed(recognizer, recorded)
        share, whole = share_found(mono_of(clip), rate, mono_of(recorded), rate)
        shares.append(share)
        if whole and not session.summary.gaps:
            break
    else:
        assert max(shares) >= 0.5, shares  # a wrong rate or order would leave nothing
        pytest.skip(f"the sound server dropped sound in {TAKES} takes: {shares} came through")
    again = transcribed(recognizer, placed(clip, recorded))  # the server rounds its own
    assert difflib.SequenceMatcher(None, text_of(events), again).ratio() >= 0.8
    assert difflib.SequenceMatcher(None, text_of(events), expected).ratio() >= ALIKE


def played(
    recognizer: Recognizer, clip: Path, rate: int, channels: int, folder: Path
) -> tuple[LiveSession, list[LiveEvent]]:
    """Play a clip into the device once, and save the session in `folder`."""
    sink = NullSink(rate, channels)
    try:
        session = rivulet.listen(
            "pulse",
            sample_rate=rate,
            channels=channels,
            model=recognizer,
            save=folder / "talk.rvl",
        )
        player = threading.Thread(target=sink.play, args=(clip,))
        ended: list[float] = []

        def direct(now: LiveSession) -> None:
            if player.ident is None:
                player.start()
            elif not player.is_alive() and not ended:
                ended.append(now.now_s)
            elif ended and now.now_s > ended[0] + 0.5:
                now.stop()

        session.on_block = direct
        return session, list(session)
    finally:
        sink.unload()


def placed(clip: Path, recording: Path) -> Path:
    """Write `clip` with silence around it, where it lies in `recording`."""
    sound, heard = mono_of(clip), mono_of(recording)
    size = len(sound) + len(heard)
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sound, size))
    start = int(np.argmax(np.fft.irfft(spectrum, size)[: len(heard) - len(sound)]))
    whole = np.zeros(len(heard))
    whole[start : start + len(sound)] = sound
    with wave.open(str(clip)) as described:
        rate = described.getframerate()
    return write_wav(recording.with_name("placed.wav"), whole, rate)


def mono_of(path: Path) -> np.ndarray:
    """Samples in [-1, 1] at the file's own rate."""
    with wave.open(str(path)) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return data.reshape(-1, file.getnchannels()).mean(axis=1) / 32768


class Program:
    """A real `rivulet listen` in its own process."""

    def __init__(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rivulet", "listen", "-d", "pulse", "-t", "jsonl", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self._reader.start()

    def _read(self, out: object) -> None:
        self.lines.extend(out)  # type: ignore[call-overload]

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.lines
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.1)

    def end(self) -> tuple[int, str]:
        code = self.process.wait(30)
        self._reader.join()
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


def test_a_device_that_is_unloaded_ends_the_real_program_with_1(
    server: str, model: Path, tiny: Recognizer, tmp_path: Path
):
    clip = write_clip(tmp_path / "clip.wav", 44_100)
    saved = tmp_path / "talk.rvl"
    sink = NullSink(44_100, 1)
    program = Program("-m", str(model), "--save", str(saved))
    try:
        program.wait_for(lambda: saved.exists() and saved.stat().st_size > 20_000 / 8)
        sink.play(clip)
        unload_every_sink()
        code, err = program.end()
    finally:
        program.process.kill()
        restore_sink()
    assert code == 1
    assert "the microphone 'pulse' vanished" in err.splitlines()[-1]
    report = ReplayReport()
    events = list(replay(Recording(saved), tiny, report))
    assert report.identical
    assert report.complete
    assert report.seconds > 3.0
    assert len(events) == len(program.lines)
    assert any(isinstance(event, Partial | Final) for event in events)


def test_a_killed_program_leaves_a_session_that_replays_bit_for_bit(
    server: str, model: Path, tiny: Recognizer, tmp_path: Path
):
    clip = write_clip(tmp_path / "clip.wav", 44_100)
    saved = tmp_path / "talk.rvl"
    sink = NullSink(44_100, 1)
    program = Program("-m", str(model), "--save", str(saved), "--raw")
    try:
        program.wait_for(lambda: saved.exists() and saved.stat().st_size > 20_000 / 8)
        sink.play(clip)
        program.process.kill()
        code, _ = program.end()
    finally:
        program.process.kill()
        sink.unload()
    assert code == -signal.SIGKILL
    report = ReplayReport()
    events = list(replay(Recording(saved), tiny, report))
    assert report.identical
    assert not report.complete
    recorded = [json.loads(line) for line in program.lines]
    latest = max(event["at"] for event in recorded if event["type"] != "gap")
    assert report.seconds > latest - 1.2  # at most the last second is missing
    assert report.events >= 5
    assert (
        json.loads(json.dumps(listening_dicts(events[: report.events])))
        == recorded[: report.events]
    )


def listening_dicts(events: list[LiveEvent]) -> list[dict[str, object]]:
    return [rivulet.live.stream.live_event_to_dict(event) for event in events]
