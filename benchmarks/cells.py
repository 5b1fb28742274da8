"""RNN, LSTM and GRU on the same task, by width and by weights: `python benchmarks/cells.py -o DIR`.

Runs that are finished are not run again. Writes results/cells*.csv, results/cells.md and
docs/images/cells.png.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sweep
import torch
from sweep import ROOT, Row, Trial, Workshop, spread
from torch import Tensor, nn

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.frames import STRIDE
from rivulet.acoustic.log_mel import FeatureStatistics
from rivulet.acoustic.model import AcousticModel
from rivulet.corpora.manifest import read_manifest
from rivulet.training.batches import Batch, BatchMaker, HeadTarget
from rivulet.training.config import Recipe
from rivulet.training.corpus import Corpus, pack
from rivulet.training.heads import HeadedModel, ctc_losses
from rivulet.training.initial_weights import read_run
from rivulet.training.precision import autocast

RECIPE = ROOT / "benchmarks" / "recipes" / "cells.json"
CELLS = ("gru", "lstm", "rnn")
REACH_STEPS = 75  # output steps of 40 ms: how far back is looked, 3 s
REACH_TOLD = (10, 25, 50)  # of these the table tells: 0.4, 1 and 2 s
REACH_CLIPS, REACH_DIRECTIONS = 24, 4
PHONES_PER_S = 8  # of the made-up targets that training is timed with


@dataclass(frozen=True)
class Shape:
    """A cell of a width, and what it has in common with the GRU: width or parameters."""

    cell: str
    hidden: int
    equal: str

    def of(self, config: ModelConfig) -> ModelConfig:
        """Return `config` with this cell."""
        return replace(config, cell=self.cell, hidden=self.hidden)


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one optimizer step and of one streaming step of 40 ms: median and p99."""

    name: str
    hidden: int
    train_ms: float
    stream_ms: float
    stream_p99_ms: float


def parameters(config: ModelConfig) -> int:
    """Count the weights of the whole network."""
    with torch.device("meta"):
        return AcousticModel(config).num_parameters


def recurrent_parameters(config: ModelConfig) -> int:
    """Count the weights of the cells alone."""
    with torch.device("meta"):
        layers = AcousticModel(config).layers
    return sum(p.numel() for layer in layers for p in layer.cell.parameters())


