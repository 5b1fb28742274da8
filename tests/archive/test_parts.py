"""A long file in parts: joined only where it is exact, and then the same as the uncut file."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support import SAMPLES

from rivulet import audio
from rivulet.archive import parts
from rivulet.archive.parts import Heard, Levels, Mark, PartStream, Span, cut, joined
from rivulet.audio import SAMPLE_RATE
from rivulet.endpoint import EndpointConfig
from rivulet.events import Final, Word
from rivulet.recognizer import Recognizer

ROOM = 1e-4  # loudness of a room without speech
PAUSE_S = 9.0


@pytest.fixture(scope="module")
def tiny():
    return Recognizer.load("tiny")


@pytest.fixture
def short_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_S", 12.0)
    monkeypatch.setattr(parts, "WARM_UP_S", 6.0)
    monkeypatch.setattr(parts, "RUN_ON_S", 4.0)


def speech_and_pauses(pauses, seed=0):
    """Return the samples' sentences in pieces of 17 s, with a pause after each but the last."""
    rng = np.random.default_rng(seed)
    clips = [audio.load(path) for path in sorted(SAMPLES.glob("*.flac"))]
    sound = []
    for piece in range(pauses + 1):
        sound += [clips[i] for i in rng.permutation(len(clips))] + [clips[piece % len(clips)]]
        if piece < pauses:
            sound.append(rng.standard_normal(int(PAUSE_S * SAMPLE_RATE)).astype("f4") * ROOM)
    return np.concatenate(sound)


def pauses_of(samples, endpoint=None, block=8_000):
    levels = Levels()
    for start in range(0, len(samples), block):
        levels.push(samples[start : start + block])
    return levels.pauses(parts.pause_needed_s(endpoint or EndpointConfig()))


def heard(recognizer, samples, spans):
    """Hear the spans together; return what came of each."""
    streams = [PartStream(recognizer, span) for span in spans]
    for stream, span in zip(streams, spans, strict=True):
        stream.push(samples[span.start : span.stop])
        if span.stop == len(samples):
            stream.end()
    while any(stream.ready for stream in streams):
        recognizer.step(streams, recognizer.blocks_ahead)
    for stream, span in zip(streams, spans, strict=True):
        if span.stop == len(samples):
            stream.take(stream.finish())
    return [
        Heard(span, tuple(stream.finals), tuple(stream.marks))
        for span, stream in zip(spans, streams, strict=True)
    ]


def whole(recognizer, samples):
    stream = recognizer.stream()
    events = stream.accept(samples) + stream.finish()
    return tuple(event for event in events if isinstance(event, Final))


def heard_in_parts(recognizer, samples, spans):
    """Hear the spans as the archive does, two that cannot be joined as one; return what is left."""
    while isinstance(at := joined(heard(recognizer, samples, spans)), int):
        spans = (*spans[:at], spans[at].merged(spans[at + 1]), *spans[at + 2 :])
    return at, spans


@pytest.mark.slow
@pytest.mark.parametrize(("decoder", "least_parts"), [("beam", 3), ("greedy", 2)])
@pytest.mark.usefixtures("short_parts")
def test_parts_give_exactly_what_the_uncut_file_gives(decoder, least_parts):
    recognizer = Recognizer.load("tiny", decoder=decoder)
    left = []
    for seed in range(3):  # where greedy reading hears an end a frame apart depends on the words
        samples = speech_and_pauses(2, seed)
        spans = cut(len(samples), pauses_of(samples), recognizer)
        assert len(spans) == 3
        assert all(one.stop > two.start > one.start for one, two in pairwise(spans))
        finals, spans = heard_in_parts(recognizer, samples, spans)
        assert finals == whole(recognizer, samples)
        left.append(len(spans))
    assert max(left) >= least_parts


@pytest.mark.slow
@pytest.mark.usefixtures("short_parts")
def test_parts_know_where_they_were_not_in_the_same_state(tiny):
    """A part that begins within the pause counts its silence from there: it must not be taken."""
    samples = speech_and_pauses(1)
    first, second = cut(len(samples), pauses_of(samples), tiny)
    (pause,) = pauses_of(samples)
    step = parts.grid(tiny)
    start = -int(-(pause[0] + 1.0) * SAMPLE_RATE // step) * step
    first = replace(first, stop=start + int(8.0 * SAMPLE_RATE), shared_from=start)
    late = replace(second, start=start, shared_until=first.stop)
    assert joined(heard(tiny, samples, [first, late])) == 0
    merged = heard(tiny, samples, [first.merged(late)])
    assert joined(merged) == whole(tiny, samples)


def test_speech_without_a_long_pause_stays_whole(tiny):
    samples = speech_and_pauses(0)
    assert pauses_of(samples) == []
    assert cut(len(samples), [], tiny) == (Span(0, len(samples)),)


def test_where_segments_of_silence_never_end_nothing_is_cut():
    samples = speech_and_pauses(1)
    assert pauses_of(samples)
    endless = EndpointConfig(no_speech_timeout_s=float("inf"))
    assert pauses_of(samples, endless) == []


def test_pauses_do_not_depend_on_how_the_sound_comes():
    samples = speech_and_pauses(1)
    assert pauses_of(samples, block=777) == pauses_of(samples)


def test_a_click_does_not_end_a_pause():
    samples = speech_and_pauses(1)
    (pause,) = pauses_of(samples)
    middle = int((pause[0] + pause[1]) / 2 * SAMPLE_RATE)
    samples[middle : middle + 80] = 0.5
    assert pauses_of(samples) == [pause]


def final(number, start, end):
    word = Word("A", start, end, 1.0)
    return Final(number, "A", (word,), start, end, end + 1.0)


def test_a_file_is_joined_at_the_first_state_that_both_were_in():
    one = Heard(
        Span(0, 60),
        (final(0, 1.0, 2.0), final(1, 30.0, 31.0)),
        (Mark(500, b"x", 1, 2.0), Mark(600, b"y", 1, 2.0)),
    )
    two = Heard(
        Span(10, 90),
        (final(0, 1.5, 2.0), final(1, 30.0, 31.0), final(2, 70.0, 71.0)),
        (Mark(500, b"z", 1, 2.0), Mark(600, b"y", 1, 2.0)),
    )
    assert [f.start for f in joined([one, two])] == [1.0, 30.0, 70.0]
    assert [f.segment for f in joined([one, two])] == [0, 1, 2]
    assert joined([replace(one, marks=one.marks[:1]), two]) == 0


def test_a_word_that_the_end_before_it_pushed_back_is_not_joined():
    mark = Mark(500, b"x", 1, 2.0)
    one = Heard(Span(0, 60), (final(0, 1.0, 2.0),), (mark,))
    two = Heard(Span(10, 90), (final(0, 1.0, 2.0), final(1, 2.0, 3.0)), (mark,))
    assert joined([one, two]) == 0
