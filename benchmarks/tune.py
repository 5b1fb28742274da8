"""Settings of the beam tried on a part of a manifest, one after another, from cached log_probs.

`python benchmarks/tune.py MODEL --manifest DEV.tsv --every 4 --try lm_weight=1.05,1.35 --try
beam_size=500` runs the network once over every fourth clip, then searches with the model's own
settings and with each change, and keeps a change only if it takes off more than `--least` of the
errors. The clips that chose nothing are read with the first and the last settings (`--rest`).
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet import audio
from rivulet.corpora.manifest import Utterance, read_manifest
from rivulet.decoding.decoder import Decoder, WrappedDecoder
from rivulet.decoding.greedy import GreedyDecoder
from rivulet.decoding.settings import BeamConfig
from rivulet.evaluation.speed import this_machine
from rivulet.events import Final
from rivulet.metrics import ErrorCounts, error_counts
from rivulet.recognizer import Recognizer

BLOCK = 4  # output frames pushed at a time: no result depends on it


@dataclass(frozen=True)
class Clip:
    """A text and the log_probs (T, columns) that the network wrote for it, in half precision."""

    text: str
    log_probs: npt.NDArray[np.float16]


class Recorder(WrappedDecoder):
    """Keeps what the network writes."""

    def __init__(self, decoder: Decoder) -> None:
        """Stand before `decoder`."""
        super().__init__(decoder)
        self.rows: list[npt.NDArray[np.float16]] = []

    def push(self, log_probs: npt.NDArray[np.float32]) -> None:
        """Decode (T, columns) natural-log probabilities."""
        self.rows.append(log_probs.astype(np.float16))
        super().push(log_probs)


def main() -> None:
    """Print a line for each trial and one JSON object."""
    args = read_arguments()
    recognizer = Recognizer.load(args.model)
    utterances = read_manifest(args.manifest)
    chosen = [listen(recognizer, u) for u in utterances[:: args.every]]
    first = best = recognizer.settings.beam
    least = show("as it is", score(recognizer, best, chosen))
    for change in trials(args.trials):
        tried = replace(best, **change)
        errors = show(json.dumps(change), score(recognizer, tried, chosen))
        if errors < least * (1.0 - args.least):
            best, least = tried, errors
    found: dict[str, Any] = {"bench": "tune", "best": asdict(best), "wer": round(least, 5)}
    if args.rest:
        others = [u for i, u in enumerate(utterances) if i % args.every]
        rest = [listen(recognizer, u) for u in others]
        for name, config in (("first", first), ("best", best)):
            found[f"rest_{name}"] = show(f"the rest, {name}", score(recognizer, config, rest))
    print(json.dumps({**found, "machine": asdict(this_machine())}))


def read_arguments() -> argparse.Namespace:
    """Declare and read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL|DIR")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--every", type=int, default=4, help="every Nth clip (%(default)s)")
    parser.add_argument(
        "--try",
        dest="trials",
        action="append",
        default=[],
        metavar="NAME=VALUE,VALUE",
        help="a setting and what to try for it; several names joined by + change together",
    )
    parser.add_argument(
        "--least", type=float, default=0.01, help="share of the errors that counts (%(default)s)"
    )
    parser.add_argument("--rest", action="store_true", help="read the other clips, too")
    return parser.parse_args()


def trials(words: Iterable[str]) -> Iterable[dict[str, Any]]:
    """Yield each change: `a=1,2` is two, `a=1+b=2` is one of both."""
    for word in words:
        parts = [part.split("=") for part in word.split("+")]
        for values in zip(*(listed.split(",") for _, listed in parts), strict=True):
            pairs = zip((name for name, _ in parts), values, strict=True)
            yield {name: json.loads(value) for name, value in pairs}


def listen(recognizer: Recognizer, utterance: Utterance) -> Clip:
    """Run the network over an utterance, as a stream does."""
    recorder = Recorder(GreedyDecoder(recognizer.checkpoint.tokenizer))
    stream = recognizer.stream(decoder=recorder)
    for samples in audio.read(utterance.path):
        stream.accept(samples)
    stream.finish()
    return Clip(utterance.text, np.concatenate(recorder.rows))


def score(recognizer: Recognizer, config: BeamConfig, clips: Sequence[Clip]) -> list[ErrorCounts]:
    """Search every clip with these settings."""
    tried = recognizer.with_settings(replace(recognizer.settings, beam=config))
    return [count(tried, clip) for clip in clips]


def count(recognizer: Recognizer, clip: Clip) -> ErrorCounts:
    """Return the word errors of one clip."""
    segmenter = recognizer.segmenter()
    rows = clip.log_probs.astype(np.float32)
    blocks = np.split(rows, range(BLOCK, len(rows), BLOCK))
    events = [event for block in blocks for event in segmenter.push(block, 0.0)]
    events += segmenter.flush(0.0)
    text = " ".join(event.text for event in events if isinstance(event, Final))
    return error_counts(clip.text.split(), text.split())


def show(name: str, counts: Sequence[ErrorCounts]) -> float:
    """Print and return the word error rate."""
    wer = sum(c.errors for c in counts) / max(1, sum(c.reference for c in counts))
    insertions, deletions = (
        sum(getattr(c, k) for c in counts) for k in ("insertions", "deletions")
    )
    print(f"{100 * wer:6.2f} %  {insertions:4} ins {deletions:4} del  {name}", flush=True)
    return wer


if __name__ == "__main__":
    main()
