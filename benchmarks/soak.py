"""Hours of sound on a virtual clock: `python benchmarks/soak.py --hours 24 10 10 --log soak.jsonl`.

Three signals advance together, as fast as the machine recognizes: a mixed one (speech, silence,
noise, music, all zeros, full scale, a constant), one of silence, and one of noise. Looked at:
memory, whether every event's `at` is the end of the block that it rests on, whether a clip's words
stay where they were when it was heard first, false words, and how soon and how long segments are.
A line of JSON is logged every few minutes of sound, so that what ran counts; the last is printed.
With `--streams 64 --hours 1 0 0` there are 64 mixed signals, each its own.
"""

import argparse
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rivulet.acoustic.frames import FRAMES_PER_SECOND, seconds_of
from rivulet.audio import SAMPLE_RATE, Samples, load
from rivulet.events import Event, Final, Word
from rivulet.recognizer import Recognizer, Stream

ROOT = Path(__file__).parents[1]
CLIPS = sorted((ROOT / "data").glob("[cs]*/*.flac"))
PIECE = 4 * SAMPLE_RATE  # samples fed at a time: as a recording, eight blocks go through at once
GRID = 4 * SAMPLE_RATE  # parts are multiples of it: whole pieces, and whole blocks of BLOCK_MS
BLOCK_MS = (40, 80, 160)
PART_S = 60  # of every kind of sound without words
CLIPS_A_ROUND = 8
PAUSE = 2 * SAMPLE_RATE  # before a clip, and at least so much behind it
MIXED = ("silence", "noise", "music", "zeros", "full scale", "constant")
SETTLED_H = 1.0  # of sound, before memory is noted first; a quarter of what is less than four
CHORDS = ((220.0, 277.2, 329.6), (196.0, 246.9, 293.7), (174.6, 220.0, 261.6), (164.8, 207.7, 247))


