"""The tagger's training data: words as numbers, recognition errors and pauses mixed in."""

import random
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rivulet.text.labels import Case, Mark
from rivulet.text.words import CASE_ROWS, END, PAUSE_ROWS, Vocabulary
from rivulet.training.punctuated import Example

IGNORED = -100  # a label that does not count, as torch's cross_entropy has it
MIN_WRITTEN = 4  # a word is usually written so if it was so often, inside a sentence,
USUAL = 0.6  # and at least this share of the time
ERROR_RATES = (0.0, 0.0, 0.05, 0.15, 0.25)  # one of them for each piece of text
WITH_PAUSES = 0.65  # share of the pieces,
READ = 0.4  # and share of those that a reader reads
HELD, MOST_HELD = 0.02, 50_000  # share of each text's words that is kept out, and the most
END_TYPE = 0  # the type of a segment's end; words follow
Array = npt.NDArray[np.int32]

# How speakers pause after a word, given the mark after it: shares of the rows 1… of `pause_row`.
# READER is measured: what the recognizer hears of 130 clips of LJSpeech (between right words 1987
# gaps without a mark, 125 commas; the 12 periods are too few, so half of theirs is as TALKER has
# it). Talk that has marks was not at hand to measure: TALKER is by eye, with fewer pauses at commas
# and more elsewhere.
Pauses = Mapping[Mark, Sequence[float]]
_READ_END, _TALKED_END = (0.12, 0.02, 0.04, 0.62, 0.20), (0.08, 0.05, 0.15, 0.32, 0.40)
READER: Pauses = {
    Mark.NONE: (0.858, 0.092, 0.035, 0.014, 0.001),
    Mark.COMMA: (0.148, 0.090, 0.459, 0.298, 0.005),
    **dict.fromkeys((Mark.PERIOD, Mark.QUESTION, Mark.EXCLAMATION), _READ_END),
}
TALKER: Pauses = {
    Mark.NONE: (0.90, 0.06, 0.028, 0.009, 0.003),
    Mark.COMMA: (0.30, 0.12, 0.32, 0.22, 0.04),
    **dict.fromkeys((Mark.PERIOD, Mark.QUESTION, Mark.EXCLAMATION), _TALKED_END),
}


@dataclass(frozen=True)
class Corpus:
    """A text in numbers. `types` index `spellings`; the other two hold a label for each word."""

    spellings: Sequence[str]
    types: Array
    marks: Array
    cases: Array

    def part(self, where: slice) -> "Corpus":
        """Return the words of a slice."""
        return Corpus(self.spellings, self.types[where], self.marks[where], self.cases[where])


@dataclass(frozen=True)
class Texts:
    """What was read: a text to train on, one that is kept out of it, and how mixed words look."""

    corpus: Corpus
    held: Corpus
    mixed: Counter[str]


def read_texts(texts: Iterable[Iterable[Example]]) -> Texts:
    """Return texts in numbers; the last HELD of the words of each are kept out."""
    spellings = {"<end>": END_TYPE}
    mixed: Counter[str] = Counter()
    columns: tuple[list[Array], ...] = ([], [], [])
    kept_out: tuple[list[Array], ...] = ([], [], [])
    for text in texts:
        arrays = _arrays(text, spellings, mixed)
        cut = len(arrays[0]) - min(int(HELD * len(arrays[0])), MOST_HELD)
        for values, column, kept in zip(arrays, columns, kept_out, strict=True):
            column.append(values[:cut])
            kept.append(values[cut:])
    names = list(spellings)
    return Texts(
        Corpus(names, *map(np.concatenate, columns)),
        Corpus(names, *map(np.concatenate, kept_out)),
        mixed,
    )


def read_corpus(examples: Iterable[Example]) -> tuple[Corpus, Counter[str]]:
    """Return a text in numbers and how its mixed words are written."""
    spellings = {"<end>": END_TYPE}
    mixed: Counter[str] = Counter()
    arrays = _arrays(examples, spellings, mixed)
    return Corpus(list(spellings), *arrays), mixed


