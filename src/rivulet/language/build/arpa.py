"""Back-off n-gram models in ARPA format: read, mix, write.

An n-gram's key is the place of its prefix among the n-grams one word shorter, times the size of the
vocabulary, plus its last word. Sorted keys are a trie, and a search in them is a look-up.
"""

import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from rivulet.errors import LanguageModelError
from rivulet.language.files import open_packed

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
NEVER = -99.0  # log10 of the probability of what cannot be said, such as <s>
LEAST_BACKOFF, MOST_BACKOFF = 1e-4, 1e4  # weights beyond are of rounded probabilities
SMALLEST = 1e-12  # probabilities that differ by less are the same
NOT_WORDS = frozenset(["<s>", "</s>", "<unk>"])


@dataclass(frozen=True)
class Grams:
    """All n-grams of one length, sorted by key.

    keys (N,), words (N, n) ids, log_probs (N,) and backoffs (N,) as log10.
    """

    keys: Ids
    words: Ids
    log_probs: Floats
    backoffs: Floats


@dataclass(frozen=True)
class BackoffModel:
    """A vocabulary, sorted, and its n-grams by length: `grams[0]` are the words themselves."""

    vocabulary: tuple[str, ...]
    grams: tuple[Grams, ...]

    @property
    def order(self) -> int:
        """Return the longest n."""
        return len(self.grams)

    @property
    def counts(self) -> list[int]:
        """Return the number of n-grams of each length."""
        return [len(grams.keys) for grams in self.grams]

    @property
    def words(self) -> tuple[str, ...]:
        """Return the vocabulary without the marks <s>, </s> and <unk>."""
        return tuple(word for word in self.vocabulary if word not in NOT_WORDS)

    @property
    def chances(self) -> dict[str, float]:
        """Return the probability of each word alone."""
        chances = dict(zip(self.vocabulary, 10.0 ** self.grams[0].log_probs, strict=True))
        return {word: chances[word] for word in self.words}

    def find(self, words: Ids) -> tuple[Ids, npt.NDArray[np.bool_]]:
        """Look up n-grams (N, n); return their places (N,) and whether they are there (N,)."""
        place = np.zeros(len(words), dtype=np.int64)
        there = np.ones(len(words), dtype=bool)
        for column, grams in zip(words.T, self.grams, strict=False):
            keys = place * len(self.vocabulary) + column
            place = np.minimum(np.searchsorted(grams.keys, keys), max(0, len(grams.keys) - 1))
            there &= (grams.keys[place] == keys) if len(grams.keys) else False
        return place, there

    def log_probs(self, words: Ids) -> Floats:
        """Return log10 P(last word | the words before it) of n-grams (N, n), backing off."""
        n = words.shape[1]
        if n > self.order:
            return self.log_probs(words[:, n - self.order :])
        place, there = self.find(words)
        result = np.where(there, self.grams[n - 1].log_probs[place], -np.inf)
        if n > 1 and not there.all():
            rest = words[~there]
            result[~there] = self.backoffs(rest[:, :-1]) + self.log_probs(rest[:, 1:])
        return result

    def backoffs(self, words: Ids) -> Floats:
        """Return the log10 back-off weights of contexts (N, n); 0 for a context not there."""
        place, there = self.find(words)
        return np.where(there, self.grams[words.shape[1] - 1].backoffs[place], 0.0)


def open_text(path: Path) -> TextIO:
    """Open a plain, .gz or .xz file of text.

    Raises:
        LanguageModelError: it does not exist.
    """
    if not path.is_file():
        raise LanguageModelError(f"{path} does not exist; name a plain, .gz or .xz file.")
    return open_packed(path)


def read(path: Path) -> BackoffModel:
    """Read an ARPA file, plain, .gz or .xz.

    Raises:
        LanguageModelError: it is missing, not ARPA, cut short, or holds an n-gram without its
            beginning.
    """
    try:
        with open_text(path) as file:
            counts = _read_counts(file)
            sections = [_read_section(file, n, count) for n, count in enumerate(counts, 1)]
    except (EOFError, OSError, ValueError, IndexError, lzma.LZMAError) as error:
        raise LanguageModelError(
            f"{path} is no whole ARPA file ({error}); make or get it again."
        ) from error
    vocabulary = tuple(sorted({words[0] for words, _, _ in sections[0]}))
    return _model(vocabulary, sections, path)


Entry = tuple[list[str], float, float]  # words, log10 probability, log10 back-off


