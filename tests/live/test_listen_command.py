"""`rivulet listen`, `replay` and `doctor` with a simulated microphone."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.listening import MONO, finals, simulated
from support.microphone import (
    SimulatedMicrophone,
    babble,
    looped,
    save_tiny_model,
)

from rivulet.__main__ import main
from rivulet.errors import DeviceError
from rivulet.live import devices, microphone
from rivulet.live.listening import LiveSession
from rivulet.live.microphone import Block
from rivulet.recognizer import Recognizer


@pytest.fixture
def command(model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `rivulet listen` with the tiny model and a simulated microphone."""

    def run(source: SimulatedMicrophone, *flags: str) -> int:
        monkeypatch.setattr(microphone, "microphone", lambda *_: source)
        return main(["listen", "-m", str(model), *flags])

    return run


@pytest.mark.slow
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


@pytest.mark.slow
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
        heard_s = 0.0

        def __iter__(self) -> Iterator[Block]:
            for block in super().__iter__():
                self.heard_s += len(block.samples) / 16_000
                yield block
                if self.heard_s >= 10.0:
                    signal.raise_signal(signal.SIGINT)

    source = Interrupted(MONO, looped(babble(16_000, 1)), 60.0)
    before = signal.getsignal(signal.SIGINT)
    assert command(source, "--raw") == 0
    assert signal.getsignal(signal.SIGINT) is before
    out, err = capsys.readouterr()
    heard_s = round(source.heard_s, 1)  # of blocks of 0.1 s
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


@pytest.mark.slow
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
    desk = devices.Device(0, "simulated", "ALSA", 16_000, 1, True)
    monkeypatch.setattr(devices, "portaudio_version", lambda: "PortAudio")
    monkeypatch.setattr(devices, "devices", lambda: [desk])
    for sound, code in ((babble(16_000, 1), 0), (np.zeros((16_000, 1), np.int16), 1)):
        source = SimulatedMicrophone(MONO, looped(sound), 20.0)
        monkeypatch.setattr(microphone, "microphone", lambda *_, source=source: source)
        assert main(["doctor"]) == code
    out = capsys.readouterr().out
    assert "ok    clipping: no clipping" in out
    assert "FAIL  zeros: the microphone has sent nothing but exact zeros" in out


def test_without_a_device_the_doctor_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(devices, "portaudio_version", lambda: "PortAudio")
    monkeypatch.setattr(devices, "devices", list)
    monkeypatch.setattr(sys, "platform", "linux")
    assert main(["doctor"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "ok    library: PortAudio",
        "FAIL  devices: there is no input device (PortAudio finds 0); plug in a microphone, or "
        "start the sound server (PulseAudio or PipeWire), and look with `rivulet listen -l`.",
    ]
    assert not err


def test_without_a_device_the_list_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(devices, "devices", list)
    assert main(["listen", "-l"]) == 1
    assert "no input device" in capsys.readouterr().err


@pytest.mark.slow
def test_replaying_with_another_model_is_refused(
    tiny: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    list(LiveSession(tiny, simulated(1.0), tmp_path / "talk.rvl"))
    other = save_tiny_model(tmp_path / "other", seed=1)
    assert main(["replay", str(tmp_path / "talk.rvl"), "-m", str(other)]) == 1
    assert "was made with the model 'tiny'" in capsys.readouterr().err
