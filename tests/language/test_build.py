"""Making language models: ARPA files, mixtures, texts, dictionaries, graphones, KenLM's tools."""

import gzip
import itertools
import lzma
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.language import TinyModel

from rivulet.errors import ConfigError, LanguageModelError
from rivulet.language.build import arpa, g2p_alignment, g2p_training, kenlm_tools, lexicon, text
from rivulet.language.g2p_rules import PHONES, derive
from rivulet.tokenizer import LETTERS

ONE = ["THE CAT SAT", "THE CAT SAT ON THE MAT", "A DOG SAT"]
OTHER = ["A DOG RAN", "THE BIRD SAT ON A TREE", "THE CAT RAN", "DOG"]
CAT = {"CAT": [("K", "AE", "T")], "READ": [("R", "IY", "D"), ("R", "EH", "D")]}


def tiny(tmp_path, sentences, order=3):
    model = TinyModel(sentences, order)
    return model, arpa.read(model.write(tmp_path / f"{len(sentences)}-{order}.arpa"))


def grams(model, length):
    """All n-grams that can be said, listed in the model or not."""
    return list(itertools.product(model.vocabulary, repeat=length))


def ids(model, wanted):
    place = {word: index for index, word in enumerate(model.vocabulary)}
    return np.array([[place[word] for word in gram] for gram in wanted])


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_every_ngram_has_the_probability_of_the_definition(tmp_path, length):
    truth, model = tiny(tmp_path, ONE)
    wanted = grams(model, length)[:5000]
    found = 10.0 ** model.log_probs(ids(model, wanted))
    expected = [truth.prob(gram[-3:]) for gram in wanted]
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize(("first", "second"), [(3, 3), (2, 3), (3, 2)])
def test_ngrams_that_one_model_lists_have_the_weighted_sum_of_both(tmp_path, first, second):
    (one, a), (other, b) = tiny(tmp_path, ONE, first), tiny(tmp_path, OTHER, second)
    mixed = arpa.mix(a, b, 0.3)
    assert mixed.order == 3
    for n in (1, 2, 3):
        listed = sorted({g for g in (*one.table, *other.table) if len(g) == n})
        assert mixed.counts[n - 1] == len(listed)
        expected = [
            0.3 * one.prob(gram[-first:]) + 0.7 * other.prob(gram[-second:]) for gram in listed
        ]
        found = 10.0 ** mixed.log_probs(ids(mixed, listed))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("orders", [(3, 3), (2, 3)])
def test_a_mixture_sums_to_one_after_every_context(tmp_path, orders):
    mixed = arpa.mix(tiny(tmp_path, ONE, orders[0])[1], tiny(tmp_path, OTHER, orders[1])[1], 0.6)
    for length in (1, 2, 3):
        wanted = grams(mixed, length)
        sums = (10.0 ** mixed.log_probs(ids(mixed, wanted))).reshape(-1, len(mixed.vocabulary))
        assert sums.sum(axis=1) == pytest.approx(1.0, abs=1e-6)


def test_a_model_mixed_with_itself_stays_itself(tmp_path):
    _, model = tiny(tmp_path, ONE)
    mixed = arpa.mix(model, model, 0.25)
    wanted = ids(model, grams(model, 3))
    assert 10.0 ** mixed.log_probs(wanted) == pytest.approx(
        10.0 ** model.log_probs(wanted), rel=1e-4, abs=1e-9
    )


