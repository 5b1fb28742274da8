import itertools

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from rivulet.acoustic.features import (
    FeatureConfig,
    FeatureExtractor,
    FeatureStatistics,
    LogMel,
)
from rivulet.acoustic.frames import HOP, WINDOW

STATISTICS = FeatureStatistics(torch.full((80,), -7.0), torch.full((80,), 4.0))
SAMPLES = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1


def extractor(block=16):
    return FeatureExtractor(FeatureConfig(), STATISTICS, block)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, len(SAMPLES)), max_size=30), block=st.sampled_from([4, 16, 32]))
def test_frames_do_not_depend_on_chunking(cuts, block):
    whole = extractor(block)
    expected = torch.cat([whole.push(SAMPLES), whole.flush()])
    pieces = extractor(block)
    edges = [0, *sorted(cuts), len(SAMPLES)]
    frames = [pieces.push(SAMPLES[a:b]) for a, b in itertools.pairwise(edges)]
    assert torch.equal(torch.cat([*frames, pieces.flush()]), expected)


def test_frames_are_those_of_torchaudio():
    mel = torchaudio.transforms.MelSpectrogram(
        16_000, 400, 400, 160, 20.0, 7600.0, n_mels=80, center=False, norm="slaney",
        mel_scale="slaney",
    )(torch.from_numpy(SAMPLES))  # fmt: skip
    expected = (torch.log(mel.T + 1e-9) + 7.0) / 4.0
    frames = extractor().push(SAMPLES)
    torch.testing.assert_close(frames, expected[: len(frames)], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("length", [2, 159, 160, 399, 400, 401, 2799, 2800, 2801, 5_000])
def test_flush_covers_every_sample(length):
    one = extractor()
    frames = len(one.push(SAMPLES[:length])) + len(one.flush())
    assert frames % 16 == 0
    assert (frames - 1) * HOP + WINDOW >= length  # the last frame reaches the last sample
    changed = SAMPLES[:length].copy()
    changed[-1] += 0.5
    two, three = extractor(), extractor()
    a = torch.cat([two.push(SAMPLES[:length]), two.flush()])
    b = torch.cat([three.push(changed), three.flush()])
    assert not torch.equal(a, b)


def test_nothing_comes_of_nothing():
    assert len(extractor().flush()) == 0
    assert len(extractor().push(np.zeros(0, np.float32))) == 0


def test_digital_silence_is_finite():
    assert torch.isfinite(extractor().push(np.zeros(8_000, np.float32))).all()


def test_log_mel_has_one_frame_per_hop():
    log_mel = LogMel(FeatureConfig())
    for n in (400, 559, 560, 16_000):
        assert log_mel(torch.zeros(n)).shape == (1 + (n - 400) // 160, 80)
