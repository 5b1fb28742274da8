"""A language's written form, from files: words, cases, numbers, style, the tagger."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rivulet.errors import CheckpointError
from rivulet.text.labels import Case
from rivulet.text.numbers import NumberRules
from rivulet.text.tagger import Tagger
from rivulet.text.words import Vocabulary

DEFAULT_LANGUAGE = "english"
WORDS_FILE = "words.txt"  # the words with a row of their own in the tagger, one a line
WRITTEN_FILE = "written.txt"  # words that are usually not in lower case, one a line
NUMBERS_FILE = "numbers.txt"
STYLE_FILE = "style.json"


@dataclass(frozen=True)
class Style:
    """Fixed habits.

    written: words that are always written one way. fillers: that `--clean` leaves out. repeated:
    words of which a second in a row is a stutter.
    """

    written: Mapping[str, str]
    fillers: frozenset[str]
    repeated: frozenset[str]


@dataclass(frozen=True)
class WrittenLanguage:
    """How a language is written."""

    vocabulary: Vocabulary
    tagger: Tagger
    numbers: NumberRules
    style: Style

    @classmethod
    def load(cls, language: str | Path = DEFAULT_LANGUAGE) -> "WrittenLanguage":
        """Read a language by name or from a folder.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        folder = find(language)
        try:
            style = json.loads((folder / STYLE_FILE).read_text(encoding="utf-8"))
            written = (folder / WRITTEN_FILE).read_text(encoding="utf-8").split()
            return cls(
                Vocabulary(
                    (folder / WORDS_FILE).read_text(encoding="utf-8").split(),
                    {word.lower(): word for word in written},
                ),
                Tagger.load(folder),
                NumberRules.parse(
                    (folder / NUMBERS_FILE).read_text(encoding="utf-8"), style["language"]
                ),
                Style(style["written"], frozenset(style["fillers"]), frozenset(style["repeated"])),
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the written language in {folder} cannot be read ({error}); name a folder with "
                f"{WORDS_FILE}, {WRITTEN_FILE}, {NUMBERS_FILE}, {STYLE_FILE} and a tagger."
            ) from error

    def write(self, word: str, case: Case) -> str:
        """Return a word, given in lower case, as it is written in a case."""
        if word in self.style.written:
            return self.style.written[word]
        stem, mark, rest = word.partition("'")
        if case is Case.LOWER:
            return word
        if case is Case.UPPER:
            return stem.upper() + mark + rest
        usual = self.usual(word)
        if case is Case.MIXED and usual != word:
            return usual
        return usual if usual.lower() != usual and not usual.isupper() else capitalized(word)

    def usual(self, word: str) -> str:
        """Return a word, given in lower case, as it is usually written."""
        if word in self.style.written:
            return self.style.written[word]
        owner = word.removesuffix("'s")
        written = self.vocabulary.written
        return written.get(word) or written.get(owner, owner) + word[len(owner) :]


def find(language: str | Path) -> Path:
    """Return the folder of a language given by name or by path; `./english` is a path."""
    path = Path(language)
    is_name = isinstance(language, str) and language == path.name
    shipped = Path(str(resources.files("rivulet.text"))) / path.name
    return shipped if is_name and (shipped / STYLE_FILE).is_file() else path


def capitalized(text: str) -> str:
    """Return a text with a capital at its beginning."""
    return text[:1].upper() + text[1:]
