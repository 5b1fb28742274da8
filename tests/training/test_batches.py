"""Batches hold every utterance, within bounds."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from support.training import TINY

from rivulet.acoustic.features import FeatureConfig
from rivulet.acoustic.log_mel import FeatureStatistics
from rivulet.corpora.manifest import read_manifest
from rivulet.training.augment import (
    AugmentConfig,
)
from rivulet.training.batches import BatchMaker, plan_epoch
from rivulet.training.corpus import in_rows, pack
from rivulet.training.heads import cr_ctc_losses


def test_every_utterance_is_in_one_batch_and_batches_are_bounded():
    seconds = np.random.default_rng(0).uniform(1.0, 15.0, 300)
    for epoch, shortest_first in ((0, True), (1, False)):
        plan = plan_epoch(seconds, 60.0, 1, epoch, shortest_first)
        assert sorted(i for batch in plan for i in batch) == list(range(300))
        assert all(max(seconds[batch]) * len(batch) <= 60.0 for batch in plan)
        lengths = [np.mean(seconds[batch]) for batch in plan]
        assert (np.diff(lengths) > -1.0).all() == shortest_first
        assert plan == plan_epoch(seconds, 60.0, 1, epoch, shortest_first)


def test_batches_of_one_moment_are_of_like_lengths_for_all_processes():
    seconds = np.random.default_rng(0).uniform(1.0, 15.0, 3001)
    plan = plan_epoch(seconds, 60.0, 1, 1, False, world_size=3)
    assert len(plan) % 3 == 0
    chosen = [i for batch in plan for i in batch]
    assert len(chosen) == len(set(chosen))
    assert len(chosen) > 3001 - 3 * 60  # what is left out is less than three batches
    for first in range(0, len(plan), 3):
        lengths = [max(seconds[batch]) for batch in plan[first : first + 3]]
        assert max(lengths) < 2.0 * min(lengths)


@pytest.mark.slow
def test_an_epoch_is_planned_by_the_lengths_it_will_hear(data):
    corpus = in_rows(pack(read_manifest(Path(data.train[0])), Path(data.cache)), 0.5, 1)
    augment = AugmentConfig(speeds=(0.5, 1.0, 2.0), lead_probability=0.5)
    statistics = FeatureStatistics(torch.zeros(80), torch.ones(80))
    maker = BatchMaker(corpus, None, augment, FeatureConfig(), statistics, TINY.model, {}, seed=1)
    for epoch in range(3):
        heard = maker.augmented_seconds(epoch)
        for index, seconds in enumerate(heard):
            steps = int(maker.make([index], epoch).steps[0])
            assert steps * 0.04 == pytest.approx(seconds, abs=0.3)  # the silence after it varies


@pytest.mark.slow
def test_two_views_of_a_batch_differ_in_masks_and_bands_only(data):
    """The second half of the rows is the first again: the same sound, masked elsewhere."""
    corpus = pack(read_manifest(Path(data.train[0])), Path(data.cache))
    statistics = FeatureStatistics(torch.zeros(80), torch.ones(80))
    bare = {"frequency_masks": 0, "time_masks_per_s": 0.0}

    def batch(**augment):
        config = AugmentConfig(**augment)
        encoded = {"characters": [[1, 2]] * len(corpus)}
        of = FeatureConfig(), statistics, TINY.model, encoded
        return BatchMaker(corpus, None, config, *of, seed=1, views=2).make([0, 2, 1], 0)

    plain, masked, warped = batch(**bare), batch(), batch(**bare, vtlp_range=(0.9, 1.12))
    one, two = plain.frames.chunk(2)
    assert torch.equal(one, two)
    for other in (masked, warped):
        assert other.steps.tolist() == plain.steps.tolist() == plain.steps[:3].tolist() * 2
        assert other.audio_s == plain.audio_s
        assert other.targets["characters"].rows.tolist() == list(range(6))
        one, two = other.frames.chunk(2)
        assert not torch.equal(one, two)
    same = masked.frames == plain.frames
    assert 0.5 < same.float().mean() < 1.0
    assert torch.all(masked.frames[~same] == 0.0)


@pytest.mark.slow
def test_views_that_are_read_alike_lose_nothing_and_padding_does_not_count(data):
    corpus = pack(read_manifest(Path(data.train[0])), Path(data.cache))
    statistics = FeatureStatistics(torch.zeros(80), torch.ones(80))
    of = corpus, None, AugmentConfig(), FeatureConfig(), statistics, TINY.model
    batch = BatchMaker(*of, {"phones": [[1, 2]] * len(corpus)}, seed=1, views=2).make([0, 1], 0)
    shape = len(batch.steps), int(max(batch.steps)), 5
    view = torch.randn((2, *shape[1:]), generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    alike = torch.cat([view, view])
    assert float(cr_ctc_losses({"phones": alike}, batch)["phones"]) == pytest.approx(0.0)
    shorter = int(batch.steps[:2].argmin())
    noisy = alike.clone()
    noisy[shorter, int(batch.steps[shorter]) :] = -9.0
    assert float(cr_ctc_losses({"phones": noisy}, batch)["phones"]) == pytest.approx(0.0)
    moved = alike.clone().requires_grad_()
    other = torch.full((5,), 0.2).log()
    with torch.no_grad():
        moved[2, 3] = other
    there = view[0, 3]
    expected = (there.exp() * (there - other)).sum() + (other.exp() * (other - there)).sum()
    loss = cr_ctc_losses({"phones": moved}, batch)["phones"]
    assert float(loss.detach()) == pytest.approx(float(expected) / 8)  # 4 utterances of 2 tokens
    loss.backward()
    assert moved.grad[0, 3].abs().sum() > 0.0
    assert moved.grad[2, 3].abs().sum() > 0.0
    one_view = dataclasses.replace(batch, steps=batch.steps[:2] + torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="one view"):
        cr_ctc_losses({"phones": view}, one_view)
