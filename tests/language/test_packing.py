import numpy as np
import pytest

from rivulet import checkpoint
from rivulet.language.model import LanguageModel
from rivulet.language.packed import pack
from rivulet.language.packing import with_pieces


@pytest.mark.parametrize("name", ["default", "tiny"])
def test_the_shipped_models_have_their_pieces_in_the_file(name):
    """They were cut anew at every start, a second of it, while a section's name was too long."""
    loaded = checkpoint.load(name)
    packed = LanguageModel.load(loaded.language_model).packed
    assert with_pieces(packed, loaded.tokenizer) is packed


def test_a_section_whose_name_would_be_cut_is_not_packed():
    with pytest.raises(AssertionError, match="is cut"):
        pack({"nine signs": np.zeros(1)})