def sound(kind: str, start: int, count: int, rng: np.random.Generator) -> Samples:
    """Return `count` samples without words; the first is sample `start` of its part."""
    at = (start + np.arange(count)) / SAMPLE_RATE
    if kind == "noise":  # its level changes every second, from -50 to -20 dB
        level = 10 ** (-2.5 + 1.5 * ((start // SAMPLE_RATE * 7) % 10) / 9)
        return (level * rng.standard_normal(count)).astype(np.float32)
    if kind == "music":
        chord = CHORDS[int(at[0] // 2) % len(CHORDS)]
        tones = sum(np.sin(2 * np.pi * hz * k * at) / k for hz in chord for k in (1, 2, 3))
        return (0.06 * tones * np.exp(-2.0 * (at % 0.5))).astype(np.float32)
    if kind == "full scale":
        return np.sign(np.sin(2 * np.pi * 100.0 * at)).astype(np.float32)
    if kind == "constant":
        return np.full(count, 0.5, np.float32)
    level = {"silence": 1e-3, "zeros": 0.0}[kind]
    return (level * rng.standard_normal(count)).astype(np.float32)


def spoken(clip: Samples, rng: np.random.Generator) -> Samples:
    """Put a clip between pauses; the whole is a multiple of the grid."""
    whole = sound("silence", 0, -(-(len(clip) + 2 * PAUSE) // GRID) * GRID, rng)
    whole[PAUSE : PAUSE + len(clip)] += clip
    return whole


def mixed(rng: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    """Yield pieces of all kinds without end, each with its kind or its clip's name."""
    number = 0
    while True:
        for _ in range(CLIPS_A_ROUND):
            path = CLIPS[number % len(CLIPS)]
            number += 1
            whole = spoken(load(path), rng)
            for start in range(0, len(whole), PIECE):
                yield path.stem, whole[start : start + PIECE]
        for kind in MIXED:
            for start in range(0, PART_S * SAMPLE_RATE, PIECE):
                yield kind, sound(kind, start, PIECE, rng)


def alone(kind: str, rng: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    """Yield pieces of one kind without end."""
    start = 0
    while True:
        yield kind, sound(kind, start, PIECE, rng)
        start += PIECE


@dataclass
class Track:
    """One signal: where its sound comes from, its stream, and what was found."""

    name: str
    pieces: Iterator[tuple[str, Samples]]
    stream: Stream
    hours: float
    longest_s: float  # that a segment may be
    fed: int = 0  # samples
    blocks: int = 0
    kind: str = ""
    part_began_s: float = 0.0
    words: list[Word] = field(default_factory=list)  # finals' words of the part
    first: dict[str, list[tuple[str, float, float]]] = field(default_factory=dict)
    false: Counter[str] = field(default_factory=Counter)  # words in finals where nobody spoke
    shown: Counter[str] = field(default_factory=Counter)  # partials with words there
    seconds: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0  # from a last word's end to its final
    drift_s: float = 0.0  # of a word, in its clip, against the first time

    def feed(self) -> None:
        """Push the next piece, if there is to be one."""
        if self.fed >= self.hours * 3600 * SAMPLE_RATE:
            return
        kind, samples = next(self.pieces)
        if kind != self.kind:
            self._end_part()
            self.kind, self.part_began_s = kind, self.fed / SAMPLE_RATE
        self.fed += len(samples)
        self.seconds["speech" if self.is_speech else kind] += len(samples) / SAMPLE_RATE
        self.stream.push(samples)

    @property
    def is_speech(self) -> bool:
        """Whether somebody speaks in this part."""
        return self.kind not in MIXED

    def take(self, events: list[Event], blocks: int, block_frames: int) -> None:
        """Look at the events of one step, of so many blocks."""
        ends = range(self.blocks + 1, self.blocks + blocks + 1)
        self.blocks += blocks
        times = [round(seconds_of(number * block_frames), 3) for number in ends]
        for event in events:
            self.counts["at_wrong"] += event.at not in times
            if isinstance(event, Final):
                self._take_final(event)
            elif event.text and not self.is_speech:
                self.shown[self.kind] += 1

    def _take_final(self, event: Final) -> None:
        self.counts["finals"] += 1
        self.counts["too_long"] += event.end - event.start > self.longest_s + 1.0
        if self.is_speech:
            self.words += event.words
            self.slowest_s = max(self.slowest_s, event.at - event.end)
        else:
            self.false[self.kind] += len(event.words)

    def _end_part(self) -> None:
        """Hold the clip's words against those of its first time."""
        heard = [
            (w.text, w.start - self.part_began_s, w.end - self.part_began_s) for w in self.words
        ]
        self.words = []
        if not self.kind or not self.is_speech:
            return
        first = self.first.setdefault(self.kind, heard)
        self.counts["clips"] += 1
        if [w[0] for w in first] != [w[0] for w in heard]:
            self.counts["clips_of_other_words"] += 1
            return
        moved = [
            abs(a - b)
            for old, new in zip(first, heard, strict=True)
            for a, b in zip(old[1:], new[1:], strict=True)
        ]
        self.drift_s = max([self.drift_s, *moved])

    def report(self) -> dict[str, object]:
        """Say what was found up to here."""
        return {
            "hours": round(self.fed / SAMPLE_RATE / 3600, 3),
            "minutes": {kind: round(s / 60, 1) for kind, s in self.seconds.items()},
            "false_words": dict(self.false),
            "partials_with_false_words": dict(self.shown),
            **{key: self.counts[key] for key in ("finals", "at_wrong", "too_long", "clips")},
            "clips_of_other_words": self.counts["clips_of_other_words"],
            "largest_move_of_a_word_s": round(self.drift_s, 3),
            "slowest_final_s": round(self.slowest_s, 3),
            "stream_bytes": self.stream.nbytes,
        }


def memory_mib() -> tuple[float, float]:
    """What the process itself holds, and that with the pages of mapped files, in MiB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(fields[key].split()[0]) / 1024 for key in ("RssAnon", "VmRSS"))


def soak(args: argparse.Namespace) -> dict[str, object]:
    """Feed so many hours, or as many as the time allows."""
    recognizer = Recognizer.load(args.model, args.block_ms)
    tracks = tracks_of(recognizer, args.hours, args.streams)
    frames = args.block_ms * FRAMES_PER_SECOND // 1000
    begun, used = time.monotonic(), time.process_time()
    memory: list[tuple[float, float, float]] = []  # hours, own MiB, all MiB
    logged = 0
    stopped: list[int] = []
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda number, _: stopped.append(number))
    while not stopped and time.monotonic() - begun < args.seconds:
        before = [track.fed for track in tracks]
        for track in tracks:
            track.feed()
        if before == [track.fed for track in tracks]:
            break
        advance(recognizer, tracks, frames)
        if tracks[0].fed - logged >= args.every * 60 * SAMPLE_RATE:
            logged = tracks[0].fed
            memory.append((logged / SAMPLE_RATE / 3600, *memory_mib()))
            log(args.log, result(tracks, memory, begun, used))
    memory.append((tracks[0].fed / SAMPLE_RATE / 3600, *memory_mib()))
    return result(tracks, memory, begun, used)


def tracks_of(recognizer: Recognizer, hours: list[float], streams: int) -> list[Track]:
    """Return the signals that last any time: `streams` mixed ones, one of silence, one of noise."""
    rngs = [np.random.default_rng(seed) for seed in range(max(3, 2 + streams))]
    signals = [("mixed", mixed(rngs[0]), hours[0])]
    signals += [
        ("silence", alone("silence", rngs[1]), hours[1]),
        ("noise", alone("noise", rngs[2]), hours[2]),
    ]
    signals += [
        (f"mixed {number}", mixed(rng), hours[0]) for number, rng in enumerate(rngs[3:], start=2)
    ]
    longest = recognizer.endpoint.max_segment_s
    return [
        Track(name, source, recognizer.stream(), amount, longest)
        for name, source, amount in signals
        if amount > 0
    ]


def advance(recognizer: Recognizer, tracks: list[Track], frames: int) -> None:
    """Compute all blocks that wait."""
    streams = [track.stream for track in tracks]
    while any(stream.ready for stream in streams):
        waiting = [stream.waiting for stream in streams]
        events = recognizer.step(streams, recognizer.blocks_ahead)
        for track, before, new in zip(tracks, waiting, events, strict=True):
            track.take(new, before - track.stream.waiting, frames)


def result(
    tracks: list[Track], memory: list[tuple[float, float, float]], begun: float, used: float
) -> dict[str, object]:
    """Say what was found up to here, and how memory went after the first hour."""
    later = [row for row in memory if row[0] >= min(SETTLED_H, tracks[0].hours / 4)]
    base = later[0][1] if later else memory[0][1]
    return {
        "tracks": {track.name: track.report() for track in tracks},
        "mib_own": round(memory[-1][1], 2),
        "mib_with_mapped_files": round(memory[-1][2], 2),
        "mib_own_when_settled": round(base, 2) if later else None,
        "most_above_that_mib": round(max(row[1] for row in later) - base, 2) if later else None,
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
    }


def log(path: Path | None, found: dict[str, object]) -> None:
    """Append a line."""
    if path:
        with path.open("a", encoding="ascii") as file:
            file.write(json.dumps(found) + "\n")


def main() -> int:
    """Read the flags and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--hours", type=float, nargs=3, default=[24.0, 10.0, 10.0], help="mixed, silence, noise"
    )
    parser.add_argument("--streams", type=int, default=1, help="mixed signals")
    parser.add_argument("--seconds", type=float, default=1e9, help="at most so long")
    parser.add_argument("--model", default="default")
    parser.add_argument("--block-ms", type=int, choices=BLOCK_MS, default=160)
    parser.add_argument("--every", type=float, default=10.0, help="minutes of sound to a line")
    parser.add_argument("--log", type=Path, help="append a line of JSON every so often")
    args = parser.parse_args()
    found = soak(args)
    log(args.log, found)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
