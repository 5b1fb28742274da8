"""The queue between two threads, finding and opening devices, and a real PortAudio device."""

import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.faults import FakeStream, fake_portaudio
from support.microphone import CLIPS, NullSink, share_found

from rivulet.errors import ConfigError, DeviceError
from rivulet.live import microphone
from rivulet.live.devices import Device, accepted_rates, devices, find_device
from rivulet.live.microphone import BlockQueue, Microphone


def block_of(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int16)[:, None]


def take_all(queue: BlockQueue) -> list[microphone.Block]:
    blocks = []
    while (block := queue.get(0.0)) is not None:
        blocks.append(block)
    return blocks


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=60))
def test_no_sample_leaves_the_queue_uncounted_or_out_of_place(steps: list[tuple[int, bool]]):
    queue = BlockQueue(100, bound_s=1.0)
    put = 0
    taken = []
    for count, take in steps:
        queue.put(block_of(put, count), arrived_s=0.0)
        put += count
        assert queue.held <= 100
        if take and (block := queue.get(0.0)) is not None:
            taken.append(block)
    queue.end()
    taken += take_all(queue)
    position = 0
    for block in taken:
        position += block.queue_lost
        assert block.samples[:, 0].tolist() == list(range(position, position + len(block.samples)))
        position += len(block.samples)
    assert position == put
    assert queue.over


def test_a_full_queue_drops_one_long_stretch_until_it_is_half_empty():
    queue = BlockQueue(100, bound_s=1.0)
    for _ in range(10):
        queue.put(block_of(0, 10), 0.0)
    queue.put(block_of(0, 10), 0.0)  # full
    for _ in range(4):
        queue.get(0.0)
    queue.put(block_of(0, 10), 0.0)  # 60 of 100 held: still dropping
    queue.get(0.0)
    queue.put(block_of(0, 10), 0.0)  # 50 held: kept again
    assert [block.queue_lost for block in take_all(queue)] == [0, 0, 0, 0, 0, 20]


def test_an_overflow_flag_survives_the_block_that_carried_it_being_dropped():
    queue = BlockQueue(100, bound_s=1.0)
    queue.put(block_of(0, 100), 0.0)
    queue.put(block_of(0, 10), 0.0, overflowed=True)
    queue.end()
    assert [(b.queue_lost, b.overflowed) for b in take_all(queue)] == [(0, False), (10, True)]


def test_waiting_ends_when_a_block_comes_from_another_thread():
    queue = BlockQueue(100, bound_s=1.0)
    threading.Timer(0.05, queue.put, (block_of(0, 1), 0.0)).start()
    assert queue.get(30.0) is not None


@pytest.mark.parametrize("bound_s", [0.0, 0.4, 601.0, float("nan")])
def test_a_queue_without_a_sensible_bound_is_refused(bound_s: float):
    with pytest.raises(ConfigError, match="queue of"):
        BlockQueue(48_000, bound_s)


DEVICES = [
    Device(0, "Built-in Microphone", "Core Audio", 44_100, 1, True),
    Device(3, "USB Microphone", "Core Audio", 48_000, 2, False),
    Device(5, "Line In", "Core Audio", 96_000, 8, False),
]


@pytest.mark.parametrize(
    ("wanted", "index"), [(None, 0), (3, 3), ("5", 5), ("usb", 3), ("line in", 5)]
)
def test_a_device_is_found_by_index_or_part_of_its_name(wanted: int | str | None, index: int):
    assert find_device(DEVICES, wanted).index == index


@pytest.mark.parametrize("wanted", ["microphone", "xyz", 4])
def test_a_device_that_is_ambiguous_or_unknown_gets_the_list(wanted: int | str):
    with pytest.raises(DeviceError, match=r"of 3 input devices fit .* 3 'USB Microphone'"):
        find_device(DEVICES, wanted)


def test_one_device_under_several_hosts_is_no_ambiguity():
    twice = [
        Device(1, "Mic", "MME", 44_100, 2, False),
        Device(9, "Mic", "Windows WASAPI", 48_000, 2, True),
    ]
    assert find_device(twice, "mic").index == 9


def test_no_device_is_said_with_the_remedy():
    with pytest.raises(DeviceError, match=r"no input device .* plug in"):
        find_device([])


def test_a_missing_portaudio_library_is_said_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(DeviceError, match=r"PortAudio library is missing .*apt install"):
        devices()


def test_importing_rivulet_does_not_load_portaudio():
    program = "import sys, rivulet, rivulet.__main__; print('sounddevice' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    return fake_portaudio(monkeypatch)


def opened(rate: int = 1000) -> tuple[Microphone, FakeStream]:
    source = Microphone(DEVICES[1], rate, 1)
    return source, sys.modules["sounddevice"].opened[-1]


