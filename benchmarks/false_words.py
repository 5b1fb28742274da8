"""Words heard where nobody speaks, in an hour each of silence, noise and hum.

`python benchmarks/false_words.py [--backwards TRAIN.tsv --every N]`
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from rivulet import audio
from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.corpora.manifest import Utterance, read_manifest
from rivulet.recognizer import Recognizer
from rivulet.together import transcribe_many

PIECE = 10 * SAMPLE_RATE  # samples made at a time
HUM_HZ = 50.0
HOUR = 3600  # seconds


def hum(rng: np.random.Generator, start: int) -> np.ndarray:
    """Return samples (PIECE,) of a mains hum, from the `start`th on."""
    t = (start + np.arange(PIECE)) / SAMPLE_RATE
    harmonics = sum(np.sin(2 * np.pi * HUM_HZ * k * t) / k for k in (1, 2, 3, 5))
    return 0.05 * harmonics + 0.001 * rng.standard_normal(PIECE)


SOUNDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "digital silence": lambda rng, start: np.zeros(PIECE),
    "room noise, -60 dB": lambda rng, start: 0.001 * rng.standard_normal(PIECE),
    "white noise, -30 dB": lambda rng, start: 0.03 * rng.standard_normal(PIECE),
    "50 Hz hum, -26 dB": hum,
}


def made(make: Callable[[np.random.Generator, int], np.ndarray], seconds: int) -> Iterator[Samples]:
    """Yield so many seconds of a sound, piece by piece; every time the same."""
    rng = np.random.default_rng(1)
    for start in range(0, seconds * SAMPLE_RATE, PIECE):
        yield make(rng, start).astype(np.float32)


def backwards(utterances: list[Utterance]) -> Iterator[Samples]:
    """Yield each recording, mono samples (n,), last sample first."""
    return (np.ascontiguousarray(audio.load(u.path)[::-1]) for u in utterances)


def main() -> None:
    """Print a line per sound and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=HOUR, help="of each sound (%(default)s)")
    parser.add_argument(
        "--sound", action="append", choices=SOUNDS, help="only this; may be repeated"
    )
    parser.add_argument("--model", default="default")
    parser.add_argument(
        "--backwards", type=Path, metavar="LIST.tsv", help="speech to play backwards, too"
    )
    parser.add_argument("--every", type=int, default=1, help="every Nth of it (%(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    hear = partial(transcribe_many, Recognizer.load(args.model), sample_rate=SAMPLE_RATE)
    found: dict[str, float] = {}
    names = args.sound or list(SOUNDS)
    sounds = [made(SOUNDS[name], args.seconds) for name in names]
    for name, outcome in zip(names, hear(sounds), strict=True):
        heard = outcome.transcript
        found[name] = len(heard.words) * HOUR / heard.seconds
        print(f"{name:24} {found[name]:8.1f} false words per hour", flush=True)
    summary = {"bench": "false words", "model": args.model, "seconds": args.seconds}
    if args.backwards is not None:
        clips = read_manifest(args.backwards)[:: args.every]
        transcripts = [outcome.transcript for outcome in hear(backwards(clips))]
        seconds = sum(heard.seconds for heard in transcripts)
        words = sum(len(heard.words) for heard in transcripts)
        found["speech backwards"] = words * HOUR / seconds
        summary |= {"backwards_clips": len(clips), "backwards_seconds": round(seconds, 1)}
        print(f"{'speech backwards':24} {found['speech backwards']:8.1f} in {seconds / 60:.0f} min")
    print(json.dumps(summary | {"per_hour": {k: round(v, 1) for k, v in found.items()}}))


if __name__ == "__main__":
    main()
