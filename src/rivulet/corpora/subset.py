"""A smaller manifest that is like the whole: for trials, and to see how errors fall with hours."""

import zlib
from collections.abc import Callable, Iterable

import numpy as np

from rivulet.corpora.manifest import Utterance
from rivulet.errors import ManifestError


def subset(utterances: Iterable[Utterance], hours: float, seed: int) -> list[Utterance]:
    """Choose about `hours` of sound, with the shares that corpora and speakers have in the whole.

    With the same seed less is always a part of more: every utterance has its place in an order of
    its corpus, and a subset is the beginning of each order. The choice does not depend on the order
    in which utterances are given, and keeps it.

    Raises:
        ManifestError: there is less sound than that, or `hours` is not positive.
    """
    given = list(utterances)
    there = sum(u.seconds for u in given) / 3600.0
    if not 0.0 < hours <= there:
        raise ManifestError(
            f"{hours} h cannot be chosen from {there:.2f} h; ask for more than 0 and at most that."
        )
    chosen: set[int] = set()
    for places in _groups(given, lambda u: u.set_name).values():
        chosen.update(_beginning(given, _spread(given, places, seed), hours / there))
    return [given[place] for place in sorted(chosen)]


def _spread(utterances: list[Utterance], places: list[int], seed: int) -> list[int]:
    """Order a corpus so that every beginning holds about the same share of each speaker.

    A speaker's utterances lie on a circle in random order, each as long as its share of his sound,
    and the circle is turned by chance (systematic sampling); an utterance's key is where it lies.
    """
    keys: list[tuple[float, str, int]] = []
    by_speaker = _groups([utterances[place] for place in places], lambda u: u.speaker)
    for speaker, inside in by_speaker.items():
        own = sorted((places[i] for i in inside), key=lambda place: utterances[place].id)
        rng = np.random.default_rng((seed, zlib.crc32(speaker.encode())))
        own = [own[i] for i in rng.permutation(len(own))]
        seconds = np.array([utterances[place].seconds for place in own])
        along = (np.cumsum(seconds) - seconds / 2) / seconds.sum()
        turned = (along + rng.random()) % 1.0
        keys += [
            (float(key), utterances[place].id, place)
            for key, place in zip(turned, own, strict=True)
        ]
    return [place for _, _, place in sorted(keys)]


def _beginning(utterances: list[Utterance], order: list[int], share: float) -> list[int]:
    """Return the beginning of `order` that holds about `share` of its sound."""
    seconds = np.array([utterances[place].seconds for place in order])
    middles = np.cumsum(seconds) - seconds / 2  # the nearest length, not always the one below
    return [place for place, at in zip(order, middles, strict=True) if at <= share * seconds.sum()]


def _groups(utterances: list[Utterance], key: Callable[[Utterance], str]) -> dict[str, list[int]]:
    """Places of the utterances by what `key` says of them."""
    groups: dict[str, list[int]] = {}
    for place, utterance in enumerate(utterances):
        groups.setdefault(key(utterance), []).append(place)
    return groups
