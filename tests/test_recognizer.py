import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SAMPLES, kept, small_checkpoint

from rivulet import audio
from rivulet.acoustic.choices import BLOCK_MS
from rivulet.decoding.settings import TimingConfig
from rivulet.endpoint import EndpointConfig
from rivulet.errors import AudioError, ConfigError
from rivulet.events import Final, Partial
from rivulet.recognizer import Recognizer


def run(recognizer, samples, cuts=(), sample_rate=16_000, look=False):
    """All events of `samples` fed in pieces that end at `cuts`."""
    stream = recognizer.stream(sample_rate)
    events = []
    edges = [0, *sorted(cuts), len(samples)]
    for start, end in itertools.pairwise(edges):
        events += stream.accept(samples[start:end])
        if look:
            stream.partial()
            stream.partial()
    return events + stream.finish()


def cuts_of(length):
    return st.lists(st.integers(0, length), max_size=40)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(data=st.data(), rate=st.sampled_from([16_000, 48_000, 44_100, 8_000]))
def test_events_do_not_depend_on_chunking(small, babble, data, rate):
    samples = np.resize(babble, rate * 4)
    whole = run(small, samples, sample_rate=rate)
    assert sum(isinstance(event, Partial) for event in whole) > 3
    assert run(small, samples, data.draw(cuts_of(len(samples))), rate) == whole


@pytest.mark.slow
def test_one_sample_at_a_time_gives_the_same_events(small, babble):
    samples = babble[:20_000]
    assert run(small, samples, range(1, len(samples))) == run(small, samples)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("block_ms", BLOCK_MS)
def test_chunking_changes_nothing_for_any_cell_and_block(babble, cell, block_ms):
    recognizer = Recognizer.of(small_checkpoint(cell), block_ms)
    whole = run(recognizer, babble)
    assert whole
    assert run(recognizer, babble, range(0, len(babble), 777)) == whole


@pytest.mark.slow
def test_real_speech_does_not_depend_on_chunking(recognizer):
    samples = np.concatenate(list(audio.read(SAMPLES / "slt.flac")))
    rng = np.random.default_rng(1)
    whole = run(recognizer, samples)
    assert any(isinstance(event, Final) for event in whole)
    for _ in range(3):
        cuts = rng.integers(0, len(samples), 50).tolist()
        assert run(recognizer, samples, cuts) == whole


def test_looking_does_not_disturb(small, babble):
    cuts = list(range(0, len(babble), 1000))
    assert run(small, babble, cuts, look=True) == run(small, babble, cuts)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3, 4, 5, 12])
def test_stable_words_are_never_revised(babble, seed):
    recognizer = Recognizer.of(small_checkpoint(seed=seed))
    settled: dict[int, list[str]] = {}
    for event in run(recognizer, np.tile(babble, 4)):
        words = event.text.split()
        before = settled.get(event.segment, [])
        assert words[: len(before)] == before
        settled[event.segment] = words[: event.stable] if isinstance(event, Partial) else words
    assert settled


@pytest.mark.slow
def test_finish_hears_a_tail_shorter_than_a_block(recognizer):
    samples = np.concatenate(list(audio.read(SAMPLES / "rms.flac")))
    text = [e.text for e in run(recognizer, samples) if isinstance(e, Final)]
    followed = np.concatenate([samples, np.zeros(16_000, np.float32)])
    longer = [e.text for e in run(recognizer, followed) if isinstance(e, Final)]
    assert " ".join(text) == " ".join(longer)


def test_an_endpoint_does_not_reset_the_acoustic_state(babble):
    """The words are the same whether or not the stream was cut into segments on the way."""
    one = Recognizer.of(small_checkpoint(), endpoint=EndpointConfig(5.0, 0.8, 60.0))
    many = Recognizer.of(small_checkpoint(), endpoint=EndpointConfig(5.0, 0.8, 1.0))
    finals = [[e for e in run(r, babble) if isinstance(e, Final)] for r in (one, many)]
    assert len(finals[1]) > len(finals[0])
    letters = ["".join(e.text for e in group).replace(" ", "") for group in finals]
    assert letters[0] == letters[1]


@pytest.mark.slow
def test_segments_are_numbered_and_words_in_order(small, babble):
    finals = [e for e in run(small, np.tile(babble, 6)) if isinstance(e, Final)]
    assert [f.segment for f in finals] == list(range(len(finals)))
    words = [w for f in finals for w in f.words]
    assert all(0.0 <= w.start <= w.end <= 36.0 for w in words)
    assert all(a.end <= b.start for a, b in itertools.pairwise(words))
    assert all(0.0 <= w.confidence <= 1.0 for w in words)
    for final in finals:
        assert final.text == " ".join(w.text for w in final.words)
        assert (final.start, final.end) == (final.words[0].start, final.words[-1].end)


