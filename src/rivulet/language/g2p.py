"""How letters sound: a joint n-gram of letter groups and their phones (Bisani and Ney 2008).

A word is a chain of units such as `PH:F`, `A:EY`, `S:S`, `E:`; KenLM knows how likely one follows
others. A pronunciation is the best chain that spells the word. Two files, made by `rivulet lm`:

    letters.bin   the n-gram over units, a KenLM binary
    letters.txt   the units, one a line: letters, colon, phones joined by _
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rivulet.errors import LanguageModelError
from rivulet.language.g2p_rules import spell
from rivulet.language.ngram import read_ngram

MODEL_FILE = "letters.bin"
UNITS_FILE = "letters.txt"
LONGEST = 2  # letters in one unit
BEAM = 10  # chains kept at each letter


@dataclass(frozen=True)
class Unit:
    """One or two letters in upper case and what is heard: no phone, one or two."""

    letters: str
    phones: tuple[str, ...]

    def __str__(self) -> str:
        """Return its name in the files."""
        return f"{self.letters}:{'_'.join(self.phones)}"

    @classmethod
    def parse(cls, name: str) -> "Unit":
        """Return the unit of a name."""
        letters, _, phones = name.partition(":")
        return cls(letters, tuple(phones.split("_")) if phones else ())


@dataclass(frozen=True)
class LetterToSound:
    """The units and the path of the n-gram over them."""

    units: tuple[Unit, ...]
    path: Path

    @classmethod
    def load(cls, folder: Path) -> "LetterToSound":
        """Read the two files in `folder`.

        Raises:
            LanguageModelError: one of them is missing or names no unit.
        """
        for name in (MODEL_FILE, UNITS_FILE):
            if not (folder / name).is_file():
                raise LanguageModelError(f"{folder} lacks {name}; make it with `rivulet lm build`.")
        lines = (folder / UNITS_FILE).read_text(encoding="ascii", errors="replace").split()
        if not lines or not all(":" in line for line in lines):
            raise LanguageModelError(
                f"{folder / UNITS_FILE} does not hold units such as PH:F; "
                "make it again with `rivulet lm build`."
            )
        return cls(tuple(Unit.parse(line) for line in lines), folder / MODEL_FILE)

    def write_units(self, folder: Path) -> None:
        """Write the list of units to `folder`."""
        lines = "".join(f"{unit}\n" for unit in self.units)
        (folder / UNITS_FILE).write_text(lines, encoding="ascii")

    def sound(self, word: str) -> str:
        """Return the likeliest phones of `word`, separated by blanks; case does not matter."""
        return self.sounds(word)[0]

    def sounds(self, word: str, count: int = 1) -> list[str]:
        """Return up to `count` pronunciations, the likeliest first, at least one."""
        found: dict[str, float] = {}
        for score, _, phones in self._chains(word.upper()):
            if phones:
                found.setdefault(" ".join(phones), score)
        return list(found)[:count] or [spell(word.lower())]

    def _chains(self, word: str) -> list[tuple[float, Any, tuple[str, ...]]]:
        """Return (log10 probability, state, phones) of whole chains, the likeliest first."""
        model, choices = self._model, self._choices
        chains: list[list[tuple[float, Any, tuple[str, ...]]]] = [[] for _ in range(len(word) + 1)]
        chains[0] = [(0.0, model.start(False), ())]
        for place in range(len(word)):
            for score, state, phones in _best(chains[place]):
                for size in range(1, min(LONGEST, len(word) - place) + 1):
                    for index, heard in choices.get(word[place : place + size], ()):
                        after, log_prob = model.score(state, index)
                        chain = (score + log_prob, after, phones + heard)
                        chains[place + size].append(chain)
        ends = [(s + model.finish(state)[1], state, p) for s, state, p in chains[-1]]
        return sorted(ends, key=lambda chain: -chain[0])

    @cached_property
    def _choices(self) -> dict[str, list[tuple[int, tuple[str, ...]]]]:
        choices = defaultdict(list)
        for index, unit in enumerate(self.units):
            choices[unit.letters].append((index, unit.phones))
        return choices

    @cached_property
    def _model(self) -> Any:
        return read_ngram(self.path, map(str, self.units))


def _best(chains: list[Any]) -> list[Any]:
    return sorted(chains, key=lambda chain: -chain[0])[:BEAM]