def matched_width(reference: ModelConfig, cell: str) -> int:
    """Return the width at which `cell` has the number of parameters nearest to the reference's."""
    wanted = parameters(reference)

    def count(hidden: int) -> int:
        return parameters(replace(reference, cell=cell, hidden=hidden))

    low, high = 1, 2
    while count(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:  # count(low) < wanted <= count(high)
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    return min((low, high), key=lambda hidden: abs(count(hidden) - wanted))


def shapes(reference: ModelConfig) -> list[Shape]:
    """Return the five networks: the GRU, and each other cell at its width and at its weights."""
    others = [cell for cell in CELLS if cell != reference.cell]
    return [
        Shape(reference.cell, reference.hidden, "both"),
        *(Shape(cell, reference.hidden, "width") for cell in others),
        *(Shape(cell, matched_width(reference, cell), "parameters") for cell in others),
    ]


def trials(recipe: Recipe, seeds: int, train: Path) -> list[Trial]:
    """Return every shape with every seed, then one run of each cell at equal width unclipped."""
    found = []
    for seed in range(1, seeds + 1):
        for shape in shapes(recipe.model):
            own = replace(recipe, model=shape.of(recipe.model), seed=seed)
            found.append(Trial(f"{shape.cell}-{shape.hidden}-seed{seed}", own, train))
    for cell in CELLS:
        own = replace(recipe, model=replace(recipe.model, cell=cell), clip_norm=None)
        found.append(Trial(f"{cell}-{recipe.model.hidden}-unclipped", own, train))
    return found


def norms(folder: Path, clip_norm: float | None) -> Row:
    """Describe the gradient norms of every step before clipping."""
    every = [row["norm"] for row in sweep.steps_of(folder)]
    finite = torch.tensor([n for n in every if n < float("inf")], dtype=torch.float64)
    middle, late = torch.quantile(finite, torch.tensor([0.5, 0.99], dtype=torch.float64)).tolist()
    clipped = sum(n > clip_norm for n in finite.tolist()) if clip_norm else 0
    return {
        "norm_median": middle,
        "norm_p99": late,
        "norm_max": float(finite.max()),
        "norm_clipped": clipped / len(every),
        "norm_not_finite": 1.0 - len(finite) / len(every),
    }


def reach(model: AcousticModel, frames: Tensor, directions: int, seed: int) -> list[float]:
    """Say how much an output depends on sound k steps before the step it speaks of.

    For k = 0 … REACH_STEPS: the norm of d(v · logits of the last row) / d(frames of a step), the
    root of the mean square over random directions v, the mean over the utterances of `frames`
    (B, T, n_mels), divided by the largest of them.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    squares = torch.zeros(len(frames), frames.shape[1] // STRIDE)
    for _ in range(directions):
        leaf = frames.clone().requires_grad_()
        outputs, _ = model.encode(leaf, model.initial_state(len(leaf)))
        logits = model.output(outputs[-1][:, -1])
        logits.backward(torch.randn(logits.shape, generator=generator))
        squares += leaf.grad.unflatten(1, (-1, STRIDE)).square().sum((2, 3))
    norms_of = squares.sqrt().mean(0)
    spoken_of = len(norms_of) - 1 - model.config.lookahead
    back = norms_of[: spoken_of + 1].flip(0)[: REACH_STEPS + 1]
    return (back / back.max()).tolist()


def reach_frames(corpus: Corpus, recipe: Recipe, statistics_: FeatureStatistics) -> Tensor:
    """Return the ends of long dev utterances, normalized, (REACH_CLIPS, T, n_mels)."""
    steps = REACH_STEPS + 1 + recipe.model.lookahead
    long = [i for i, s in enumerate(corpus.seconds()) if s > steps * STRIDE / 100][:REACH_CLIPS]
    maker = BatchMaker(corpus, None, None, recipe.features, statistics_, recipe.model, {}, 0)
    rows = []
    for index in long:
        frames = maker.make([index], 0).frames[0]
        end = int(corpus.seconds()[index] * 100) // STRIDE * STRIDE
        rows.append(frames[end - steps * STRIDE : end])
    return torch.stack(rows)


def measure(folder: Path, made: Workshop) -> Row:
    """Return gradient norms and reach of a finished run."""
    run = read_run(folder)
    corpus = pack(read_manifest(made.dev), made.cache)
    frames = reach_frames(corpus, run.recipe, run.statistics)
    ratios = reach(run.model.with_output(sweep.HEAD), frames, REACH_DIRECTIONS, 1)
    return {
        **norms(folder, run.recipe.clip_norm),
        **{f"reach_{k * STRIDE * 10}_ms": ratios[k] for k in REACH_TOLD},
        "reach": [float(f"{ratio:.4g}") for ratio in ratios],
    }


def made_up_batch(config: ModelConfig, rows: int, seconds: float) -> Batch:
    """Return random frames and phones: what a step costs does not depend on them."""
    steps, phones = int(seconds * 25), int(seconds * PHONES_PER_S)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, config.tokens, (rows * phones,), generator=generator)
    target = HeadTarget(torch.arange(rows), ids, torch.full((rows,), phones))
    frames = torch.randn(rows, steps * STRIDE, config.n_mels, generator=generator)
    return Batch(
        frames, torch.full((rows,), steps), {sweep.HEAD: target}, [""] * rows, rows * seconds
    )


def train_step(config: ModelConfig, batch: Batch, stock: bool) -> Callable[[], None]:
    """Return one optimizer step as the training loop takes it; with `stock`, torch's own cell."""
    torch.manual_seed(1)
    model = HeadedModel(config, {sweep.HEAD: config.tokens}, {}).train()
    if stock:
        for layer in model.acoustic.layers:
            layer.cell = nn.GRU(config.hidden, config.hidden, batch_first=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with autocast(torch.device("cpu")):
            log_probs = model(batch.frames)
        loss = ctc_losses(log_probs, batch)[sweep.HEAD]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()

    return step


def stream_step(config: ModelConfig) -> Callable[[], None]:
    """Return one step of 40 ms of one stream."""
    torch.manual_seed(1)
    model = AcousticModel(config).eval()
    frames = torch.randn(1, STRIDE, config.n_mels)
    state = model.initial_state()

    @torch.inference_mode()
    def step() -> None:
        nonlocal state
        _, state = model(frames, state)

    return step


def in_turns(steps: Sequence[Callable[[], None]], rounds: int, each: int) -> list[list[float]]:
    """Time every step `rounds` × `each` times, turn by turn, so that all meet the same machine.

    The first `each` of all are warm-up. Milliseconds.
    """
    times: list[list[float]] = [[] for _ in steps]
    for turn in range(rounds + 1):
        for kept, step in zip(times, steps, strict=True):
            for _ in range(each):
                began = time.perf_counter()
                step()
                if turn:
                    kept.append(1000.0 * (time.perf_counter() - began))
    return times


def time_shapes(
    reference: ModelConfig, batch: tuple[int, float], threads: int, rounds: int
) -> list[Timing]:
    """Time every shape, torch's own GRU beside ours; `batch` is utterances and their seconds."""
    rows = [
        (f"{shape.cell} ({'TrainingGRU' if shape.cell == 'gru' else 'torch'})", shape, False)
        for shape in shapes(reference)
    ]
    rows.insert(1, ("gru (torch)", rows[0][1], True))
    configs = [shape.of(reference) for _, shape, _ in rows]
    torch.set_num_threads(threads)
    timed = in_turns(
        [
            train_step(config, made_up_batch(config, *batch), stock)
            for config, (_, _, stock) in zip(configs, rows, strict=True)
        ],
        rounds,
        1,
    )
    torch.set_num_threads(1)
    streamed = in_turns([stream_step(config) for config in configs], 5, 100)
    return [
        Timing(
            name,
            shape.hidden,
            round(statistics.median(trained), 2),
            round(statistics.median(steps), 4),
            round(statistics.quantiles(steps, n=100)[98], 4),
        )
        for (name, shape, _), trained, steps in zip(rows, timed, streamed, strict=True)
    ]


def timings(recipe: Recipe, folder: Path, threads: int) -> list[Row]:
    """Time the small shape and the shipped one, once; run when nothing else does."""
    path = folder / "times.csv"
    if not path.exists():
        utterances = int(recipe.batch_s / 4.0)
        small = time_shapes(recipe.model, (utterances, 4.0), threads, 15)
        shipped = replace(recipe.model, hidden=512, layers=3, channels=32)
        large = time_shapes(shipped, (14, 15.0), threads, 3)
        rows = [
            {"layers": layers, "threads": threads, **vars(timing)}
            for layers, group in ((recipe.model.layers, small), (3, large))
            for timing in group
        ]
        sweep.write_csv(path, rows)
    return sweep.read_csv(path)


def flat(found: Row, reference: ModelConfig) -> Row:
    """Return one run as a line of the CSV."""
    config = ModelConfig(**found["recipe"]["model"])
    same = Shape(config.cell, config.hidden, "")
    equal = next(s.equal for s in shapes(reference) if replace(s, equal="") == same)
    kept = {k: v for k, v in found.items() if k not in ("recipe", "reach")}
    return {
        "cell": config.cell,
        "hidden": config.hidden,
        "equal": equal,
        "seed": found["recipe"]["seed"],
        "clip_norm": found["recipe"]["clip_norm"] or "none",
        "parameters": parameters(config),
        "recurrent": recurrent_parameters(config),
        **kept,
    }


def main_table(rows: Sequence[Row], times: Sequence[Row], recipe: Recipe) -> str:
    """Return the table of the clipped runs, a line per shape, mean ± deviation over seeds."""
    header = ["cell", "width", "parameters", "recurrent", "training step, ms", "streaming step, ms"]
    header += ["phone errors, %", "WER, %", "gradient norm: median / p99 / max"]
    header += [
        f"gradient after {' / '.join(f'{k / 25:g}' for k in REACH_TOLD)} s, % of its largest"
    ]
    lines = []
    for shape in shapes(recipe.model):
        same = [r for r in rows if (r["cell"], r["hidden"]) == (shape.cell, shape.hidden)]
        own = [r for r in same if r["clip_norm"] != "none"]
        timed = _times_of(times, shape, recipe.model.layers)
        stream = timed[0]["stream_ms"] if timed else None
        lines.append(
            [
                f"{shape.cell.upper()}, equal {shape.equal}".removesuffix(", equal both"),
                str(shape.hidden),
                f"{parameters(shape.of(recipe.model)):,}",
                f"{recurrent_parameters(shape.of(recipe.model)):,}",
                ", ".join(f"{t['train_ms']:.0f} {_implementation(t)}".strip() for t in timed),
                f"{stream:.2f}" if stream else "–",
                spread([r["per"] for r in own], 1, 100),
                spread([r["wer"] for r in own], 1, 100),
                " / ".join(spread([r[f"norm_{w}"] for r in own]) for w in ("median", "p99", "max")),
                " / ".join(
                    spread([r[f"reach_{k * STRIDE * 10}_ms"] for r in own], 2, 100)
                    for k in REACH_TOLD
                ),
            ]
        )
    return sweep.markdown(header, lines)


def clip_table(rows: Sequence[Row], recipe: Recipe) -> str:
    """Return the table of one seed with and without clipping."""
    header = ["cell", "clipped at", "median", "p99", "max", "steps clipped, %", "not finite, %"]
    header += ["phone errors, %", "WER, %"]
    same = [r for r in rows if r["hidden"] == recipe.model.hidden and r["seed"] == recipe.seed]
    lines = [
        [
            r["cell"].upper(),
            str(r["clip_norm"]),
            *(f"{r[f'norm_{what}']:.2f}" for what in ("median", "p99", "max")),
            f"{100 * r['norm_clipped']:.1f}",
            f"{100 * r['norm_not_finite']:.2f}",
            f"{100 * r['per']:.1f}",
            f"{100 * r['wer']:.1f}",
        ]
        for r in sorted(same, key=lambda r: CELLS.index(r["cell"]))
    ]
    return sweep.markdown(header, lines)


def time_table(times: Sequence[Row]) -> str:
    """Return the table of every time measured."""
    header = ["layers × width", "cell", "training step, ms", "streaming step, ms: median / p99"]
    lines = [
        [
            f"{t['layers']:.0f} × {t['hidden']:.0f}",
            t["name"],
            f"{t['train_ms']:.0f}",
            f"{t['stream_ms']:.2f} / {t['stream_p99_ms']:.2f}",
        ]
        for t in times
    ]
    return sweep.markdown(header, lines)


def claims(times: Sequence[Row], recipe: Recipe) -> str:
    """Return what the textbook's ratios are here: the GRU against the LSTM of its width."""
    gru, lstm = (
        recurrent_parameters(replace(recipe.model, cell=cell))  # type: ignore[arg-type]
        for cell in ("gru", "lstm")
    )
    lines = [f"* Recurrent parameters, GRU to LSTM: {gru / lstm:.3f}."]
    for layers, hidden in dict.fromkeys((t["layers"], t["hidden"]) for t in times):
        own = {t["name"]: t for t in times if (t["layers"], t["hidden"]) == (layers, hidden)}
        if "gru (torch)" not in own or "lstm (torch)" not in own:
            continue
        stock, ours, other = (own[n] for n in ("gru (torch)", "gru (TrainingGRU)", "lstm (torch)"))
        lines.append(
            f"* {layers:.0f} × {hidden:.0f}, time of a GRU step to an LSTM step: training "
            f"{stock['train_ms'] / other['train_ms']:.2f} with torch's GRU, "
            f"{ours['train_ms'] / other['train_ms']:.2f} with TrainingGRU; streaming "
            f"{ours['stream_ms'] / other['stream_ms']:.2f}."
        )
    return "\n".join(lines) + "\n"


def _times_of(times: Sequence[Row], shape: Shape, layers: int) -> list[Row]:
    return [
        t
        for t in times
        if (t["name"].split()[0], t["hidden"], t["layers"]) == (shape.cell, shape.hidden, layers)
    ]


def _implementation(timing: Row) -> str:
    name: str = timing["name"]
    return name.split()[1] if name.startswith("gru") else ""


def draw(found: Sequence[Row], rows: Sequence[Row], times: Sequence[Row], layers: int) -> Any:
    """Phone errors against the streaming step; reach; gradient norms without clipping."""
    from rivulet.evaluation.plots import COLORS

    colors = dict(zip(CELLS, COLORS, strict=False))
    figure, (errors, far, steep) = sweep.panels(3)
    for row in rows:
        timed = _times_of(times, Shape(row["cell"], row["hidden"], ""), layers)
        if row["clip_norm"] != "none" and timed:
            face = "none" if row["equal"] == "parameters" else colors[row["cell"]]
            at = (timed[0]["stream_ms"], 100 * row["per"])
            errors.plot(*at, "o", color=colors[row["cell"]], markerfacecolor=face)
    errors.set(xlabel="streaming step of 40 ms, ms", ylabel="phone errors, %")
    errors.set_xlim(left=0)
    errors.set_title("filled: equal width; open: equal parameters", fontsize=9)
    for cell, color in colors.items():
        own = [r for r, line in zip(found, rows, strict=True) if _is_reference(line, cell)]
        for number, run in enumerate(own):
            ms = [k * STRIDE * 10 for k in range(len(run["reach"]))]
            far.plot(ms, run["reach"], color=color, label=None if number else cell.upper())
    far.set(yscale="log", xlabel="sound so long ago, ms", ylabel="gradient, 1 at its largest")
    far.set_title("how far back the gradient reaches, equal width", fontsize=9)
    for run, line in zip(found, rows, strict=True):
        if line["clip_norm"] == "none":
            label, color = line["cell"].upper(), colors[line["cell"]]
            steep.plot(run["norms"], color=color, label=label, linewidth=0.7, alpha=0.8)
    steep.set(yscale="log", xlabel="optimizer step", ylabel="gradient norm")
    steep.set_title("without clipping", fontsize=9)
    far.legend(frameon=False)
    return figure


def _is_reference(line: Row, cell: str) -> bool:
    return (
        line["cell"] == cell and line["equal"] in ("both", "width") and line["clip_norm"] != "none"
    )


def report(found: list[Row], times: list[Row], recipe: Recipe, args: argparse.Namespace) -> None:
    """Write CSVs, tables and the picture; print the tables and one JSON object."""
    rows = [flat(run, recipe.model) for run in found]
    curves = [
        {"name": run["name"], "k": k, "gradient": ratio}
        for run in found
        for k, ratio in enumerate(run["reach"])
    ]
    sweep.write_csv(args.results / "cells.csv", rows)
    sweep.write_csv(args.results / "cells-reach.csv", curves)
    sweep.write_csv(args.results / "cells-times.csv", times)
    parts = [main_table(rows, times, recipe), clip_table(rows, recipe), time_table(times)]
    text = "\n".join([*parts, claims(times, recipe)])
    (args.results / "cells.md").write_text(text, encoding="utf-8")
    drawn = [
        {**run, "norms": [r["norm"] for r in sweep.steps_of(args.output / run["name"])]}
        for run in found
    ]
    figure = draw(drawn, rows, times, recipe.model.layers)
    sweep.save_figure(figure, args.images / "cells.png")
    print(text)
    print(sweep.closing_line("cells", runs=rows, times=times))


def main() -> None:
    """Run what is missing, time, gather."""
    parser = argparse.ArgumentParser(description=__doc__)
    sweep.add_flags(parser, dev_hours=0.25, wer_hours=0.06)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    sweep.add_short_flags(parser)
    parser.add_argument("--seeds", type=int, default=3, help="%(default)s")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--time-threads", type=int, default=2, help="of a training step timed (%(default)s)"
    )
    args = parser.parse_args()
    recipe = sweep.recipe_of_flags(args)
    made = sweep.workshop(args)
    planned = trials(recipe, args.seeds, sweep.short_part(args, made))
    if args.only:
        trial = next(t for t in planned if t.name == args.only)
        sweep.run_trial(trial, made, lambda folder: measure(folder, made))
        return
    found = sweep.run_all(planned, made, args.jobs)
    report(found, timings(recipe, made.folder, args.time_threads), recipe, args)


if __name__ == "__main__":
    main()
