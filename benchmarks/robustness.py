"""WER under noise, by telephone, quiet, fast, slow, late; words heard in speech played backwards.

`python benchmarks/robustness.py --manifest DEV.tsv --noise NOISE.tsv [--backwards TRAIN.tsv]`
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soxr
import torch

from rivulet.audio import SAMPLE_RATE, Samples, read
from rivulet.corpora.manifest import Utterance, read_manifest
from rivulet.evaluation.transcripts import rate
from rivulet.events import Final
from rivulet.metrics import error_counts
from rivulet.recognizer import Recognizer
from rivulet.training.augment import add_noise
from rivulet.training.corpus import quietest

TELEPHONE_HZ = 8000
PAUSE = SAMPLE_RATE // 10  # the quietest so many samples tell how loud a room is
Change = Callable[[Samples, int], Samples]


def load(utterance: Utterance) -> Samples:
    """Return mono samples (n,) at 16 kHz."""
    return np.concatenate(list(read(utterance.path)))


def after_a_second(samples: Samples, number: int) -> Samples:
    """Put a second of white noise before a clip, as loud as its quietest moment."""
    room = np.random.default_rng(number).normal(0.0, quietest(samples, PAUSE), SAMPLE_RATE)
    return np.concatenate([room.astype(np.float32), samples])


def conditions(noises: list[Samples]) -> dict[str, tuple[Change, int]]:
    """Return each condition: what it does to a numbered clip, and the rate it then has, in Hz."""

    def noisy(snr_db: float) -> Change:
        def change(samples: Samples, number: int) -> Samples:
            rng = np.random.default_rng(number)
            noise = noises[int(rng.integers(len(noises)))]
            start = int(rng.integers(len(noise)))
            return add_noise(samples, np.resize(np.roll(noise, -start), len(samples)), snr_db)

        return change

    def faster(speed: float) -> Change:
        return lambda samples, _: soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE)

    return {
        "as recorded": (lambda samples, _: samples, SAMPLE_RATE),
        "noise, 20 dB": (noisy(20.0), SAMPLE_RATE),
        "noise, 10 dB": (noisy(10.0), SAMPLE_RATE),
        "noise, 0 dB": (noisy(0.0), SAMPLE_RATE),
        "telephone, 8 kHz": (
            lambda samples, _: soxr.resample(samples, SAMPLE_RATE, TELEPHONE_HZ),
            TELEPHONE_HZ,
        ),
        "30 dB quieter": (lambda samples, _: samples * np.float32(10.0**-1.5), SAMPLE_RATE),
        "after 1 s of room": (after_a_second, SAMPLE_RATE),
        "speed 0.8": (faster(0.8), SAMPLE_RATE),
        "speed 1.25": (faster(1.25), SAMPLE_RATE),
    }


def transcribe(recognizer: Recognizer, samples: Samples, sample_rate: int) -> list[str]:
    """Return the words heard."""
    stream = recognizer.stream(sample_rate)
    events = [*stream.accept(samples.astype(np.float32)), *stream.finish()]
    return [word for event in events if isinstance(event, Final) for word in event.text.split()]


def main() -> None:
    """Print a line per condition and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--backwards", type=Path)
    parser.add_argument("--only", nargs="+", metavar="CONDITION", help="of all that are measured")
    parser.add_argument("--every", type=int, default=6, help="every Nth utterance (%(default)s)")
    parser.add_argument(
        "--backwards-every", type=int, metavar="N", help="every Nth played backwards (as --every)"
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("--decoder", choices=("beam", "greedy"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    recognizer = Recognizer.load(args.model, decoder=args.decoder)
    clips = [(u.text.split(), load(u)) for u in read_manifest(args.manifest)[:: args.every]]
    noises = [load(u) for u in read_manifest(args.noise)]
    found: dict[str, float] = {}
    for name, (change, sample_rate) in conditions(noises).items():
        if args.only and name not in args.only:
            continue
        counts = [
            error_counts(text, transcribe(recognizer, change(samples, number), sample_rate))
            for number, (text, samples) in enumerate(clips)
        ]
        found[name] = round(rate(counts), 4)
        print(f"{name:18} {100 * found[name]:6.1f} % WER", flush=True)
    summary = {"bench": "robustness", "clips": len(clips), "every": args.every, "wer": found}
    if args.backwards is not None:
        step = args.backwards_every or args.every
        spoken = [load(u) for u in read_manifest(args.backwards)[::step]]
        words = sum(len(transcribe(recognizer, s[::-1], SAMPLE_RATE)) for s in spoken)
        hours = sum(map(len, spoken)) / SAMPLE_RATE / 3600
        summary["backwards_words_per_hour"] = round(words / hours, 1)
        print(f"backwards: {words / hours:.0f} words an hour in {60 * hours:.0f} minutes")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
