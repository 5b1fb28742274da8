"""Trained weights → `default` and `tiny`, calibrated and measured; JSON in the last line.

`python benchmarks/ship.py CHECKPOINT --output OUT [--install]` exports the weights with the
language models of the installed checkpoints, stores word delays and confidence, evaluates beam and
greedy decoding on dev, and with `--install` replaces the files in `checkpoints/` (cards excepted).
The two models are worked on side by side; a step whose log is whole is not repeated.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rivulet import checkpoint
from rivulet.evaluation.speed import this_machine
from rivulet.language.model import LanguageModel
from rivulet.training.export import FEW_BITS, moments_on

ROOT = Path(__file__).resolve().parent.parent
MEGABYTE = 1_000_000
TIMES = "LibriSpeech part of dev, every third clip, times by PocketSphinx forced alignment"


@dataclass(frozen=True)
class Shipped:
    """One of the models: bits of a weight, and the most megabytes that its folder may have."""

    name: str
    bits: int
    limit_mb: float


MODELS = (Shipped("default", 16, 60.0), Shipped("tiny", 5, 8.0))


def main() -> None:
    """Export, calibrate, evaluate, and print a line for each step."""
    args = read_arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    lists = write_lists(args.speech / "dev.tsv", args.output)
    command(args.output / "align.log", ["align", *lists["times"], "-o", str(ctm(args.output))])
    with ThreadPoolExecutor(len(MODELS)) as pool:
        found = list(pool.map(lambda model: ship(model, args, lists), MODELS))
    if args.install:
        for model in MODELS:
            install(args.output / model.name, ROOT / "checkpoints" / model.name)
    named = {model.name: numbers for model, numbers in zip(MODELS, found, strict=True)}
    print(json.dumps({"bench": "ship", **named, "machine": asdict(this_machine())}))


def read_arguments() -> argparse.Namespace:
    """Declare and read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, metavar="CHECKPOINT", help="with or without lm/")
    parser.add_argument("--speech", type=Path, default=ROOT.parent / "shared" / "speech")
    parser.add_argument("--output", "-o", type=Path, required=True)
    for model in MODELS:
        folder = ROOT / "checkpoints" / model.name / "lm"
        parser.add_argument(f"--{model.name}-lm", type=Path, default=folder, metavar="DIR")
        parser.add_argument(
            f"--{model.name}-beam",
            type=json.loads,
            default={},
            metavar="JSON",
            help="what of the beam's settings differs from those of the weights",
        )
    parser.add_argument("--install", action="store_true", help="replace what is in checkpoints/")
    return parser.parse_args()


def ctm(output: Path) -> Path:
    """Name the file of the word times."""
    return output / "times.ctm"


def write_lists(dev: Path, output: Path) -> dict[str, list[str]]:
    """Write the parts of dev that calibrate; return each as flags.

    all: the whole. times: every third clip of LibriSpeech. confidence: every third of all.
    """
    head, *rows = dev.read_text(encoding="utf-8").splitlines()
    absolute = [_absolute(row, dev.parent) for row in rows]
    parts = {
        "times": [row for row in absolute if "/librispeech" in row][::3],
        "confidence": absolute[::3],
    }
    for name, part in parts.items():
        (output / f"{name}.tsv").write_text("\n".join([head, *part]) + "\n", encoding="utf-8")
    made = {name: ["--manifest", str(output / f"{name}.tsv")] for name in parts}
    return {"all": ["--manifest", str(dev)], **made}  # as it stands, so that its parts have names


def _absolute(row: str, folder: Path) -> str:
    fields = row.split("\t")
    return "\t".join([fields[0], str(folder / fields[1]), *fields[2:]])


def ship(model: Shipped, args: argparse.Namespace, lists: dict[str, list[str]]) -> dict[str, Any]:
    """Make one model, calibrate it and measure it; return the numbers for its card."""
    folder = args.output / model.name
    flags = vars(args)
    beam = flags[f"{model.name}_beam"]
    speech = args.speech / "train.tsv"
    export(args.weights, folder, model, flags[f"{model.name}_lm"], beam, speech)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MEGABYTE
    if size > model.limit_mb:
        raise SystemExit(f"{folder} has {size:.1f} MB where {model.limit_mb} are allowed.")
    numbers: dict[str, Any] = {"mb": round(size, 2)}
    times = [*lists["times"], "--reference", str(ctm(args.output)), "--name", TIMES]
    at = ["--model", str(folder)]
    steps = {
        "greedy_delay": ["calibrate", str(folder), *times, "--decoder", "greedy"],
        "delay": ["calibrate", str(folder), *times, "--decoder", "beam"],
        "confidence": ["calibrate", str(folder), *lists["confidence"], "--confidence"],
        "beam": ["evaluate", *lists["all"], *at],
        "greedy": ["evaluate", *lists["all"], *at, "--decoder", "greedy"],
    }
    for name, words in steps.items():
        numbers[name] = command(args.output / f"{model.name}-{name}.log", words)
    return numbers


def export(
    weights: Path,
    folder: Path,
    model: Shipped,
    language_model: Path,
    beam: dict[str, Any],
    speech: Path,
) -> None:
    """Write the checkpoint, once; few bits are rounded by what the network makes of `speech`."""
    if (folder / "config.json").exists():
        return
    loaded = checkpoint.load(weights, "torch")
    config = replace(loaded.beam.config, **beam)
    named = replace(loaded, name=model.name, beam=replace(loaded.beam, config=config))
    moments = moments_on(named, [speech]) if model.bits <= FEW_BITS else None
    checkpoint.save(named, folder, model.bits, LanguageModel.load(language_model), moments)


def command(log: Path, words: Sequence[str]) -> dict[str, Any]:
    """Run a command of rivulet, once; return the JSON object that ends its output."""
    began = time.monotonic()
    if not log.exists():
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
        unfinished = log.with_suffix(".unfinished")
        with unfinished.open("w") as file:
            subprocess.run(
                [sys.executable, "-m", "rivulet", *words], stdout=file, env=environment, check=True
            )
        unfinished.replace(log)
    print(f"{time.monotonic() - began:6.0f} s  {log.stem}", flush=True)
    found: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return found


def install(made: Path, shipped: Path) -> None:
    """Replace every file of a shipped checkpoint but its card."""
    card = (shipped / "README.md").read_bytes()
    shutil.rmtree(shipped)
    shutil.copytree(made, shipped)
    (shipped / "README.md").write_bytes(card)


if __name__ == "__main__":
    main()
