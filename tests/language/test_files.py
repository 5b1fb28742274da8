"""Plain and packed texts, and one reading of pronouncing dictionaries for training and lexicon."""

import gzip
import lzma
from pathlib import Path

import pytest

from rivulet.errors import LanguageModelError, ManifestError
from rivulet.language.build import lexicon
from rivulet.language.files import DAMAGED, open_packed, read_pronunciations
from rivulet.training import targets

CMU = (
    "# comment\n;;; comment\n\nTHE 1 DH AH0\nthe(2) DH IY0\nENGINEER E21 N JH AH0 N IH1 R\n"
    "ENGINEER EH2 N JH AH0 N IH1 R\nNOTHING 3\n"
)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_packed_texts_read_like_plain_ones(tmp_path: Path, suffix: str) -> None:
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(suffix, bytes)
    path = tmp_path / f"text{suffix}"
    path.write_bytes(pack("naïve\n\xff".encode("latin-1")))
    with open_packed(path, "latin-1") as file:
        assert file.read() == "naïve\nÿ"
    with open_packed(path) as file:
        assert file.read() == "na\u00efve\n\u00ff"


def test_a_dictionary_is_words_in_upper_case_and_phones_without_stress(tmp_path: Path) -> None:
    (tmp_path / "d").write_text(CMU)
    assert list(read_pronunciations(tmp_path / "d")) == [
        ("THE", ("DH", "AH")),
        ("THE", ("DH", "IY")),
        ("ENGINEER", ("E", "N", "JH", "AH", "N", "IH", "R")),
        ("ENGINEER", ("EH", "N", "JH", "AH", "N", "IH", "R")),
    ]


def test_tokens_of_training_keep_the_odd_phone_that_the_lexicon_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "d").write_text(CMU)
    tokens = targets.phones(tmp_path / "d").tokenizer.tokens
    assert tokens == ("<blank>", "AH", "DH", "E", "IH", "JH", "N", "R")
    known = lexicon.read_dictionary(str(tmp_path / "d"))
    assert known["ENGINEER"] == [("EH", "N", "JH", "AH", "N", "IH", "R")]
    assert known["THE"] == [("DH", "AH"), ("DH", "IY")]


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_damaged_dictionary_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    pack = {".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    for name, content in (("cut", pack(CMU.encode())[:-12]), ("other", CMU.encode())):
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        with pytest.raises(DAMAGED):
            list(read_pronunciations(path))
        with pytest.raises(ManifestError, match="is damaged"):
            targets.read_dictionary(path)
        with pytest.raises(LanguageModelError, match="is damaged"):
            lexicon.read_dictionary(str(path))
