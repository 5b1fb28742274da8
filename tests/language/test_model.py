"""The language model and the lexicon as they are loaded to recognize; no tool is needed."""

import dataclasses
import lzma
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.language import TinyModel

from rivulet.errors import LanguageModelError
from rivulet.language.g2p import G2P, Graphone
from rivulet.language.g2p_rules import PHONES
from rivulet.language.model import LEXICON_FILE, LanguageModel, read_lexicon, write_lexicon
from rivulet.tokenizer import LETTERS

SENTENCES = ["THE CAT SAT", "THE CAT SAT ON THE MAT", "A DOG SAT"]
SOUNDS = {
    "A": ["AH", "EY"],
    "CAT": ["K AE T"],
    "DOG": ["D AO G"],
    "MAT": ["M AE T"],
    "ON": ["AA N"],
    "SAT": ["S AE T"],
    "THE": ["DH AH", "DH IY"],
}
PATHS = ["F:F A:AE T:T", "PH:F A:AE T:T", "T:T A:AE P:P", "P:P A:EY G:JH E:", "T:T E:EH P:P"]


def letters_to_sound(folder):
    """A letter-to-sound model of five words; KenLM reads ARPA as well as its binary."""
    TinyModel(PATHS, 2).write(folder / "letters.arpa")
    names = sorted({name for path in PATHS for name in path.split()})
    return G2P(tuple(Graphone.parse(name) for name in names), folder / "letters.arpa")


@pytest.fixture
def model(tmp_path):
    words = tuple(sorted(SOUNDS))
    pronunciations = tuple(
        (index, tuple(phones.split()))
        for index, word in enumerate(words)
        for phones in SOUNDS[word]
    )
    path = TinyModel(SENTENCES, 3).write(tmp_path / "tiny.arpa")
    return LanguageModel.of(words, pronunciations, path, letters_to_sound(tmp_path))


lexicons = st.dictionaries(
    st.text(LETTERS, min_size=1, max_size=6),
    st.lists(
        st.lists(st.sampled_from(PHONES), min_size=1, max_size=5).map(tuple), min_size=1, max_size=3
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=30)
@given(lexicons)
def test_a_lexicon_reads_back_as_it_was_written(tmp_path_factory, lexicon):
    path = tmp_path_factory.getbasetemp() / LEXICON_FILE
    words = tuple(sorted(lexicon))
    pronunciations = tuple((i, phones) for i, word in enumerate(words) for phones in lexicon[word])
    write_lexicon(path, words, pronunciations)
    assert read_lexicon(path) == (words, pronunciations)


def test_a_language_model_reads_back_as_it_was_saved(model, tmp_path):
    model.save(tmp_path / "saved")
    back = LanguageModel.load(tmp_path / "saved")
    assert (back.words, back.pronunciations) == (model.words, model.pronunciations)
    assert back.g2p.graphones == model.g2p.graphones
    assert back.pronounce("PHAGE") == model.pronounce("PHAGE")
    back.save(tmp_path / "saved")  # onto itself
    again = LanguageModel.load(tmp_path / "saved")
    assert (again.words, again.pronunciations) == (model.words, model.pronunciations)
    assert bytes(again.packed.buffer) == bytes(model.packed.buffer)


def test_letter_to_sound_is_no_part_of_every_model(model, tmp_path):
    dataclasses.replace(model, g2p=None).save(tmp_path / "saved")
    back = LanguageModel.load(tmp_path / "saved")
    assert back.g2p is None
    assert back.pronounce("PHAT") == [("F", "AE", "T")]


def test_known_words_have_all_their_pronunciations(model):
    assert model.pronounce("The") == [("DH", "AH"), ("DH", "IY")]


def test_regular_forms_of_known_words_follow_them(model):
    assert model.pronounce("cat’s") == [("K", "AE", "T", "S")]


def test_other_words_sound_as_their_letters_do(model):
    assert model.pronounce("page") == [("P", "EY", "JH")]
    assert model.pronounce("page's") == [("P", "EY", "JH", "AH", "Z")]


def test_several_guesses_are_the_likeliest_first_and_all_different(model):
    guesses = model.pronounce("TAPE", count=3)
    assert guesses[0] == model.pronounce("TAPE")[0]
    assert 1 < len(guesses) == len(set(guesses)) <= 3


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=12))
def test_any_spelling_has_a_pronunciation_in_known_phones(tmp_path_factory, word):
    model = LanguageModel.of(
        (), (), tmp_path_factory.getbasetemp() / "none", shared_letters(tmp_path_factory)
    )
    (phones,) = model.pronounce(word)
    assert phones
    assert set(phones) <= set(PHONES)


def shared_letters(factory, made=[]):  # noqa: B006 (made once)
    if not made:
        made.append(letters_to_sound(factory.mktemp("letters")))
    return made[0]


def test_perplexity_is_that_of_the_definition(model):
    truth = TinyModel(SENTENCES, 3)
    said = ("<s>", "THE", "DOG", "SAT", "</s>")
    probs = [truth.prob(said[max(0, i - 2) : i + 1]) for i in range(1, len(said))]
    found = model.perplexity(["THE DOG SAT", ""])
    assert (found.words, found.sentences, found.unknown) == (3, 1, 0)
    assert found.log10_prob == pytest.approx(sum(math.log10(p) for p in probs), abs=1e-4)
    assert found.value == pytest.approx(math.prod(probs) ** -0.25, rel=1e-4)


def test_unknown_words_are_counted_and_left_out(model):
    found = model.perplexity(["THE ZEBRA SAT", "THE CAT"])
    assert (found.words, found.unknown, found.sentences) == (5, 1, 2)
    assert found.unknown_rate == pytest.approx(0.2)
    assert math.isfinite(found.value)


def test_a_text_without_words_has_no_perplexity(model):
    assert model.perplexity([]).value == math.inf


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("graph.bin", None, "lacks graph.bin"),
        ("graph.bin", b"else", "cut short"),
        ("lexicon.txt.xz", None, "lexicon.txt.xz does not exist"),
        ("lexicon.txt.xz", b"no xz", "damaged"),
        ("lexicon.txt.xz", lzma.compress(b""), "0 words"),
        ("lexicon.txt.xz", lzma.compress(b"CAT K AE T\nDOG\n"), "none at all"),
        ("lexicon.txt.xz", lzma.compress(b"CAT K AE Q\n"), "other than"),
        ("letters.txt", None, "lacks letters.txt"),
        ("letters.txt", b"", "graphones"),
        ("letters.bin", None, "lacks letters.bin"),
    ],
)
def test_a_damaged_folder_is_refused_in_a_sentence(model, tmp_path, name, content, complaint):
    folder = tmp_path / "saved"
    model.save(folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(LanguageModelError, match=complaint):
        LanguageModel.load(folder).pronunciations  # noqa: B018 (read when asked for)
