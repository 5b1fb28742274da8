import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivulet.errors import ConfigError
from rivulet.tokenizer import BLANK, Tokenizer

WORDS = st.lists(st.text("ABCXYZ'", min_size=1, max_size=6), max_size=6)


@given(WORDS)
def test_characters_come_back(words):
    tokenizer = Tokenizer.characters()
    assert tokenizer.decode(tokenizer.encode(" ".join(words))) == " ".join(words)


def test_pieces_that_begin_a_word_are_parted():
    tokenizer = Tokenizer((BLANK, "▁THE", "▁C", "AT", "S"))
    assert tokenizer.decode([1, 2, 3, 4]) == "THE CATS"
    assert tokenizer.decode([]) == ""


def test_a_word_is_cut_into_pieces_in_the_order_in_which_they_were_learned():
    tokenizer = Tokenizer((BLANK, "AT", "▁C", "▁CA", "T", "S", "▁", "C", "A"))
    assert tokenizer.pieces("CATS") == (2, 1, 5)  # AT came before ▁CA
    assert tokenizer.pieces("A") == (6, 8)
    assert tokenizer.pieces("CAB") is None  # no piece has a B


def test_a_letter_without_token_is_named():
    with pytest.raises(ConfigError, match="'é' in 'CAFé'"):
        Tokenizer.characters().encode("CAFé")


def test_a_list_must_begin_with_the_blank_and_hold_nothing_twice():
    with pytest.raises(ConfigError, match="first of 2 tokens"):
        Tokenizer(("A", BLANK))
    with pytest.raises(ConfigError, match="duplicates"):
        Tokenizer((BLANK, "A", "A"))
