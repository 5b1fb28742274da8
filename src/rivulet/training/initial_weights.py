"""Weights to begin with: of a checkpoint that ships, or of an earlier training run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file
from torch import Tensor, nn

from rivulet import checkpoint
from rivulet.acoustic.log_mel import FeatureStatistics
from rivulet.acoustic.model import RecurrentLayer
from rivulet.errors import ConfigError
from rivulet.tokenizer import Tokenizer
from rivulet.training.config import Recipe, recipe_of
from rivulet.training.heads import HeadedModel

SETTINGS_FILE = "training.json"
BEST_FILE = "best.safetensors"
STATISTICS_FILE = "statistics.safetensors"
TOP = 0  # the layer of a head that reads the last one, however many there are


@dataclass(frozen=True)
class TrainedRun:
    """The averaged weights of a run that did best on dev, with every head."""

    recipe: Recipe
    model: HeadedModel
    tokenizers: dict[str, Tokenizer]
    statistics: FeatureStatistics


@dataclass(frozen=True)
class InitialWeights:
    """A trained trunk of so many layers, and its heads: (tokenizer, layer, the projection).

    A head's layer is counted from 1, and TOP if it is the last, after the lookahead.
    """

    name: str
    layers: int
    trunk: dict[str, Tensor]
    heads: tuple[tuple[Tokenizer, int, nn.Module], ...]
    statistics: FeatureStatistics

    def give_to(self, model: HeadedModel, tokenizers: Mapping[str, Tokenizer]) -> None:
        """Copy the trunk, and every head that has the same tokens at the same layer.

        Layers that `model` has above this trunk's begin as identity, so that a network grows
        without forgetting (Chen et al. 2016, "Net2Net", arXiv 1511.05641, section 2.3).

        Raises:
            ConfigError: the networks below the heads differ in shape.
        """
        self._check_trunk(model)
        model.acoustic.load_state_dict(self.trunk, strict=False)
        for layer in model.acoustic.layers[self.layers :]:
            cast(RecurrentLayer, layer).identity_init()
        for name, head in self.heads_for(model, tokenizers).items():
            model.head(name).load_state_dict(head.state_dict())

    def heads_for(
        self, model: HeadedModel, tokenizers: Mapping[str, Tokenizer]
    ) -> dict[str, nn.Module]:
        """Each head of `model` that is here as well: the same tokens, read at the same layer."""
        return {
            name: head
            for name, tokenizer in tokenizers.items()
            for theirs, layer, head in self.heads
            if theirs == tokenizer and layer == _read_by(model, name)
        }

    def _check_trunk(self, model: HeadedModel) -> None:
        own = model.acoustic.state_dict()
        wrong = [k for k, v in self.trunk.items() if k not in own or own[k].shape != v.shape]
        added = range(self.layers, len(model.acoustic.layers))
        may_lack = ("output.", *(f"layers.{layer}." for layer in added))
        missing = [k for k in own.keys() - self.trunk.keys() if not k.startswith(may_lack)]
        if wrong or missing:
            raise ConfigError(
                f"the network of {self.name} differs from the recipe's in {len(wrong)} tensors "
                f"and lacks {len(missing)}; give both the same hidden, channels, cell and "
                "lookahead, and the recipe's as many layers or more."
            )


def read_initial_weights(source: str) -> InitialWeights:
    """Read the weights of a run's folder or of a checkpoint, named or by its path.

    Raises:
        CheckpointError: there is neither, or it is damaged.
    """
    if (Path(source) / SETTINGS_FILE).is_file():
        return _weights_of_run(source, read_run(Path(source)))
    shipped = checkpoint.load(source, "torch")
    model = shipped.torch.model
    heads: list[tuple[Tokenizer, int, nn.Module]] = [(shipped.tokenizer, TOP, model.output)]
    if shipped.phones is not None and model.phone_output is not None:
        heads.append((shipped.phones, TOP, model.phone_output))
    return InitialWeights(
        source, len(model.layers), _trunk(model), tuple(heads), shipped.torch.statistics
    )


def read_run(folder: Path) -> TrainedRun:
    """Read what `rivulet train` left in its folder.

    Raises:
        ConfigError: no epoch is finished there yet.
    """
    if not (folder / SETTINGS_FILE).is_file() or not (folder / BEST_FILE).is_file():
        raise ConfigError(f"{folder} holds no finished epoch; train into it first.")
    settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    recipe = recipe_of(settings["recipe"])
    tokenizers = tokenizers_of(settings)
    counts = {name: len(tokenizer) for name, tokenizer in tokenizers.items()}
    model = HeadedModel(recipe.model, counts, recipe.head_layers)
    model.load_state_dict(load_file(folder / BEST_FILE))
    stored = load_file(folder / STATISTICS_FILE)
    statistics = FeatureStatistics(stored["mean"], stored["std"])
    return TrainedRun(recipe, model, tokenizers, statistics)


def tokenizers_of(settings: Mapping[str, Any]) -> dict[str, Tokenizer]:
    """Return what each head of a run writes, from what SETTINGS_FILE holds."""
    return {name: Tokenizer(tuple(tokens)) for name, tokens in settings["tokens"].items()}


def _weights_of_run(name: str, run: TrainedRun) -> InitialWeights:
    heads = tuple(
        (tokenizer, _read_by(run.model, head), run.model.head(head))
        for head, tokenizer in run.tokenizers.items()
    )
    trunk = run.model.acoustic
    return InitialWeights(name, len(trunk.layers), _trunk(trunk), heads, run.statistics)


def _read_by(model: HeadedModel, head: str) -> int:
    """Return the layer that a head reads, counted from 1, or TOP."""
    return TOP if model.reads_top(head) else model.layers[head] + 1


def _trunk(model: nn.Module) -> dict[str, Tensor]:
    heads = ("output.", "phone_output.")
    return {k: v for k, v in model.state_dict().items() if not k.startswith(heads)}
