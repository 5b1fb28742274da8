"""What MMI adds to a training step on the CPU: `python benchmarks/mmi_cost.py`.

Steps of `data/recipes/default.json` on made-up frames, without MMI and with it in turn, each
counted in seconds of one core. Prints a table; JSON in the last line.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from rivulet.acoustic.frames import STRIDE
from rivulet.evaluation.speed import this_machine
from rivulet.training.batches import Batch, HeadTarget
from rivulet.training.config import Recipe, read_recipe
from rivulet.training.denominator import Denominator, phone_ngram
from rivulet.training.heads import HeadedModel, cr_ctc_losses, ctc_losses, denominator_loss
from rivulet.training.optimizer import make_optimizers, step_all
from rivulet.training.precision import autocast

RECIPE = Path(__file__).resolve().parent.parent / "data" / "recipes" / "default.json"
UTTERANCE_S = 5.0
STEPS_PER_S = 100 // STRIDE
TOKENS = {"bpe-1000": 1000, "phones": 41}
PER_S = {"bpe-1000": 5, "phones": 10}  # tokens a second of speech, about


def made_up(recipe: Recipe, seconds: float) -> Batch:
    """Return noise in two views, each utterance with tokens drawn by chance."""
    rows, steps = 2 * int(seconds / UTTERANCE_S), int(UTTERANCE_S * STEPS_PER_S)
    targets = {}
    for name, tokens in TOKENS.items():
        length = int(PER_S[name] * UTTERANCE_S)
        ids = torch.randint(1, tokens, (rows // 2 * length,)).repeat(2)
        targets[name] = HeadTarget(torch.arange(rows), ids, torch.full((rows,), length))
    frames = torch.randn(rows, steps * STRIDE, recipe.model.n_mels)
    return Batch(frames, torch.full((rows,), steps), targets, [], seconds)


def step_s(
    recipe: Recipe, model: HeadedModel, batch: Batch, denominator: Denominator | None
) -> float:
    """Return what one step takes, in seconds of a core."""
    optimizers = make_optimizers(model, recipe.optimizer, 1e-5, recipe.weight_decay)
    began = time.process_time()
    with autocast(torch.device("cpu")):
        log_probs = model(batch.frames)
    losses = [*ctc_losses(log_probs, batch).values()]
    losses += cr_ctc_losses(log_probs, batch).values()
    if denominator is not None:
        losses.append(denominator_loss(log_probs, batch, "phones", denominator))
    model.zero_grad(set_to_none=True)
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
    step_all(optimizers, 1e-5)
    return time.process_time() - began


def main() -> None:
    """Take steps in turn and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=100.0, help="of sound (%(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="of each kind (%(default)s)")
    parser.add_argument("--orders", type=int, nargs="+", default=[3], help="of the phone n-gram")
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    recipe = read_recipe(RECIPE)
    model = HeadedModel(recipe.model, TOKENS, {}).train()
    batch = made_up(recipe, args.seconds)
    texts = torch.randint(1, TOKENS["phones"], (500, 40)).tolist()
    kinds: dict[str, Denominator | None] = {"ctc": None}
    for order in args.orders:
        kinds[f"mmi-{order}"] = Denominator.of(phone_ngram(texts, TOKENS["phones"], order))
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(args.steps + 1):
        for name, denominator in kinds.items():
            times[name].append(step_s(recipe, model, batch, denominator))
    medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    for name, seconds in medians.items():
        print(f"{name:6} {seconds:7.2f} s   {seconds / medians['ctc']:.3f}")
    found = {"bench": "mmi-cost", "sound_s": args.seconds, "core_s": medians}
    print(json.dumps({**found, "machine": vars(this_machine())}))


if __name__ == "__main__":
    main()
