"""What a run tells: a progress bar, two CSV files, and a picture of the curves."""

import csv
import math
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from rivulet.replacing import replacing
from rivulet.training.resume import Progressed

STEPS_FILE, DEV_FILE, PICTURE = "steps.csv", "dev.csv", "curves.png"


def say(sentence: str) -> None:
    """Write a sentence where the progress bar stands."""
    Console(stderr=True).print(sentence, highlight=False, soft_wrap=True)


class TrainingLog:
    """Losses, gradient norm and speed every few steps, error rates on dev; silent unless `loud`."""

    def __init__(self, folder: Path, steps: int, every: int, loud: bool) -> None:
        """Write to `folder` after `every` steps; `steps` is how many there will be."""
        self._folder = folder
        self._every, self._loud = every, loud
        self._progress = Progress(console=Console(stderr=True), disable=not loud)
        self._task = self._progress.add_task("training", total=steps)
        self._begin()

    def __enter__(self) -> "TrainingLog":
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        self._progress.stop()

    def _begin(self) -> None:
        self._started, self._audio_s, self._steps = time.monotonic(), 0.0, 0
        self._sums: dict[str, float] = {}

    def step(
        self,
        at: Progressed,
        losses: dict[str, torch.Tensor],
        norm: float,
        rate: float,
        audio_s: float,
    ) -> None:
        """Note a step: losses in nats per token, gradient norm, rate, seconds of sound."""
        values = {name: float(value.detach()) for name, value in losses.items()}
        for name, value in {**values, "norm": norm}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._audio_s += audio_s
        self._steps += 1
        if at.step % self._every or not self._loud:
            return
        elapsed = time.monotonic() - self._started
        speed, hours = self._steps / elapsed, self._audio_s / 60.0 / elapsed
        means = {name: value / self._steps for name, value in self._sums.items()}
        loss = next(iter(means.values()))
        bar = f"epoch {at.epoch} loss {loss:.3f} {speed:.2f} steps/s {hours:.2f} h audio/min"
        self._progress.update(self._task, completed=at.step, description=bar)
        row = {"epoch": at.epoch, "step": at.step, "rate": rate, "steps_per_s": speed}
        self._append(STEPS_FILE, {**row, "audio_hours_per_min": hours, **means})
        self._begin()

    def dev(self, at: Progressed, rates: dict[str, float], losses: dict[str, float]) -> None:
        """Note greedy error rates on dev, of words, for phones of phones; losses in nats."""
        self._append(DEV_FILE, {"epoch": at.epoch, "step": at.step, **rates, **losses})
        shown = [f"{name} {rate:.2%}" for name, rate in rates.items()]
        shown += [f"{name} {loss:.4f}" for name, loss in losses.items()]
        self._progress.console.print(f"epoch {at.epoch} step {at.step} dev {'  '.join(shown)}")
        draw_curves(self._folder)
        self._begin()

    def _append(self, name: str, row: dict[str, float]) -> None:
        path = self._folder / name
        columns = _columns(path)  # a run begun by an earlier version may have fewer
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns or list(row), extrasaction="ignore")
            if not columns:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" for k, v in row.items()})


def forget_after(folder: Path, step: int) -> None:
    """Drop what a run noted after the `step` at which it goes on: it will note it again."""
    for path in (folder / STEPS_FILE, folder / DEV_FILE):
        if not path.exists():
            continue
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines[1:] if line.endswith("\n") and _step_of(line) <= step]
        with replacing(path) as part:
            part.write_text("".join([*lines[:1], *kept]))


def _step_of(line: str) -> float:
    """Return the step of a row, which begins with epoch and step; infinity if it is none."""
    try:
        return float(line.split(",")[1])
    except (IndexError, ValueError):
        return math.inf


def draw_curves(folder: Path) -> Path | None:
    """Draw losses and dev error rates of a run; nothing without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4))
    skipped = ("epoch", "step", "rate", "steps_per_s", "audio_hours_per_min", "norm")
    for panel, name, label in (
        (panels[0], STEPS_FILE, "loss, nats per token"),
        (panels[1], DEV_FILE, "dev error rate"),
    ):
        rows = _read(folder / name)
        drawn = [k for k in (rows[0] if rows else ()) if k not in skipped]
        if name == DEV_FILE:
            drawn = [k for k in drawn if not k.endswith("-mmi")]  # nats, not a rate
        for key in drawn:
            panel.plot([r["step"] for r in rows], [r[key] for r in rows], label=key)
        panel.set(xlabel="optimizer step", ylabel=label)
        panel.set_ylim(bottom=0.0, top=4.0 if name == STEPS_FILE else 1.05)
        panel.grid(alpha=0.3)
        if rows:
            panel.legend()
    figure.tight_layout()
    figure.savefig(folder / PICTURE, dpi=110)
    pyplot.close(figure)
    return folder / PICTURE


def _columns(path: Path) -> list[str]:
    """Return the names in a table's first line, none if it is not there yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def _read(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
