"""What `cells.py` and `growth.py` share: data for trials, runs side by side, tables, pictures."""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rivulet import checkpoint
from rivulet.corpora.manifest import Utterance, read_manifest, write_manifest
from rivulet.corpora.subset import subset
from rivulet.evaluation.speed import this_machine
from rivulet.evaluation.transcripts import evaluate
from rivulet.language.model import LanguageModel
from rivulet.recognizer import Recognizer
from rivulet.training.config import DataConfig, Recipe, read_recipe, recipe_of
from rivulet.training.corpus import pack
from rivulet.training.export import ExportConfig, export
from rivulet.training.initial_weights import SETTINGS_FILE
from rivulet.training.log import DEV_FILE, STEPS_FILE
from rivulet.training.loop import train
from rivulet.training.targets import complete_dictionary

ROOT = Path(__file__).resolve().parent.parent
RESULT_FILE = "result.json"
HEAD = "phones"
SUBSET_SEED = 1
Row = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One training run: the name of its folder, how, and on which manifest."""

    name: str
    recipe: Recipe
    train: Path


@dataclass(frozen=True)
class Workshop:
    """Where trials run and what all of them share.

    wer: the part of `dev` that the beam reads; the beam is the shipped one, `beam_size` wide.
    """

    folder: Path
    dev: Path
    wer: Path
    dictionary: Path
    language_model: Path
    cache: Path
    beam_size: int


def add_flags(parser: argparse.ArgumentParser, dev_hours: float, wer_hours: float) -> None:
    """Declare where data lies, what is kept where, and how much runs at a time."""
    speech, text = ROOT.parent / "shared" / "speech", ROOT.parent / "shared" / "text"
    parser.add_argument("--train", type=Path, default=speech / "train.tsv", metavar="FILE.tsv")
    parser.add_argument("--dev", type=Path, default=speech / "dev.tsv", metavar="FILE.tsv")
    parser.add_argument("--dictionary", type=Path, default=text / "cmudict-0.6.txt.gz")
    parser.add_argument(
        "--language-model", type=Path, default=ROOT / "checkpoints" / "default" / "lm"
    )
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/rivulet").expanduser())
    parser.add_argument("--dev-hours", type=float, default=dev_hours, help="%(default)s")
    parser.add_argument("--wer-hours", type=float, default=wer_hours, help="%(default)s")
    parser.add_argument("--beam-size", type=int, default=100, help="%(default)s")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (%(default)s)")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", metavar="NAME", help="this run alone, in this process")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")


def add_short_flags(parser: argparse.ArgumentParser) -> None:
    """Declare how much is trained on where short utterances are enough."""
    parser.add_argument("--hours", type=float, default=3.0, help="of training (%(default)s)")
    parser.add_argument(
        "--longest-s", type=float, default=6.0, help="longer utterances are left out (%(default)s)"
    )


def short_part(args: argparse.Namespace, made: Workshop) -> Path:
    """Write the manifest that `add_short_flags` asks for, once."""
    return training_part(
        made.folder / "train.tsv", args.train, args.hours, lambda u: u.seconds <= args.longest_s
    )


def recipe_of_flags(args: argparse.Namespace) -> Recipe:
    """Read `--recipe`, with the epochs of `--epochs` if it is given."""
    return read_recipe(args.recipe, **({"epochs": args.epochs} if args.epochs else {}))


def workshop(args: argparse.Namespace) -> Workshop:
    """Make the dev parts and the dictionary once; later calls find them."""
    folder: Path = args.output
    folder.mkdir(parents=True, exist_ok=True)
    made = Workshop(
        folder,
        folder / "dev.tsv",
        folder / "wer.tsv",
        folder / "dictionary.txt",
        args.language_model,
        args.cache,
        args.beam_size,
    )
    if not made.dictionary.exists():
        dev = read_manifest(args.dev)
        write_manifest(made.dev, subset(dev, args.dev_hours, SUBSET_SEED))
        write_manifest(made.wer, subset(dev, args.wer_hours, SUBSET_SEED))
        write_dictionary(made, args.dictionary, read_manifest(args.train))
    return made


def write_dictionary(made: Workshop, known: Path, utterances: Iterable[Utterance]) -> None:
    """Write the dictionary with a pronunciation for every word of training."""
    guess = LanguageModel.load(made.language_model).pronounce
    texts = (utterance.text for utterance in utterances)
    whole, _ = complete_dictionary(known, texts, lambda word: guess(word)[0])
    lines = (f"{word} {' '.join(phones)}\n" for word, phones in whole.items())
    new = made.dictionary.with_suffix(".new")
    new.write_text("".join(lines), encoding="latin-1")
    new.replace(made.dictionary)  # last and at once: that it is there says that all is


def training_part(
    path: Path, whole: Path, hours: float, keep: Callable[[Utterance], bool] = lambda _: True
) -> Path:
    """Write `hours` of the manifest `whole` to `path`, of those that `keep` wants, once."""
    if not path.exists():
        kept = [u for u in read_manifest(whole) if keep(u)]
        new = path.with_suffix(".new")
        write_manifest(new, subset(kept, min(hours, hours_of(kept)), SUBSET_SEED))
        new.replace(path)
    return path


def hours_of(utterances: Iterable[Utterance]) -> float:
    """Hours of sound."""
    return sum(u.seconds for u in utterances) / 3600.0


def run_trial(trial: Trial, made: Workshop, measure: Callable[[Path], Row]) -> Row:
    """Train, measure on dev, add what `measure` finds in the run's folder, and keep it all."""
    torch.set_num_threads(1)  # runs stand side by side
    folder = made.folder / trial.name
    data = DataConfig(
        (str(trial.train),), str(made.dev), None, str(made.dictionary), str(made.cache)
    )
    began = time.monotonic()
    train(trial.recipe, data, folder)
    trained_s = time.monotonic() - began
    measured = read_csv(folder / DEV_FILE)
    best = min(measured, key=lambda row: row[HEAD])
    found: Row = {
        "name": trial.name,
        "steps": int(measured[-1]["step"]),
        "trained_s": round(trained_s, 1),
        "best_epoch": int(best["epoch"]),
        "per": best[HEAD],
        **beam_wer(folder, made),
        **measure(folder),
        "recipe": asdict(trial.recipe),
    }
    new = folder / (RESULT_FILE + ".new")
    new.write_text(json.dumps(found) + "\n")
    new.replace(folder / RESULT_FILE)
    return found


