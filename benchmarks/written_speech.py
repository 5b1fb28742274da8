"""How recorded sentences are written, as recognized: F1 of marks and capitals on the right words.

usage: python benchmarks/written_speech.py TSV CLIPS [--clips N] [--language L]

TSV has the columns `path` and `sentence`, cased and punctuated, such as Common Voice's
validated.tsv; CLIPS is the folder that its paths lie in. Words that were not recognized right are
left out. Beside it: a period and a capital at each segment, nothing else. The last line is JSON.
"""

import argparse
import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path

from written_text import NAMES, Pair, scores

from rivulet import FormatConfig, Formatter, Recognizer
from rivulet.events import Final
from rivulet.metrics import match_words
from rivulet.text.labels import Case, Mark
from rivulet.text.language import DEFAULT_LANGUAGE, WrittenLanguage
from rivulet.training.punctuated import Example, parse

Written = tuple[str, Mark, bool]  # a word in lower case, the mark after it, whether it has capitals


def reference(example: Example) -> Iterator[Written]:
    """Yield the words of a sentence; an exclamation mark counts as a period."""
    for word, mark, case in zip(example.words, example.marks, example.cases, strict=True):
        shown = Mark.PERIOD if mark is Mark.EXCLAMATION else mark
        yield word, shown, case is None or case is not Case.LOWER


def displayed(finals: list[Final]) -> Iterator[Written]:
    """Yield the words of a transcript as they are shown."""
    signs = {",": Mark.COMMA, ".": Mark.PERIOD, "?": Mark.QUESTION, "!": Mark.PERIOD}
    for final in finals:
        words = final.text.lower().split()
        for token in final.tokens or ():
            capital = token.text != token.text.lower()
            yield words[token.first], signs.get(token.text[-1], Mark.NONE), capital


def bare(finals: list[Final]) -> Iterator[Written]:
    """Yield the same with a capital and a period at each segment."""
    for final in finals:
        words = final.text.lower().split()
        for number, word in enumerate(words, 1):
            yield word, Mark.PERIOD if number == len(words) else Mark.NONE, number == 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("table", type=Path, metavar="TSV")
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--language", default=DEFAULT_LANGUAGE)
    args = parser.parse_args()
    with args.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    random.Random(0).shuffle(rows)
    recognizer, language = Recognizer.load(), WrittenLanguage.load(args.language)
    found: dict[str, list[tuple[Written, Written]]] = {"shown": [], "period at each segment": []}
    clips = spoken = 0
    for row in rows:
        path, example = args.folder / row["path"], parse(row["sentence"])
        if example is None or not path.is_file():
            continue
        formatter = Formatter(language, FormatConfig(numbers="words"))
        finals = [formatter.push(final) for final in recognizer.transcribe(path).segments]
        true = list(reference(example))
        for name, read in (("shown", displayed), ("period at each segment", bare)):
            heard = list(read(finals))
            hits = match_words([w[0] for w in true], [w[0] for w in heard]).hits
            found[name] += [(true[i], heard[j]) for i, j in hits]
        clips, spoken = clips + 1, spoken + len(true)
        if clips == args.clips:
            break
    report = {"clips": clips, "words": spoken, "right": len(found["shown"])}
    print("| | period | comma | question | case |\n|" + "---|" * 5)
    for name, words in found.items():
        figures = {}
        for mark, label in NAMES.items():
            figures[label] = scores([(int(a[1]), int(b[1])) for a, b in words], int(mark))
        capitals: list[Pair] = [(int(a[2]), int(b[2])) for a, b in words]
        report[name] = figures | {"case": scores(capitals, 1)}
        print(
            f"| {name} | " + " | ".join(f"{one['f1']:.2f}" for one in report[name].values()) + " |"
        )
    commas = sum(a[1] is Mark.COMMA for a, _ in found["shown"])
    questions = sum(a[1] is Mark.QUESTION for a, _ in found["shown"])
    print(json.dumps({**report, "commas": commas, "questions": questions}))


if __name__ == "__main__":
    main()
