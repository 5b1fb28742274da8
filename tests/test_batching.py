"""Many streams in one step: `Recognizer.step`."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SAMPLES, small_checkpoint

from rivulet import audio, checkpoint
from rivulet.acoustic import batching
from rivulet.acoustic.choices import BLOCK_MS
from rivulet.errors import AudioError, ConfigError
from rivulet.recognizer import Recognizer


@pytest.fixture(scope="module", params=["onnx", "onnx8", "torch"])
def engine(request):
    return request.param


@pytest.fixture(scope="module")
def speaking(tmp_path_factory, engine):
    """A small model on each engine; it writes nonsense, the same nonsense every time."""
    folder = tmp_path_factory.mktemp("small")
    checkpoint.save(small_checkpoint(), folder, bits=32)
    return Recognizer.load(folder, engine=engine)


def alone(recognizer, sound):
    """Hear a sound block by block."""
    stream = recognizer.stream()
    stream.push(sound)
    stream.end()
    events = []
    while stream.ready:
        events += recognizer.step([stream])[0]
    return events + stream.finish()


def together(recognizer, sounds, arrivals, ahead=1):
    """Feed the streams as `arrivals` say, (stream, samples) each, and step all after each."""
    streams = [recognizer.stream() for _ in sounds]
    events = [[] for _ in sounds]
    fed = [0] * len(sounds)

    def step():
        for found, new in zip(events, recognizer.step(streams, ahead), strict=True):
            found += new

    for index, count in arrivals:
        streams[index].push(sounds[index][fed[index] : fed[index] + count])
        fed[index] += count
        step()
    for stream, sound, count in zip(streams, sounds, fed, strict=True):
        stream.push(sound[count:])
        stream.end()
    while any(stream.ready for stream in streams):
        step()
    for found, stream in zip(events, streams, strict=True):
        found += stream.finish()
    return events


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_streams_events_do_not_depend_on_its_company(speaking, babble, data):
    count = data.draw(st.integers(1, 9))
    begins = data.draw(st.lists(st.integers(0, 40_000), min_size=count, max_size=count))
    lengths = data.draw(st.lists(st.integers(0, 40_000), min_size=count, max_size=count))
    sounds = [babble[a : a + n] for a, n in zip(begins, lengths, strict=True)]
    pieces = st.tuples(st.integers(0, count - 1), st.integers(0, 20_000))
    ahead = data.draw(st.integers(1, speaking.blocks_ahead))
    found = together(speaking, sounds, data.draw(st.lists(pieces, max_size=20)), ahead)
    assert found == [alone(speaking, sound) for sound in sounds]


@pytest.mark.slow
def test_real_speech_in_a_crowd_reads_as_it_does_alone(recognizer):
    sounds = [np.concatenate(list(audio.read(path))) for path in sorted(SAMPLES.glob("*.flac"))]
    arrivals = [(turn % len(sounds), 2560) for turn in range(60)]
    expected = [alone(recognizer, sound) for sound in sounds]
    assert together(recognizer, sounds, arrivals) == expected
    assert together(recognizer, sounds, arrivals[:9], ahead=5) == expected
    assert all(expected)


@pytest.mark.slow
@pytest.mark.parametrize("block_ms", BLOCK_MS)
def test_the_rows_of_a_block_are_the_same_bits_in_every_step(recognizer, block_ms):
    engine, frames = recognizer.checkpoint.engine, block_ms // 40
    sound = np.concatenate([audio.load(path) for path in sorted(SAMPLES.glob("*.flac"))])[:62_960]
    state = engine.layout.zeros(3)
    starts = np.array([0, 16_000, 32_000])

    def run(step_frames, rows):
        log_probs, state = [], engine.layout.zeros(len(rows))
        for at in range(0, 48, step_frames):
            begin = at * 640
            end = begin + step_frames * 640 + 240
            piece = np.stack([sound[start + begin : start + end] for start in starts[rows]])
            found, state = engine.step(piece, state)
            log_probs.append(found)
        return np.concatenate(log_probs, axis=1), state

    whole = run(48, [0, 1, 2])
    for row in range(3):
        found, state = run(frames, [row])
        assert np.array_equal(found[0], whole[0][row]) or not engine.joins(frames)
        assert np.array_equal(found[0], run(frames, [row, 0])[0][0])
        assert np.array_equal(state[0], whole[1][row])


@pytest.mark.slow
def test_a_network_begins_anew_at_the_same_block_however_far_a_step_reaches(recognizer):
    """Seconds of silence reset the state in the middle of what one step took."""
    speech, silence = audio.load(SAMPLES / "slt.flac"), np.zeros(200_000, np.float32)
    sound = np.concatenate([silence, speech, silence, speech])
    stream, events, resets = recognizer.stream(), [], 0
    stream.push(sound)
    stream.end()
    while stream.ready:
        before = stream.waiting
        events += recognizer.step([stream], 8)[0]
        resets += before - stream.waiting < min(8, before)
    assert events + stream.finish() == alone(recognizer, sound)
    assert resets >= 2


@pytest.mark.slow
def test_a_crowd_too_large_for_one_step_is_divided(speaking, babble, monkeypatch):
    monkeypatch.setattr(batching, "LARGEST", 3)
    sounds = [babble[i * 500 : i * 500 + 9_000] for i in range(8)]
    found = together(speaking, sounds, [(i, 9_000) for i in range(8)])
    assert found == [alone(speaking, sound) for sound in sounds]


def test_who_is_not_ready_has_no_events(speaking, babble):
    ready, waiting = speaking.stream(), speaking.stream()
    first = speaking.block_ms * 16 + 240  # samples: its last window reaches beyond its hop
    ready.push(babble[:first])
    waiting.push(babble[: first - 1])
    assert (ready.ready, waiting.ready) == (True, False)
    assert speaking.step([waiting, ready])[0] == []
    assert not ready.ready
    assert speaking.step([]) == []


def test_streams_of_another_model_or_block_or_twice_are_refused(speaking, small):
    stream = speaking.stream()
    with pytest.raises(ConfigError, match="1 of 2 streams are of another model"):
        speaking.step([stream, small.stream()])
    with pytest.raises(ConfigError, match="2 streams hold one twice"):
        speaking.step([stream, stream])


def test_after_the_end_no_samples_are_taken(speaking, babble):
    stream = speaking.stream()
    stream.push(babble)
    stream.end()
    with pytest.raises(AudioError, match="finished"):
        stream.push(babble)
    assert stream.finish() == alone(speaking, babble)
    assert stream.finish() == []


@pytest.mark.slow
def test_python_goes_on_while_the_network_computes(recognizer):
    """The lock of the interpreter is free meanwhile, so another thread counts on."""
    engine, counted, done = recognizer.checkpoint.engine, [0], threading.Event()
    samples = np.zeros((64, 2_800), np.float32)
    state = engine.layout.zeros(64)

    def count():
        while not done.is_set():
            counted[0] += 1
            time.sleep(0.0005)

    counter = threading.Thread(target=count)
    counter.start()
    began = time.perf_counter()
    for _ in range(5):
        engine.step(samples, state)
    took_s = time.perf_counter() - began
    during = counted[0]
    done.set()
    counter.join()
    assert during > took_s / 0.0005 / 50  # with the lock held it would be about one a step
