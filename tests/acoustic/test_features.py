import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivulet.acoustic.features import SampleBlocks
from rivulet.acoustic.frames import HOP, WINDOW

SAMPLES = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, len(SAMPLES)), max_size=30), block=st.sampled_from([4, 16, 32]))
def test_blocks_do_not_depend_on_chunking(cuts, block):
    whole = SampleBlocks(block)
    expected = np.concatenate([whole.push(SAMPLES), whole.flush()])
    pieces = SampleBlocks(block)
    edges = [0, *sorted(cuts), len(SAMPLES)]
    blocks = [pieces.push(SAMPLES[a:b]) for a, b in itertools.pairwise(edges)]
    assert np.array_equal(np.concatenate([*blocks, pieces.flush()]), expected)


def test_a_block_holds_what_its_frames_look_at():
    blocks = SampleBlocks(16).push(SAMPLES)
    assert blocks.shape == (1 + (len(SAMPLES) - 2800) // 2560, 15 * HOP + WINDOW)
    for i, block in enumerate(blocks):
        assert np.array_equal(block, SAMPLES[i * 2560 : i * 2560 + 2800])


@pytest.mark.parametrize("length", [2, 159, 160, 399, 400, 401, 2799, 2800, 2801, 5_000])
def test_flush_covers_every_sample(length):
    one = SampleBlocks(16)
    blocks = np.concatenate([one.push(SAMPLES[:length]), one.flush()])
    assert (len(blocks) - 1) * one.advance + one.needed >= length
    assert blocks[-1][length - 1 - (len(blocks) - 1) * one.advance] == SAMPLES[length - 1]


def test_nothing_comes_of_nothing():
    assert len(SampleBlocks(16).flush()) == 0
    assert len(SampleBlocks(16).push(np.zeros(0, np.float32))) == 0