def _read_counts(file: TextIO) -> list[int]:
    counts: list[int] = []
    if not any(line.strip() == "\\data\\" for line in _head(file)):
        raise ValueError("no \\data\\ at its beginning")
    for line in file:
        if not line.startswith("ngram "):
            break
        counts.append(int(line.split("=")[1]))
    if not counts:
        raise ValueError("it counts no n-grams")
    return counts


def _head(file: TextIO) -> Iterator[str]:
    for _ in range(100):  # comments may come before
        yield file.readline()


def _read_section(file: TextIO, n: int, count: int) -> list[Entry]:
    entries: list[Entry] = []
    for line in file:
        fields = line.split()
        if not fields:
            continue
        if fields[0].startswith("\\"):
            if fields[0] == f"\\{n}-grams:":
                continue
            break
        if len(fields) < n + 1:
            raise ValueError(f"a {n}-gram of {len(fields) - 1} words")
        backoff = float(fields[n + 1]) if len(fields) > n + 1 else 0.0
        entries.append((fields[1 : n + 1], float(fields[0]), backoff))
        if len(entries) == count:
            break
    if len(entries) != count:
        raise ValueError(f"{len(entries)} {n}-grams where {count} are announced")
    return entries


def _model(
    vocabulary: tuple[str, ...], sections: Sequence[Sequence[Entry]], path: Path
) -> BackoffModel:
    ids = {word: index for index, word in enumerate(vocabulary)}
    model = BackoffModel(vocabulary, ())
    for n, entries in enumerate(sections, 1):
        try:
            words = np.array([[ids[word] for word in e[0]] for e in entries], dtype=np.int64)
        except KeyError as error:
            raise LanguageModelError(
                f"{path} has {error.args[0]!r} in a {n}-gram and not among its words; "
                "make or get it again."
            ) from error
        words = words.reshape(len(entries), n)
        values = np.array([e[1:] for e in entries], dtype=np.float64).reshape(-1, 2)
        keys, there = _keys(model, words)
        if not there.all() or len(np.unique(keys)) != len(keys):
            raise LanguageModelError(
                f"{path} has {n}-grams that stand twice or whose beginning is no {n - 1}-gram "
                f"({(~there).sum()} of {len(keys)}); make or get it again."
            )
        order = np.argsort(keys)
        grams = Grams(keys[order], words[order], values[order, 0], values[order, 1])
        model = BackoffModel(vocabulary, (*model.grams, grams))
    return without_start(model)


def without_start(model: BackoffModel) -> BackoffModel:
    """Return the model with <s> as what cannot be said; lmplz gives it probability 1."""
    first, *longer = model.grams
    start = np.array([word == "<s>" for word in model.vocabulary])
    words = replace(first, log_probs=np.where(start, NEVER, first.log_probs))
    return BackoffModel(model.vocabulary, (words, *longer))