def test_a_mixture_reads_back_as_it_was_written(tmp_path):
    mixed = arpa.mix(tiny(tmp_path, ONE)[1], tiny(tmp_path, OTHER)[1], 0.5)
    arpa.write(mixed, tmp_path / "mixed.arpa")
    back = arpa.read(tmp_path / "mixed.arpa")
    assert back.vocabulary == mixed.vocabulary
    for a, b in zip(back.grams, mixed.grams, strict=True):
        assert (a.keys == b.keys).all()
        assert a.log_probs == pytest.approx(b.log_probs, rel=1e-5)
        assert a.backoffs == pytest.approx(b.backoffs, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("packed", [("x.arpa", open), ("x.gz", gzip.open), ("x.xz", lzma.open)])
def test_arpa_is_read_plain_and_compressed(tmp_path, packed):
    name, opener = packed
    _, model = tiny(tmp_path, ONE)
    plain = next(tmp_path.glob("*.arpa")).read_bytes()
    with opener(tmp_path / name, "wb") as file:
        file.write(plain)
    assert arpa.read(tmp_path / name).counts == model.counts


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda t: t[: t.rindex("\n", 0, len(t) // 2) + 1], "where"),
        (lambda t: t[: t.index("\tTHE CAT") + 1], "2-gram of 0 words"),
        (lambda t: t.replace("\\data\\", ""), "data"),
        (lambda t: "", "data"),
        (lambda t: t.replace("ngram 2=", "ngram 2=1"), "announced"),
        (lambda t: t.replace("\tTHE CAT\t", "\tTHE COW\t"), "COW"),
        (lambda t: t.replace("\tTHE CAT\t", "\tTHE A\t"), "beginning"),
        (lambda t: t.replace("-0.", "-zero"), "zero"),
    ],
)
def test_a_damaged_arpa_file_is_refused_in_a_sentence(tmp_path, damage, complaint):
    tiny(tmp_path, ONE)
    path = next(tmp_path.glob("*.arpa"))
    path.write_text(damage(path.read_text()))
    with pytest.raises(LanguageModelError, match=complaint):
        arpa.read(path)


def test_a_compressed_file_cut_short_is_refused(tmp_path):
    tiny(tmp_path, ONE)
    packed = lzma.compress(next(tmp_path.glob("*.arpa")).read_bytes())
    (tmp_path / "cut.xz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(LanguageModelError, match="no whole ARPA"):
        arpa.read(tmp_path / "cut.xz")


def test_a_missing_file_is_named():
    with pytest.raises(LanguageModelError, match="nowhere"):
        arpa.read(kenlm_tools.default_folder() / "nowhere.arpa")


def test_text_is_written_as_transcripts_are(tmp_path):
    (tmp_path / "a.txt").write_text("“Don’t,” she said;\n\n  123 \n'Stop it', 'dogs' 'tis - '\n")
    known = {"STOP", "DOGS", "IT", "'TIS"}
    assert list(text.read_sentences([tmp_path / "a.txt"], known)) == [
        "DON'T SHE SAID",
        "STOP IT DOGS 'TIS",
    ]


def test_a_text_without_words_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("1 2 3\n\n")
    with pytest.raises(LanguageModelError, match="0 words"):
        text.write_sentences(text.read_sentences([tmp_path / "a.txt"]), tmp_path / "out")


def test_a_vocabulary_is_a_number_a_list_or_all(tmp_path):
    counts = Counter("AAABBC")
    (tmp_path / "list").write_text("c\nZ\n")
    assert text.choose_vocabulary(None, counts) == ["A", "B", "C"]
    assert text.choose_vocabulary("2", counts) == ["A", "B"]
    assert text.choose_vocabulary(str(tmp_path / "list"), counts) == ["C"]
    with pytest.raises(LanguageModelError, match="nowhere does not exist"):
        text.choose_vocabulary("nowhere", counts)


def test_dictionaries_of_all_styles_keep_every_variant(tmp_path):
    (tmp_path / "d").write_text(
        ";;; comment\nREAD 1 R IY1 D\nREAD 2 R EH1 D\nTHE(2) DH IY0\nthe DH AH\nODD 1 Q X\n"
    )
    assert lexicon.read_dictionary(str(tmp_path / "d")) == {
        "READ": [("R", "IY", "D"), ("R", "EH", "D")],
        "THE": [("DH", "IY"), ("DH", "AH")],
    }


def test_a_useless_dictionary_is_refused(tmp_path):
    (tmp_path / "d").write_text("WORD word\n")
    with pytest.raises(LanguageModelError, match="0 pronunciations"):
        lexicon.read_dictionary(str(tmp_path / "d"))
    with pytest.raises(LanguageModelError, match="does not exist"):
        lexicon.read_dictionary(str(tmp_path / "other"))


def test_the_first_dictionary_with_a_word_gives_its_pronunciations():
    second = {"CAT": [("T",)], "DOG": [("D", "AO", "G")]}
    made = lexicon.build(
        ["CAT", "CATS", "DOG", "READ", "XYLO"], {"own": CAT, "other": second}, g2p=None
    )
    spoken = [(index, " ".join(phones)) for index, phones in made.pronunciations]
    assert spoken[:5] == [
        (0, "K AE T"),
        (1, "K AE T S"),
        (2, "D AO G"),
        (3, "R IY D"),
        (3, "R EH D"),
    ]
    assert made.sources == {
        "own": 2,
        "other": 1,
        lexicon.BY_RULE: 1,
        lexicon.BY_LETTERS: 1,
    }


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("cat's", "K AE T S"),
        ("dogs'", "D AO G Z"),
        ("houses", "HH AW S AH Z"),
        ("flies", "F L AY Z"),
        ("baked", "B EY K T"),
        ("hoping", "HH OW P IH NG"),
        ("hopping", "HH AA P IH NG"),
        ("carried", "K AE R IY D"),
        ("bak'd", "B EY K T"),
        ("walkin'", "W AO K IH N"),
        ("xyz", None),
    ],
)
def test_regular_endings_are_said_as_english_says_them(word, phones):
    known = {
        "cat": "K AE T",
        "dog": "D AO G",
        "house": "HH AW S",
        "fly": "F L AY",
        "bake": "B EY K",
        "hope": "HH OW P",
        "hop": "HH AA P",
        "carry": "K AE R IY",
        "walk": "W AO K",
    }
    assert derive(word, known.get) == phones


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.text(LETTERS, min_size=1, max_size=8),
            st.lists(st.sampled_from(PHONES), min_size=1, max_size=10).map(tuple),
        ),
        max_size=8,
    )
)
def test_units_spell_the_word_and_its_phones(pairs):
    paths = [
        ("".join(u.letters for u in path), tuple(p for u in path for p in u.phones))
        for path in g2p_alignment.cut(pairs)
    ]
    assert not Counter(paths) - Counter(pairs)


