"""How letters sound: a joint n-gram of letter groups and their phones (Bisani and Ney 2008).

A word is a path of graphones such as `PH:F`, `A:EY`, `S:S`, `E:`; KenLM knows how likely one
follows others. A pronunciation is the best path that spells the word. `rivulet lm` makes two files:

    letters.bin   the n-gram over graphones, a KenLM binary
    letters.txt   the graphones, one a line: letters, colon, phones joined by _
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
GRAPHONES_FILE = "letters.txt"
LONGEST = 2  # letters in one graphone
BEAM = 10  # paths kept at each letter


@dataclass(frozen=True)
class Graphone:
    """One or two letters in upper case and their phones: none, one or two."""

    letters: str
    phones: tuple[str, ...]

    def __str__(self) -> str:
        """Return its name in the files."""
        return f"{self.letters}:{'_'.join(self.phones)}"

    @classmethod
    def parse(cls, name: str) -> "Graphone":
        """Return the graphone of a name."""
        letters, _, phones = name.partition(":")
        return cls(letters, tuple(phones.split("_")) if phones else ())


@dataclass(frozen=True)
class G2P:
    """The graphones and the path of the n-gram over them."""

    graphones: tuple[Graphone, ...]
    path: Path

    @classmethod
    def load(cls, folder: Path) -> "G2P":
        """Read the two files in `folder`.

        Raises:
            LanguageModelError: one of them is missing or names no graphone.
        """
        for name in (MODEL_FILE, GRAPHONES_FILE):
            if not (folder / name).is_file():
                raise LanguageModelError(f"{folder} lacks {name}; make it with `rivulet lm build`.")
        lines = (folder / GRAPHONES_FILE).read_text(encoding="ascii", errors="replace").split()
        if not lines or not all(":" in line for line in lines):
            raise LanguageModelError(
                f"{folder / GRAPHONES_FILE} does not hold graphones such as PH:F; "
                "make it again with `rivulet lm build`."
            )
        return cls(tuple(Graphone.parse(line) for line in lines), folder / MODEL_FILE)

    def write_graphones(self, folder: Path) -> None:
        """Write the list of graphones to `folder`."""
        lines = "".join(f"{graphone}\n" for graphone in self.graphones)
        (folder / GRAPHONES_FILE).write_text(lines, encoding="ascii")

    def sound(self, word: str) -> str:
        """Return the likeliest phones of `word`, separated by blanks; case does not matter."""
        return self.sounds(word)[0]

    def sounds(self, word: str, count: int = 1) -> list[str]:
        """Return up to `count` pronunciations, the likeliest first, at least one."""
        found: dict[str, float] = {}
        for score, _, phones in self._paths(word.upper()):
            if phones:
                found.setdefault(" ".join(phones), score)
        return list(found)[:count] or [spell(word.lower())]

    def _paths(self, word: str) -> list[tuple[float, Any, tuple[str, ...]]]:
        """Return (log10 probability, state, phones) of whole paths, the likeliest first."""
        model, choices = self._model, self._choices
        paths: list[list[tuple[float, Any, tuple[str, ...]]]] = [[] for _ in range(len(word) + 1)]
        paths[0] = [(0.0, model.start(False), ())]
        for place in range(len(word)):
            for score, state, phones in _best(paths[place]):
                for size in range(1, min(LONGEST, len(word) - place) + 1):
                    for index, own in choices.get(word[place : place + size], ()):
                        after, log_prob = model.score(state, index)
                        path = (score + log_prob, after, phones + own)
                        paths[place + size].append(path)
        ends = [(s + model.finish(state)[1], state, p) for s, state, p in paths[-1]]
        return sorted(ends, key=lambda path: -path[0])

    @cached_property
    def _choices(self) -> dict[str, list[tuple[int, tuple[str, ...]]]]:
        choices = defaultdict(list)
        for index, graphone in enumerate(self.graphones):
            choices[graphone.letters].append((index, graphone.phones))
        return choices

    @cached_property
    def _model(self) -> Any:
        return read_ngram(self.path, map(str, self.graphones))


def _best(paths: list[Any]) -> list[Any]:
    return sorted(paths, key=lambda path: -path[0])[:BEAM]
