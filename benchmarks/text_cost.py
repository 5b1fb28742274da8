"""What the text people read costs: beside the recognizer's computing, and in delay of each event.

usage: python benchmarks/text_cost.py [MANIFEST] [--chunk-ms MS] [--language L]

Every clip is streamed once; each event goes through a `Formatter` at once, as in `transcribe` and
`listen`. Both are timed in CPU time of the same run, so load beside it counts for both. An event is
late by what its own formatting takes, and by nothing else: the same events come, with the same
words, as with `--raw`. `tagger` is the share of the network alone. The last line is JSON.
"""

import argparse
import json
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from rivulet import Formatter, Recognizer, audio
from rivulet.corpora.manifest import read_manifest
from rivulet.text.language import DEFAULT_LANGUAGE, WrittenLanguage
from rivulet.text.tagger import Labels, Tagger, TaggerState

CLIPS = Path(__file__).parents[1] / "data/clips/manifest.tsv"
STEPS: list[float] = []  # CPU seconds of each of the tagger's steps


class TimedTagger(Tagger):
    """A tagger whose steps are timed."""

    def step(
        self, features: tuple[int, int, int, int], pause: int, state: TaggerState
    ) -> tuple[Labels, TaggerState]:
        """Do as a tagger does."""
        start = time.process_time()
        done = super().step(features, pause, state)
        STEPS.append(time.process_time() - start)
        return done


def timed(language: WrittenLanguage) -> WrittenLanguage:
    """Return the language with a tagger that is timed."""
    own = {field.name: getattr(language.tagger, field.name) for field in fields(Tagger)}
    return replace(language, tagger=TimedTagger(**own))


def stream(
    recognizer: Recognizer, language: WrittenLanguage, path: Path, chunk: int
) -> tuple[float, list[float], int]:
    """Return CPU seconds of the recognizer, of each event's formatting, and words heard."""
    samples = np.concatenate(list(audio.read(path)))
    live, formatter = recognizer.stream(), Formatter(language)
    heard, shown, words = 0.0, [], 0
    for begin in range(0, len(samples) + chunk, chunk):
        start = time.process_time()
        last = begin >= len(samples)
        events = live.finish() if last else live.accept(samples[begin : begin + chunk])
        heard += time.process_time() - start
        for event in events:
            start = time.process_time()
            out = formatter.push(event)
            shown.append(time.process_time() - start)
            assert (out.text, out.at) == (event.text, event.at)
            words += len(event.words) if hasattr(event, "end") else 0
    return heard, shown, words


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("manifest", nargs="?", type=Path, default=CLIPS)
    parser.add_argument("--chunk-ms", type=int, default=80)
    parser.add_argument("--language", default=DEFAULT_LANGUAGE, metavar="NAME|DIR")
    args = parser.parse_args()
    recognizer, language = Recognizer.load(), timed(WrittenLanguage.load(args.language))
    heard, shown, words, seconds = 0.0, [], 0, 0.0
    for number, row in enumerate(read_manifest(args.manifest)):
        one = stream(recognizer, language, row.path, 16 * args.chunk_ms)
        if number == 0:  # the first call of each is not like the others
            STEPS.clear()
            continue
        heard, words, seconds = heard + one[0], words + one[2], seconds + row.seconds
        shown += one[1]
    late = np.array(shown) * 1e3
    found = {
        "seconds": round(seconds, 1),
        "words": words,
        "events": len(shown),
        "recognizer_ms_per_s": round(heard / seconds * 1e3, 2),
        "text_ms_per_s": round(sum(shown) / seconds * 1e3, 3),
        "share_percent": round(100 * sum(shown) / heard, 2),
        "tagger_percent": round(100 * sum(STEPS) / heard, 2),
        "late_ms": {f"p{q}": round(float(np.percentile(late, q)), 3) for q in (50, 95, 100)},
    }
    for name, value in found.items():
        print(f"{name}: {value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
