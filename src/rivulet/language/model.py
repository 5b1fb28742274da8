"""The n-gram language model and the lexicon.

A language model is four files, made by `rivulet lm build`:

    lm.bin           the n-gram over words, a KenLM binary (quantized trie)
    lexicon.txt.xz   `WORD PHONE PHONE …`, a line for each pronunciation, words in order
    letters.bin, letters.txt   how words sound that are not in the lexicon; see `language.g2p`
"""

import lzma
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from sys import intern
from typing import Any

from rivulet.errors import LanguageModelError
from rivulet.language.g2p import MODEL_FILE, UNITS_FILE, LetterToSound
from rivulet.language.g2p_rules import PHONES, guess, looked_up_in
from rivulet.language.ngram import read_ngram

LM_FILE = "lm.bin"
LEXICON_FILE = "lexicon.txt.xz"
FILES = (LM_FILE, LEXICON_FILE, MODEL_FILE, UNITS_FILE)

Phones = tuple[str, ...]


@dataclass(frozen=True)
class Perplexity:
    """How well a text is predicted; unknown words are counted and left out of the perplexity.

    words: words of the text, unknown ones included.
    sentences: lines; the end of each is predicted too.
    unknown: words that the model does not know.
    log10_prob: sum over the known words and the ends.
    """

    words: int = 0
    sentences: int = 0
    unknown: int = 0
    log10_prob: float = 0.0

    def __add__(self, other: "Perplexity") -> "Perplexity":
        """Return both texts as one."""
        return Perplexity(
            self.words + other.words,
            self.sentences + other.sentences,
            self.unknown + other.unknown,
            self.log10_prob + other.log10_prob,
        )

    @property
    def value(self) -> float:
        """Return the perplexity; infinite for a text without words."""
        predicted = self.words - self.unknown + self.sentences
        return float(10.0 ** (-self.log10_prob / predicted)) if predicted else float("inf")

    @property
    def unknown_rate(self) -> float:
        """Return the share of unknown words, 0 to 1."""
        return self.unknown / max(1, self.words)


@dataclass(frozen=True)
class LanguageModel:
    """The words it knows, how they sound, and the file that says which follow which.

    words: in order; a word's id is its place.
    pronunciations: (id of the word, its phones), in the order of the words; several for some.
    path: the KenLM binary over these words.
    letters: how other words sound; None if that is only guessed by rules.
    """

    words: tuple[str, ...]
    pronunciations: tuple[tuple[int, Phones], ...]
    path: Path
    letters: LetterToSound | None = None

    @classmethod
    def load(cls, folder: Path) -> "LanguageModel":
        """Read the files in `folder`; those of letter-to-sound may be missing.

        Raises:
            LanguageModelError: one is missing or damaged.
        """
        if not (folder / LM_FILE).is_file():
            raise LanguageModelError(f"{folder} lacks {LM_FILE}; make it with `rivulet lm build`.")
        words, pronunciations = read_lexicon(folder / LEXICON_FILE)
        has_letters = (folder / MODEL_FILE).is_file() or (folder / UNITS_FILE).is_file()
        letters = LetterToSound.load(folder) if has_letters else None
        return cls(words, pronunciations, folder / LM_FILE, letters)

    def save(self, folder: Path) -> None:
        """Write the files to `folder`; those of letter-to-sound go if the model has none."""
        folder.mkdir(parents=True, exist_ok=True)
        write_lexicon(folder / LEXICON_FILE, self.words, self.pronunciations)
        copies = {LM_FILE: self.path}
        if self.letters:
            copies |= {MODEL_FILE: self.letters.path}
            self.letters.write_units(folder)
        else:  # of an earlier model in this folder
            (folder / MODEL_FILE).unlink(missing_ok=True)
            (folder / UNITS_FILE).unlink(missing_ok=True)
        for name, path in copies.items():
            if path.absolute() != (folder / name).absolute():
                shutil.copyfile(path, folder / name)

    def pronounce(self, word: str, count: int = 1) -> list[Phones]:
        """Return how `word` may sound: all pronunciations of a known word, else a guess.

        Args:
            word: any spelling; signs other than letters and the apostrophe are silent.
            count: how many guesses to return at most, the likeliest first.
        """
        spelled = word.upper().replace("’", "'")
        known = self._by_word.get(spelled)
        if known:
            return known
        sound = self.letters.sound if self.letters else None
        found = [guess(spelled.lower(), looked_up_in(self._by_word), sound)]
        if self.letters and count > 1:
            found += self.letters.sounds(spelled, count)
        return [tuple(phones.split()) for phones in dict.fromkeys(found)][:count]

    def perplexity(self, lines: Iterable[str]) -> Perplexity:
        """Measure how well normalized lines are predicted; empty ones are left out."""
        total = Perplexity()
        for line in lines:
            words = line.split()
            if words:
                total += self._score(words)
        return total

    @cached_property
    def ngram(self) -> Any:
        """KenLM's model; ids at and above the number of words are no words."""
        return read_ngram(self.path, self.words)

    def _score(self, words: list[str]) -> Perplexity:
        model, ids = self.ngram, self._ids
        state = model.start(False)
        log10_prob, unknown = 0.0, 0
        for word in words:
            index = ids.get(word, len(ids))  # the dictionary's last entry is no word at all
            state, score = model.score(state, index)
            unknown += index == len(ids)
            log10_prob += score if index < len(ids) else 0.0
        return Perplexity(len(words), 1, unknown, log10_prob + model.finish(state)[1])

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    @cached_property
    def _by_word(self) -> dict[str, list[Phones]]:
        found: dict[str, list[Phones]] = {}
        for index, phones in self.pronunciations:
            found.setdefault(self.words[index], []).append(phones)
        return found


def read_lexicon(path: Path) -> tuple[tuple[str, ...], tuple[tuple[int, Phones], ...]]:
    """Read `WORD PHONE PHONE …` lines, words in order.

    Raises:
        LanguageModelError: the file is missing or damaged.
    """
    if not path.is_file():
        raise LanguageModelError(f"{path} does not exist; make it with `rivulet lm build`.")
    try:
        lines = lzma.decompress(path.read_bytes()).decode("ascii").splitlines()
        # a phone is one string however many words have it: 40 MB less for 90,000 words
        fields = [tuple(map(intern, line.split(" "))) for line in lines]
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise LanguageModelError(
            f"{path} is damaged ({error}); make it with `rivulet lm build`."
        ) from error
    words = tuple(dict.fromkeys(entry[0] for entry in fields))
    heard = {phone for entry in fields for phone in entry[1:]}
    if not words or not heard <= set(PHONES) or min(map(len, fields)) < 2:
        raise LanguageModelError(
            f"{path} holds {len(words)} words and phones other than the {len(PHONES)} known ones "
            "or none at all; make it with `rivulet lm build`."
        )
    ids = {word: index for index, word in enumerate(words)}
    return words, tuple((ids[entry[0]], entry[1:]) for entry in fields)


def write_lexicon(
    path: Path, words: tuple[str, ...], pronunciations: Iterable[tuple[int, Phones]]
) -> None:
    """Write `WORD PHONE PHONE …` lines, xz."""
    lines = "".join(f"{words[index]} {' '.join(phones)}\n" for index, phones in pronunciations)
    path.write_bytes(lzma.compress(lines.encode("ascii"), preset=6 | lzma.PRESET_EXTREME))
