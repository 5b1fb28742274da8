"""What the beam walks through: the lexicon as a tree, the n-gram over its words, hot words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rivulet.decoding.hotwords import HotwordSet, number
from rivulet.errors import ConfigError, LanguageModelError
from rivulet.language.model import LanguageModel
from rivulet.language.packed import PackedFile
from rivulet.language.packing import phones_of, with_pieces
from rivulet.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rivulet.decoding import _beam

PRONUNCIATIONS = 3  # guesses for a hot word that the lexicon lacks


@dataclass(frozen=True)
class DecodingGraph:
    """Shared by all streams and never changed.

    phones: what the acoustic model writes.
    hot: phrases that gain.
    """

    language_model: LanguageModel
    phones: Tokenizer
    hot: HotwordSet = field(default_factory=HotwordSet)
    _opened: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def build(cls, language_model: LanguageModel, phones: Tokenizer) -> "DecodingGraph":
        """Check that the lexicon's phones are the acoustic model's.

        Raises:
            ConfigError: the lexicon uses a phone that the acoustic model does not write.
        """
        for phone in phones_of(language_model.packed):
            if phone not in phones.tokens[1:]:
                raise ConfigError(
                    f"the lexicon uses the phone {phone} and the model writes {len(phones) - 1} "
                    "others; give a language model made for it."
                )
        return cls(language_model, phones)

    def with_hot_words(self, boosts: Mapping[str, float]) -> "DecodingGraph":
        """Return a graph in which the phrases, spelled in any way, gain so many nats.

        Raises:
            ConfigError: a phrase has no letters, or its boost is out of range.
        """
        model = self.language_model
        phrases, new_words = number(boosts, model.words)
        first = {phrase.ids[0]: phrase.boost / len(phrase.ids) for phrase in phrases}
        named = dict(enumerate(new_words, len(model.words)))
        named |= {word: model.words[word] for word in first if word < len(model.words)}
        sounds = tuple(
            (word, sound)
            for word, text in named.items()
            for sound in model.pronounce(text, PRONUNCIATIONS)
        )
        for phone in sorted({phone for _, sound in sounds for phone in sound}):
            if phone not in self.phones.tokens:
                raise ConfigError(
                    f"the hot words are spoken with the phone {phone} and the model writes "
                    f"{len(self.phones) - 1} others; spell them otherwise."
                )
        return replace(self, hot=HotwordSet(phrases, new_words, sounds, first), _opened={})

    @cached_property
    def words(self) -> tuple[str, ...]:
        """By id; those that only hot words brought come last."""
        return self.language_model.words + self.hot.new_words

    @cached_property
    def phone_numbers(self) -> dict[str, int]:
        """Phones as the tree counts them, from 1; those that only hot words have come last."""
        own = phones_of(self.language_model.packed)
        more = {phone for _, sound in self.hot.sounds for phone in sound} - set(own)
        return {phone: index for index, phone in enumerate([*own, *sorted(more)], 1)}

    @property
    def columns(self) -> int:
        """Number of emissions a frame.

        CTC repeats a phone that lasts; flashlight allows that inside a word but not for its last
        phone, which ends the word at once. So every word is in the tree twice, the second time with
        a phone that means "the last one goes on", which is possible where that phone was likelier
        than the blank. Columns: blank, phones, the same phones going on, and one that flashlight
        wants between words and that never happens.
        """
        return 2 * len(self.phones)

    def native(self, pieces: Tokenizer | None) -> "_beam.Graph":
        """Return the graph that the search in C++ reads, with the words' `pieces`, opened once.

        Raises:
            LanguageModelError: the packed file is damaged.
        """
        graph: _beam.Graph = self.remember(
            pieces and pieces.tokens, lambda: self._with_hot_words(self._open(pieces), pieces)
        )
        return graph

    def remember(self, key: object, make: Callable[[], Any]) -> Any:
        """Return what `make` returned when the graph was first asked for `key`."""
        if key not in self._opened:
            self._opened[key] = make()
        return self._opened[key]

    def _open(self, pieces: Tokenizer | None) -> "_beam.Graph":
        from rivulet.decoding import _beam

        packed: PackedFile = self.language_model.packed
        if pieces is not None:
            packed = with_pieces(packed, pieces)
        try:
            return _beam.Graph(packed.buffer)
        except _beam.FileError as error:
            raise LanguageModelError(
                f"the packed language model is damaged: {error}; make or get it again."
            ) from error

    def _with_hot_words(self, graph: "_beam.Graph", pieces: Tokenizer | None) -> "_beam.Graph":
        hot = self.hot
        if not hot.phrases:
            return graph
        ids = self.phone_numbers
        return graph.with_hot_words(
            [(word, (pieces and pieces.pieces(word)) or ()) for word in hot.new_words],
            [(phrase.ids, phrase.boost) for phrase in hot.phrases],
            [(word, [ids[phone] for phone in sound]) for word, sound in hot.sounds],
            dict(hot.boosts),
        )
