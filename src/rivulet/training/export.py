"""A training run → a checkpoint that ships."""

import json
from pathlib import Path

from safetensors.torch import load_file

from rivulet import checkpoint
from rivulet.checkpoint import Checkpoint
from rivulet.errors import ConfigError
from rivulet.features import FeatureStatistics
from rivulet.tokenizer import Tokenizer
from rivulet.training.config import Recipe, recipe_of
from rivulet.training.heads import HeadedModel
from rivulet.training.loop import BEST_FILE


def export(run: Path, head: str, folder: Path, name: str, half: bool = True) -> Checkpoint:
    """Write the averaged weights of `run` that did best on dev, with `head` as the output.

    Raises:
        ConfigError: the run has no such head, or no weights yet.
    """
    settings_path = run / "training.json"
    if not settings_path.is_file() or not (run / BEST_FILE).is_file():
        raise ConfigError(f"{run} holds no finished epoch; train into it first.")
    settings = json.loads(settings_path.read_text(encoding="utf-8"))
    recipe: Recipe = recipe_of(settings["recipe"])
    tokens: dict[str, list[str]] = settings["tokens"]
    if head not in tokens:
        raise ConfigError(f"the run has no head {head!r}; choose {', '.join(tokens)}.")
    trained = HeadedModel(recipe.model, {k: len(v) for k, v in tokens.items()}, recipe.head_layers)
    trained.load_state_dict(load_file(run / BEST_FILE))
    statistics = load_file(run / "statistics.safetensors")
    made = Checkpoint(
        model=trained.with_output(head),
        tokenizer=Tokenizer(tuple(tokens[head])),
        features=recipe.features,
        statistics=FeatureStatistics(statistics["mean"], statistics["std"]),
        name=name,
    )
    checkpoint.save(made, folder, half)
    return checkpoint.load(folder)
