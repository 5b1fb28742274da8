"""What lookahead, width and depth buy: `python benchmarks/shape.py -o DIR`.

Trains one recipe with one number of the network changed at a time. Runs that are finished are not
run again. Writes results/shape.csv, results/shape.md and docs/images/shape.png.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cells
import sweep
import torch
from sweep import ROOT, Row, Trial, Workshop, spread

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.frames import STRIDE, algorithmic_latency_ms
from rivulet.corpora.manifest import read_manifest
from rivulet.decoding.greedy import GreedyDecoder
from rivulet.metrics import match_words
from rivulet.training.batches import BatchMaker
from rivulet.training.config import Recipe
from rivulet.training.corpus import pack
from rivulet.training.initial_weights import read_run

RECIPE = ROOT / "benchmarks" / "recipes" / "shape.json"
STEP_MS = STRIDE * 10  # of an output step
BLOCK_MS = 160  # with which docs/lab/shape.md was measured
VARIED: dict[str, tuple[int, ...]] = {
    "lookahead": (0, 2, 4, 8),
    "hidden": (80, 160, 320),
    "layers": (1, 2, 3, 4),
}
AXES = {"lookahead_ms": "lookahead, ms", "stream_ms": "streaming step of 40 ms, ms"}
LATE_CLIPS = 150  # dev utterances whose phones' times are kept


def shapes(reference: ModelConfig, vary: Sequence[str] = tuple(VARIED)) -> list[ModelConfig]:
    """Return the reference, then every network with one number of `vary` changed, none twice."""
    found = [reference]
    for name in vary:
        for value in VARIED[name]:
            also = {"lookahead_ms": value * STEP_MS} if name == "lookahead" else {}
            config = replace(reference, **{name: value, **also})
            if config not in found:
                found.append(config)
    return found


def name_of(config: ModelConfig) -> str:
    """Return the name of its runs' folders."""
    return f"lookahead{config.lookahead}-{config.layers}x{config.hidden}"


def trials(recipe: Recipe, vary: Sequence[str], seeds: int, train: Path) -> list[Trial]:
    """Return every network with every seed."""
    return [
        Trial(f"{name_of(config)}-seed{seed}", replace(recipe, model=config, seed=seed), train)
        for seed in range(1, seeds + 1)
        for config in shapes(recipe.model, vary)
    ]


@torch.inference_mode()
def measure(folder: Path, made: Workshop) -> Row:
    """Return what a finished run hears in the first dev utterances: phones and their steps.

    A step is when the network has written the phone: its lookahead is counted.
    """
    run = read_run(folder)
    model = run.model.with_output(sweep.HEAD).eval()
    corpus = pack(read_manifest(made.dev), made.cache)
    maker = BatchMaker(corpus, None, None, run.recipe.features, run.statistics, model.config, {}, 0)
    hypotheses = []
    for index in range(min(LATE_CLIPS, len(corpus))):
        frames = maker.make([index], 0).frames
        decoder = GreedyDecoder(run.tokenizers[sweep.HEAD])
        decoder.push(model(frames, model.initial_state())[0][0].detach().numpy())
        hypothesis = decoder.hypothesis()
        names = [decoder.tokenizer.tokens[token] for token in hypothesis.tokens]
        hypotheses.append({"phones": names, "steps": list(hypothesis.frames)})
    return {"hypotheses": hypotheses}


def later_ms(run: Row, reference: Row) -> float:
    """Return by how much a run says the same phones later than `reference`, in ms.

    The mean of the middle half: a step is 40 ms, too coarse for a median. Not a number where they
    have no phone in common.
    """
    steps = []
    for own, other in zip(run["hypotheses"], reference["hypotheses"], strict=True):
        for i, j in match_words(other["phones"], own["phones"]).hits:
            steps.append(own["steps"][j] - other["steps"][i])
    quarter = len(steps) // 4
    if not steps:
        return math.nan
    return STEP_MS * statistics.fmean(sorted(steps)[quarter : len(steps) - quarter])


def flat(found: Row, config: ModelConfig, reference: Row, stream_ms: float) -> Row:
    """Return one run as a line of the CSV; `reference` is the unchanged network of its seed."""
    return {
        "lookahead_ms": config.lookahead_ms,
        "layers": config.layers,
        "hidden": config.hidden,
        "seed": found["recipe"]["seed"],
        "parameters": cells.parameters(config),
        "stream_ms": stream_ms,
        "algorithmic_ms": algorithmic_latency_ms(BLOCK_MS, config.lookahead_ms),
        "later_ms": later_ms(found, reference),
        **{k: v for k, v in found.items() if k not in ("recipe", "hypotheses")},
    }


