"""Sentences out of plain text, in the writing of the recognizer: A-Z, apostrophe, blanks."""

import sys
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

from rivulet.errors import LanguageModelError
from rivulet.language.build.arpa import open_text
from rivulet.language.files import DAMAGED
from rivulet.text.normalize import normalize

STDIN = Path("-")
LONGEST_WORD = 64  # letters; more is no word, and letter-to-sound takes its square in time


def read_sentences(
    paths: Iterable[Path], known: Container[str] = (), dropped: Counter[str] | None = None
) -> Iterator[str]:
    """Yield the lines of texts (plain, .gz, .xz, or - for standard input) that hold a word.

    Args:
        paths: the texts.
        known: words of a dictionary; a quotation mark is taken off a word that is known without.
        dropped: counts what is longer than any word and left out, by its first letters.

    Raises:
        LanguageModelError: a text does not exist, is damaged, or is no text.
    """
    for path in paths:
        for line in _lines(path):
            words = [_bare(word, known) for word in normalize(line).split()]
            long = [word for word in words if len(word) > LONGEST_WORD]
            if long:
                words = [word for word in words if len(word) <= LONGEST_WORD]
                if dropped is not None:
                    dropped.update(word[:LONGEST_WORD] for word in long)
            if any(words):
                yield " ".join(word for word in words if word)


def _lines(path: Path) -> Iterator[str]:
    try:
        with nullcontext(sys.stdin) if path == STDIN else open_text(path) as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise LanguageModelError(
                        f"{path} is no text: its line {number} holds a byte of 0; give plain "
                        "text, UTF-8, or UTF-16 with its mark."
                    )
                yield line
    except (*DAMAGED, UnicodeDecodeError) as error:
        raise LanguageModelError(f"{path} is damaged ({error}); get it again.") from error


def _bare(word: str, known: Container[str]) -> str:
    bare = word.strip("'")
    return bare if not bare or (word not in known and bare in known) else word


def write_sentences(sentences: Iterable[str], path: Path) -> Counter[str]:
    """Write one sentence a line and count the words.

    Raises:
        LanguageModelError: there is no word.
    """
    counts: Counter[str] = Counter()
    with path.open("w", encoding="ascii") as file:
        for sentence in sentences:
            counts.update(sentence.split())
            file.write(f"{sentence}\n")
    if not counts:
        raise LanguageModelError("the texts hold 0 words; give English text, a sentence a line.")
    return counts


def choose_vocabulary(wanted: str | None, counts: Mapping[str, float]) -> list[str]:
    """Return the words to keep, in order: the N most frequent, those of a file, or all.

    counts: how often a word is in the texts, or its probability.

    Raises:
        LanguageModelError: the file does not exist, or none of its words is counted.
    """
    if wanted is None:
        return sorted(counts)
    if wanted.isdigit():
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        chosen = ranked[: int(wanted)]
    else:
        if not Path(wanted).is_file():
            raise LanguageModelError(
                f"the vocabulary {wanted} does not exist; give a file of words or a number."
            )
        listed = {word for line in read_sentences([Path(wanted)]) for word in line.split()}
        chosen = [word for word in listed if word in counts]
    if not chosen:
        raise LanguageModelError(
            f"the vocabulary {wanted} leaves none of the {len(counts)} words there are; "
            "give a larger one."
        )
    return sorted(chosen)
