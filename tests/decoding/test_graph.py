import math

import pytest
from flashlight.lib.text.decoder import SmearingMode
from support.beams import PHONES, graph_of, language_model

from rivulet.decoding.flashlight_tree import tree_of
from rivulet.decoding.graph import DecodingGraph
from rivulet.errors import ConfigError
from rivulet.tokenizer import BLANK, Tokenizer


@pytest.fixture
def graph(tmp_path):
    return graph_of(tmp_path)


def test_hot_words_may_be_unknown_and_spelled_anyhow(graph):
    hot = graph.with_hot_words({"bee  Obby": 3.0, "a": 1.0})
    assert hot.words[: len(graph.words)] == graph.words
    assert hot.words[len(graph.words) :] == ("OBBY",)
    assert [phrase.spelled for phrase in hot.hot.phrases] == ["BEE OBBY", "A"]
    assert not graph.hot.phrases  # the shared graph stays as it was


def branches(node):
    """What hangs below a node of the tree."""
    below = {token: branches(child) for token, child in node.children.items()}
    return sorted(zip(node.labels, node.scores, strict=True)), round(node.max_score, 4), below


def test_the_tree_of_hot_words_is_the_shared_one_with_their_sounds(graph):
    before = branches(tree_of(graph).search([]))
    hot = graph.with_hot_words({"bee  Obby": 3.0, "BEEBEE": 8.0})
    assert branches(tree_of(graph).search([])) == before  # the shared tree stays as it was
    obby, beebee, bee = (hot.words.index(word) for word in ("OBBY", "BEEBEE", "BEE"))
    ids = {phone: index for index, phone in enumerate(PHONES.tokens)}

    def labels(tree, *phones):
        node = tree.search([ids[phone] for phone in phones])
        return dict(zip(node.labels, node.scores, strict=True))

    gain = labels(tree_of(hot), "B", "IY", "B", "IY")[beebee]
    assert gain == pytest.approx(labels(tree_of(graph), "B", "IY", "B", "IY")[beebee] + 8.0)
    assert labels(tree_of(hot), "B", "IY")[bee] == pytest.approx(
        labels(tree_of(graph), "B", "IY")[bee] + 1.5  # its part of the phrase
    )
    for sound in graph.language_model.pronounce("OBBY", 3):
        assert obby in labels(tree_of(hot), *sound)
    assert tree_of(hot).search([ids["AA"]]).labels == tree_of(graph).search([ids["AA"]]).labels
    grown = branches(tree_of(hot).search([]))
    tree_of(hot).smear(SmearingMode.MAX)  # every node already promises what is best below it
    assert branches(tree_of(hot).search([])) == grown


@pytest.mark.parametrize(
    ("phrase", "boost", "says"),
    [
        ("42", 1.0, "has 0 words"),
        ("", 1.0, "has 0 words"),
        ("Žižek", 1.0, "letters A to Z"),
        ("A", 0.0, "boost of 0.0"),
        ("A", 99.0, "at most 20.0"),
        ("A", math.nan, "boost of nan"),
    ],
)
def test_a_hot_phrase_that_cannot_be_used_says_why(graph, phrase, boost, says):
    with pytest.raises(ConfigError, match=says):
        graph.with_hot_words({phrase: boost})


def test_a_lexicon_for_other_phones_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="uses the phone B and the model writes 1 others"):
        DecodingGraph.build(language_model(tmp_path), Tokenizer((BLANK, "AA")))
