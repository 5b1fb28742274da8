"""How errors fall with hours of speech, what 960 hours cost: `python benchmarks/growth.py -o DIR`.

Trains one recipe on an eighth, a quarter, a half and all of the speech for the same number of
optimizer steps, fits power laws, and times the recipe for the whole of LibriSpeech. Runs that are
finished are not run again. Writes results/growth.csv, results/growth.md, docs/images/growth.png.
"""

import argparse
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sweep
import torch
from sweep import ROOT, Row, Trial, Workshop, spread
from torch import nn

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.frames import STRIDE
from rivulet.acoustic.model import KERNEL
from rivulet.corpora.manifest import read_manifest
from rivulet.training.batches import Batch, HeadTarget
from rivulet.training.config import Recipe, read_recipe
from rivulet.training.heads import HeadedModel, ctc_losses
from rivulet.training.precision import autocast

RECIPE = ROOT / "benchmarks" / "recipes" / "growth.json"
LARGE = ROOT / "data" / "recipes" / "librispeech-960.json"
PARTS = (8, 4, 2, 1)  # the whole is divided by these
ASKED_H = (100.0, 960.0)
LARGE_H = 960.9  # hours of its three training parts: Panayotov et al. 2015, table 1
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
STEPS_PER_S = 100 // STRIDE  # output steps a second
FLOOR_GRID = 400
WHAT = {"per": "phone errors", "wer": "WER"}


@dataclass(frozen=True)
class PowerLaw:
    """error(h) = scale · h^-exponent + floor, h in hours, error a part of 1."""

    scale: float
    exponent: float
    floor: float = 0.0

    def at(self, hours: float) -> float:
        """Return the error that `hours` of speech should give."""
        return float(self.scale * hours**-self.exponent + self.floor)


@dataclass(frozen=True)
class Cost:
    """What training a recipe on so many hours takes.

    forward_flops: a second of sound, one pass; a multiplication and an addition are 2.
    cpu_rate: seconds of sound trained in a second, measured on the CPU.
    """

    hours: float
    epochs: int
    forward_flops: float
    cpu_rate: float

    @property
    def train_flops(self) -> float:
        """Of the whole training: the backward pass is twice the forward pass."""
        return 3.0 * self.forward_flops * 3600.0 * self.hours * self.epochs

    @property
    def cpu_flops(self) -> float:
        """FLOP a second that the CPU reached."""
        return 3.0 * self.forward_flops * self.cpu_rate

    @property
    def cpu_hours(self) -> float:
        """Hours on the CPU that was measured."""
        return self.hours * self.epochs / self.cpu_rate

    def gpu_hours(self, peak_tflops: float, share: float) -> float:
        """Hours on a GPU that reaches `share` of its peak."""
        return self.train_flops / (share * peak_tflops * 1e12) / 3600.0


def fit(hours: Sequence[float], errors: Sequence[float], floor: bool) -> PowerLaw:
    """Return the power law nearest to the points in the logarithm; with `floor` 0 or more of it.

    For a given floor the law is a line in logarithms; the floor is searched on ever finer grids.
    """
    if not floor:
        return _line(hours, errors, 0.0)
    low, high = 0.0, 0.999 * min(errors)
    for _ in range(6):
        grid = np.linspace(low, high, FLOOR_GRID)
        laws = [_line(hours, errors, float(c)) for c in grid]
        best = int(np.argmin([_misfit(law, hours, errors) for law in laws]))
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, FLOOR_GRID - 1)])
    return laws[best]


def _line(hours: Sequence[float], errors: Sequence[float], floor: float) -> PowerLaw:
    slope, start = np.polyfit(np.log(hours), np.log(np.array(errors) - floor), 1)
    return PowerLaw(float(np.exp(start)), float(-slope), floor)


def _misfit(law: PowerLaw, hours: Sequence[float], errors: Sequence[float]) -> float:
    """Sum of squared differences of logarithms."""
    return sum(math.log(law.at(h) / e) ** 2 for h, e in zip(hours, errors, strict=True))


def without_one(hours: Sequence[float], errors: Sequence[float], at: float) -> tuple[float, float]:
    """Return the least and the most that laws without a floor say at `at` hours, a size left out.

    How far they differ is how little so few points say so far away.
    """
    told = []
    for left_out in sorted(set(hours)):
        kept = [(h, e) for h, e in zip(hours, errors, strict=True) if h != left_out]
        told.append(fit([h for h, _ in kept], [e for _, e in kept], floor=False).at(at))
    return min(told), max(told)