def _arrays(
    examples: Iterable[Example], spellings: dict[str, int], mixed: Counter[str]
) -> tuple[Array, Array, Array]:
    """Return types, marks and cases of a text; new words are added to `spellings`."""
    types, marks, cases = array("i"), array("b"), array("b")
    for example in examples:
        types.extend([spellings.setdefault(word, len(spellings)) for word in example.words])
        marks.extend(example.marks)
        cases.extend([IGNORED if case is None else int(case) for case in example.cases])
        mixed.update(example.mixed)
    return tuple(np.array(values, np.int32) for values in (types, marks, cases))  # type: ignore[return-value]


def build_vocabulary(corpus: Corpus, mixed: Mapping[str, int], size: int) -> Vocabulary:
    """Return the `size` most frequent words, and the words usually not in lower case."""
    counts = np.bincount(corpus.types, minlength=len(corpus.spellings))
    order = [int(i) for i in np.argsort(-counts, kind="stable") if i != END_TYPE]
    told = corpus.cases >= 0
    table = np.zeros((len(corpus.spellings), len(Case)), np.int64)
    np.add.at(table, (corpus.types[told], corpus.cases[told]), 1)
    forms: dict[str, str] = {}
    for form, _ in sorted(mixed.items(), key=lambda item: item[1]):
        forms[form.lower()] = form
    written = {}
    for index in order:
        word, row = corpus.spellings[index], table[index]
        usual = int(row.argmax())
        if row[usual] < MIN_WRITTEN or row[usual] < USUAL * row.sum() or usual == Case.LOWER:
            continue
        written[word] = write(word, Case(usual), forms)
    bare = {w: f for w, f in written.items() if not (w.endswith("'s") and w[:-2] in written)}
    return Vocabulary([corpus.spellings[i] for i in order[:size]], bare)


def write(word: str, case: Case, forms: Mapping[str, str]) -> str:
    """Return a word in a case."""
    if case is Case.MIXED:
        return forms.get(word, word)
    stem, mark, rest = word.partition("'")
    return (stem.upper() if case is Case.UPPER else stem.capitalize()) + mark + rest


def feature_table(spellings: Sequence[str], vocabulary: Vocabulary) -> Array:
    """Return the features (types, 4) of every type, the segment's end included."""
    rows = [vocabulary.features(word) for word in spellings]
    rows[END_TYPE] = (END, 0, 0, CASE_ROWS - 1)
    return np.array(rows, np.int32)


def confusions(
    spellings: Sequence[str],
    counts: Sequence[int],
    phones: Mapping[str, Sequence[str]],
    each: int = 8,
) -> Array:
    """Return for every type `each` types that sound like it: one phone dropped on either side.

    Frequent neighbors come more often. Types without one get frequent words.
    """
    rng = random.Random(0)
    weights = [float(count) ** 0.75 for count in counts]
    known = [row for row, word in enumerate(spellings) if word in phones and counts[row] >= 3]
    frequent = rng.choices(known, [weights[row] for row in known], k=100_000)
    index = defaultdict(list)
    for row in known:
        for key in _dropped(phones[spellings[row]]):
            index[key].append(row)
    table = np.empty((len(spellings), each), np.int32)
    for row, word in enumerate(spellings):
        near = sorted({n for key in _dropped(phones.get(word, ())) for n in index[key]} - {row})
        table[row] = (
            rng.choices(near, [weights[n] for n in near], k=each)
            if near
            else rng.sample(frequent, each)
        )
    return table


def _dropped(phones: Sequence[str]) -> list[tuple[str, ...]]:
    whole = tuple(phones)
    return [whole, *(whole[:i] + whole[i + 1 :] for i in range(len(whole)))] if whole else []