def test_a_refused_rate_lists_those_that_work(
    fake: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(FakeStream, "refuses", (8_000, 96_000))
    with pytest.raises(DeviceError, match=r"refuses 96000 Hz .*one of 16000, .* 48000, or leave"):
        Microphone(DEVICES[1], 96_000, 1)


def test_the_callback_copies_because_portaudio_reuses_its_buffer(fake: types.SimpleNamespace):
    source, stream = opened()
    buffer = block_of(0, 20)
    stream.feed(buffer)
    buffer[:] = -1
    source.stop()
    assert next(iter(source)).samples[:, 0].tolist() == list(range(20))


def test_an_overflow_is_measured_by_the_device_clock(fake: types.SimpleNamespace):
    source, stream = opened(1000)
    stream.feed(block_of(0, 20), 100.0)
    stream.feed(block_of(0, 20), 100.020)
    stream.feed(block_of(0, 20), 100.140, overflow=True)  # 100.040 was expected
    stream.feed(block_of(0, 20), 100.160)
    source.stop()
    assert [block.overflow_lost for block in source] == [0, 0, 100, 0]


def test_a_false_overflow_costs_no_samples(fake: types.SimpleNamespace):
    source, stream = opened(1000)
    stream.feed(block_of(0, 20), 100.0)
    stream.feed(block_of(0, 20), 100.020, overflow=True)
    source.stop()
    blocks = list(source)
    assert [(block.overflowed, block.lost) for block in blocks] == [(False, 0), (True, 0)]


def test_a_device_that_ends_by_itself_has_vanished_but_its_blocks_come_first(
    fake: types.SimpleNamespace,
):
    source, stream = opened()
    stream.feed(block_of(0, 20))
    stream.stop()
    blocks = iter(source)
    assert len(next(blocks).samples) == 20
    with pytest.raises(DeviceError, match=r"'USB Microphone' vanished .* plug it in"):
        next(blocks)
    source.close()
    assert stream.closed


def test_a_device_that_falls_silent_without_ending_has_vanished(
    fake: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(microphone, "STALL_S", 0.2)
    source, stream = opened()
    stream.feed(block_of(0, 20))
    blocks = iter(source)
    assert len(next(blocks).samples) == 20
    with pytest.raises(DeviceError, match="vanished"):
        next(blocks)


def test_a_device_that_never_begins_is_said(
    fake: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(microphone, "FIRST_BLOCK_S", 0.2)
    source, _ = opened()
    with pytest.raises(DeviceError, match="delivered nothing in"):
        list(source)


TAKES = 4  # at a clip that is played
MOST = 0.5  # of its segments come through, even on a busy machine


@pytest.fixture
def clip(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A clip as a WAV at 48 kHz, and its samples."""
    import soxr

    from rivulet.audio import read
    from rivulet.audio.pcm import write_wav

    sound = soxr.resample(np.concatenate(list(read(CLIPS[0]))), 16_000, 48_000)
    return write_wav(tmp_path / "clip.wav", sound, 48_000), sound


def test_the_list_marks_a_default_and_says_hosts_and_rates(server: str):
    known = devices()
    pulse = find_device(known, "pulse")
    assert pulse.host == "ALSA"
    assert pulse.sample_rate in (44_100, 48_000)
    assert sum(device.default for device in known) == 1
    assert {44_100, 48_000} <= set(accepted_rates(pulse))


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 2)])
def test_a_real_device_gives_the_sound_that_is_played(
    server: str, clip: tuple[Path, np.ndarray], rate: int, channels: int
):
    """The other two rates and channel counts are in test_listening.py.

    On a busy machine the sound server itself drops sound, so most of the clip must come through
    in one of a few takes.
    """
    path, sound = clip
    sink = NullSink(rate, channels)
    shares: list[float] = []
    try:
        while len(shares) < TAKES and max(shares, default=0.0) < 1.0:
            heard = heard_from(sink, path, rate, channels)
            shares.append(share_found(sound, 48_000, heard, rate)[0])
    finally:
        sink.unload()
    assert max(shares) >= MOST, shares


def heard_from(sink: NullSink, path: Path, rate: int, channels: int) -> np.ndarray:
    """Play a file into the sink once; return the first channel of what the device gave, (n,)."""
    source = microphone.microphone("pulse", rate, channels)
    player: threading.Thread | None = None
    pieces = []
    for block in source:
        pieces.append(block.samples)
        assert block.samples.shape[1] == channels
        if player is None:
            player = threading.Thread(target=sink.play, args=(path,))
            player.start()
        elif not player.is_alive():
            source.stop()
    source.close()
    return np.concatenate(pieces)[:, 0].astype(np.float64) / 32768
