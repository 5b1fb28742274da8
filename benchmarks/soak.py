"""Hours of sound on a virtual clock: `python benchmarks/soak.py --hours 24`.

Speech, silence, noise, music, all zeros, full scale and a constant follow one another, fed as fast
as the machine recognizes. Looked at: memory, whether every event's `at` is within the sound fed,
whether a clip's words lie where the clip was, false words, and how soon a segment ends after
speech. The last line is a JSON object.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rivulet.audio import SAMPLE_RATE, Samples, load
from rivulet.events import Final
from rivulet.recognizer import Recognizer

SAMPLES = sorted((Path(__file__).parents[1] / "data" / "samples").glob("*.flac"))
BLOCK = SAMPLE_RATE // 2
PART_S = 60.0
WARM_S = 600.0  # of sound, before memory is noted first
LIMIT = 1.0  # seconds that a clip's words may lie outside of it


def stretch(kind: str, seconds: float, rng: np.random.Generator) -> Samples:
    """Sound without words."""
    count = int(seconds * SAMPLE_RATE)
    at = np.arange(count) / SAMPLE_RATE
    if kind == "noise":
        return (rng.standard_normal(count) * 0.05).astype(np.float32)
    if kind == "music":
        chord = sum(np.sin(2 * np.pi * f * at) for f in (220.0, 277.2, 329.6))
        return (0.1 * chord * (1.0 + 0.5 * np.sin(2 * np.pi * 2.0 * at))).astype(np.float32)
    if kind == "full scale":
        return np.sign(np.sin(2 * np.pi * 100.0 * at)).astype(np.float32)
    if kind == "constant":
        return np.full(count, 0.5, np.float32)
    level = {"silence": 1e-4, "zeros": 0.0}[kind]
    return (rng.standard_normal(count) * level).astype(np.float32)


def parts(kinds: list[str], rng: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    """Yield kinds of sound without end."""
    clips = [load(path) for path in SAMPLES]
    number = 0
    while True:
        kind = kinds[number % len(kinds)]
        if kind == "speech":
            pause = stretch("silence", 2.0, rng)
            clip = clips[number // len(kinds) % len(clips)]
            yield kind, np.concatenate([pause, clip, pause])
        else:
            yield kind, stretch(kind, PART_S, rng)
        number += 1


def memory_mib() -> float:
    """What the process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def soak(kinds: list[str], hours: float, seconds: float, model: str) -> dict[str, object]:
    """Feed so many hours, or as many as the time allows."""
    stream = Recognizer.load(model).stream()
    rng = np.random.default_rng(0)
    begun = time.monotonic()
    fed = 0
    first_mib = 0.0
    false: dict[str, int] = {kind: 0 for kind in kinds if kind != "speech"}
    heard_s = {kind: 0.0 for kind in kinds}
    misplaced = late = finals = 0
    slowest_s = 0.0
    for kind, sound in parts(kinds, rng):
        if fed >= hours * 3600 * SAMPLE_RATE or time.monotonic() - begun > seconds:
            break
        began_s = fed / SAMPLE_RATE
        for start in range(0, len(sound), BLOCK):
            block = sound[start : start + BLOCK]
            fed += len(block)
            for event in stream.accept(block):
                late += event.at > fed / SAMPLE_RATE + 1e-6
                if not isinstance(event, Final):
                    continue
                finals += 1
                if kind != "speech":
                    false[kind] += len(event.words)
                elif event.start < began_s + 2.0 - LIMIT:
                    misplaced += 1
                else:
                    slowest_s = max(slowest_s, event.at - event.end)
        heard_s[kind] += len(sound) / SAMPLE_RATE
        if not first_mib and fed > WARM_S * SAMPLE_RATE:
            first_mib = memory_mib()
    return {
        "hours": round(fed / SAMPLE_RATE / 3600, 2),
        "seconds": round(time.monotonic() - begun, 1),
        "finals": finals,
        "at_beyond_the_sound": late,
        "misplaced": misplaced,
        "false_words": false,
        "minutes": {kind: round(value / 60, 1) for kind, value in heard_s.items()},
        "slowest_final_s": round(slowest_s, 2),
        "mib_after_10_minutes": round(first_mib, 1),
        "mib_at_the_end": round(memory_mib(), 1),
    }


def main() -> int:
    """Read the flags and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seconds", type=float, default=1e9, help="at most so long")
    parser.add_argument("--model", default="default")
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=["speech", "silence", "noise", "music", "zeros", "full scale", "constant"],
    )
    args = parser.parse_args()
    print(json.dumps(soak(args.kinds, args.hours, args.seconds, args.model)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
