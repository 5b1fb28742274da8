"""What the heads are to write."""

import dataclasses
import io
import re
from pathlib import Path

import pytest
from support.training import DICTIONARY, TINY

from rivulet.training.loop import train
from rivulet.training.targets import (
    bpe,
    characters,
    complete_dictionary,
    learn_bpe,
    phones,
    read_dictionary,
)


@pytest.mark.slow
def test_sound_that_a_dictionary_leaves_without_phones_is_named(tmp_path, data, capsys):
    short = tmp_path / "short.txt"
    words = [line for line in Path(data.dictionary).read_text().splitlines() if line[:1] == "T"]
    short.write_text("\n".join(words))
    whole, missing = complete_dictionary(short, ["THE NEW BOAT"], lambda word: ["B", word])
    assert missing == ["BOAT", "NEW"]
    assert whole["BOAT"] == ["B", "BOAT"]
    assert whole["THE"] == read_dictionary(short)["THE"]
    recipe = dataclasses.replace(TINY, max_steps=1)
    train(recipe, dataclasses.replace(data, dictionary=str(short)), tmp_path / "run")
    assert re.search(r"head phones has no target for 0\.\d+ of", capsys.readouterr().err)


def test_a_dictionary_gives_phones_without_stress(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# comment\n" + DICTIONARY)
    assert read_dictionary(path)["WATER"] == ["W", "AO", "T", "ER"]
    target = phones(path)
    assert [target.tokenizer.tokens[i] for i in target.encode("THE BOAT")] == [
        "DH",
        "AH",
        "B",
        "OW",
        "T",
    ]
    assert target.encode("THE SHIP") is None
    assert characters().encode("A B") == [2, 1, 3]


def test_bpe_pieces_spell_what_they_were_made_of():
    """Merged in the order of the pieces, which is what SentencePiece does."""
    sentencepiece = pytest.importorskip("sentencepiece")
    texts = ["THE BOAT WENT DOWN THE RIVER", "THE CHILDREN WAVED FROM THE BRIDGE"] * 5
    target = bpe(learn_bpe(texts, 40))
    assert len(target.tokenizer) == 40
    assert [target.tokenizer.decode(target.encode(text)) for text in texts] == texts
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=40,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    others = [*texts, "THEN THE WENT BRIDE RODE DOWN FROM THERE"]
    assert [target.encode(text) for text in others] == [theirs.encode(text) for text in others]
    assert target.encode("THE QUIZ") is None