def beam_wer(folder: Path, made: Workshop) -> Row:
    """WER of a run with the lexicon and the n-gram, by the streaming path that users run."""
    export(folder, folder / "model", ExportConfig("trial", HEAD, HEAD, made.language_model))
    recognizer = Recognizer.load(folder / "model", decoder="beam")
    shipped = checkpoint.load("default").beam.config
    recognizer = replace(recognizer, beam=replace(shipped, beam_size=made.beam_size))
    found = evaluate(recognizer, read_manifest(made.wer))
    words = sum(r.words.reference for r in found.results)
    return {"wer": found.wer, "wer_words": words, "wer_s": round(found.rtf * found.audio_s, 1)}


def result(folder: Path, trial: Trial) -> Row | None:
    """What a finished run found, or None.

    Raises:
        SystemExit: the folder holds a run of another recipe.
    """
    settings = folder / trial.name / SETTINGS_FILE
    if settings.exists() and recipe_of(json.loads(settings.read_text())["recipe"]) != trial.recipe:
        raise SystemExit(f"{settings.parent} holds a run of another recipe; give another --output.")
    path = folder / trial.name / RESULT_FILE
    return json.loads(path.read_text()) if path.exists() else None


def run_all(trials: Sequence[Trial], made: Workshop, jobs: int) -> list[Row]:
    """Run what is not finished, `jobs` at a time, each in a process of its own; return all."""
    missing = [trial for trial in trials if result(made.folder, trial) is None]
    for manifest in {made.dev, *(trial.train for trial in missing)}:
        if missing:
            pack(read_manifest(manifest), made.cache)  # once, before runs would do it at a time
    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        codes = list(pool.map(lambda trial: _run_apart(trial, made, began), missing))
    if any(codes):
        raise SystemExit(f"{sum(map(bool, codes))} runs failed; the same command tries them again.")
    return [found for trial in trials if (found := result(made.folder, trial)) is not None]


def _run_apart(trial: Trial, made: Workshop, began: float) -> int:
    folder = made.folder / trial.name
    folder.mkdir(exist_ok=True)
    path = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(filter(None, path))}
    command = [sys.executable, *sys.argv, "--only", trial.name]
    with (folder / "log.txt").open("a") as log:
        code = subprocess.run(
            command, stdout=log, stderr=log, env=environment, check=False
        ).returncode
    what = f"failed, see {folder / 'log.txt'}" if code else "done"
    print(f"{time.monotonic() - began:7.0f} s  {trial.name} {what}", flush=True)
    return code


def steps_of(folder: Path) -> list[Row]:
    """Lines of a run's log, the last of each step: a resumed run writes some again."""
    by_step = {row["step"]: row for row in read_csv(folder / STEPS_FILE)}
    return [by_step[step] for step in sorted(by_step)]


def read_csv(path: Path) -> list[Row]:
    """Rows of numbers; what stands under `name` is text."""
    with path.open(newline="") as file:
        return [
            {k: v if k == "name" else float(v) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows under the columns of the first, floats with six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(values: Sequence[float], digits: int = 1, scale: float = 1.0) -> str:
    """Return `mean ± standard deviation`, of one value the value; a dash for none."""
    scaled = [scale * value for value in values]
    if not scaled:
        return "–"
    mean = f"{statistics.fmean(scaled):.{digits}f}"
    return f"{mean} ± {statistics.stdev(scaled):.{digits}f}" if len(scaled) > 1 else mean


def panels(count: int) -> tuple[Any, Any]:
    """Return a figure and its `count` axes side by side, in the manner of `evaluation.plots`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.0 * count + 1.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, count, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color="0.92")
        one.set_axisbelow(True)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG that is the same for the same data."""
    from rivulet.evaluation.plots import DPI

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def closing_line(bench: str, **numbers: Any) -> str:
    """Return the one JSON object that ends a benchmark, with the machine and the commit."""
    machine = asdict(this_machine(torch.get_num_threads()))
    return json.dumps({"bench": bench, **numbers, "machine": machine})
