"""How alike words sound: an edit distance over phones, of many words at once.

A recognizer writes a name it does not know as words it knows, often as two: KOWALCZYK becomes COAL
CHICK. `SoundTable.alike` finds the words, and the pairs of words, that sound like a pronunciation.
"""

import lzma
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rivulet.language.g2p import G2P, GRAPHONES_FILE, MODEL_FILE
from rivulet.language.g2p_rules import PHONES, derive, spell
from rivulet.language.model import LEXICON_FILE

Costs = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

CODES = {phone: np.uint8(code) for code, phone in enumerate(PHONES, 1)}  # 0 is no phone
TOLERANCE = 0.28  # cost per phone up to which words sound alike; docs/archive.md says what it finds
LOOKED_FOR = 50  # words, before a table is made of the lexicon
GUESSES = 3  # pronunciations of a word that no dictionary has
MOST_ALIKE = 150  # words returned for one pronunciation
MOST_PAIRS = 400
MOST_HALVES = 150  # words considered for either half of a pair

# Where a vowel is spoken: (back, open), both 0 to 1; a diphthong is half-way between its ends.
VOWELS = {
    "IY": (0.0, 0.0), "IH": (0.15, 0.2), "EY": (0.05, 0.25), "EH": (0.15, 0.55), "AE": (0.2, 0.85),
    "AA": (0.75, 1.0), "AO": (0.9, 0.7), "AH": (0.55, 0.6), "ER": (0.5, 0.45), "UH": (0.85, 0.2),
    "UW": (0.95, 0.0), "OW": (0.95, 0.4), "AY": (0.4, 0.65), "AW": (0.8, 0.65), "OY": (0.6, 0.4),
}  # fmt: skip
# How a consonant is spoken: (place from the lips to the throat, manner, voiced).
CONSONANTS = {
    "P": (0, "stop", 0), "B": (0, "stop", 1), "T": (2, "stop", 0), "D": (2, "stop", 1),
    "K": (4, "stop", 0), "G": (4, "stop", 1), "F": (0, "fricative", 0), "V": (0, "fricative", 1),
    "TH": (1, "fricative", 0), "DH": (1, "fricative", 1), "S": (2, "fricative", 0),
    "Z": (2, "fricative", 1), "SH": (3, "fricative", 0), "ZH": (3, "fricative", 1),
    "HH": (5, "fricative", 0), "CH": (3, "affricate", 0), "JH": (3, "affricate", 1),
    "M": (0, "nasal", 1), "N": (2, "nasal", 1), "NG": (4, "nasal", 1), "L": (2, "liquid", 1),
    "R": (3, "liquid", 1), "W": (0, "glide", 1), "Y": (3, "glide", 1),
}  # fmt: skip
NEAR_MANNERS = ({"stop", "affricate"}, {"fricative", "affricate"}, {"liquid", "glide"})
RELATED = {  # a consonant and the vowel that it shades into
    ("W", "UW"): 0.4, ("W", "OW"): 0.5, ("Y", "IY"): 0.4, ("Y", "IH"): 0.5, ("R", "ER"): 0.3,
}  # fmt: skip
UNRELATED = 1.2  # a vowel for a consonant
DROPPED = {"AH": 0.4, "IH": 0.5, "ER": 0.6, "HH": 0.5, "Y": 0.5, "W": 0.6, "R": 0.6}
DROPPED_VOWEL, DROPPED_CONSONANT = 0.7, 0.9


def _substitution(a: str, b: str) -> float:
    """Return what it costs to take one phone for the other, 0 to 1.2."""
    if a == b:
        return 0.0
    if a in VOWELS and b in VOWELS:
        (back, open_), (other_back, other_open) = VOWELS[a], VOWELS[b]
        return min(0.8, 0.2 + 0.6 * float(np.hypot(back - other_back, open_ - other_open)))
    if a in VOWELS or b in VOWELS:
        return RELATED.get((a, b), RELATED.get((b, a), UNRELATED))
    (place, manner, voiced), (other_place, other_manner, other_voiced) = (
        CONSONANTS[a],
        CONSONANTS[b],
    )
    cost = 0.25 * (voiced != other_voiced) + min(0.45, 0.2 * abs(place - other_place))
    if manner != other_manner:
        cost += 0.3 if any({manner, other_manner} <= near for near in NEAR_MANNERS) else 0.55
    return min(1.0, cost)


