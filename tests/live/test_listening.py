"""LiveSession as a whole: API and command, long and slow sessions, and a real PortAudio device."""

import difflib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr
from support.microphone import (
    CLIPS,
    ROOT,
    NullSink,
    SimulatedMicrophone,
    babble,
    looped,
    restore_sink,
    save_tiny_model,
    sound_server,
    speech,
    unload_every_sink,
)

import rivulet
from rivulet.__main__ import main
from rivulet.audio import read
from rivulet.errors import DeviceError
from rivulet.events import Alternative, Final, Partial, Word
from rivulet.live import devices, listening, microphone
from rivulet.live.checks import InputWarning
from rivulet.live.listening import Background, LiveSession, SessionStats
from rivulet.live.microphone import Block, Gap, SignalFormat
from rivulet.live.recording import Recording, export_wav
from rivulet.live.replay import ReplayReport, replay
from rivulet.live.stream import LiveEvent, TimeLine
from rivulet.recognizer import Recognizer

MONO = SignalFormat("simulated", 16_000, 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(model: Path) -> Recognizer:
    return Recognizer.load(model)


def simulated(seconds: float, **settings: object) -> SimulatedMicrophone:
    return SimulatedMicrophone(MONO, looped(babble(16_000, 1)), seconds, **settings)  # type: ignore[arg-type]


def finals(events: list[LiveEvent]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def gaps(events: list[LiveEvent]) -> list[Gap]:
    return [event for event in events if isinstance(event, Gap)]


# the iterator and the callback


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


# lag, drops, memory


def test_a_slow_recognizer_reports_its_lag_marks_gaps_in_place_and_stays_bounded(tiny: Recognizer):
    source = simulated(120.0, slowness=2.0, queue_s=4.0)
    session = LiveSession(tiny, source)
    lags = []
    session.on_block = lambda now: lags.append(now.lag_s)
    events = list(session)
    lost = gaps(events)
    assert 10 < len(lost) < 60  # long stretches, not every second block
    assert all(gap.samples == round((gap.end - gap.start) * 16_000) for gap in lost)
    assert source.most_held <= 4 * 16_000
    # a block waits for at most the queue, and each gap is heard as at most 1 s of silence
    assert 2.0 < max(lags) <= 2.0 * (4.0 + 1.0 + 0.2)
    assert max(lags[: len(lags) // 2]) == pytest.approx(max(lags[len(lags) // 2 :]), abs=1.0)
    summary = session.summary
    assert summary.heard_s + summary.dropped_s == pytest.approx(120.0)
    assert session.now_s == pytest.approx(120.0)
    assert summary.gaps == len(lost)
    assert 2_000 <= summary.lag_p99_ms <= 10_400
    assert any(isinstance(event, InputWarning) and event.check == "lost" for event in events)
    assert f"{summary.dropped_s:.2f} s dropped in {len(lost)} gaps" in str(summary)


def test_words_around_a_gap_keep_their_true_times(tiny: Recognizer):
    """Sound, a gap of 4 s, sound: after the gap everything is 4 s later than without it.

    Less than the 5 s after which the network begins anew, at which random weights say something.
    """
    sound = babble(16_000, 1, 8.0)
    silence = np.zeros((4 * 16_000, 1), np.int16)

    def run(lost: int) -> list[LiveEvent]:
        live = listening.LiveStream(tiny, MONO)
        events = live.accept(Block(sound, 8.0))
        if lost:
            events += live.accept(Block(sound, 20.0, queue_lost=lost))
        else:
            events += live.accept(Block(np.concatenate([silence, sound]), 20.0))
        return events + live.finish()

    with_gap, fed = run(len(silence)), run(0)
    (gap,) = gaps(with_gap)
    assert (gap.start, gap.end, gap.samples, gap.reason) == (8.0, 12.0, 64_000, "queue full")
    for events in (with_gap, fed):
        assert not [w for f in finals(events) for w in f.words if 9.0 < w.start < 11.5]
    first = [f for f in finals(with_gap) if f.end < 9.0]
    assert first == [f for f in finals(fed) if f.end < 9.0]
    late = [word for f in finals(with_gap) for word in f.words if word.start > 12.0]
    assert late
    assert all(word.end <= 20.0 for word in late)
    assert max(word.start for word in late) > 17.0


def test_a_final_keeps_all_it_says_when_its_times_move():
    line = TimeLine()
    line.jump(0.5, 2.0)
    said = Final(
        3,
        "A B",
        (Word("A", 0.1, 0.2, 0.9), Word("B", 0.6, 0.7, 0.8)),
        0.1,
        0.7,
        1.0,
        (Alternative("A B", -1.0), Alternative("A BE", -2.0)),
        ("B",),
    )
    placed = line.place(said)
    assert (placed.start, placed.end, placed.at) == (0.1, 2.7, 3.0)
    assert placed.words[1] == Word("B", 2.6, 2.7, 0.8)
    assert (placed.alternatives, placed.hot_words) == (said.alternatives, said.hot_words)


def test_the_time_line_forgets_what_is_past():
    line = TimeLine()
    for jump in range(1000):
        line.jump(10.0 * jump, 1.0)
        assert line.true(10.0 * jump + 5.0) == 10.0 * jump + 5.0 + jump + 1
        line.forget(10.0 * jump)
    assert len(line._jumps) <= 2


def test_lag_percentiles_are_those_of_the_blocks():
    tally = SessionStats()
    for lag_ms in range(1, 101):
        tally.add(Block(np.ones((160, 1), np.int16), 0.0), lag_ms / 1000)
    assert (tally.lag_ms(50.0), tally.lag_ms(99.0)) == (50, 99)
    assert SessionStats().lag_ms(99.0) == 0


def resident_bytes() -> int:
    if sys.platform != "linux":
        pytest.skip("resident memory is read from /proc")
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_an_hour_of_speech_keeps_memory_and_lag_flat(model: Path):
    """Computing takes its real time on the virtual clock. Bound: 16 MiB above the first 5 min."""
    source = SimulatedMicrophone(MONO, looped(speech()), 3600.0, slowness=None)
    session = LiveSession(Recognizer.load(model, block_ms=320), source)
    lags: list[list[float]] = [[], []]
    memory: list[int] = []

    def watch(now: LiveSession) -> None:
        if now.now_s >= 300.0:
            lags[now.now_s > 1950.0].append(now.lag_s)
            if not len(lags[0]) % 3000:
                memory.append(resident_bytes())

    session.on_block = watch
    words = sum(len(event.words) for event in session if isinstance(event, Final))
    assert session.now_s == 3600.0
    assert session.summary.heard_s == 3600.0  # no drops
    assert words > 500
    assert max(memory) - memory[0] < 16 * 2**20
    early, late = (np.percentile(part, 99) for part in lags)
    assert late < max(2 * early, early + 0.1)
    assert source.most_held < 5 * 16_000


# the command


@pytest.fixture
def command(model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `rivulet listen` with the tiny model and a simulated microphone."""

    def run(source: SimulatedMicrophone, *flags: str) -> int:
        monkeypatch.setattr(microphone, "microphone", lambda *_: source)
        return main(["listen", "-m", str(model), *flags])

    return run


def test_in_a_pipe_come_plain_lines_and_a_summary(
    command: Callable[..., int], tiny: Recognizer, capsys: pytest.CaptureFixture[str]
):
    assert command(simulated(15.0), "--raw") == 0
    out, err = capsys.readouterr()
    expected = finals(list(LiveSession(tiny, simulated(15.0))))
    assert out.splitlines() == [final.text for final in expected]
    words = sum(len(final.words) for final in expected)
    assert f"15.0 s heard, {words} words, lag p50" in err
    assert "no drops" in err


def test_jsonl_has_every_event_and_output_and_save_keep_it(
    command: Callable[..., int], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "talk.rvl"
    source = simulated(20.0, slowness=2.0, queue_s=2.0)
    flags = ("-t", "jsonl", "-o", str(tmp_path / "talk.jsonl"), "--save", str(path))
    assert command(source, *flags) == 0
    lines = (tmp_path / "talk.jsonl").read_text().splitlines()
    assert {json.loads(line)["type"] for line in lines} == {"partial", "final", "gap", "warning"}
    out, err = capsys.readouterr()
    assert "s of sound lost: queue full]" in out
    assert "rivulet: warning: " in err
    assert f"saved as {path}" in err
    assert main(["replay", str(path), "-m", str(model), "-t", "jsonl"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == lines
    assert f"all {len(lines)} events are identical" in err


def test_ctrl_c_flushes_the_last_words_and_exits_with_0(
    command: Callable[..., int], tiny: Recognizer, capsys: pytest.CaptureFixture[str]
):
    class Interrupted(SimulatedMicrophone):
        def _hand_over(self, block: Block) -> Iterator[Block]:
            yield from super()._hand_over(block)
            if self._made >= 10 * 16_000:
                signal.raise_signal(signal.SIGINT)

    source = Interrupted(MONO, looped(babble(16_000, 1)), 60.0)
    before = signal.getsignal(signal.SIGINT)
    assert command(source, "--raw") == 0
    assert signal.getsignal(signal.SIGINT) is before
    out, err = capsys.readouterr()
    heard_s = source._made / 16_000
    assert 10.0 <= heard_s < 11.0
    expected = finals(list(LiveSession(tiny, simulated(heard_s))))
    assert out.splitlines() == [final.text for final in expected]
    assert f"{heard_s:.1f} s heard" in err


def test_a_vanished_device_is_one_sentence_and_exit_1(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
):
    source = simulated(9.0, ends_with=DeviceError("the microphone 'x' vanished 9.0 s after"))
    assert command(source) == 1
    out, err = capsys.readouterr()
    assert out.strip()
    assert err.splitlines()[-1] == "rivulet: the microphone 'x' vanished 9.0 s after"
    assert "9.0 s heard" in err


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE")
def test_a_file_that_may_not_grow_is_one_sentence_every_word_and_exit_1(
    command: Callable[..., int],
    model: Path,
    tiny: Recognizer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    """The system itself refuses to write beyond 60,000 bytes, as a full disk would."""
    import resource

    path = tmp_path / "talk.rvl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        code = command(simulated(9.0), "--save", str(path), "--raw")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    out, err = capsys.readouterr()
    expected = finals(list(LiveSession(tiny, simulated(9.0))))
    assert out.splitlines() == [final.text for final in expected]
    (sentence,) = (line for line in err.splitlines() if "cannot be written" in line)
    saved = path.stat().st_size
    assert f"{path} cannot be written any more (File too large): {saved} bytes with" in sentence
    assert "9.0 s heard" in err
    seconds = float(err.splitlines()[-1].split("its first ")[1].split()[0])
    assert 1.0 <= seconds < 9.0
    assert main(["replay", str(path), "-m", str(model)]) == 0
    assert f"for want of room on the disk; {seconds} s were recovered" in capsys.readouterr().err


def test_the_doctor_says_what_is_wrong_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(devices, "portaudio_version", lambda: "PortAudio")
    monkeypatch.setattr(devices, "devices", list)
    for sound, code in ((babble(16_000, 1), 0), (np.zeros((16_000, 1), np.int16), 1)):
        source = SimulatedMicrophone(MONO, looped(sound), 20.0)
        monkeypatch.setattr(microphone, "microphone", lambda *_, source=source: source)
        assert main(["doctor"]) == code
    out = capsys.readouterr().out
    assert "ok    clipping: no clipping" in out
    assert "FAIL  zeros: the microphone has sent nothing but exact zeros" in out


def test_without_a_device_the_list_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(devices, "devices", list)
    assert main(["listen", "-l"]) == 1
    assert "no input device" in capsys.readouterr().err


def test_replaying_with_another_model_is_refused(
    tiny: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    list(LiveSession(tiny, simulated(1.0), tmp_path / "talk.rvl"))
    other = save_tiny_model(tmp_path / "other", seed=1)
    assert main(["replay", str(tmp_path / "talk.rvl"), "-m", str(other)]) == 1
    assert "was made with the model 'tiny'" in capsys.readouterr().err


# a real device

RATES_AND_CHANNELS = [(44_100, 2), (48_000, 1), (44_100, 1), (48_000, 2)]
ALIKE = 0.6  # share of letters with the bare file, which begins elsewhere in a block of 160 ms


@pytest.fixture
def server() -> str:
    address = sound_server()
    import sounddevice

    sounddevice._terminate()  # an earlier look may have found no server
    sounddevice._initialize()
    return address


def write_wav(path: Path, rate: int) -> Path:
    """Write the last clip at `rate` Hz, so that the sound server need not resample."""
    sound = soxr.resample(np.concatenate(list(read(CLIPS[-1]))), 16_000, rate)
    return write_mono(path, sound, rate)


def write_mono(path: Path, sound: np.ndarray, rate: int) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.clip(np.round(sound * 32768), -32768, 32767).astype("<i2").tobytes())
    return path


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
    recognizer = default_model()
    clip = write_wav(tmp_path / "clip.wav", rate)
    sink = NullSink(rate, channels)
    saved = tmp_path / "talk.rvl"
    try:
        session = rivulet.listen(
            "pulse", sample_rate=rate, channels=channels, model=recognizer, save=saved
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
        events = list(session)
    finally:
        sink.unload()
    assert session.source.format == SignalFormat("pulse", rate, channels)
    export_wav(Recording(saved), tmp_path / "talk.wav")
    assert text_of(events) == transcribed(recognizer, tmp_path / "talk.wav")  # the same samples
    again = transcribed(
        recognizer, placed(clip, tmp_path / "talk.wav")
    )  # the server rounds its own
    assert difflib.SequenceMatcher(None, text_of(events), again).ratio() >= 0.8
    expected = transcribed(recognizer, clip)
    assert len(expected.split()) > 5
    assert difflib.SequenceMatcher(None, text_of(events), expected).ratio() >= ALIKE
    assert session.summary.gaps == 0


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
    return write_mono(recording.with_name("placed.wav"), whole, rate)


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
    clip = write_wav(tmp_path / "clip.wav", 44_100)
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
    clip = write_wav(tmp_path / "clip.wav", 44_100)
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
