"""Patterns over words and numbers: what the rules of a language's numbers are made of."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Atom:
    """Words [first, last) that belong together: a number, something written, or one word."""

    kind: str
    text: str
    first: int
    last: int
    spoken: tuple[str, ...]
    value: float | None = None

    @property
    def words(self) -> str:
        """What was spoken."""
        return " ".join(self.spoken)


@dataclass(frozen=True)
class Place:
    """One place of a pattern.

    words: that fit. kinds: of atoms that fit, with the bounds of their values. context: whether it
    is left alone. negative: whether none of it may stand there. optional, repeated: as it says.
    """

    words: frozenset[str] = frozenset()
    kinds: tuple[tuple[str, float, float], ...] = ()
    context: bool = False
    negative: bool = False
    optional: bool = False
    repeated: bool = False
    comma: bool = False  # whether a comma may stand before it

    def fits(self, atom: Atom | None) -> bool:
        """Whether an atom, or the border of what is known, can stand here."""
        if atom is None:
            return self.negative
        found = atom.words in self.words or any(self._is(atom, *kind) for kind in self.kinds)
        return found != self.negative

    @staticmethod
    def _is(atom: Atom, kind: str, low: float, high: float) -> bool:
        if kind == "digit":
            single = len(atom.spoken) == 1 and atom.kind in ("cardinal", "word")
            return single and atom.value is not None and 0 <= atom.value <= 9
        if kind == "scaled":
            return atom.kind == "cardinal" and len(atom.spoken) > 1 and atom.text.endswith("00")
        return atom.kind == kind and (atom.value is None or low <= atom.value <= high)


@dataclass(frozen=True)
class Rule:
    """A pattern, and the kind and the text of what it becomes."""

    kind: str
    places: tuple[Place, ...]
    text: str

    @cached_property
    def lead(self) -> int:
        """The number of the first place that is rewritten; before it is context."""
        return next(i for i, place in enumerate(self.places) if not place.context)

    def may_begin(self, atom: Atom) -> bool:
        """Whether what the rule rewrites can begin with an atom; asked first, for speed."""
        place = self.places[self.lead]
        return place.optional or place.fits(atom)


def read_places(pattern: str, classes: Mapping[str, frozenset[str]]) -> Iterator[Place]:
    """Read a pattern."""
    context = negative = comma = False
    for part in pattern.replace("[!", "[ ! ").replace("[", " [ ").replace("]", " ] ").split():
        if part in ("[", "]"):
            context, negative = part == "[", False
        elif part == "!":
            negative = True
        elif part == ",":
            comma = True
        else:
            optional, repeated = part.endswith("?"), part.endswith("+")
            words: set[str] = set()
            kinds = []
            for choice in re.findall(r"<[^>]*>|[^|]+", part.rstrip("?+")):
                if choice.startswith("@"):
                    words |= classes[choice[1:]]
                elif choice.startswith("<"):
                    names, _, bounds = choice.strip("<>").partition("=")
                    low, _, high = bounds.partition("..")
                    limits = float(low or "-inf"), float(high or "inf")
                    kinds += [(name, *limits) for name in names.split("|")]
                else:
                    words.add(choice)
            yield Place(
                frozenset(words), tuple(kinds), context, negative, optional, repeated, comma
            )
            comma = False
