"""The n-gram language model and the lexicon.

A language model is a folder, made by `rivulet lm build`:

    graph.bin        n-gram, lexicon tree and spellings, packed; see `language.packing`
    lexicon.txt.xz   `WORD PHONE PHONE …`, a line for each pronunciation, words in order
    letters.bin, letters.txt   how words sound that are not in the lexicon; see `language.g2p`
"""

import lzma
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from sys import intern

from rivulet.errors import LanguageModelError
from rivulet.language.g2p import G2P, GRAPHONES_FILE, MODEL_FILE
from rivulet.language.g2p_rules import PHONES, guess, looked_up_in
from rivulet.language.packed import PackedFile
from rivulet.language.packing import (
    COMPRESSED_FILE,
    KENLM_FILE,
    PACKED_FILE,
    open_packed_model,
    pack_model,
    read_tables,
    with_pieces,
    words_of,
    write_packed,
)
from rivulet.language.tables import NGramTables, TableScorer
from rivulet.replacing import UNFINISHED
from rivulet.tokenizer import Tokenizer

LEXICON_FILE = "lexicon.txt.xz"
FILES = (PACKED_FILE, COMPRESSED_FILE, LEXICON_FILE, MODEL_FILE, GRAPHONES_FILE)

Phones = tuple[str, ...]
Pronunciations = tuple[tuple[int, Phones], ...]


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
    """The words it knows, how they sound, and which follow which; each part is read when asked for.

    read_packed: returns n-gram, tree and spellings.
    read_words: returns the words, in order; a word's id is its place.
    read_pronunciations: returns (id of a word, its phones), in the order of the words; several for
        some.
    g2p: how other words sound; None if that is only guessed by rules.
    """

    read_packed: Callable[[], PackedFile]
    read_words: Callable[[], tuple[str, ...]]
    read_pronunciations: Callable[[], Pronunciations]
    g2p: G2P | None = None

    @classmethod
    def of(
        cls,
        words: tuple[str, ...],
        pronunciations: Pronunciations,
        ngram: Path,
        g2p: G2P | None = None,
    ) -> "LanguageModel":
        """Return a model in memory; `ngram` is an ARPA file or a binary of KenLM's."""
        return cls(
            lambda: pack_model(words, pronunciations, read_tables(ngram, words)),
            lambda: words,
            lambda: pronunciations,
            g2p,
        )

    @classmethod
    def load(cls, folder: Path) -> "LanguageModel":
        """Find the files in `folder`; those of letter-to-sound may be missing.

        Raises:
            LanguageModelError: one is missing or damaged.
        """
        lexicon = folder / LEXICON_FILE
        if not lexicon.is_file():
            raise LanguageModelError(f"{lexicon} does not exist; make it with `rivulet lm build`.")

        packed = open_packed_model(folder, lambda: read_lexicon(lexicon))
        has_g2p = (folder / MODEL_FILE).is_file() or (folder / GRAPHONES_FILE).is_file()
        g2p = G2P.load(folder) if has_g2p else None
        return cls(
            lambda: packed,
            lambda: words_of(packed),
            lambda: _pronunciations_of(lexicon, packed),
            g2p,
        )

    def save(
        self, folder: Path, tokenizer: Tokenizer | None = None, compress: bool = False
    ) -> None:
        """Write the files to `folder`; those of letter-to-sound go if the model has none.

        Args:
            folder: to be made if it is missing.
            tokenizer: whose pieces of every word are stored too; None for none.
            compress: take less room, and time when a user begins with it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as name:
            work = Path(name)
            write_lexicon(work / LEXICON_FILE, self.words, self.pronunciations)
            packed = self.packed if tokenizer is None else with_pieces(self.packed, tokenizer)
            write_packed(packed, work, compress)
            if self.g2p:
                self.g2p.write_graphones(work)
                shutil.copyfile(self.g2p.path, work / MODEL_FILE)
            for file in (*FILES, KENLM_FILE):  # those of an earlier model go
                if (work / file).is_file():
                    (work / file).replace(folder / file)
                else:
                    (folder / file).unlink(missing_ok=True)

    @cached_property
    def packed(self) -> PackedFile:
        """N-gram, tree and spellings."""
        return self.read_packed()

    @cached_property
    def words(self) -> tuple[str, ...]:
        """In order; a word's id is its place."""
        return self.read_words()

    @cached_property
    def pronunciations(self) -> Pronunciations:
        """(id of the word, its phones), in the order of the words; several for some."""
        return self.read_pronunciations()

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
        sound = self.g2p.sound if self.g2p else None
        found = [guess(spelled.lower(), looked_up_in(self._by_word), sound)]
        if self.g2p and count > 1:
            found += self.g2p.sounds(spelled, count)
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
    def scorer(self) -> TableScorer:
        """The n-gram; ids at and above the number of words are no words."""
        return TableScorer(NGramTables.of_sections(self.packed))

    def _score(self, words: list[str]) -> Perplexity:
        ids = [self._ids.get(word, len(self._ids)) for word in words]
        scores = [self.scorer.log10_prob(ids[:n], word) for n, word in enumerate(ids)]
        known = sum(s for s, word in zip(scores, ids, strict=True) if word < len(self._ids))
        end = self.scorer.log10_prob(ids, self.scorer.end)
        return Perplexity(len(words), 1, ids.count(len(self._ids)), known + end)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    @cached_property
    def _by_word(self) -> dict[str, list[Phones]]:
        found: dict[str, list[Phones]] = {}
        for index, phones in self.pronunciations:
            found.setdefault(self.words[index], []).append(phones)
        return found


def _pronunciations_of(lexicon: Path, packed: PackedFile) -> Pronunciations:
    words, pronunciations = read_lexicon(lexicon)
    if words != words_of(packed):
        raise LanguageModelError(
            f"{lexicon} lists {len(words)} words that are not those of the n-gram beside it; make "
            "both with `rivulet lm build`."
        )
    return pronunciations


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
    used = {phone for entry in fields for phone in entry[1:]}
    if not words or not used <= set(PHONES) or min(map(len, fields)) < 2:
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
