"""How late every word was, and why: pure functions over events and the words truly said."""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer


@dataclass(frozen=True)
class Match:
    """The cheapest alignment of heard words with said words, the one that WER counts.

    equal, wrong: pairs (index said, index heard) of words heard right and heard as another.
    missed: indices of said words that nothing answers.
    inserted: indices of heard words that nobody said.
    """

    equal: tuple[tuple[int, int], ...]
    wrong: tuple[tuple[int, int], ...]
    missed: tuple[int, ...]
    inserted: tuple[int, ...]


def match_words(said: Sequence[str], heard: Sequence[str]) -> Match:
    """Align two lists of words by edit distance (jiwer)."""
    if not said or not heard:
        return Match((), (), tuple(range(len(said))), tuple(range(len(heard))))
    pairs: dict[str, list[tuple[int, int]]] = {"equal": [], "substitute": []}
    missed: list[int] = []
    inserted: list[int] = []
    for part in jiwer.process_words(" ".join(said), " ".join(heard)).alignments[0]:
        i, j = (
            range(part.ref_start_idx, part.ref_end_idx),
            range(part.hyp_start_idx, part.hyp_end_idx),
        )
        if part.type == "delete":
            missed.extend(i)
        elif part.type == "insert":
            inserted.extend(j)
        else:
            pairs[part.type].extend(zip(i, j, strict=True))
    return Match(tuple(pairs["equal"]), tuple(pairs["substitute"]), tuple(missed), tuple(inserted))
