"""Many recordings at once: what they say alone, in their order, whatever befalls the others."""

from contextlib import contextmanager

import numpy as np
import pytest
from support import SAMPLES

from rivulet import audio
from rivulet.audio import open_sound
from rivulet.errors import AudioError
from rivulet.events import Final
from rivulet.together import advance, transcribe_many

CLIPS = sorted(SAMPLES.glob("*.flac"))


@pytest.mark.slow
def test_each_says_what_it_says_alone(recognizer):
    alone = [recognizer.transcribe(path) for path in CLIPS]
    many = [*CLIPS, *reversed(CLIPS)]
    for at_once in (1, 3, 16):
        found = list(transcribe_many(recognizer, many, at_once=at_once))
        assert [outcome.transcript for outcome in found] == [*alone, *reversed(alone)]
        assert {outcome.error for outcome in found} == {None}


def test_arrays_and_iterators_have_a_rate(small, babble):
    sounds = [babble, iter([babble[:100], babble[100:]]), babble[:0]]
    whole, pieces, nothing = transcribe_many(small, sounds, 16_000)
    assert whole.transcript == pieces.transcript == small.transcribe(babble, 16_000)
    assert (nothing.transcript.seconds, nothing.error) == (0.0, None)
    (refused,) = transcribe_many(small, [babble])
    assert "do not know their rate" in str(refused.error)


def test_what_fails_fails_alone(small, babble, tmp_path):
    def breaks_off():
        yield babble[:20_000]
        raise AudioError("the rest is lost.")

    cut = tmp_path / "none.wav"
    found = list(transcribe_many(small, [breaks_off(), babble], 16_000))
    assert str(found[0].error) == "the rest is lost."
    assert found[0].transcript == small.transcribe(babble[:20_000], 16_000)
    assert found[1].transcript == small.transcribe(babble, 16_000)
    missing, there = transcribe_many(small, [cut, CLIPS[0]])
    assert "does not exist" in str(missing.error)
    assert missing.transcript.segments == ()
    assert there.error is None


def watched(sounds, opened, closed):
    """The sounds, and notes of when each is opened and closed."""
    for index, sound in enumerate(sounds):

        @contextmanager
        def one(index=index, sound=sound):
            opened.append(index)
            with open_sound(sound, 16_000) as found:
                yield found
            closed.append(index)

        yield one()


def test_no_more_are_open_than_were_asked_for(small, babble):
    opened, closed, ended = [], [], []
    lengths = (90_000, 3_000, 50_000, 200, 20_000)
    for news in advance(small, watched([babble[:n] for n in lengths], opened, closed), at_once=2):
        assert len(opened) - len(closed) <= 2
        ended += [news.index] if news.ended else []
    assert opened == sorted(closed) == sorted(ended) == list(range(5))
    assert ended[0] == 1


def test_what_is_open_is_closed_where_the_caller_stops(small, babble):
    closed = []

    @contextmanager
    def sound():
        try:
            yield 16_000, [babble]
        finally:
            closed.append(True)

    running = advance(small, (sound() for _ in range(9)), at_once=4)
    next(running)
    running.close()
    assert len(closed) == 4


def test_an_error_that_is_none_of_the_sounds_ends_all(small):
    def broken():
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        list(transcribe_many(small, [broken()], 16_000))


@pytest.mark.slow
def test_live_sound_is_heard_as_it_comes(recognizer):
    """A block is decoded before the next piece of sound is asked for."""
    speech = np.concatenate([audio.load(path) for path in CLIPS])
    given = []

    def pieces():
        for begin in range(0, len(speech), 2_560):
            given.append(begin)
            yield speech[begin : begin + 2_560]

    @contextmanager
    def sound():
        yield 16_000, pieces()

    finals = []
    for news in advance(recognizer, [sound()], at_once=1, live=True):
        assert news.seconds * 16_000 <= given[-1] + 2_560
        assert len(given) * 0.16 - news.seconds <= 0.17
        finals += [event for event in news.events if isinstance(event, Final)]
    assert [final.text for final in finals]


@pytest.mark.slow
def test_without_partials_the_finals_are_the_same(recognizer):
    speech = np.concatenate([audio.load(path) for path in CLIPS])
    noise = np.random.default_rng(3).standard_normal(80_000).astype(np.float32) * 0.05
    for sound in (speech, noise):
        streams = [recognizer.stream(), recognizer.stream(partials=False)]
        shown, finals = ([*s.accept(sound), *s.finish()] for s in streams)
        assert [event for event in shown if isinstance(event, Final)] == finals
