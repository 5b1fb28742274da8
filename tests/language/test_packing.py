import lzma

import numpy as np
import pytest
from support.language import TinyModel

from rivulet import checkpoint
from rivulet.errors import LanguageModelError
from rivulet.language import packing
from rivulet.language.columns import STEP, columns, of_columns
from rivulet.language.model import LanguageModel
from rivulet.language.packed import PackedFile, pack
from rivulet.language.packing import pack_model, read_tables, with_pieces
from rivulet.language.tables import NGramTables
from rivulet.language.tree import NODE, tree_sections


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "tiny"])
def test_the_shipped_models_have_their_pieces_in_the_file(name):
    """They were cut anew at every start, a second of it, while a section's name was too long."""
    loaded = checkpoint.load(name)
    packed = LanguageModel.load(loaded.language_model).packed
    assert with_pieces(packed, loaded.tokenizer) is packed


def assert_tree_looks_ahead_to_its_ngrams(packed, pronunciations):
    first_scores = NGramTables.of_sections(packed).first_scores()
    expected = tree_sections(pronunciations, first_scores)
    assert np.array_equal(packed.get("nodes", NODE), expected["nodes"])
    assert np.array_equal(packed.get("labels", "<u4"), expected["labels"])


def test_the_tree_looks_ahead_to_scores_as_they_are_packed():
    """It looked ahead to the scores before they were put into bins, up to 0.65 nats beside them."""
    rng = np.random.default_rng(0)
    words, start = 600, 601
    singles = np.arange(words + 3)[:, None]
    pairs = np.stack([np.full(words, start), np.arange(words)], axis=1)
    scores = [-5.0 * rng.random(len(grams)) for grams in (singles, pairs)]
    zeros = [np.zeros(len(grams)) for grams in (singles, pairs)]
    tables = NGramTables.of_grams(words, list(zip((singles, pairs), scores, zeros, strict=True)))
    sounds = tuple((word, (f"P{word % 7}", f"P{word // 7 % 9}")) for word in range(words))
    packed = pack_model([f"W{word}" for word in range(words)], sounds, tables)
    assert_tree_looks_ahead_to_its_ngrams(packed, sounds)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "tiny"])
def test_the_shipped_trees_look_ahead_to_their_ngrams(name):
    model = LanguageModel.load(checkpoint.load(name).language_model)
    assert_tree_looks_ahead_to_its_ngrams(model.packed, model.pronunciations)


def test_a_section_whose_name_would_be_cut_is_not_packed():
    with pytest.raises(AssertionError, match="is cut"):
        pack({"nine signs": np.zeros(1)})


WORDS = ("A", "CAT", "DOG", "MAT", "ON", "RAN", "SAT", "THE")
SENTENCES = ["THE CAT SAT", "THE CAT SAT ON THE MAT", "A DOG SAT", "THE DOG RAN", "A CAT RAN ON"]


@pytest.fixture(scope="module", params=[2, 3, 4])
def ngram(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("ngram") / f"{request.param}.arpa"
    return TinyModel(SENTENCES, request.param).write(path)


def test_ngrams_in_columns_are_the_same_ngrams_but_for_the_bins_of_their_scores(ngram):
    tables = read_tables(ngram, WORDS)
    back = of_columns(PackedFile(pack(columns(tables))))
    assert (back.words, back.order) == (tables.words, tables.order)
    for level, same in zip(tables.levels, back.levels, strict=True):
        assert np.array_equal(level.words, same.words)
        assert np.array_equal(level.first, same.first)
        assert np.abs(level.probs - same.probs).max() < 0.15  # a tiny model's few bins
    assert np.abs(tables.levels[0].probs - back.levels[0].probs).max() <= STEP / 2 + 1e-6
    again = columns(back)
    assert all(np.array_equal(values, again[name]) for name, values in columns(back).items())


@pytest.mark.slow
def test_a_compressed_model_is_put_together_once_with_the_pieces_of_its_checkpoint(
    ngram, tmp_path, monkeypatch
):
    sounds = tuple((index, ("AH", "T" if word < "M" else "D")) for index, word in enumerate(WORDS))
    folder, tokenizer = tmp_path / "tiny" / "lm", checkpoint.load("tiny").tokenizer
    monkeypatch.setattr(packing, "cache_folder", lambda: tmp_path / "cache")
    made = LanguageModel.of(WORDS, sounds, ngram)
    made.save(folder, tokenizer, compress=True)
    (tmp_path / "tiny" / "tokens.txt").write_text("\n".join(tokenizer.tokens) + "\n")
    loaded = LanguageModel.load(folder)
    assert loaded.words == WORDS
    assert with_pieces(loaded.packed, tokenizer) is loaded.packed
    assert loaded.scorer.counts == made.scorer.counts
    monkeypatch.setattr(packing, "of_columns", None)  # what lies in the cache is taken
    assert bytes(LanguageModel.load(folder).packed.buffer) == bytes(loaded.packed.buffer)


def test_damaged_columns_are_refused_in_a_sentence(ngram, tmp_path, monkeypatch):
    tables = read_tables(ngram, WORDS)
    whole = columns(tables)
    for name in [name for name in whole if name[:4] not in ("prob", "back")]:  # those have spares
        with pytest.raises(LanguageModelError, match=r"damaged|listed|ends in no word"):
            of_columns(PackedFile(pack({**whole, name: whole[name][:-1]})))
    with pytest.raises(LanguageModelError, match="ends in no word"):
        of_columns(PackedFile(pack({**whole, "step2": whole["step2"] + np.uint8(20)})))
    sounds = tuple((index, ("AH",)) for index in range(len(WORDS)))
    LanguageModel.of(WORDS, sounds, ngram).save(tmp_path / "lm", compress=True)
    monkeypatch.setattr(packing, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "lm" / "lexicon.txt.xz").write_bytes(lzma.compress(b"A AH\nCAT K AE T\n"))
    with pytest.raises(LanguageModelError, match="over 8 words and the lexicon beside it has 2"):
        LanguageModel.load(tmp_path / "lm")
