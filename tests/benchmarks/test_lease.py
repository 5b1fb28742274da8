"""`benchmarks/lease/train.py` makes frames on a GPU that must be those of `BatchMaker`."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import ROOT

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.features import FeatureConfig
from rivulet.acoustic.log_mel import FeatureStatistics
from rivulet.corpora.manifest import Utterance
from rivulet.training.augment import AugmentConfig
from rivulet.training.batches import BatchMaker
from rivulet.training.corpus import Corpus

sys.path.insert(0, str(ROOT / "benchmarks" / "lease"))
from train import Finisher, make_raw

AUGMENT = AugmentConfig(
    speeds=(0.8, 1.2), vtlp_range=(0.85, 1.15), equalizer_probability=0.5, time_masks_per_s=2.0
)


@pytest.mark.slow
def test_frames_finished_elsewhere_are_those_of_the_batch_maker():
    lengths = np.array([16_000, 24_000, 40_000])
    samples = np.random.default_rng(0).integers(-8000, 8000, lengths.sum()).astype(np.int16)
    utterances = [Utterance(str(n), Path(str(n)), n / 16_000, "", "A", "") for n in lengths]
    corpus = Corpus(utterances, samples, np.cumsum(lengths) - lengths, lengths)
    statistics = FeatureStatistics(torch.full((80,), -3.0), torch.full((80,), 2.0))
    encoded = {"characters": [[1, 2], None, [3]]}
    model, features = ModelConfig(), FeatureConfig()
    maker = BatchMaker(corpus, None, AUGMENT, features, statistics, model, encoded, 1, views=2)
    whole = maker.make([2, 0, 1], epoch=3)
    finish = Finisher(features, statistics, torch.device("cpu"))
    finished = finish(make_raw(maker, [2, 0, 1], epoch=3))
    hidden = whole.frames == 0.0
    assert hidden.any()
    assert torch.equal(hidden, finished.frames == 0.0)
    loud = whole.frames > -3.0  # silence is as deep as half precision makes it
    assert torch.allclose(whole.frames[loud], finished.frames[loud], atol=0.01)
    assert torch.equal(whole.steps, finished.steps)
    assert torch.equal(whole.targets["characters"].ids, finished.targets["characters"].ids)
    assert whole.audio_s == finished.audio_s
