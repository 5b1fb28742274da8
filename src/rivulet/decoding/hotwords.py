"""Hot words: phrases that count for more, paid word by word and taken back when they break off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rivulet.errors import ConfigError

BOOSTS = (0.0, 20.0)  # nats; more would put the phrase into every noise


@dataclass(frozen=True)
class Hotword:
    """A phrase that counts for more.

    text: as given.
    spelled: as transcripts spell it.
    ids: of its words.
    boost: what it gains, in nats.
    """

    text: str
    spelled: str
    ids: tuple[int, ...]
    boost: float


@dataclass
class ContextGraph:
    """Which hot phrases are under way after some words (Aho and Corasick 1975).

    A node is the words of a phrase spoken so far. Each word of a phrase is paid its part of the
    boost as it comes, so that the beam keeps it; a phrase that breaks off pays back.
    """

    phrases: tuple[Hotword, ...] = ()
    _paid: dict[tuple[int, ...], float] = field(default_factory=dict)
    _boosts: dict[tuple[int, ...], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Work out what is paid at each node."""
        for phrase in self.phrases:
            self._boosts[phrase.ids] = phrase.boost
            for count in range(1, len(phrase.ids)):
                part = phrase.boost * count / len(phrase.ids)
                node = phrase.ids[:count]
                self._paid[node] = max(part, self._paid.get(node, 0.0))

    def step(self, node: tuple[int, ...], word: int) -> tuple[tuple[int, ...], float]:
        """Return the node after `word` and what it gains, in nats; a loss is negative."""
        pending = self._paid.get(node, 0.0)
        spoken = (*node, word)
        bonus = max((self._boosts.get(spoken[i:], 0.0) for i in range(len(spoken))), default=0.0)
        while spoken and spoken not in self._paid:
            spoken = spoken[1:]
        return spoken, bonus + self._paid.get(spoken, 0.0) - pending

    def penalty(self, node: tuple[int, ...]) -> float:
        """Return what has to be paid back if nothing more is spoken, in nats."""
        return self._paid.get(node, 0.0)


@dataclass(frozen=True)
class HotwordSet:
    """Hot phrases and what the lexicon needs for them.

    phrases: with the ids of their words.
    new_words: those that the lexicon lacks; their ids follow its own.
    sounds: (id of a word, its phones) to be in the tree besides.
    boosts: what the first word of a phrase gains where the tree looks ahead, in nats, by id.
    """

    phrases: tuple[Hotword, ...] = ()
    new_words: tuple[str, ...] = ()
    sounds: tuple[tuple[int, tuple[str, ...]], ...] = ()
    boosts: Mapping[int, float] = field(default_factory=dict)


def spell(text: str, boost: float) -> list[str]:
    """Return the words of a hot phrase as transcripts spell them.

    Raises:
        ConfigError: it has no letters, or its boost is out of range.
    """
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


def number(
    boosts: Mapping[str, float], words: Sequence[str]
) -> tuple[tuple[Hotword, ...], tuple[str, ...]]:
    """Return the phrases in ids of `words`, and the words that are none of these.

    Raises:
        ConfigError: a phrase has no letters, or its boost is out of range.
    """
    known = {word: index for index, word in enumerate(words)}
    phrases, new_words = [], []
    for text, boost in boosts.items():
        spelled = spell(text, boost)
        for word in spelled:
            if word not in known:
                known[word] = len(known)
                new_words.append(word)
        ids = tuple(known[word] for word in spelled)
        phrases.append(Hotword(text, " ".join(spelled), ids, boost))
    return tuple(phrases), tuple(new_words)