@pytest.mark.slow
def test_no_segment_is_longer_than_rule_3(small, babble):
    recognizer = dataclasses.replace(small, endpoint=EndpointConfig(5.0, 0.8, 2.0))
    finals = [e for e in run(recognizer, np.tile(babble, 3)) if isinstance(e, Final)]
    assert len(finals) >= 5
    assert max(f.end - f.start for f in finals) <= 4.1  # a word in the making moves on whole


@pytest.mark.slow
def test_the_state_has_constant_size(small, babble, monkeypatch):
    frontends = kept(monkeypatch, Recognizer, "frontend")
    decoder = small.decoding.decoder()
    stream = small.stream(decoder=decoder)
    (frontend,) = frontends
    sizes = set()
    for _ in range(10):
        stream.accept(babble)
        sizes.add(stream.nbytes)
        assert frontend.held_samples < 16 * 160 + 400
        assert len(decoder.hypothesis().tokens) <= 20 * 25
    assert len(sizes) == 1


def test_word_times_are_corrected_by_the_measured_delay(babble):
    plain = small_checkpoint()
    late = dataclasses.replace(plain, timing=TimingConfig(0.2, 0.2, "a guess"))
    pair = [
        [w for e in run(Recognizer.of(c), babble) if isinstance(e, Final) for w in e.words]
        for c in (plain, late)
    ]
    assert [w.text for w in pair[0]] == [w.text for w in pair[1]]
    inside = [(a, b) for a, b in zip(*pair, strict=True) if 1.0 < a.start < 5.0]
    assert inside
    for a, b in inside:
        assert a.start - b.start == pytest.approx(0.2, abs=1.1e-3)
        assert a.end - b.end == pytest.approx(0.2, abs=1.1e-3)


def test_first_text_comes_within_one_block_of_its_frames(small, babble):
    """A partial at time t rests on nothing later, and holds all that the blocks up to t say."""
    events = run(small, babble)
    first = next(e for e in events if isinstance(e, Partial))
    needed = int(first.at * 16_000)
    stream = small.stream()
    assert stream.accept(babble[: needed - 1]) == []
    assert stream.accept(babble[needed - 1 : needed])[0] == first


@pytest.mark.slow
def test_silence_and_noise_are_silent(recognizer):
    rng = np.random.default_rng(0)
    minute = 60 * 16_000
    hum = 0.05 * np.sin(2 * np.pi * 50 * np.arange(minute) / 16_000)
    for name, sound in {
        "digital silence": np.zeros(minute),
        "faint noise": 1e-4 * rng.standard_normal(minute),
        "white noise": 0.03 * rng.standard_normal(minute),
        "hum": hum,
    }.items():
        events = run(recognizer, sound.astype(np.float32))
        assert [e for e in events if isinstance(e, Final)] == [], name


