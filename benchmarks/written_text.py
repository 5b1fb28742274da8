"""How well punctuation and case are put back: precision, recall and F1 on text of another source.

usage: python benchmarks/written_text.py TEXT... [--language L] [--words N]

Each text (a paragraph a line, as `data/written_english.py` writes it) is lower-cased and stripped,
perhaps spoiled with 15 % recognition errors, and given to the tagger: words alone, and with pauses
drawn as in its training, of which those of 0.8 s end a segment. Beside it: a period and a capital
at each segment, nothing else. An exclamation mark counts as a period; "inside" is the case of words
that begin no sentence of the text. The last line is JSON.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rivulet.commands.train_text import lexicon
from rivulet.text.labels import Case, Mark
from rivulet.text.language import DEFAULT_LANGUAGE, WrittenLanguage
from rivulet.text.tagger import SEGMENT_END
from rivulet.training import tagger_data
from rivulet.training.punctuated import examples

ERRORS = 0.15
SILENCE_ROW = tagger_data.PAUSE_ROWS - 1
NAMES = {Mark.PERIOD: "period", Mark.COMMA: "comma", Mark.QUESTION: "question"}
Pair = tuple[int, int]


def tag(
    language: WrittenLanguage, corpus: tagger_data.Corpus, before: Sequence[int]
) -> tuple[list[Mark], list[Case]]:
    """Return what the tagger says about every word; segment ends are among the types."""
    tagger, state = language.tagger, language.tagger.initial_state()
    hypothesis = []
    rows: dict[int, tuple[int, int, int, int]] = {tagger_data.END_TYPE: SEGMENT_END}
    ends = [tagger_data.END_TYPE] * tagger.lookahead
    for kind, pause in zip(
        [*corpus.types.tolist(), *ends], [*before, *[0] * len(ends)], strict=True
    ):
        if kind not in rows:
            rows[kind] = language.vocabulary.features(corpus.spellings[kind])
        labels, state = tagger.step(rows[kind], pause, state)
        hypothesis.append(labels)
    late = hypothesis[tagger.lookahead :]
    return [labels.mark for labels in late], [labels.case for labels in late]


def scores(pairs: Sequence[Pair], wanted: int) -> dict[str, float]:
    """Return precision, recall and F1 of one label from (reference, hypothesis) pairs."""
    count = Counter((true == wanted, hypothesis == wanted) for true, hypothesis in pairs)
    hits, missed, inserted = count[True, True], count[True, False], count[False, True]
    precision, recall = hits / max(hits + inserted, 1), hits / max(hits + missed, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"precision": round(precision, 3), "recall": round(recall, 3), "f1": round(f1, 3)}


def measure(
    corpus: tagger_data.Corpus, marks: Sequence[int], cases: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Compare marks and capitals with the text's own, a sentence's first capital included."""
    merged = [Mark.PERIOD if m == Mark.EXCLAMATION else m for m in corpus.marks.tolist()]
    hypothesis = [Mark.PERIOD if m == Mark.EXCLAMATION else m for m in marks]
    words = [i for i, kind in enumerate(corpus.types) if kind != tagger_data.END_TYPE]
    found = {
        name: scores([(merged[i], hypothesis[i]) for i in words], m) for m, name in NAMES.items()
    }
    told = [i for i in words if corpus.cases[i] != tagger_data.IGNORED]
    capitals, begins, hypothesis_begins = [], True, True
    for i in words:
        true = corpus.cases[i]
        known = begins or true != tagger_data.IGNORED
        if known:
            capital = int(begins or true != Case.LOWER)
            capitals.append((capital, int(hypothesis_begins or cases[i] != Case.LOWER)))
        begins, hypothesis_begins = merged[i] >= Mark.PERIOD, hypothesis[i] >= Mark.PERIOD
    inside = [(int(corpus.cases[i] != Case.LOWER), int(cases[i] != Case.LOWER)) for i in told]
    return {**found, "case": scores(capitals, 1), "case inside": scores(inside, 1)}


def baseline(corpus: tagger_data.Corpus) -> tuple[list[int], list[int]]:
    """Return a period before each segment's end and no capital but those that follow from it."""
    ends = corpus.types == tagger_data.END_TYPE
    marks = np.where(np.append(ends[1:], True) & ~ends, int(Mark.PERIOD), int(Mark.NONE))
    return marks.tolist(), [int(Case.LOWER)] * len(marks)


def conditions(
    corpus: tagger_data.Corpus, similar: tagger_data.Array, lookahead: int
) -> dict[str, tuple[tagger_data.Corpus, list[int]]]:
    """Return the text clean and spoiled, without pauses and with."""
    made = {}
    for name, rate in (("clean", 0.0), (f"{ERRORS:.0%} errors", ERRORS)):
        rng = np.random.default_rng(7)
        noise = tagger_data.Noise.of(rate)
        spoiled = tagger_data.spoil(corpus, noise, similar, rng) if rate else corpus
        made[name] = spoiled, [0] * len(spoiled.types)
        after = tagger_data.draw_pauses(spoiled.marks, rng)
        cut, before = tagger_data.with_segments(spoiled, after, lookahead)
        made[f"{name}, pauses"] = cut, before.tolist()
    return made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--language", default=DEFAULT_LANGUAGE)
    parser.add_argument("--words", type=int, default=40_000, help="of each text")
    args = parser.parse_args()
    language = WrittenLanguage.load(args.language)
    results = {}
    print("| text | words | period | comma | question | case | inside |\n|" + "---|" * 7)
    for path in args.texts:
        lines = path.read_text(encoding="utf-8").splitlines()
        corpus, _ = tagger_data.read_corpus(examples(lines))
        counts = np.bincount(corpus.types, minlength=len(corpus.spellings)).tolist()
        similar = tagger_data.confusions(corpus.spellings, counts, lexicon("default"))
        part = (corpus.types[: args.words], corpus.marks[: args.words], corpus.cases[: args.words])
        cut = tagger_data.Corpus(corpus.spellings, *part)
        for name, (text, before) in conditions(cut, similar, language.tagger.lookahead).items():
            rows = {name: measure(text, *tag(language, text, before))}
            if name.endswith("pauses"):
                rows[f"{name}: period at each segment"] = measure(text, *baseline(text))
            for label, found in rows.items():
                values = " | ".join(f"{one['f1']:.2f}" for one in found.values())
                print(f"| {path.stem} | {label} | {values} |", flush=True)
            results[path.stem] = results.get(path.stem, {}) | rows
    print(json.dumps(results))


if __name__ == "__main__":
    main()
