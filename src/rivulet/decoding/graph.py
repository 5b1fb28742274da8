"""What the beam walks through: the lexicon as a tree, the n-gram over its words, hot words.

flashlight-text searches, KenLM scores, and between them stands `rivulet.decoding.lm_scorer`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from flashlight.lib.text.decoder import SmearingMode, Trie, TrieNode

from rivulet.decoding.lm_scorer import LN_10, HotPhrase, NGram, PhraseTree
from rivulet.errors import ConfigError
from rivulet.language.model import LanguageModel
from rivulet.language.ngram import order_of
from rivulet.tokenizer import Tokenizer

HOMOPHONES = 6  # flashlight's Trie keeps so many words for one pronunciation
NEVER = np.float32(-1e4)  # log-probability of what cannot be
PRONUNCIATIONS = 3  # guesses for a hot word that the lexicon lacks
BOOSTS = (0.0, 20.0)  # nats; more would put the phrase into every noise

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SearchGraph:
    """Shared by all streams and never changed.

    words: by id; those that only hot words brought come last.
    trie: pronunciations in ids of `phones`, with the words' chance to begin a sentence.
    """

    language_model: LanguageModel
    phones: Tokenizer
    words: tuple[str, ...]
    trie: Any
    model: Any
    order: int
    phrases: PhraseTree = field(default_factory=PhraseTree)

    @classmethod
    def build(cls, language_model: LanguageModel, phones: Tokenizer) -> "SearchGraph":
        """Load the n-gram and grow the tree; a second or two for 90,000 words.

        Raises:
            ConfigError: the lexicon uses a phone that the acoustic model does not write.
        """
        model, order = language_model.ngram, order_of(language_model.path)
        graph = cls(language_model, phones, language_model.words, None, model, order)
        return replace(graph, trie=graph._grow())

    def with_hot_words(self, boosts: Mapping[str, float]) -> "SearchGraph":
        """Return a graph in which the phrases, spelled in any way, gain so many nats.

        Raises:
            ConfigError: a phrase has no letters, or its boost is out of range.
        """
        words = list(self.words)
        known = {word: index for index, word in enumerate(words)}
        phrases = []
        for text, boost in boosts.items():
            spelled = _spelled(text, boost)
            for word in spelled:
                if word not in known:
                    known[word] = len(words)
                    words.append(word)
            phrases.append(
                HotPhrase(text, " ".join(spelled), tuple(known[w] for w in spelled), boost)
            )
        boosted = {phrase.ids[0]: phrase.boost / len(phrase.ids) for phrase in phrases}
        sounds = [
            (known[word], sound)
            for word in (*words[len(self.words) :], *(words[index] for index in boosted))
            for sound in self.language_model.pronounce(word, PRONUNCIATIONS)
        ]
        return replace(
            self,
            words=tuple(words),
            trie=self._with_sounds(sounds, boosted),
            phrases=PhraseTree(tuple(phrases)),
        )

    @property
    def columns(self) -> int:
        """Number of emissions a frame: see `emissions`."""
        return 2 * len(self.phones)

    def emissions(self, log_probs: Floats, before: Floats) -> Floats:
        """Return what the search reads, (columns,), from a frame's (phones,) and the one before it.

        CTC repeats a phone that lasts; flashlight allows that inside a word but not for its last
        phone, which ends the word at once. So every word is in the tree twice, the second time with
        a phone that means "the last one goes on", which is possible where that phone was likelier
        than the blank. Columns: blank, phones, the same phones going on, and one that flashlight
        wants between words and that never happens.
        """
        held = np.where(before[1:] >= before[0], log_probs[1:], NEVER)
        return np.concatenate([log_probs, held, [NEVER]], dtype=np.float32)

    def scorer(self, gain: Callable[[int], float] | None = None) -> NGram:
        """Return the n-gram for one stream; `gain` says what a word gains besides, in nats."""
        return NGram(self.model, self.order, len(self.language_model.words), self.phrases, gain)

    def _grow(self) -> Any:
        """Return the tree of all pronunciations."""
        chances = self._chances()
        homophones: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for word, sound in self.language_model.pronunciations:
            homophones[self._spelled(sound)].append(word)
        trie = Trie(self.columns, 0)
        for spelled, words in homophones.items():
            if len(words) > 1:
                words = sorted(set(words), key=lambda word: (-chances[word], word))[:HOMOPHONES]
            for word in words:
                trie.insert(spelled, word, chances[word])
                trie.insert(self._held(spelled), word, chances[word])
        trie.smear(SmearingMode.MAX)
        return trie

    def _with_sounds(
        self, sounds: Iterable[tuple[int, Sequence[str]]], boosts: Mapping[int, float]
    ) -> Any:
        """Return a tree with these words' sounds and boosts too; it shares most with this one.

        Growing all anew would cost half a second and 90 MB for every set of hot words.
        """
        found: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for word, sound in sounds:
            found[self._spelled(sound)].add(word)
        ways = {}
        for spelled, more in found.items():
            there = self.trie.search(list(spelled))
            words = more.union(there.labels if there else ())
            scores = {word: self._chance(word) + boosts.get(word, 0.0) for word in words}
            best = sorted(words, key=lambda word: (word not in more, -scores[word], word))
            ways[spelled] = {word: scores[word] for word in best[:HOMOPHONES]}
            ways[self._held(spelled)] = ways[spelled]
        trie = Trie(self.columns, 0)
        _graft(trie.search([]), self.trie.search([]), ways)
        return trie

    def _spelled(self, sound: Sequence[str]) -> tuple[int, ...]:
        try:
            return tuple(map(self._phone_ids.__getitem__, sound))
        except KeyError as error:
            raise ConfigError(
                f"the lexicon uses the phone {error.args[0]} and the model writes "
                f"{len(self.phones) - 1} others; give a language model made for it."
            ) from error

    def _held(self, spelled: tuple[int, ...]) -> tuple[int, ...]:
        """Return the spelling whose last phone is followed by itself going on."""
        return (*spelled, spelled[-1] + len(self.phones) - 1)

    @cached_property
    def _phone_ids(self) -> dict[str, int]:
        return {phone: index for index, phone in enumerate(self.phones.tokens)}

    def _chances(self) -> list[float]:
        """Return every word's natural-log probability to begin a sentence."""
        start = self.model.start(False)
        scores = (self.model.score(start, i)[1] for i in range(len(self.language_model.words)))
        return [score * LN_10 for score in scores]

    def _chance(self, word: int) -> float:
        known = min(word, len(self.language_model.words))
        return float(self.model.score(self.model.start(False), known)[1]) * LN_10


def _graft(made: Any, node: Any, ways: Mapping[tuple[int, ...], Mapping[int, float]]) -> None:
    """Let the empty `made` be `node` with other words at the ends of `ways`; `node` may be None.

    What no way passes is shared with `node`, which does not change.
    """
    children = dict(node.children) if node else {}
    below: dict[int, dict[tuple[int, ...], Mapping[int, float]]] = defaultdict(dict)
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


def _spelled(text: str, boost: float) -> list[str]:
    """Return the words of a hot phrase as transcripts spell them."""
    kept = "".join(c if c.isalpha() or c == "'" else " " for c in text.replace("’", "'").upper())
    words = [word for word in kept.split() if word.strip("'")]
    if not words or not kept.isascii():
        raise ConfigError(
            f"the hot phrase {text!r} has {len(words)} words in the letters A to Z; spell it in "
            "them."
        )
    if not BOOSTS[0] < boost <= BOOSTS[1]:
        raise ConfigError(
            f"the hot phrase {text!r} has a boost of {boost}; use more than {BOOSTS[0]} and at "
            f"most {BOOSTS[1]}."
        )
    return words
