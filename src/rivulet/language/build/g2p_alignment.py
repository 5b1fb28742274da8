"""A pronouncing dictionary cut into letter-to-sound graphones, by expectation maximization.

Letters and phones are aligned many to many (Jiampojamarn et al. 2007): all cuts of a word count by
their probability until the graphones settle; then each word keeps its likeliest cut. Words of the
same length with the same number of phones share their cuts: a dictionary is a few hundred arrays.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.language.g2p import Graphone
from rivulet.language.g2p_rules import PHONES
from rivulet.tokenizer import LETTERS

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Pair = tuple[str, tuple[str, ...]]  # a word in upper case and its phones
Node = tuple[int, int]  # letters and phones spelled so far

STEPS = ((1, 0), (1, 1), (1, 2), (2, 1))  # letters, phones of a graphone
ROUNDS = 6  # the likelihood hardly grows after five
RAREST = 2.0  # graphones expected less often are accidents
SMALLEST_SHARE = 0.002  # of the cases of their letters: rarer graphones cost time and help nothing
LETTER_CODES = len(LETTERS) + 1  # 0: no letter
PHONE_CODES = len(PHONES) + 1


@dataclass
class Lattice:
    """Words of one size: the edges of all their cuts, and the graphone (edges, words) on each."""

    edges: list[tuple[Node, Node]]
    graphones: Ids

    @property
    def end(self) -> Node:
        """Return the node where every word is spelled."""
        return self.edges[-1][1]


def cut(pairs: Iterable[Pair]) -> list[list[Graphone]]:
    """Return each pair as a path of graphones; pairs that cannot be cut are left out."""
    lattices = [_lattice(group) for group in _by_size(pairs)]
    if not lattices:
        return []
    codes = np.unique(np.concatenate([np.unique(lattice.graphones) for lattice in lattices]))
    for lattice in lattices:
        lattice.graphones = np.searchsorted(codes, lattice.graphones)
    counts = chances = np.ones(len(codes))
    for _ in range(ROUNDS):
        counts = sum((_expected(lattice, chances) for lattice in lattices), np.zeros(len(codes)))
        chances = counts / counts.sum()
    graphones = [_unit(int(code)) for code in codes]
    chances = np.where(_common(graphones, counts), chances, 0.0)
    return [
        [graphones[index] for index in path]
        for lattice in lattices
        for path in _likeliest(lattice, chances)
    ]


def _by_size(pairs: Iterable[Pair]) -> Iterable[list[Pair]]:
    groups: dict[tuple[int, int], list[Pair]] = defaultdict(list)
    for word, phones in pairs:
        if 0 < len(phones) <= 2 * len(word) and set(word) <= set(LETTERS):
            groups[len(word), len(phones)].append((word, phones))
    return groups.values()


def _lattice(pairs: list[Pair]) -> Lattice:
    letters = np.array([[LETTERS.index(letter) + 1 for letter in word] for word, _ in pairs])
    phones = np.array([[PHONES.index(phone) + 1 for phone in spoken] for _, spoken in pairs])
    edges = list(_edges(letters.shape[1], phones.shape[1]))
    return Lattice(edges, np.stack([_codes(letters, phones, *edge) for edge in edges]))


def _edges(letters: int, phones: int) -> Iterator[tuple[Node, Node]]:
    """Yield the edges of all paths from (0, 0) to (letters, phones), in the order of a walk."""
    for i in range(letters):
        for j in range(max(0, phones - 2 * (letters - i)), min(phones, 2 * i) + 1):
            for a, b in STEPS:
                if i + a <= letters and phones - 2 * (letters - i - a) <= j + b <= phones:
                    yield (i, j), (i + a, j + b)


def _codes(letters: Ids, phones: Ids, start: Node, end: Node) -> Ids:
    """Return a number (words,) for the letters and the phones between two nodes."""
    signs = [letters[:, i] for i in range(start[0], end[0])]
    spoken = [phones[:, j] for j in range(start[1], end[1])]
    nothing = np.zeros(len(letters), dtype=np.int64)
    code = nothing
    for column, base in (
        *zip((*signs, nothing)[:2], (LETTER_CODES,) * 2, strict=True),
        *zip((*spoken, nothing, nothing)[:2], (PHONE_CODES,) * 2, strict=True),
    ):
        code = code * base + column
    return code


def _unit(code: int) -> Graphone:
    code, second_phone = divmod(code, PHONE_CODES)
    code, first_phone = divmod(code, PHONE_CODES)
    letters = [LETTERS[index - 1] for index in divmod(code, LETTER_CODES) if index]
    return Graphone(
        "".join(letters), tuple(PHONES[p - 1] for p in (first_phone, second_phone) if p)
    )


def _expected(lattice: Lattice, chances: Floats) -> Floats:
    """Return how often each graphone (graphones,) is expected: forward times backward."""
    on_edge = chances[lattice.graphones]
    forward: dict[Node, Any] = defaultdict(float, {(0, 0): 1.0})
    for (start, end), chance in zip(lattice.edges, on_edge, strict=True):
        forward[end] = forward[end] + forward[start] * chance
    whole = np.maximum(forward[lattice.end], np.finfo(float).tiny)
    backward: dict[Node, Any] = defaultdict(float, {lattice.end: 1.0 / whole})
    expected = np.zeros_like(on_edge)
    for index in reversed(range(len(lattice.edges))):
        start, end = lattice.edges[index]
        onward = on_edge[index] * backward[end]
        backward[start] = backward[start] + onward
        expected[index] = forward[start] * onward
    counts = np.bincount(lattice.graphones.ravel(), expected.ravel(), len(chances))
    return counts.astype(np.float64)


def _common(graphones: list[Graphone], counts: Floats) -> npt.NDArray[np.bool_]:
    """Say which graphones are worth keeping."""
    totals: dict[str, float] = defaultdict(float)
    for graphone, count in zip(graphones, counts, strict=True):
        totals[graphone.letters] += count
    least = np.array(
        [max(RAREST, SMALLEST_SHARE * totals[graphone.letters]) for graphone in graphones]
    )
    best: dict[str, int] = {}
    for index, graphone in enumerate(graphones):
        if graphone.letters not in best or counts[index] > counts[best[graphone.letters]]:
            best[graphone.letters] = index
    keep = counts >= least
    keep[[index for letters, index in best.items() if len(letters) == 1]] = True
    return keep


def _likeliest(lattice: Lattice, chances: Floats) -> Iterator[list[int]]:
    """Yield the best path of graphone indices of each word that has one (Viterbi)."""
    with np.errstate(divide="ignore"):
        scores = np.log(chances)[lattice.graphones]
    words = lattice.graphones.shape[1]
    best: dict[Node, Floats] = defaultdict(lambda: np.full(words, -np.inf))
    arrival: dict[Node, Ids] = defaultdict(lambda: np.zeros(words, dtype=np.int64))
    best[0, 0] = np.zeros(words)
    for index, (start, end) in enumerate(lattice.edges):
        score = best[start] + scores[index]
        better = score > best[end]
        best[end] = np.where(better, score, best[end])
        arrival[end] = np.where(better, index, arrival[end])
    for word in np.flatnonzero(np.isfinite(best[lattice.end])):
        path: list[int] = []
        node = lattice.end
        while node != (0, 0):
            index = int(arrival[node][word])
            path.append(int(lattice.graphones[index, word]))
            node = lattice.edges[index][0]
        yield path[::-1]
