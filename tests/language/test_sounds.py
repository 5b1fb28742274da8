"""How alike words sound."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivulet.checkpoint.folder import LM_FOLDER, find
from rivulet.language.g2p_rules import PHONES
from rivulet.language.sounds import (
    DROP,
    SUBSTITUTION,
    TOLERANCE,
    Pronouncer,
    SoundTable,
    coded,
)

WORDS = {
    "MERKEL": "M ER K AH L",
    "MERKLE": "M ER K AH L",
    "MARKEL": "M AA R K AH L",
    "MIRACLE": "M IH R AH K AH L",
    "COAL": "K OW L",
    "CHICK": "CH IH K",
    "CHEEK": "CH IY K",
    "PEOPLE": "P IY P AH L",
    "A": "AH",
}
phones = st.lists(st.integers(1, len(PHONES)), min_size=1, max_size=6).map(bytes)


@pytest.fixture(scope="module")
def table():
    return SoundTable((word, coded(sound)) for word, sound in WORDS.items())


def distance(a, b):
    """Return the edit distance of two pronunciations, straight from its definition."""
    costs = np.zeros((len(a) + 1, len(b) + 1))
    for i, j in itertools.product(range(len(a) + 1), range(len(b) + 1)):
        options = [0.0] if i == j == 0 else []
        if i:
            options.append(costs[i - 1, j] + DROP[a[i - 1]])
        if j:
            options.append(costs[i, j - 1] + DROP[b[j - 1]])
        if i and j:
            options.append(costs[i - 1, j - 1] + SUBSTITUTION[a[i - 1], b[j - 1]])
        costs[i, j] = min(options)
    return costs[-1, -1]


def test_words_that_sound_the_same_come_first_and_others_not_at_all(table):
    found = [alike.words for alike in table.alike(coded("M ER K AH L"))]
    assert found[:2] == [("MERKEL",), ("MERKLE",)]
    assert ("MARKEL",) in found
    assert ("PEOPLE",) not in found


def test_two_words_stand_for_a_name(table):
    best = table.alike(coded("K AW AH L CH IH K"))[0]
    assert best.words == ("COAL", "CHICK")
    assert best.cost < TOLERANCE * 7
    assert not table.alike(coded("K AW AH L CH IH K"), pairs=False)


@settings(deadline=None, max_examples=40)
@given(st.lists(phones, min_size=1, max_size=12), phones)
def test_costs_are_the_edit_distance(entries, asked):
    table = SoundTable((str(number), entry) for number, entry in enumerate(entries))
    found = {alike.words: alike.cost for alike in table.alike(asked, pairs=False)}
    bound = TOLERANCE * len(asked)
    for number, entry in enumerate(entries):
        cost = distance(entry, asked)
        if cost < bound - 1e-4:
            assert found[str(number),] == pytest.approx(cost, abs=1e-4)
        elif cost > bound + 1e-4:
            assert (str(number),) not in found


@settings(deadline=None, max_examples=25)
@given(st.lists(phones, min_size=1, max_size=4), phones)
def test_a_pair_costs_what_its_best_cut_costs(entries, asked):
    table = SoundTable((str(number), entry) for number, entry in enumerate(entries))
    found = {alike.words: alike.cost for alike in table.alike(asked) if len(alike.words) == 2}
    for first, second in itertools.product(range(len(entries)), repeat=2):
        cuts = [
            distance(entries[first], asked[:j]) + distance(entries[second], asked[j:])
            for j in range(1, len(asked))
        ]
        if cuts and min(cuts) < TOLERANCE * len(asked) - 1e-4:
            assert found[str(first), str(second)] == pytest.approx(min(cuts), abs=1e-4)


def test_a_substitution_costs_the_same_both_ways_and_nothing_for_itself():
    np.testing.assert_array_equal(SUBSTITUTION, SUBSTITUTION.T)
    assert not np.diag(SUBSTITUTION).any()
    assert (SUBSTITUTION[1:, 1:] + np.eye(len(PHONES)) > 0).all()


def test_an_empty_table_finds_nothing():
    assert SoundTable([]).alike(coded("K AE T")) == []


def test_the_lexicon_knows_words_and_letters_guess_others():
    pronouncer = Pronouncer(find("default") / LM_FOLDER)
    assert coded("HH AH L OW") in pronouncer.pronounce("hello")
    assert coded("K AE T S") in pronouncer.pronounce("cats")
    assert len(pronouncer.pronounce("kowalczyk")) > 1


def test_without_a_lexicon_each_letter_has_its_usual_sound():
    assert Pronouncer(None).pronounce("ship") == [coded("SH IH P")]