def table(rows: Sequence[Row]) -> str:
    """Return the table of the report, a line for each network."""
    header = ["lookahead, ms", "layers x width", "parameters", "streaming step, ms"]
    header += ["algorithmic latency, ms", "the same phones later by, ms", "phone errors, %"]
    lines = []
    for key in dict.fromkeys(_key(r) for r in rows):
        own = [r for r in rows if _key(r) == key]
        first = own[0]
        lines.append(
            [
                str(first["lookahead_ms"]),
                f"{first['layers']} x {first['hidden']}",
                f"{first['parameters']:,}",
                f"{first['stream_ms']:.2f}",
                str(first["algorithmic_ms"]),
                spread([r["later_ms"] for r in own], 0),
                spread([r["per"] for r in own], 1, 100),
            ]
        )
    return sweep.markdown(header, lines)


def _key(row: Row) -> tuple[int, int, int]:
    return row["lookahead_ms"], row["layers"], row["hidden"]


def draw(rows: Sequence[Row], reference: ModelConfig) -> Any:
    """Phone errors against the lookahead, and against the streaming step for width and depth."""
    from rivulet.evaluation.plots import COLORS

    usual = (reference.lookahead_ms, reference.layers, reference.hidden)
    lines = {
        "lookahead": [r for r in rows if _key(r)[1:] == usual[1:]],
        "width": [r for r in rows if _key(r)[:2] == usual[:2]],
        "depth": [r for r in rows if (_key(r)[0], _key(r)[2]) == (usual[0], usual[2])],
    }
    varied = {name: own for name, own in lines.items() if len({_key(r) for r in own}) > 1}
    axis_of = {name: "lookahead_ms" if name == "lookahead" else "stream_ms" for name in varied}
    figure, axes = sweep.panels(len(set(axis_of.values())))
    panel_of = dict(zip(dict.fromkeys(axis_of.values()), axes, strict=True))
    for (name, own), color in zip(varied.items(), COLORS, strict=False):
        at = axis_of[name]
        means = {
            x: statistics.fmean(100 * r["per"] for r in own if r[at] == x)
            for x in sorted({r[at] for r in own})
        }
        panel = panel_of[at]
        panel.plot(list(means), list(means.values()), color=color, label=name)
        panel.plot([r[at] for r in own], [100 * r["per"] for r in own], "o", color=color)
        panel.legend(frameon=False)
        panel.set(xlabel=AXES[at], ylabel="phone errors, %")
    return figure


def report(found: Sequence[Row], recipe: Recipe, args: argparse.Namespace) -> None:
    """Time every network, write CSV, table and picture; print the table and one JSON object."""
    configs = shapes(recipe.model, args.vary)
    torch.set_num_threads(1)
    timed = cells.in_turns([cells.stream_step(config) for config in configs], 5, 100)
    stream_ms = {
        name_of(config): round(statistics.median(times), 4)
        for config, times in zip(configs, timed, strict=True)
    }
    networks = [ModelConfig(**run["recipe"]["model"]) for run in found]
    references = {
        run["recipe"]["seed"]: run
        for run, config in zip(found, networks, strict=True)
        if config == recipe.model
    }
    rows = [
        flat(run, config, references[run["recipe"]["seed"]], stream_ms[name_of(config)])
        for run, config in zip(found, networks, strict=True)
    ]
    text = table(rows)
    sweep.write_csv(args.results / "shape.csv", rows)
    (args.results / "shape.md").write_text(text, encoding="utf-8")
    sweep.save_figure(draw(rows, recipe.model), args.images / "shape.png")
    print(text)
    print(sweep.closing_line("shape", runs=rows))


def main() -> None:
    """Run what is missing, time, gather."""
    parser = argparse.ArgumentParser(description=__doc__)
    sweep.add_flags(parser, dev_hours=0.4, wer_hours=0.06)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    sweep.add_short_flags(parser)
    parser.add_argument(
        "--vary", nargs="+", choices=tuple(VARIED), default=tuple(VARIED), help="(all)"
    )
    parser.add_argument("--seeds", type=int, default=2, help="%(default)s")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    args = parser.parse_args()
    recipe = sweep.recipe_of_flags(args)
    made = sweep.workshop(args)
    planned = trials(recipe, args.vary, args.seeds, sweep.short_part(args, made))
    if args.only:
        trial = next(t for t in planned if t.name == args.only)
        sweep.run_trial(trial, made, lambda folder: measure(folder, made))
        return
    report(sweep.run_all(planned, made, args.jobs), recipe, args)


if __name__ == "__main__":
    main()
