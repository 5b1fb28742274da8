from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from rivulet.corpora.manifest import Utterance
from rivulet.corpora.subset import subset
from rivulet.errors import ManifestError


@pytest.fixture
def speech():
    """Three corpora: many speakers of many utterances, one speaker, and speakers heard once."""
    rng = np.random.default_rng(0)
    speakers = {"many": 40, "one": 1, "once": 300}
    return [
        Utterance(
            f"{corpus}-{n}", Path("x.wav"), seconds, f"{corpus}-{n % speakers[corpus]}", "", corpus
        )
        for corpus, count in (("many", 1200), ("one", 400), ("once", 300))
        for n, seconds in enumerate(rng.uniform(1.0, 15.0, count).tolist())
    ]


def hours(utterances):
    return sum(u.seconds for u in utterances) / 3600


def of(utterances, **wanted):
    return [u for u in utterances if all(getattr(u, k) == v for k, v in wanted.items())]


def test_a_subset_has_the_hours_asked_for(speech):
    for wanted in (0.1, 0.5, 2.0, 3.0):
        assert hours(subset(speech, wanted, 1)) == pytest.approx(wanted, abs=0.01)
    assert subset(speech, hours(speech), 1) == speech


def test_less_is_a_part_of_more(speech):
    parts = [{u.id for u in subset(speech, h, 1)} for h in (0.1, 0.3, 1.0, 2.0, 3.0)]
    assert all(less < more for less, more in pairwise(parts))


def test_corpora_and_speakers_keep_their_shares(speech):
    share = 0.25
    chosen = subset(speech, share * hours(speech), 1)
    for corpus in ("many", "one", "once"):
        mine, all_of_it = of(chosen, set_name=corpus), of(speech, set_name=corpus)
        assert hours(mine) == pytest.approx(share * hours(all_of_it), abs=15 / 3600)
    for speaker in {u.speaker for u in of(speech, set_name="many")}:
        mine, all_of_it = of(chosen, speaker=speaker), of(speech, speaker=speaker)
        assert hours(mine) == pytest.approx(share * hours(all_of_it), abs=30 / 3600)
    assert 0.15 < len(of(chosen, set_name="once")) / 300 < 0.35


def test_the_choice_is_the_seeds_and_not_the_orders(speech):
    chosen = {u.id for u in subset(speech, 1.0, 1)}
    assert {u.id for u in subset(speech[::-1], 1.0, 1)} == chosen
    other = {u.id for u in subset(speech, 1.0, 2)}
    assert len(other & chosen) < 0.6 * len(chosen)


def test_more_than_there_is_cannot_be_chosen(speech):
    for wanted in (0.0, -1.0, 99.0):
        with pytest.raises(ManifestError, match=r"cannot be chosen from [0-9.]+ h"):
            subset(speech, wanted, 1)
