"""A pronunciation for every word: from dictionaries, else by rule, else by its letters."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rivulet.errors import LanguageModelError
from rivulet.language.files import DAMAGED, read_pronunciations
from rivulet.language.g2p import G2P
from rivulet.language.g2p_rules import PHONES, derive, guess, looked_up_in

Phones = tuple[str, ...]
Pronunciations = Mapping[str, Sequence[Phones]]

POCKETSPHINX = "pocketsphinx"  # names the dictionary that comes with the package
BY_RULE = "known word with a regular ending"
BY_LETTERS = "letter-to-sound"


@dataclass(frozen=True)
class Lexicon:
    """(id of the word, its phones) in the order of the words, and how many words came whence."""

    pronunciations: tuple[tuple[int, Phones], ...]
    sources: dict[str, int]


def read_dictionary(name: str) -> dict[str, list[Phones]]:
    """Read all pronunciations of a dictionary in CMU phones, without stress.

    Args:
        name: a file, or `pocketsphinx` for the dictionary of that package.

    Raises:
        LanguageModelError: it does not exist or holds no pronunciation in CMU phones.
    """
    path = _pocketsphinx() if name == POCKETSPHINX else Path(name)
    if not path.is_file():
        raise LanguageModelError(
            f"the pronouncing dictionary {path} does not exist; name one with --dictionary."
        )
    words: dict[str, list[Phones]] = {}
    try:
        for word, phones in read_pronunciations(path):
            if set(phones) <= set(PHONES) and phones not in words.setdefault(word, []):
                words[word].append(phones)
    except DAMAGED as error:
        raise LanguageModelError(f"{path} is damaged ({error}); get it again.") from error
    if not words:
        raise LanguageModelError(
            f"{path} holds 0 pronunciations in CMU phones; give lines such as CAT K AE T."
        )
    return words


def _pocketsphinx() -> Path:
    try:
        import pocketsphinx
    except ImportError as error:
        raise LanguageModelError(
            "PocketSphinx and its dictionary are not installed; "
            "install them with `pip install rivulet[bench]`."
        ) from error
    return Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"


def merge(dictionaries: Iterable[Pronunciations]) -> dict[str, Sequence[Phones]]:
    """Return all dictionaries as one; of a word in several the first dictionary's are kept."""
    merged: dict[str, Sequence[Phones]] = {}
    for dictionary in dictionaries:
        merged = {**dictionary, **merged}
    return merged


def build(
    words: Sequence[str], dictionaries: Mapping[str, Pronunciations], g2p: G2P | None
) -> Lexicon:
    """Pronounce every word; the dictionaries, by name, are asked in their order."""
    merged = merge(dictionaries.values())
    found: list[tuple[int, Phones]] = []
    sources: Counter[str] = Counter({name: 0 for name in (*dictionaries, BY_RULE, BY_LETTERS)})
    for index, word in enumerate(words):
        known = merged.get(word)
        if known:
            source = next(name for name, d in dictionaries.items() if word in d)
        else:
            source, known = _made_up(word, merged, g2p)
        sources[source] += 1
        found += [(index, phones) for phones in known]
    return Lexicon(tuple(found), dict(sources))


def _made_up(word: str, known: Pronunciations, g2p: G2P | None) -> tuple[str, list[Phones]]:
    lookup = looked_up_in(known)
    derived = derive(word.lower(), lookup)
    phones = derived or guess(word.lower(), lookup, g2p.sound if g2p else None)
    return (BY_RULE if derived else BY_LETTERS), [tuple(phones.split())]
