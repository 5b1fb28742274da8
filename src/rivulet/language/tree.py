"""The lexicon as a tree of phones, and the words' spellings and pieces, for a packed file.

Nodes are numbered breadth first, so the children of each stand together and in order. A node says
what the best word below it scores as the first of a sentence (language-model look-ahead).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.errors import LanguageModelError
from rivulet.language.tables import Floats

HOMOPHONES = 6  # words kept for one pronunciation, as flashlight's Trie does
MOST_PHONES = 255  # one byte each
LN_10 = math.log(10.0)  # scores are log10 in files, everything else is natural
NODE = np.dtype([("first", "<u4"), ("label", "<u4"), ("max", "<f4")])

Sections = dict[str, npt.NDArray[Any]]
Pieces = Callable[[str], Sequence[int] | None]


def tree_sections(
    pronunciations: Iterable[tuple[int, Sequence[str]]], first_scores: Floats
) -> Sections:
    """Return the tree of all pronunciations.

    Args:
        pronunciations: (id of a word, its phones).
        first_scores: log10 probability of each word to begin a sentence.

    Raises:
        LanguageModelError: there are more than 255 phones.
    """
    chances = first_scores.astype(np.float64) * LN_10
    sounds: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for word, sound in pronunciations:
        sounds[tuple(sound)].add(word)
    phones = sorted({phone for sound in sounds for phone in sound})
    if not phones or len(phones) > MOST_PHONES:
        raise LanguageModelError(
            f"a lexicon of {len(phones)} phones cannot be packed; use 1 to {MOST_PHONES}."
        )
    ids = {phone: index for index, phone in enumerate(phones, 1)}
    spelled = sorted((bytes(ids[p] for p in sound), words) for sound, words in sounds.items())
    node_of, tokens, parents = _nodes([way for way, _ in spelled])
    labels: list[list[int]] = [[] for _ in tokens]
    own = np.full(len(tokens), -np.inf, np.float32)
    for node, (_, words) in zip(node_of, spelled, strict=True):
        labels[node] = sorted(words, key=lambda word: (-chances[word], word))[:HOMOPHONES]
        own[node] = _added(chances[labels[node]])
    return {
        "sizes": np.array([len(tokens), len(phones)], np.uint32),
        "phones": _text(phones),
        "tokens": tokens,
        "nodes": _node_rows(parents, labels, _best_below(parents, own)),
        "labels": np.array([word for words in labels for word in words], np.uint32),
    }


def word_sections(words: Sequence[str]) -> Sections:
    """Return the words' spellings."""
    spelled = [word.encode("ascii") for word in words]
    return {
        "words.at": _offsets(map(len, spelled)),
        "words": np.frombuffer(b"".join(spelled), np.uint8),
    }


def piece_sections(words: Sequence[str], pieces: Pieces) -> Sections:
    """Return the ids of the pieces that `pieces` cuts each word into; none for some."""
    cut = [pieces(word) or () for word in words]
    ids = [piece for row in cut for piece in row]
    return {"piece.at": _offsets(map(len, cut)), "pieces": np.array(ids, np.uint16)}


def split_text(raw: npt.NDArray[np.uint8]) -> list[str]:
    """Return the lines that `_text` joined."""
    return raw.tobytes().decode("utf-8").split("\n")


def _text(lines: Sequence[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer("\n".join(lines).encode("utf-8"), np.uint8)


def _offsets(lengths: Iterable[int]) -> npt.NDArray[np.uint32]:
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))]).astype(np.uint32)


def _nodes(
    ways: list[bytes],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the node at the end of each way, sorted and different, and all nodes' tokens, parents.

    At each depth a way opens a node if it differs from the way before it up to there.
    """
    longest = max(map(len, ways))
    table = np.zeros((len(ways), longest), np.uint8)
    for row, way in zip(table, ways, strict=True):
        row[: len(way)] = np.frombuffer(way, np.uint8)
    lengths = np.array([len(way) for way in ways])
    node = np.zeros(len(ways), np.int64)  # of each way at the depth reached
    fresh = np.zeros(len(ways), bool)
    fresh[0] = True
    tokens, parents, count = [np.zeros(1, np.uint8)], [np.full(1, -1, np.int64)], 1
    for depth in range(longest):
        column = table[:, depth]
        there = lengths > depth
        fresh[1:] |= column[1:] != column[:-1]
        opens = fresh & there
        parents.append(node[opens])
        tokens.append(column[opens])
        node = np.where(there, count + np.cumsum(opens) - 1, node)
        count += int(opens.sum())
    return node, np.concatenate(tokens), np.concatenate(parents)


def _added(chances: npt.NDArray[np.float64]) -> float:
    """Add probabilities given as logs, in float32 after each, as flashlight's Trie.smear does."""
    total = np.float32(-np.inf)
    for chance in chances.astype(np.float32).tolist():
        high, low = max(float(total), chance), min(float(total), chance)
        total = np.float32(high + math.log1p(math.exp(low - high)) if low > -math.inf else high)
    return float(total)


def _best_below(parents: npt.NDArray[np.int64], own: Floats) -> Floats:
    """Return the best score at or below each node; children come after their parents."""
    best: Floats = own.copy()
    for node in range(len(parents) - 1, 0, -1):
        parent = parents[node]
        best[parent] = max(best[parent], best[node])
    return best


def _node_rows(
    parents: npt.NDArray[np.int64], labels: list[list[int]], best: Floats
) -> npt.NDArray[Any]:
    rows = np.zeros(len(parents) + 1, NODE)
    children = np.bincount(parents[1:], minlength=len(parents))
    rows["first"][0] = 1
    rows["first"][1:] = 1 + np.cumsum(children)
    rows["label"][1:] = np.cumsum([len(words) for words in labels])
    rows["max"][:-1] = best
    return rows
