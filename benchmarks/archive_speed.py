"""How much faster N workers are than one, on many files and a long one, with the words compared.

    python benchmarks/archive_speed.py ../shared/speech/librispeech-train-clean-100 --work /tmp/a

Clips of DIR are put together to files of equal length and to a long one, which pauses for some
seconds every few minutes (`--pause 0`: never). They go through `rivulet archive` with one worker
and with N in turns; every text must be the same, and the same words as `rivulet transcribe` gives
for the long file and for `--compare` of the others. The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rivulet import audio

ROOT = Path(__file__).parents[1]
RATE = audio.SAMPLE_RATE
SOUNDS = (".flac", ".opus", ".ogg", ".wav", ".mp3")
TALK_S = 240.0  # of speech between two pauses


def main() -> int:
    """Make the files, run, compare; return 1 if a word differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speech", type=Path, metavar="DIR")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--long-hours", type=float, default=1.0)
    parser.add_argument("--pause", type=float, default=9.0, metavar="S")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--compare", type=int, default=0, metavar="N", help="with transcribe")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="for the files")
    parser.add_argument("--prefix", default="", help="before each command, such as 'nice -n -15'")
    args = parser.parse_args()
    make_files(args)
    took: dict[int, list[float]] = {1: [], args.workers: []}
    for number in range(args.rounds):
        for workers in took if number % 2 else reversed(took):
            took[workers].append(archive(args, workers))
            print(f"{workers} workers: {took[workers][-1]:.1f} s", flush=True)
    differing = compare(args)
    best = {workers: min(times) for workers, times in took.items()}
    seconds = sum(length(path) for path in sounds(args.work / "talks"))
    report = {
        "hours": round(seconds / 3600, 3), "files": len(sounds(args.work / "talks")),
        "seconds": {str(workers): [round(t, 1) for t in times] for workers, times in took.items()},
        "times_real_time": {str(w): round(seconds / t, 1) for w, t in best.items()},
        "speedup": round(best[1] / best[args.workers], 3), "texts_that_differ": differing,
        "pause_s": args.pause, "cpus": os.cpu_count(),
    }  # fmt: skip
    print(json.dumps(report))
    return 1 if differing else 0


def make_files(args: argparse.Namespace) -> None:
    """Write the files, unless they are there from before."""
    talks = args.work / "talks"
    if talks.is_dir():
        return
    talks.mkdir(parents=True)
    speech = clips(args.speech)
    for number in range(args.files):
        write(talks / f"{number:04}.wav", speech, args.hours * 3600 / args.files, 0.0)
    if args.long_hours:
        write(talks / "long.wav", speech, args.long_hours * 3600, args.pause)


def clips(folder: Path) -> Iterator[np.ndarray]:
    """Yield clips of speech, in an order that is always the same, again and again."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in SOUNDS)
    order = np.random.default_rng(0).permutation(len(paths))
    while True:
        for index in order:
            yield audio.load(paths[index])


def write(path: Path, speech: Iterator[np.ndarray], seconds: float, pause_s: float) -> None:
    """Write a file of so much speech, with pauses in which the room is not quite silent."""
    rng = np.random.default_rng(len(path.name))
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        written, talked = 0, 0
        while written < seconds * RATE:
            clip = next(speech)[: int(seconds * RATE) - written]
            out.writeframes(audio.to_int16(clip).tobytes())
            written, talked = written + len(clip), talked + len(clip)
            if pause_s and talked > TALK_S * RATE:
                room = rng.standard_normal(int(pause_s * RATE)).astype(np.float32) * 1e-4
                out.writeframes(audio.to_int16(room).tobytes())
                written, talked = written + len(room), 0


def archive(args: argparse.Namespace, workers: int) -> float:
    """Make an archive with so many workers; return the seconds it took."""
    out = args.work / f"out{workers}"
    words = [*args.prefix.split(), sys.executable, str(ROOT / "cli.py"), "archive"]
    words += [str(args.work / "talks"), "-o", str(out), "--workers", str(workers), "--restart"]
    begun = time.monotonic()
    subprocess.run(words, check=True)
    return time.monotonic() - begun


def compare(args: argparse.Namespace) -> int:
    """Return how many texts are not the same with one worker, with several, and by transcribe."""
    one, several = (args.work / f"out{n}" / "talks" for n in (1, args.workers))
    names = [path.name for path in sounds(args.work / "talks")]
    differing = sum(
        (one / f"{name}.jsonl").read_bytes() != (several / f"{name}.jsonl").read_bytes()
        for name in names
    )
    if args.compare:
        chosen = [*names[:: max(1, len(names) // args.compare)], *names[-1:]]
        differing += sum(not alike(several / f"{n}.jsonl", transcribed(args, n)) for n in chosen)
        print(f"{len(chosen)} compared with transcribe", flush=True)
    return differing


def transcribed(args: argparse.Namespace, name: str) -> list[dict[str, object]]:
    """Return the segments that `rivulet transcribe` makes of a file.

    They are asked for as json: with partials, which jsonl would bring, the marks of a few segments
    are others, since they rest on pauses as they were when the words settled.
    """
    out = args.work / "transcribed" / f"{name}.json"
    if not out.is_file():
        out.parent.mkdir(exist_ok=True)
        words = [
            sys.executable,
            str(ROOT / "cli.py"),
            "transcribe",
            str(args.work / "talks" / name),
        ]
        subprocess.run([*words, "-t", "json", "-o", str(out)], check=True)
    segments: list[dict[str, object]] = json.loads(out.read_text())["segments"]
    return segments


def alike(path: Path, segments: list[dict[str, object]]) -> bool:
    """Whether the finals of an archive's text say all that these segments say, and are as many."""
    finals = [json.loads(line) for line in path.read_text().splitlines()]
    same = [{key: final[key] for key in one} for final, one in zip(finals, segments, strict=False)]
    return len(finals) == len(segments) and same == segments


def sounds(folder: Path) -> list[Path]:
    """Return the files of a folder by name."""
    return sorted(folder.glob("*.wav"))


def length(path: Path) -> float:
    """Return seconds."""
    with wave.open(str(path), "rb") as sound:
        return sound.getnframes() / sound.getframerate()


if __name__ == "__main__":
    sys.exit(main())