@pytest.mark.slow
def test_the_network_begins_anew_after_every_five_seconds_of_silence(recognizer):
    stream = recognizer.stream()
    block = recognizer.block_ms * 16
    start, stop = recognizer.checkpoint.engine.layout.recurrent
    rests = []
    for number in range(12_000 // recognizer.block_ms):
        stream.accept(np.zeros(block, np.float32))
        if number and not stream.state[:, start:stop].any():
            rests.append(number * recognizer.block_ms / 1000)
    assert rests == pytest.approx([5.0, 10.0], abs=0.33)


@pytest.mark.slow
def test_sound_after_a_rest_reads_the_same_however_it_is_cut(recognizer):
    silence = np.zeros(int(5.3 * 16_000), np.float32)
    clip = np.concatenate(list(audio.read(SAMPLES / "awb.flac")))
    sound = np.concatenate([silence, clip, silence, clip])
    whole = run(recognizer, sound)
    assert sum(isinstance(event, Final) for event in whole) >= 2
    assert run(recognizer, sound, range(997, len(sound), 997)) == whole


def test_bad_samples_leave_the_stream_as_it_was(small, babble):
    stream = small.stream()
    events = stream.accept(babble[:40_000])
    bad = babble[:100].copy()
    bad[3] = np.nan
    with pytest.raises(AudioError, match="1 of 100 samples are NaN or infinite, the first at 3"):
        stream.accept(bad)
    assert events + stream.accept(babble[40_000:]) + stream.finish() == run(small, babble)


def test_int16_and_channels_are_accepted(small, babble):
    coarse = (babble * 32767).astype(np.int16)
    mono = run(small, coarse)
    assert run(small, np.stack([coarse, coarse], axis=1)) == mono
    assert run(small, coarse.astype(np.float32) / 32768.0) == mono


def test_an_empty_stream_says_nothing(small):
    assert small.stream().finish() == []
    stream = small.stream()
    assert stream.accept(np.zeros(0, np.float32)) == []
    assert stream.finish() == []


def test_a_finished_stream_takes_no_more(small, babble):
    stream = small.stream()
    stream.accept(babble)
    assert stream.finish()
    assert stream.finish() == []
    with pytest.raises(AudioError, match="finished"):
        stream.accept(babble)


@pytest.mark.parametrize("rate", [0, -1, 1_000, 10**6])
def test_an_impossible_rate_is_refused(small, rate):
    with pytest.raises(AudioError, match=f"{rate} Hz"):
        small.stream(rate)


def test_an_impossible_block_is_refused():
    with pytest.raises(ConfigError, match="100 ms"):
        Recognizer.of(small_checkpoint(), 100)


def test_two_streams_do_not_touch_each_other(small, babble):
    other = babble[::-1].copy()
    one, two = small.stream(), small.stream()
    heard = [], []
    for start in range(0, len(babble), 5_000):
        heard[0].extend(one.accept(babble[start : start + 5_000]))
        heard[1].extend(two.accept(other[start : start + 5_000]))
    assert heard[0] + one.finish() == run(small, babble)
    assert heard[1] + two.finish() == run(small, other)


def test_latency_is_block_and_lookahead_and_window(small):
    assert small.latency_ms == 120 + 80 + 15


def test_open_words_have_times_and_asking_for_them_changes_nothing(small, babble):
    asked, plain = small.stream(), small.stream()
    events = []
    for piece in np.array_split(babble, 30):
        events += asked.accept(piece)
        words = asked.words()
        assert " ".join(word.text for word in words) == asked.partial().text
        assert words == asked.words()
        assert all(a.end <= b.start for a, b in itertools.pairwise(words))
    assert [*events, *asked.finish()] == [*plain.accept(babble), *plain.finish()]


def test_a_transcript_says_what_the_events_of_a_stream_say(small, babble):
    finals = tuple(e for e in run(small, babble) if isinstance(e, Final))
    transcript = small.transcribe(babble, 16_000)
    assert tuple(dataclasses.replace(final, tokens=None) for final in transcript.segments) == finals
    assert transcript.seconds == 6.0
    assert transcript.text == " ".join(final.text for final in finals)
    assert transcript.words == tuple(word for final in finals for word in final.words)


@pytest.mark.slow
def test_a_path_a_file_an_array_and_blocks_are_all_sound(small):
    path = SAMPLES / "slt.flac"
    samples = audio.load(path)
    wanted = small.transcribe(path)
    assert wanted.text
    assert wanted.seconds == len(samples) / 16_000
    with path.open("rb") as file:
        assert small.transcribe(file) == wanted
    assert small.transcribe(str(path)) == wanted
    assert small.transcribe(samples, 16_000) == wanted
    assert small.transcribe(np.array_split(samples, 7), 16_000) == wanted
    assert small.transcribe(audio.to_int16(samples), 16_000) == wanted


@pytest.mark.parametrize(
    ("source", "rate", "complaint"),
    [
        (np.zeros(10, np.float32), None, "give it, such as sample_rate=16000"),
        ("nowhere.wav", None, "nowhere.wav does not exist"),
        ("nowhere.wav", 16_000, "leave out sample_rate=16000"),
        (b"\0\0", 16_000, "bytes is no sound"),
        (7, None, "int is no sound"),
        (np.float32(0.5), 16_000, "float32 is no sound"),
        ([0.5, 0.5], 16_000, "0 dimensions"),
        ([np.full(10, np.nan, np.float32)], 16_000, "10 of 10 samples are NaN"),
    ],
)
def test_what_is_no_sound_is_refused_in_a_sentence(small, source, rate, complaint):
    with pytest.raises(AudioError, match=complaint):
        small.transcribe(source, rate)


def test_a_recognizer_and_a_stream_refuse_to_be_pickled(small):
    import pickle

    for thing in (small, small.stream()):
        with pytest.raises(ConfigError, match="cannot be pickled"):
            pickle.dumps(thing)
