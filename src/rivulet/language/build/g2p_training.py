"""Training a letter-to-sound model on a pronouncing dictionary, and measuring it on held-out words.

The model is KenLM's n-gram over the graphones into which the dictionary is cut.
"""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rivulet.errors import LanguageModelError
from rivulet.language.build.g2p_alignment import cut
from rivulet.language.build.kenlm_tools import Tools
from rivulet.language.build.lexicon import Phones, Pronunciations
from rivulet.language.g2p import G2P, MODEL_FILE
from rivulet.metrics import error_counts
from rivulet.tokenizer import LETTERS

ORDER = 6  # what KenLM is compiled for
PRUNE = (0, 0, 0, 1, 1, 1)
SEED = 7


@dataclass(frozen=True)
class SpellingErrors:
    """Errors on held-out words; of a word's pronunciations the nearest counts.

    phone_error_rate: edits per phone.
    word_error_rate: share of words that are not entirely right.
    """

    words: int
    phone_error_rate: float
    word_error_rate: float


def train(pronunciations: Pronunciations, folder: Path, tools: Tools) -> G2P:
    """Train on all pronunciations and write the model to `folder`.

    Raises:
        LanguageModelError: no word can be cut into graphones, or KenLM gave up.
    """
    paths = cut((word, phones) for word, variants in pronunciations.items() for phones in variants)
    if not paths:
        raise LanguageModelError(
            f"{len(pronunciations)} words teach no letter's sound; give a larger dictionary."
        )
    graphones = tuple(sorted({graphone for path in paths for graphone in path}, key=str))
    with tempfile.TemporaryDirectory() as name:
        text, arpa = Path(name) / "graphones.txt", Path(name) / "graphones.arpa"
        text.write_text("".join(f"{' '.join(map(str, c))}\n" for c in paths), encoding="ascii")
        tools.estimate(text, arpa, ORDER, PRUNE)
        tools.binarize(arpa, folder / MODEL_FILE)
    model = G2P(graphones, folder / MODEL_FILE)
    model.write_graphones(folder)
    return model


def hold_out(pronunciations: Pronunciations, words: int) -> tuple[Pronunciations, Pronunciations]:
    """Return the dictionary without `words` words drawn by chance, and these."""
    usable = sorted(word for word in pronunciations if set(word) <= set(LETTERS))
    drawn = set(random.Random(SEED).sample(usable, min(words, len(usable) // 2)))
    rest = {word: variants for word, variants in pronunciations.items() if word not in drawn}
    return rest, {word: pronunciations[word] for word in sorted(drawn)}


def measure(g2p: G2P, truth: Pronunciations) -> SpellingErrors:
    """Compare what the model says of words with their true pronunciations."""
    edits = phones = wrong = 0
    for word, variants in truth.items():
        nearest, length = _nearest(g2p.sound(word).split(), variants)
        edits += nearest
        phones += length
        wrong += nearest > 0
    return SpellingErrors(len(truth), edits / max(1, phones), wrong / max(1, len(truth)))


def _nearest(hypothesis: list[str], variants: Sequence[Phones]) -> tuple[int, int]:
    """Return the edits to the nearest variant and the phones in it."""
    return min((error_counts(list(true), hypothesis).errors, len(true)) for true in variants)