@dataclass(frozen=True)
class Noise:
    """How a text is spoiled. Shares of words changed, dropped, added; share that has pauses."""

    changed: float
    dropped: float
    added: float

    @classmethod
    def of(cls, rate: float) -> "Noise":
        """Return errors of a rate, divided as our recognizer's are."""
        return cls(rate * 0.7, rate * 0.2, rate * 0.1)


def spoil(corpus: Corpus, noise: Noise, similar: Array, rng: np.random.Generator) -> Corpus:
    """Return a text with recognition errors; a dropped word's mark goes to the word before."""
    types, marks, cases = corpus.types.copy(), corpus.marks.copy(), corpus.cases.copy()
    changed = rng.random(len(types)) < noise.changed
    picks = rng.integers(similar.shape[1], size=int(changed.sum()))
    types[changed] = similar[types[changed], picks]
    cases[changed] = IGNORED
    dropped = rng.random(len(types)) < noise.dropped
    dropped[0] = False
    before = np.flatnonzero(dropped) - 1
    marks[before] = np.maximum(marks[before], marks[before + 1])
    kept = ~dropped
    types, marks, cases = types[kept], marks[kept], cases[kept]
    places = np.flatnonzero(rng.random(len(types)) < noise.added)
    short = types[rng.integers(len(types), size=len(places))]
    types = np.insert(types, places, short)
    marks = np.insert(marks, places, int(Mark.NONE))
    cases = np.insert(cases, places, IGNORED)
    return Corpus(corpus.spellings, types, marks, cases)


def draw_pauses(marks: Array, rng: np.random.Generator, speaker: Pauses = TALKER) -> Array:
    """Return a pause's row for the gap after each word, drawn by the mark there."""
    table = np.cumsum(np.array([speaker[mark] for mark in Mark]), axis=1)
    drawn = (rng.random(len(marks))[:, None] > table[marks][:, :-1]).sum(axis=1)
    return np.asarray(1 + drawn, np.int32)


def with_segments(corpus: Corpus, after: Array, ends: int) -> tuple[Corpus, Array]:
    """Put `ends` segment ends where a pause is of the longest kind; return the pauses before."""
    places = np.repeat(np.flatnonzero(after == PAUSE_ROWS - 1) + 1, ends)
    before = np.concatenate([np.ones(1, np.int32), after[:-1]])
    values = (
        np.insert(corpus.types, places, END_TYPE),
        np.insert(corpus.marks, places, IGNORED),
        np.insert(corpus.cases, places, IGNORED),
    )
    return Corpus(corpus.spellings, *values), np.insert(before, places, PAUSE_ROWS - 1)


def spoiled_streams(
    pieces: Sequence[Corpus], length: int, ends: int, similar: Array, rng: np.random.Generator
) -> tuple[Corpus, Array]:
    """Return texts (pieces, length), each spoiled in its own way, and the pauses before words.

    Three of five get recognition errors, two of three pauses, the longest of which end segments.
    What has become too long is cut; what has become too short is filled up with ignored labels.

    Args:
        pieces: of `length` words.
        length: of the streams, in words and segment ends.
        ends: how often a segment's end is said.
        similar: types that sound like each type.
        rng: what is drawn.
    """
    done, befores = [], []
    for piece in pieces:
        error_rate = rng.choice(ERROR_RATES)
        part = spoil(piece, Noise.of(error_rate), similar, rng) if error_rate else piece
        before = np.zeros(len(part.types), np.int32)
        if rng.random() < WITH_PAUSES:
            after = draw_pauses(part.marks, rng, READER if rng.random() < READ else TALKER)
            part, before = with_segments(part, after, ends)
        short = max(length - len(part.types), 0)
        done.append(
            (
                np.pad(part.types, (0, short))[:length],
                np.pad(part.marks, (0, short), constant_values=IGNORED)[:length],
                np.pad(part.cases, (0, short), constant_values=IGNORED)[:length],
            )
        )
        befores.append(np.pad(before, (0, short))[:length])
    return Corpus(pieces[0].spellings, *map(np.stack, zip(*done, strict=True))), np.stack(befores)
