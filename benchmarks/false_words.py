"""Words heard in an hour each of silence, noise and hum: `python benchmarks/false_words.py`."""

import argparse
import json
from collections.abc import Callable

import numpy as np
import torch

from rivulet.audio import SAMPLE_RATE
from rivulet.events import Final
from rivulet.recognizer import Recognizer

PIECE = 10 * SAMPLE_RATE  # samples made at a time
HUM_HZ = 50.0


def sounds() -> dict[str, Callable[[int], np.ndarray]]:
    """Return for each sound a function from the first sample's place to samples (PIECE,)."""
    rng = np.random.default_rng(1)

    def hum(start: int) -> np.ndarray:
        t = (start + np.arange(PIECE)) / SAMPLE_RATE
        harmonics = sum(np.sin(2 * np.pi * HUM_HZ * k * t) / k for k in (1, 2, 3, 5))
        return 0.05 * harmonics + 0.001 * rng.standard_normal(PIECE)

    return {
        "digital silence": lambda start: np.zeros(PIECE),
        "room noise, -60 dB": lambda start: 0.001 * rng.standard_normal(PIECE),
        "white noise, -30 dB": lambda start: 0.03 * rng.standard_normal(PIECE),
        "50 Hz hum, -26 dB": hum,
    }


def main() -> None:
    """Print a line per sound and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600, help="of each sound (%(default)s)")
    parser.add_argument("--model", default="default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recognizer = Recognizer.load(args.model)
    found: dict[str, float] = {}
    for name, make in sounds().items():
        stream = recognizer.stream()
        events = []
        for start in range(0, args.seconds * SAMPLE_RATE, PIECE):
            events += stream.accept(make(start).astype(np.float32))
        events += stream.finish()
        words = sum(len(event.words) for event in events if isinstance(event, Final))
        found[name] = words * 3600 / args.seconds
        print(f"{name:24} {found[name]:8.1f} false words per hour")
    print(json.dumps({"bench": "false words", "seconds": args.seconds, "per_hour": found}))


if __name__ == "__main__":
    main()
