"""Names for a written language: words of a lexicon that texts write with capitals.

usage: python data/usual_case.py LANGUAGE TEXT... [--model M]

`rivulet train-text` lists the words that its own texts do not write in lower case. A recognizer
knows more names than those texts hold, so this adds from more texts (a paragraph a line, as
written_english.py makes them) what its lexicon has and the list LANGUAGE/written.txt lacks. A word
that begins a sentence does not count. The tagger needs no training after it.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from rivulet.commands.train_text import lexicon
from rivulet.language.files import open_packed
from rivulet.text.labels import Case
from rivulet.text.language import WORDS_FILE, WRITTEN_FILE
from rivulet.training.punctuated import Example, examples
from rivulet.training.tagger_data import write

LEAST = 5  # a word is a name if it was seen so often,
USUAL = 0.9  # and so often with the same capitals

Counts = dict[str, Counter[Case]]


def counted(texts: Iterable[Example], words: frozenset[str]) -> Counts:
    """Return how often each of `words` was written in each case, inside sentences."""
    counts: Counts = {word: Counter() for word in words}
    for example in texts:
        for word, case in zip(example.words, example.cases, strict=True):
            if case is not None and word in words:
                counts[word][case] += 1
    return counts


def names(counts: Counts) -> Iterator[str]:
    """Yield the words that are usually written with one capital, or in capitals, as they are."""
    for word, cases in counts.items():
        (case, often), *_ = cases.most_common(1) or [(Case.LOWER, 0)]
        usual = often >= LEAST and often >= USUAL * cases.total()
        if usual and case in (Case.TITLE, Case.UPPER):
            yield write(word, case, {})


def main() -> None:
    """Complete the list."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("language", type=Path, metavar="LANGUAGE", help="its folder")
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXT")
    parser.add_argument("--model", default="default", help="whose lexicon (%(default)s)")
    args = parser.parse_args()
    path = args.language / WRITTEN_FILE
    written = path.read_text("utf-8").split()
    taken = {word.lower() for word in written}
    taken |= set((args.language / WORDS_FILE).read_text("utf-8").split())
    known = (word for word in lexicon(args.model) if not word.endswith("'s"))
    words = frozenset(known) - taken
    lines = (line for text in args.texts for line in open_packed(text))
    added = list(names(counted(examples(lines), words)))
    path.write_text("\n".join(sorted([*written, *added])) + "\n", "utf-8")
    print(f"{len(added)} names added to the {len(written)} words of {path}")


if __name__ == "__main__":
    main()
