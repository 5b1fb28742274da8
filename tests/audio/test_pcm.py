"""16 bits and back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rivulet.audio import from_int16, to_int16
from rivulet.audio.pcm import to_bytes


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_there_and_back_is_exact(values):
    samples = np.array(values, np.int16)
    floats = from_int16(samples)
    assert floats.dtype == np.float32
    assert np.array_equal(to_int16(floats), samples)
    assert to_bytes(floats) == samples.astype("<i2").tobytes()


def test_what_is_too_loud_is_clipped_and_the_rest_rounded():
    loud = np.array([1.0, -1.0, 3.0, -3.0, 0.6 / 32768, 0.4 / 32768])
    assert to_int16(loud).tolist() == [32767, -32768, 32767, -32768, 1, 0]
