"""ARPA files read line by line into arrays: millions of n-grams in little memory."""

import lzma
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rivulet.errors import LanguageModelError
from rivulet.language.files import open_packed
from rivulet.language.tables import MARKS, Floats, NGramTables

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
UNKNOWN_LOG10 = -100.0  # of a word that a model without <unk> lacks, as KenLM has it

Grams = tuple[npt.NDArray[np.uint32], Floats, Floats]


def read_arpa(path: Path, words: tuple[str, ...]) -> NGramTables:
    """Read an ARPA file, plain, .gz or .xz, over `words`; n-grams of other words are left out.

    A word that the file lacks scores as an unknown one.

    Raises:
        LanguageModelError: it is missing, not ARPA, cut short, or an n-gram lacks its context.
    """
    ids = {word: index for index, word in enumerate(words)}
    ids |= {UNKNOWN: len(words), BEGIN: len(words) + 1, END: len(words) + 2}
    try:
        with open_packed(path) as file:
            sections = _read(iter(file), ids)
    except (EOFError, OSError, ValueError, IndexError, lzma.LZMAError) as error:
        raise LanguageModelError(
            f"{path} is no whole ARPA file ({error}); make or get it again."
        ) from error
    return NGramTables.of_grams(len(words), [_all_words(len(words), *sections[0]), *sections[1:]])


def _read(lines: Iterator[str], ids: dict[str, int]) -> list[Grams]:
    counts: list[int] = []
    sections: list[Grams] = []
    for line in lines:
        if line.startswith("ngram "):
            counts.append(int(line.split("=")[1]))
        elif line.startswith("\\") and line.rstrip().endswith("-grams:"):
            n = len(sections) + 1
            if line.strip() != f"\\{n}-grams:" or n > len(counts):
                raise ValueError(f"{line.strip()} where the {n}-grams should begin")
            sections.append(_section(lines, n, counts[n - 1], ids))
    if not counts or len(sections) != len(counts):
        raise ValueError(f"it counts n-grams of {len(counts)} lengths and lists {len(sections)}")
    return sections


def _section(lines: Iterator[str], n: int, count: int, ids: dict[str, int]) -> Grams:
    grams, probs, backoffs = array("I"), array("f"), array("f")
    seen = 0
    for line in lines:
        fields = line.split()
        if not fields:
            if seen == count:
                break
            continue
        seen += 1
        if len(fields) not in (n + 1, n + 2):
            raise ValueError(f"{line.strip()!r} among the {n}-grams")
        found = [ids.get(word) for word in fields[1 : n + 1]]
        if None not in found:
            grams.extend(found)  # type: ignore[arg-type]
            probs.append(float(fields[0]))
            backoffs.append(float(fields[n + 1]) if len(fields) == n + 2 else 0.0)
        if seen == count:
            break
    if seen != count:
        raise ValueError(f"{seen} of {count} {n}-grams")
    rows = np.frombuffer(grams, np.uint32).reshape(-1, n)
    scores = np.frombuffer(probs, np.float32), np.frombuffer(backoffs, np.float32)
    if not all(np.isfinite(score).all() for score in scores):
        raise ValueError(f"{n}-grams with scores that are no numbers")
    return rows, *scores


def _all_words(count: int, ids: npt.NDArray[np.uint32], probs: Floats, backoffs: Floats) -> Grams:
    """Return an entry for each word and mark, in order; those that are not listed are unknown."""
    listed = ids[:, 0] == count
    unknown = probs[listed][0] if listed.any() else UNKNOWN_LOG10
    all_probs = np.full(count + MARKS, unknown, np.float32)
    all_backoffs = np.zeros(count + MARKS, np.float32)
    all_probs[ids[:, 0]], all_backoffs[ids[:, 0]] = probs, backoffs
    return np.arange(count + MARKS, dtype=np.uint32)[:, None], all_probs, all_backoffs
