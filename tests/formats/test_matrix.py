"""Every container, codec, rate, channel count and sample format: matrix.py says which."""

import pytest
from formats.matrix import ALL, quick, wrong


@pytest.mark.parametrize("combination", quick(), ids=str)
def test_the_words_do_not_depend_on_how_sound_is_stored(combination, tmp_path):
    assert wrong(combination, tmp_path) is None


@pytest.mark.minutes
@pytest.mark.parametrize("combination", sorted(set(ALL) - set(quick()), key=str), ids=str)
def test_the_words_do_not_depend_on_how_sound_is_stored_either(combination, tmp_path):
    assert wrong(combination, tmp_path) is None