def forward_flops(config: ModelConfig, heads: Sequence[int]) -> float:
    """Return the FLOP of one pass over a second of sound; `heads` are their tokens."""
    bands, channels, width = config.n_mels, config.channels, config.hidden
    first = 2 * STEPS_PER_S * (bands // 2) * channels * KERNEL**2
    second = STEPS_PER_S * -(-bands // STRIDE) * channels**2 * KERNEL**2
    project = STEPS_PER_S * channels * -(-bands // STRIDE) * width
    layers = STEPS_PER_S * config.layers * GATES[config.cell] * 2 * width**2
    row = STEPS_PER_S * (config.lookahead + 1) * width
    return 2.0 * (first + second + project + layers + row + STEPS_PER_S * width * sum(heads))


def cpu_rate(recipe: Recipe, rows: int, seconds: float, threads: int) -> float:
    """Return seconds of sound a second of an optimizer step on the CPU, batches not made."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    tokens = _tokens(recipe)
    model = HeadedModel(recipe.model, tokens, recipe.head_layers).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    batch = _made_up(recipe.model, tokens, rows, seconds)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        with autocast(torch.device("cpu")):
            log_probs = model(batch.frames)
        loss = torch.stack(list(ctc_losses(log_probs, batch).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm or math.inf)
        optimizer.step()
        times.append(time.perf_counter() - began)
    return rows * seconds / statistics.median(times[1:])  # the first is warm-up


def _tokens(recipe: Recipe) -> dict[str, int]:
    return {
        name: 41 if name.startswith("phones") else recipe.model.tokens
        for name in recipe.head_weights
    }


def _made_up(config: ModelConfig, tokens: dict[str, int], rows: int, seconds: float) -> Batch:
    steps, length = int(seconds * STEPS_PER_S), int(5 * seconds)
    generator = torch.Generator().manual_seed(1)
    targets = {
        name: HeadTarget(
            torch.arange(rows),
            torch.randint(1, count, (rows * length,), generator=generator),
            torch.full((rows,), length),
        )
        for name, count in tokens.items()
    }
    frames = torch.randn(rows, steps * STRIDE, config.n_mels, generator=generator)
    return Batch(frames, torch.full((rows,), steps), targets, [""] * rows, rows * seconds)


def trials(recipe: Recipe, seeds: int, made: Workshop, whole: Path) -> list[Trial]:
    """Return a run for each part and seed; a part is heard so often that all make as many steps."""
    hours = sweep.hours_of(read_manifest(whole))
    found = []
    for part in PARTS:
        path = whole
        if part > 1:
            path = sweep.training_part(made.folder / f"train-{part}.tsv", whole, hours / part)
        for seed in range(1, seeds + 1):
            own = replace(recipe, epochs=recipe.epochs * part, seed=seed)
            found.append(Trial(f"part-{part}-seed{seed}", own, path))
    return found


def flat(found: Row, trial: Trial) -> Row:
    """Return one run as a line of the CSV."""
    items = read_manifest(trial.train)
    kept = {k: v for k, v in found.items() if k != "recipe"}
    told = {"hours": sweep.hours_of(items), "utterances": len(items)}
    return {**told, "seed": trial.recipe.seed, "epochs": trial.recipe.epochs, **kept}


def size_table(rows: Sequence[Row]) -> str:
    """Return the table of what was measured, a line per size."""
    header = ["hours", "utterances", "epochs", "best after", "steps", "phone errors, %", "WER, %"]
    lines = []
    for hours in sorted({r["hours"] for r in rows}):
        own = [r for r in rows if r["hours"] == hours]
        lines.append(
            [
                f"{hours:.2f}",
                str(own[0]["utterances"]),
                str(own[0]["epochs"]),
                spread([r["best_epoch"] for r in own], 0),
                str(own[0]["steps"]),
                spread([r["per"] for r in own], 1, 100),
                spread([r["wer"] for r in own], 1, 100),
            ]
        )
    return sweep.markdown(header, lines)


def laws(rows: Sequence[Row]) -> list[Row]:
    """Return every fit, and what it says at ASKED_H."""
    hours = [r["hours"] for r in rows]
    found = []
    for what in WHAT:
        errors = [r[what] for r in rows]
        for floor in (False, True):
            law = fit(hours, errors, floor)
            told = {f"at_{asked:.0f}": law.at(asked) for asked in ASKED_H}
            for asked in () if floor else ASKED_H:
                low, high = without_one(hours, errors, asked)
                told |= {f"at_{asked:.0f}_least": low, f"at_{asked:.0f}_most": high}
            misfit = math.sqrt(_misfit(law, hours, errors) / len(rows))
            found.append({"name": what, **vars(law), "misfit": misfit, **told})
    return found


def law_table(found: Sequence[Row]) -> str:
    """Return the table of the fits."""
    header = ["what", "error at h hours, %", "misfit, %"]
    header += [f"at {asked:.0f} h, % (a size left out)" for asked in ASKED_H]
    lines = []
    for law in found:
        floor = f" + {100 * law['floor']:.1f}" if law["floor"] else ""
        told = []
        for asked in ASKED_H:
            key = f"at_{asked:.0f}"
            doubt = [
                f"{100 * law[end]:.1f}" for end in (f"{key}_least", f"{key}_most") if end in law
            ]
            span = f" ({' to '.join(doubt)})" if doubt else ""
            told.append(f"{100 * law[key]:.1f}{span}")
        formula = f"{100 * law['scale']:.1f} · h^-{law['exponent']:.3f}{floor}"
        lines.append([WHAT[law["name"]], formula, f"{100 * law['misfit']:.1f}", *told])
    return sweep.markdown(header, lines)


def cost_text(cost: Cost, threads: int, peak_tflops: float, share: float) -> str:
    """Return how the cost is computed, every number in its place."""
    return (
        f"* FLOP of one pass over a second of sound, counted from the shape: "
        f"F = {cost.forward_flops / 1e9:.2f} · 10⁹; training takes 3 F.\n"
        f"* Measured on {threads} CPU cores: r = {cost.cpu_rate:.0f} s of sound a second, so "
        f"3 F r = {cost.cpu_flops / 1e9:.0f} · 10⁹ FLOP a second.\n"
        f"* {cost.hours:.0f} h × {cost.epochs} epochs on that CPU: "
        f"{cost.hours:.0f} · {cost.epochs} / {cost.cpu_rate:.0f} = {cost.cpu_hours:.0f} h.\n"
        f"* In all 3 F · 3600 · {cost.hours:.0f} · {cost.epochs} = {cost.train_flops:.2e} FLOP.\n"
        f"* *Assumed*, not measured: a GPU of {peak_tflops:.0f} TFLOP/s that reaches "
        f"{100 * share:.0f} % of it: {cost.train_flops:.2e} / ({share} · {peak_tflops:.0f} · 10¹²"
        f" · 3600) = **{cost.gpu_hours(peak_tflops, share):.1f} GPU hours**.\n"
    )


def draw(rows: Sequence[Row], found: Sequence[Row]) -> Any:
    """Errors against hours, both logarithmic, and the laws carried on to 960 hours."""
    from matplotlib.ticker import ScalarFormatter

    from rivulet.evaluation.plots import COLORS

    figure, axes = sweep.panels(2)
    along = np.geomspace(2.0, 1.2 * max(ASKED_H), 100)
    for panel, (what, label), color in zip(axes, WHAT.items(), COLORS, strict=False):
        for law, style in zip([f for f in found if f["name"] == what], ("-", "--"), strict=True):
            curve = PowerLaw(law["scale"], law["exponent"], law["floor"])
            name = f"with a floor of {100 * curve.floor:.1f} %" if style == "--" else "no floor"
            panel.plot(along, [100 * curve.at(h) for h in along], style, color="0.5", label=name)
        panel.plot([r["hours"] for r in rows], [100 * r[what] for r in rows], "o", color=color)
        for asked in ASKED_H:
            panel.axvline(asked, color="0.8", linewidth=0.8, zorder=0)
        panel.set(xscale="log", yscale="log", xlabel="hours of speech", ylabel=f"{label}, %")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(ScalarFormatter())
        panel.yaxis.set_minor_formatter(ScalarFormatter())
        panel.legend(frameon=False)
    return figure


def large_cost(folder: Path, threads: int) -> Cost:
    """Measure the large recipe on this CPU, once; run when nothing else does."""
    recipe, path = read_recipe(LARGE), folder / "large.csv"
    if not path.exists():
        sweep.write_csv(path, [{"rate": cpu_rate(recipe, 8, 15.0, threads), "threads": threads}])
    flops = forward_flops(recipe.model, list(_tokens(recipe).values()))
    return Cost(LARGE_H, recipe.epochs, flops, sweep.read_csv(path)[0]["rate"])


def main() -> None:
    """Run what is missing, fit, gather."""
    parser = argparse.ArgumentParser(description=__doc__)
    sweep.add_flags(parser, dev_hours=0.4, wer_hours=0.15)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--seeds", type=int, default=1, help="%(default)s")
    parser.add_argument("--epochs", type=int, help="over the whole, instead of the recipe's")
    parser.add_argument("--time-threads", type=int, default=2, help="%(default)s")
    parser.add_argument("--gpu-tflops", type=float, default=312.0, help="peak (%(default)s)")
    parser.add_argument("--gpu-share", type=float, default=0.05, help="of it (%(default)s)")
    args = parser.parse_args()
    recipe = sweep.recipe_of_flags(args)
    made = sweep.workshop(args)
    planned = trials(recipe, args.seeds, made, args.train)
    if args.only:
        sweep.run_trial(next(t for t in planned if t.name == args.only), made, lambda _: {})
        return
    found = sweep.run_all(planned, made, args.jobs)
    rows = [flat(run, trial) for run, trial in zip(found, planned, strict=True)]
    fits = laws(rows)
    cost = large_cost(made.folder, args.time_threads)
    told = cost_text(cost, args.time_threads, args.gpu_tflops, args.gpu_share)
    text = "\n".join([size_table(rows), law_table(fits), told])
    sweep.write_csv(args.results / "growth.csv", rows)
    (args.results / "growth.md").write_text(text, encoding="utf-8")
    sweep.save_figure(draw(rows, fits), args.images / "growth.png")
    print(text)
    print(sweep.closing_line("growth", runs=rows, laws=fits, cost=vars(cost)))


if __name__ == "__main__":
    main()
