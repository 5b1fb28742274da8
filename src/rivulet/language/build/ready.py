"""Ready n-grams as a back-off model: of an ARPA file, or of a language model's folder."""

from pathlib import Path

import numpy as np

from rivulet.language.arpa_tables import BEGIN, END, UNKNOWN
from rivulet.language.build import arpa
from rivulet.language.build.arpa import NEVER, BackoffModel, Floats, Grams, Ids
from rivulet.language.model import LanguageModel
from rivulet.language.tables import NGramTables


def read(path: Path) -> BackoffModel:
    """Read an ARPA file, plain, .gz or .xz, or the n-grams of a folder.

    Raises:
        LanguageModelError: it is missing, neither of them, or damaged.
    """
    return read_folder(path) if path.is_dir() else arpa.read(path)


def read_folder(folder: Path) -> BackoffModel:
    """Read the n-grams of a folder that `rivulet lm build` made.

    Raises:
        LanguageModelError: it is no language model, or damaged.
    """
    model = LanguageModel.load(folder)
    return of_tables(model.words, NGramTables.of_sections(model.packed))


def of_tables(words: tuple[str, ...], tables: NGramTables) -> BackoffModel:
    """Return the tables' n-grams with ids in the order of the vocabulary, marks included."""
    names = [*words, UNKNOWN, BEGIN, END]
    order = np.array(sorted(range(len(names)), key=names.__getitem__))
    ids = np.empty(len(names), np.int64)
    ids[order] = np.arange(len(names))
    model = BackoffModel(tuple(names[index] for index in order), ())
    rows = ids[tables.levels[0].words[:, None].astype(np.int64)]
    for n, level in enumerate(tables.levels, 1):
        if n > 1:
            first = tables.levels[n - 2].first.astype(np.int64)
            counts = first[1:] - first[:-1]
            rows = np.column_stack([np.repeat(rows, counts, axis=0), ids[level.words]])
        scores = level.probs.astype(np.float64), level.backoffs.astype(np.float64)
        model = _with_level(model, rows, *scores)
    return arpa.without_start(model)


def _with_level(model: BackoffModel, rows: Ids, probs: Floats, backoffs: Floats) -> BackoffModel:
    """Add the next longer n-grams (N, n) with log10 probabilities and back-off weights."""
    place, _ = model.find(rows[:, :-1])
    keys = place * len(model.vocabulary) + rows[:, -1]
    order = np.argsort(keys)
    logs = np.maximum(probs[order], NEVER)
    grams = Grams(keys[order], rows[order], logs, backoffs[order])
    return BackoffModel(model.vocabulary, (*model.grams, grams))
