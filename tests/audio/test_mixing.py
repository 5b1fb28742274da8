import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivulet.audio import Downmix, Resampler, to_mono
from rivulet.errors import AudioError

RATE = 16_000
VOICE = (np.random.default_rng(3).standard_normal(2 * RATE) * 0.1).astype(np.float32)


def test_opposite_channels_are_heard():
    for gain in (-1.0, -0.9):
        downmix = Downmix(RATE)
        mono = downmix.push(np.stack([VOICE, gain * VOICE], axis=1))
        assert downmix.cancelled
        assert np.array_equal(mono[RATE // 50 :], VOICE[RATE // 50 :])


@pytest.mark.parametrize(
    "channels",
    [
        [VOICE, VOICE],
        [VOICE, 0 * VOICE],
        [VOICE, VOICE[::-1]],
        [0.0 * VOICE] * 23 + [VOICE],
        [VOICE, -0.4 * VOICE],
    ],
)
def test_channels_that_do_not_cancel_are_averaged(channels):
    sound = np.stack(channels, axis=1)
    downmix = Downmix(RATE)
    assert np.array_equal(downmix.push(sound), sound.mean(axis=1))
    assert not downmix.cancelled


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, len(VOICE)), max_size=20))
def test_the_mix_does_not_depend_on_chunking(cuts):
    half = len(VOICE) // 2
    right = np.concatenate([-VOICE[:half], VOICE[half:]])
    sound = np.stack([VOICE, right], axis=1)
    downmix = Downmix(RATE)
    edges = [0, *sorted(cuts), len(sound)]
    pieces = [downmix.push(sound[a:b]) for a, b in itertools.pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces), Downmix(RATE).push(sound))


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros((2, 16_000), np.float32), r"shape \(2, 16000\).*give \(n,\) or \(n, channels\)"),
        (np.zeros((1, 512), np.float32), r"512 channels.*samples\.T"),
        (np.full(10, 3000.0), r"reach 3000.*full scale is 1"),
        (np.full((10, 2), -32768.0, np.float32), "reach 32768"),
    ],
)
def test_arrays_of_another_shape_or_scale_are_refused(samples, says):
    with pytest.raises(AudioError, match=says):
        to_mono(samples)


def test_the_number_of_channels_may_not_change_between_pieces():
    resampler = Resampler(RATE)
    resampler.push(np.zeros((100, 2), np.float32))
    with pytest.raises(AudioError, match="3 channels after 2 before"):
        resampler.push(np.zeros((100, 3), np.float32))
    assert len(resampler.push(np.zeros((0, 7), np.float32))) == 0


def test_a_little_beyond_full_scale_is_no_mistake():
    assert to_mono(np.array([1.5, -2.0])).tolist() == [1.5, -2.0]