def test_graphones_show_which_letters_sound_how():
    words = {
        "CAT": "K AE T", "CATS": "K AE T S", "TACK": "T AE K", "SACK": "S AE K", "FAT": "F AE T",
        "FAX": "F AE K S", "TAX": "T AE K S", "SAT": "S AE T", "ACT": "AE K T", "PHAT": "F AE T",
    }  # fmt: skip
    paths = g2p_alignment.cut((word, tuple(heard.split())) for word, heard in words.items())
    written = {"".join(u.letters for u in path): " ".join(map(str, path)) for path in paths}
    assert written["TAX"] == "T:T A:AE X:K_S"
    assert written["SAT"] == "S:S A:AE T:T"


def test_held_out_words_are_not_among_the_others():
    words = {word: [("K",)] for word in ("AB", "AC", "AD", "AE", "A1")}
    rest, held_out = g2p_training.hold_out(words, 2)
    assert len(held_out) == 2
    assert "A1" not in held_out
    assert {*rest, *held_out} == set(words)
    assert not set(rest) & set(held_out)


@pytest.mark.parametrize(
    ("order", "prune"), [(0, [0]), (1, [0]), (7, [0]), (3, [1, 0]), (3, [-1]), (2, [0, 0, 1])]
)
def test_orders_and_counts_that_lmplz_refuses_are_refused_before_it_runs(order, prune):
    with pytest.raises(ConfigError):
        kenlm_tools.check_order(order, prune)


def test_missing_tools_are_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv(kenlm_tools.ENVIRONMENT, str(tmp_path))
    with pytest.raises(LanguageModelError, match="rivulet lm tools"):
        kenlm_tools.find()


def test_tools_are_found_where_the_environment_says(tmp_path, monkeypatch):
    for name in kenlm_tools.PROGRAMS:
        (tmp_path / name).write_text("#!/bin/sh\necho no memory >&2\nexit 3\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv(kenlm_tools.ENVIRONMENT, str(tmp_path))
    tools = kenlm_tools.find()
    assert tools.lmplz == tmp_path / "lmplz"
    with pytest.raises(LanguageModelError, match=r"status 3 \(no memory\)"):
        tools.binarize(tmp_path / "a", tmp_path / "b")


def test_compiling_without_a_compiler_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LanguageModelError, match="apt install cmake"):
        kenlm_tools.install(tmp_path)
