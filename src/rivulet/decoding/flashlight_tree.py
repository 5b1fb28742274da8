"""flashlight's lexicon tree: all pronunciations, each word twice, and hot words."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from flashlight.lib.text.decoder import SmearingMode, Trie, TrieNode

from rivulet.decoding.graph import DecodingGraph
from rivulet.language.tree import HOMOPHONES, LN_10


def tree_of(graph: DecodingGraph) -> Any:
    """Return flashlight's tree of all pronunciations and hot words; a second for 90,000 words."""
    return graph.remember("flashlight tree", lambda: _Grower(graph).grow())


class _Grower:
    """Grows flashlight's tree."""

    def __init__(self, graph: DecodingGraph) -> None:
        self._graph = graph
        self._ids = {phone: index for index, phone in enumerate(graph.phones.tokens)}
        self._scorer = graph.language_model.scorer

    def grow(self) -> Any:
        """Return the tree."""
        model = self._graph.language_model
        chances = [self._chance(word) for word in range(len(model.words))]
        homophones: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for word, sound in model.pronunciations:
            homophones[self._spelled(sound)].append(word)
        trie = Trie(self._graph.columns, 0)
        for spelled, words in homophones.items():
            if len(words) > 1:
                words = sorted(set(words), key=lambda word: (-chances[word], word))[:HOMOPHONES]
            for word in words:
                trie.insert(spelled, word, chances[word])
                trie.insert(self._held(spelled), word, chances[word])
        trie.smear(SmearingMode.MAX)
        return self._with_hot_words(trie) if self._graph.hot.phrases else trie

    def _with_hot_words(self, base: Any) -> Any:
        """Return a tree with the hot words' sounds and boosts too; it shares most with `base`."""
        hot = self._graph.hot
        found: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for word, sound in hot.sounds:
            found[self._spelled(sound)].add(word)
        ways = {}
        for spelled, more in found.items():
            there = base.search(list(spelled))
            words = more.union(there.labels if there else ())
            scores = {word: self._chance(word) + hot.boosts.get(word, 0.0) for word in words}
            best = sorted(words, key=lambda word: (word not in more, -scores[word], word))
            ways[spelled] = {word: scores[word] for word in best[:HOMOPHONES]}
            ways[self._held(spelled)] = ways[spelled]
        trie = Trie(self._graph.columns, 0)
        _graft(trie.search([]), base.search([]), ways)
        return trie

    def _spelled(self, sound: Sequence[str]) -> tuple[int, ...]:
        return tuple(map(self._ids.__getitem__, sound))

    def _held(self, spelled: tuple[int, ...]) -> tuple[int, ...]:
        """Return the spelling whose last phone is followed by itself going on."""
        return (*spelled, spelled[-1] + len(self._graph.phones) - 1)

    def _chance(self, word: int) -> float:
        """Return a word's natural-log probability to begin a sentence."""
        return self._scorer.log10_prob((), word) * LN_10


def _graft(made: Any, node: Any, ways: dict[tuple[int, ...], dict[int, float]]) -> None:
    """Let the empty `made` be `node` with other words at the ends of `ways`; `node` may be None.

    What no way passes is shared with `node`, which does not change.
    """
    children = dict(node.children) if node else {}
    below: dict[int, dict[tuple[int, ...], dict[int, float]]] = defaultdict(dict)
    for way, words in ways.items():
        if way:
            below[way[0]][way[1:]] = words
    for token, rest in below.items():
        child = TrieNode(token)
        _graft(child, children.get(token), rest)
        children[token] = child
    ends = ways.get(())
    made.children = children
    made.labels = list(ends if ends else node.labels if node else ())
    made.scores = list(ends.values() if ends else node.scores if node else ())
    own = float(np.logaddexp.reduce(made.scores)) if made.scores else -math.inf  # as Trie.smear
    made.max_score = max([own, *(child.max_score for child in children.values())])
