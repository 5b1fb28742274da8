"""Utterances in rows of one speaker, as in a long recording."""

from pathlib import Path

import numpy as np
import pytest

from rivulet.corpora.manifest import Utterance
from rivulet.training.corpus import ALONE, LONGEST_ROW_S, PAUSE_S, Corpus, in_rows

TEXTS = ("ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX")
SPEAKERS = ("a", "a", "a", "b", "c", "c")
SECONDS = (1.0, 2.0, 0.5, 1.0, 20.0, 20.0)


def corpus():
    lengths = (np.array(SECONDS) * 16_000).astype(np.int64)
    utterances = [
        Utterance(text, Path(text), seconds, speaker, text, "set")
        for text, seconds, speaker in zip(TEXTS, SECONDS, SPEAKERS, strict=True)
    ]
    samples = np.repeat(np.arange(1, len(TEXTS) + 1, dtype=np.int16) * 100, lengths)
    return Corpus(utterances, samples, np.cumsum(lengths) - lengths, lengths)


@pytest.mark.parametrize("seed", range(5))
def test_an_utterance_follows_another_one_of_its_speaker(seed):
    plain = corpus()
    rows = in_rows(plain, 1.0, seed)
    assert any(rows.earlier != ALONE)
    for index, before in enumerate(rows.earlier.tolist()):
        sound, text = rows.sound(index), rows.utterances[index].text
        assert len(sound) / 16_000 == pytest.approx(rows.seconds()[index])
        if before == ALONE:
            np.testing.assert_array_equal(sound, plain.sound(index))
            assert text == TEXTS[index]
            continue
        assert before != index
        assert SPEAKERS[before] == SPEAKERS[index]
        assert text == f"{TEXTS[before]} {TEXTS[index]}"
        own, earlier = plain.lengths[index], plain.lengths[before]
        np.testing.assert_array_equal(sound[:earlier], plain.sound(before))
        np.testing.assert_array_equal(sound[-own:], plain.sound(index))
        assert PAUSE_S[0] <= (len(sound) - own - earlier) / 16_000 <= PAUSE_S[1]


def test_what_would_be_too_long_or_has_no_other_stays_alone():
    rows = in_rows(corpus(), 1.0, 0)
    assert rows.earlier[3:].tolist() == [ALONE] * 3  # one of b; two of c, 40 s together
    assert rows.seconds().max() <= LONGEST_ROW_S


def test_rows_are_the_same_for_the_same_seed_and_as_many_as_asked():
    one, two = in_rows(corpus(), 0.5, 1), in_rows(corpus(), 0.5, 1)
    np.testing.assert_array_equal(one.earlier, two.earlier)
    np.testing.assert_array_equal(one.sound(0), two.sound(0))
    assert (in_rows(corpus(), 0.0, 1).earlier == ALONE).all()
