"""How many names `rivulet search` finds by sound: `python benchmarks/archive_names.py`.

Takes the clips of a manifest with a word that the model's lexicon lacks, so that it cannot be
recognized, recognizes them, puts the texts into an index among the references of all other clips,
and searches for each such word. Prints a line a word: what was recognized, and at which place of
how many hits its clip came. The last line is one JSON object.
"""

import argparse
import json
import statistics
from pathlib import Path

from rivulet.archive.finding import find
from rivulet.archive.index import Index
from rivulet.archive.query import Query
from rivulet.archive.records import Job, Result
from rivulet.checkpoint.folder import LM_FOLDER
from rivulet.checkpoint.folder import find as find_model
from rivulet.corpora.manifest import Utterance, read_manifest
from rivulet.events import Final, Word
from rivulet.language.model import LanguageModel
from rivulet.recognizer import Recognizer

LONGEST_S = 12.0
SHORTEST = 4  # letters
LIMIT = 200  # hits


def main() -> None:
    """Search for every word that cannot be recognized."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, default=Path("../shared/speech/dev.tsv"))
    parser.add_argument("--model", default="default")
    args = parser.parse_args()
    language = find_model(args.model) / LM_FOLDER
    known = set(LanguageModel.load(language).words)
    utterances = list(read_manifest(args.manifest))
    asked = {
        u.id: w for u in utterances if u.seconds < LONGEST_S and (w := _unknown(u.text, known))
    }
    index, heard = Index(None, language), _indexed(utterances, set(asked), args.model)
    for result in heard.values():
        index.add(result)
    ranks, counts = [], []
    for clip, words in asked.items():
        for word in words:
            hits = find(index, Query.parse(word), limit=LIMIT, a_file=1).hits
            places = [hit.place for hit in hits]
            ranks.append(places.index(clip) + 1 if clip in places else None)
            counts.append(len(places))
            print(word, "|", heard[clip].text, "|", ranks[-1], "of", len(places))
    found = {f"in the first {n}": sum(r is not None and r <= n for r in ranks) for n in (1, 5, 20)}
    figures = {"words": len(ranks), **found, "texts": len(utterances)}
    print(json.dumps({**figures, "median hits": statistics.median(counts)}))


def _unknown(text: str, known: set[str]) -> list[str]:
    words = dict.fromkeys(text.split())
    return [
        word
        for word in words
        if not {word, word.removesuffix("'S")} & known and len(word) >= SHORTEST
    ]


def _indexed(utterances: list[Utterance], asked: set[str], model: str) -> dict[str, Result]:
    """Return what was recognized of the clips that are asked for, and the others' references."""
    recognizer = Recognizer.load(model)
    results = {}
    for utterance in utterances:
        job = Job(str(utterance.path), utterance.id, 1)
        if utterance.id in asked:
            transcript = recognizer.transcribe(utterance.path)
            results[utterance.id] = Result(job, transcript.segments, transcript.seconds)
            continue
        words = tuple(Word(w, 0.0, 0.0, 1.0) for w in utterance.text.split())
        final = Final(0, utterance.text, words, 0.0, 0.0, 0.0)
        results[utterance.id] = Result(job, (final,), utterance.seconds)
    return results


if __name__ == "__main__":
    main()