def _keys(shorter: BackoffModel, words: Ids) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Return the keys (N,) of n-grams (N, n) over a model of order n - 1, and if they have one."""
    place, there = shorter.find(words[:, :-1])
    return place * len(shorter.vocabulary) + words[:, -1], there


def mix(one: BackoffModel, other: BackoffModel, weight: float) -> BackoffModel:
    """Return `weight` times `one` plus the rest times `other`, as one back-off model.

    Every n-gram that either model lists has exactly the mixed probability; the back-off weights
    are computed anew, so that the probabilities after every context sum to one (static linear
    interpolation, as in SRILM's `ngram -mix-lm`). A word that one model lacks has probability 0
    there.
    """
    vocabulary = tuple(sorted({*one.vocabulary, *other.vocabulary}))
    parts = [(_renumbered(one, vocabulary), weight), (_renumbered(other, vocabulary), 1 - weight)]
    mixed = BackoffModel(vocabulary, ())
    for n in range(1, max(one.order, other.order) + 1):
        words = np.concatenate([p.grams[n - 1].words for p, _ in parts if p.order >= n])
        keys, first = np.unique(_keys(mixed, words)[0], return_index=True)
        words = words[first]
        chances = sum(share * 10.0 ** part.log_probs(words) for part, share in parts)
        log_probs = np.log10(np.maximum(chances, 10.0**NEVER))
        grams = Grams(keys, words, log_probs, np.zeros(len(keys)))
        mixed = with_backoffs(BackoffModel(vocabulary, (*mixed.grams, grams)))
    return mixed


def _renumbered(model: BackoffModel, vocabulary: tuple[str, ...]) -> BackoffModel:
    """Return the model with the word ids of a larger vocabulary.

    Both vocabularies are sorted, so ids keep their order and places do not change.
    """
    ids = np.searchsorted(np.array(vocabulary), np.array(model.vocabulary))
    renumbered: list[Grams] = []
    for grams in model.grams:
        prefix = grams.keys // len(model.vocabulary)
        words = ids[grams.words]
        keys = prefix * len(vocabulary) + words[:, -1]
        renumbered.append(Grams(keys, words, grams.log_probs, grams.backoffs))
    return BackoffModel(vocabulary, tuple(renumbered))


def with_backoffs(model: BackoffModel) -> BackoffModel:
    """Return the model with the back-off weights of its longest contexts, the n-1-grams.

    What the listed words leave over is shared among the others as the shorter context says (Katz
    1987): weight = (1 - sum of P(w|h)) / (1 - sum of P(w|h')), both sums over the listed w. Where
    that is out of bounds, because rounded probabilities sum to one or more, the weight is the
    bound, and the listed words are scaled to what it leaves them: all words sum to one.
    """
    if model.order == 1:
        return model
    prefix, lists, listed, share = _listed(model)
    left = 1.0 - listed
    with np.errstate(divide="ignore", invalid="ignore"):  # the bounds and `lists` see to those
        weights = np.clip(np.nan_to_num(left / share, nan=1.0), LEAST_BACKOFF, MOST_BACKOFF)
        scale = (1.0 - weights * share) / listed
    bounded = lists & (np.abs(weights * share - left) > SMALLEST)
    scale, weights = np.where(bounded, scale, 1.0), np.where(lists, weights, 1.0)
    return _scaled(model, scale[prefix], np.log10(weights))


def normalized(model: BackoffModel) -> BackoffModel:
    """Return the model so scaled that all words sum to one after every context.

    The words that a context lists and its back-off weight are divided by the same number. Rounded
    scores, such as those of a packed file, sum to more or less than one; those that a context
    lists may do so alone, and would leave nothing to the other words.
    """
    first, *longer = model.grams
    chances = 10.0**first.log_probs
    words = replace(first, log_probs=np.maximum(np.log10(chances / chances.sum()), NEVER))
    scaled = BackoffModel(model.vocabulary, (words,))
    for grams in longer:
        scaled = BackoffModel(model.vocabulary, (*scaled.grams, grams))
        prefix, lists, listed, share = _listed(scaled)
        backoffs = scaled.grams[-2].backoffs
        total = np.where(lists, listed + 10.0**backoffs * share, 1.0)
        scaled = _scaled(scaled, 1.0 / total[prefix], backoffs - np.log10(total))
    return scaled


def _listed(model: BackoffModel) -> tuple[Ids, npt.NDArray[np.bool_], Floats, Floats]:
    """Return where the context of each longest n-gram stands (N,), and of each context (M,) more.

    That is whether it lists any, the sum of their probabilities, and what the next shorter context
    gives to all other words.
    """
    *_, contexts, longest = model.grams
    prefix, size = longest.keys // len(model.vocabulary), len(contexts.keys)
    shorter = BackoffModel(model.vocabulary, model.grams[:-1])
    listed = np.bincount(prefix, 10.0**longest.log_probs, size).astype(np.float64)
    by_shorter = np.bincount(prefix, 10.0 ** shorter.log_probs(longest.words[:, 1:]), size)
    share: Floats = np.maximum(1.0 - by_shorter, 0.0)
    return prefix, np.bincount(prefix, minlength=size) > 0, listed, share


def _scaled(model: BackoffModel, scale: Floats, backoffs: Floats) -> BackoffModel:
    """Return the model, its longest n-grams times `scale` (N,), their contexts' log10 weights."""
    *shorter, contexts, longest = model.grams
    logs = np.maximum(longest.log_probs + np.log10(scale), NEVER)
    renewed = replace(contexts, backoffs=backoffs), replace(longest, log_probs=logs)
    return BackoffModel(model.vocabulary, (*shorter, *renewed))


def write(model: BackoffModel, path: Path) -> None:
    """Write the model as a plain ARPA file."""
    with path.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {n}={count}\n" for n, count in enumerate(model.counts, 1))
        for n, grams in enumerate(model.grams, 1):
            file.write(f"\n\\{n}-grams:\n")
            file.writelines(_lines(model, grams, last=n == model.order))
        file.write("\n\\end\\\n")


def _lines(model: BackoffModel, grams: Grams, last: bool) -> Iterator[str]:
    names = np.array(model.vocabulary, dtype=object)
    rows = zip(names[grams.words], grams.log_probs, grams.backoffs, strict=True)
    for words, log_prob, backoff in rows:
        tail = "" if last else f"\t{backoff:.6g}"
        yield f"{log_prob:.6g}\t{' '.join(words)}{tail}\n"