def _dropped(phone: str) -> float:
    """Return what it costs to miss a phone, or to hear one too many."""
    return DROPPED.get(phone, DROPPED_VOWEL if phone in VOWELS else DROPPED_CONSONANT)


SUBSTITUTION = np.zeros((len(PHONES) + 1, len(PHONES) + 1), np.float32)
SUBSTITUTION[1:, 1:] = [[_substitution(a, b) for b in PHONES] for a in PHONES]
DROP = np.array([0.0, *map(_dropped, PHONES)], np.float32)


def coded(phones: str) -> bytes:
    """Return phones separated by blanks as one byte each."""
    return bytes(CODES[phone] for phone in phones.split())


@dataclass(frozen=True)
class Alike:
    """Words that sound like what was asked for.

    words: one word, or two that follow each other.
    cost: what their phones differ by, 0 for the same.
    """

    words: tuple[str, ...]
    cost: float


class SoundTable:
    """Words and how they sound; a word that sounds in several ways is there several times."""

    def __init__(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Take (word, `coded` phones), none of them empty."""
        listed = list(entries)
        lengths = np.array([len(phones) for _, phones in listed], int)
        order = np.argsort(-lengths, kind="stable").tolist()  # the long ones first
        self.words = [listed[place][0] for place in order]
        self._lengths = lengths[order]
        longest = int(lengths.max(initial=0))
        padded = b"".join(listed[place][1].ljust(longest, b"\0") for place in order)
        self._codes = np.frombuffer(padded, np.uint8).reshape(len(listed), longest)

    def alike(self, phones: bytes, pairs: bool = True) -> list[Alike]:
        """Return the words, and pairs of words if wanted, that sound like `phones`, best first."""
        asked = np.frombuffer(phones, np.uint8)
        bound = TOLERANCE * len(asked)
        heads = self._costs(self._columns, asked)
        found = self._singles(heads[-1], bound)
        if pairs and len(asked) > 1:
            tails = self._costs(self._reversed, asked[::-1])[::-1]
            found += self._pairs(heads, tails, bound)
        return sorted(found, key=lambda alike: (alike.cost, alike.words))

    def _singles(self, costs: Costs, bound: float) -> list[Alike]:
        best: dict[str, float] = {}
        for index in _cheapest(costs, bound, MOST_ALIKE).tolist():
            best.setdefault(self.words[index], float(costs[index]))
        return [Alike((word,), cost) for word, cost in best.items()]

    def _pairs(self, heads: Costs, tails: Costs, bound: float) -> list[Alike]:
        """Return pairs: one word sounds like the first j phones, the other like the rest."""
        firsts, seconds, costs = [], [], []
        for j in range(1, len(heads) - 1):
            first = _cheapest(heads[j], bound, MOST_HALVES)
            second = _cheapest(tails[j], bound, MOST_HALVES)
            sums = heads[j, first][:, None] + tails[j, second]
            rows, columns = np.nonzero(sums <= bound)
            firsts.append(first[rows])
            seconds.append(second[columns])
            costs.append(sums[rows, columns])
        if not costs:
            return []
        first, second, cost = map(np.concatenate, (firsts, seconds, costs))
        best: dict[tuple[str, str], float] = {}
        for place in _cheapest(cost, bound, 2 * MOST_PAIRS).tolist():
            pair = self.words[first[place]], self.words[second[place]]
            best.setdefault(pair, float(cost[place]))
        return [Alike(pair, best[pair]) for pair in list(best)[:MOST_PAIRS]]

    def _costs(self, columns: Codes, asked: Codes) -> Costs:
        """Return (len(asked) + 1, words): what each word costs against the first j phones asked.

        Args:
            columns: (longest, words), the n-th phones of all words in a row.
            asked: phones.
        """
        missed = np.concatenate([[0.0], np.cumsum(DROP[asked])]).astype(np.float32)
        costs = np.repeat(missed[:, None], columns.shape[1], axis=1)
        for place, phone in enumerate(columns):
            count = int(np.searchsorted(-self._lengths, -place, side="left"))  # longer than `place`
            phone = phone[:count]
            extra = DROP[phone]
            diagonal = costs[0, :count].copy()
            costs[0, :count] += extra
            for j, code in enumerate(asked):
                row = costs[j + 1, :count]
                diagonal += SUBSTITUTION[code][phone]
                best = np.minimum(diagonal, row + extra)
                diagonal = row.copy()
                np.minimum(best, costs[j, :count] + DROP[code], out=row)
        return costs

    @cached_property
    def _columns(self) -> Codes:
        return np.ascontiguousarray(self._codes.T)

    @cached_property
    def _reversed(self) -> Codes:
        """The columns of the words from their ends."""
        places = self._lengths[:, None] - 1 - np.arange(self._codes.shape[1])
        turned = np.take_along_axis(self._codes, np.maximum(places, 0), axis=1)
        return np.ascontiguousarray(np.where(places >= 0, turned, 0).astype(np.uint8).T)


def _cheapest(costs: Costs, bound: float, most: int) -> npt.NDArray[np.intp]:
    """Return where the cheapest are, in their order."""
    near = np.flatnonzero(costs <= bound)
    if len(near) > most:
        near = near[np.argpartition(costs[near], most)[:most]]
        near.sort()  # of equal costs the first comes first
    return near[np.argsort(costs[near], kind="stable")]


class Pronouncer:
    """How words sound by a language model's folder: lexicon, regular endings, letters.

    Without a folder, or without the files in it, the usual sound of each letter is taken.
    """

    def __init__(self, folder: Path | None) -> None:
        """Use the files in `folder`."""
        self._folder = folder

    def pronounce(self, word: str) -> list[bytes]:
        """Return the `coded` pronunciations of `word`, in any spelling; at least one."""
        spelled = word.upper().replace("’", "'")
        known = self._lexicon.get(spelled)
        if known:
            return list(map(coded, known))
        derived = derive(spelled.lower(), self._first)
        guesses = self._letters.sounds(spelled, GUESSES) if self._letters else [spell(word.lower())]
        found = [derived, *guesses] if derived else guesses
        return list(dict.fromkeys(map(coded, found)))

    def _first(self, word: str) -> str | None:
        known = self._lexicon.get(word.upper())
        return known[0] if known else None

    @cached_property
    def _lexicon(self) -> "_Lexicon":
        path = self._folder / LEXICON_FILE if self._folder else None
        there = path is not None and path.is_file()
        return _Lexicon(lzma.decompress(path.read_bytes()) if path and there else b"")

    @cached_property
    def _letters(self) -> G2P | None:
        folder = self._folder
        if folder is None or not all(
            (folder / name).is_file() for name in (MODEL_FILE, GRAPHONES_FILE)
        ):
            return None
        return G2P.load(folder)


class _Lexicon:
    """Word → its pronunciations; nothing is checked, as `read_lexicon` does for decoding.

    The first few words are looked for in the text: a table of all of them takes a search's time.
    """

    def __init__(self, content: bytes) -> None:
        self._content = b"\n" + content
        self._left = LOOKED_FOR

    def get(self, word: str) -> list[str]:
        """Return the pronunciations, none if the word is unknown."""
        if self._left == 0:
            return self._table.get(word, [])
        self._left -= 1
        begins = b"\n" + word.encode() + b" "
        found, at = [], self._content.find(begins)
        while at >= 0:
            start, end = at + len(begins), self._content.find(b"\n", at + 1)
            found.append(self._content[start : end if end >= 0 else None].decode("ascii"))
            at = self._content.find(begins, start)
        return found

    @cached_property
    def _table(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in self._content.decode("ascii").splitlines()[1:]:
            word, _, phones = line.partition(" ")
            found.setdefault(word, []).append(phones)
        return found
