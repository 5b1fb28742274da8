"""Everything that decides what a training run gives, and the recipe files that hold it."""

import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

from platformdirs import user_cache_path

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.features import FeatureConfig
from rivulet.configs import read_config
from rivulet.errors import ConfigError, reason
from rivulet.training.augment import AugmentConfig
from rivulet.training.denominator import ORDERS
from rivulet.training.targets import is_phones

OptimizerKind = Literal["adamw", "muon"]


@dataclass(frozen=True)
class DataConfig:
    """What is trained on: manifests, a dictionary for phones, a folder for decoded sound.

    sentences: files of text, one sentence a line, that the phone n-gram of MMI is counted on
        besides what is spoken in `train`.
    """

    train: tuple[str, ...]
    dev: str
    noise: str | None = None
    dictionary: str | None = None
    cache: str = field(default_factory=lambda: str(user_cache_path("rivulet")))
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How it is trained.

    batch_s: seconds of sound a batch, padding included.
    final_rate: where the cosine ends, as a part of `learning_rate`.
    optimizer: `adamw`, or `muon` for the matrices below the heads and AdamW for the rest.
    head_weights: the heads and the weight of each CTC loss; the first is the model's own output.
    head_layers: the layer, counted from 1, that a head reads; others read the top.
    cr_ctc_weight: weight of the loss that two views of each utterance, with other masks and bands,
        be read alike (CR-CTC); 0 for one view. A batch of two views takes twice the time.
    mmi_weight: weight of the lattice-free MMI loss of the first phone head, besides its CTC loss;
        0 for CTC alone.
    phone_lm_order: of the phone n-gram that weighs what competes with the text, 3 or 4. 4 is for a
        GPU with memory to spare: 4.4 s of a CPU core for 100 s of sound, where 3 takes 0.1 s.
    ctc_epochs: the first epochs, in which CTC takes the weight of MMI: what writes nothing yet has
        nothing to tell apart.
    frozen_steps: the first steps, in which only the heads learn: a new head on a trained trunk
        would otherwise send it random gradients.
    sortagrad_epochs: the first epochs, in which batches come in order of length.
    clean_epochs: the last epochs, distorted by `clean_augment`: the model ends on true speech.
    clean_augment: of these; null varies only the level.
    corpus_weights: how often an epoch hears a corpus, by patterns of names of which the first that
        fits counts: of 2.5, twice everything and a half, drawn by chance, once more. What no
        pattern fits is heard once.
    row_share: of the utterances, that are heard right after another one of their speaker, as in a
        long recording, where the network's state is carried on.
    clip_norm: a longer gradient is shortened to this; null leaves every gradient as it is.
    log_every: optimizer steps that a line of steps.csv sums up.
    measure_every: epochs between two measurements on dev; the last epoch is always measured.
    max_steps: stop early; for trials.
    """

    epochs: int = 40
    batch_s: float = 210.0
    learning_rate: float = 1.5e-3
    warmup_steps: int = 250
    final_rate: float = 0.01
    weight_decay: float = 0.01
    optimizer: OptimizerKind = "adamw"
    clip_norm: float | None = 2.0
    average_decay: float = 0.998
    head_weights: dict[str, float] = field(
        default_factory=lambda: {"characters": 0.3, "bpe-256": 0.7, "phones": 0.5, "bpe-1000": 1.0}
    )
    head_layers: dict[str, int] = field(default_factory=lambda: {"phones": 2})
    cr_ctc_weight: float = 0.0
    mmi_weight: float = 0.0
    phone_lm_order: int = 3
    ctc_epochs: int = 0
    frozen_steps: int = 0
    sortagrad_epochs: int = 1
    clean_epochs: int = 0
    seed: int = 1
    log_every: int = 10
    measure_every: int = 1
    max_steps: int | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    clean_augment: AugmentConfig | None = None
    corpus_weights: dict[str, float] = field(default_factory=dict)
    row_share: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: one is not positive, or there is no head.
        """
        positive = ("epochs", "batch_s", "learning_rate", "warmup_steps", "clip_norm")
        for name in (*positive, "log_every", "measure_every"):
            value = getattr(self, name)
            if not (value is None and name == "clip_norm") and not value > 0:
                raise ConfigError(f"{name} is {value}; it must be more than 0.")
        if self.optimizer not in get_args(OptimizerKind):
            known = " or ".join(get_args(OptimizerKind))
            raise ConfigError(f"the optimizer {self.optimizer!r} is unknown; use {known}.")
        if not self.head_weights:
            raise ConfigError("head_weights names 0 heads; name characters, bpe-256 or phones.")
        if self.phone_lm_order not in ORDERS:
            known = " or ".join(map(str, ORDERS))
            raise ConfigError(f"phone_lm_order is {self.phone_lm_order}; use {known}.")
        if self.mmi_weight < 0 or (self.mmi_weight and self.mmi_head is None):
            raise ConfigError(
                f"mmi_weight is {self.mmi_weight} and none of {len(self.head_weights)} heads "
                "writes phones; add phones to head_weights."
            )
        if not 0.0 <= self.row_share <= 1.0:
            raise ConfigError(f"row_share is {self.row_share}; use 0 to 1.")
        for pattern, weight in self.corpus_weights.items():
            if not weight > 0:
                raise ConfigError(f"corpus_weights of {pattern} is {weight}; use more than 0.")

    def corpus_weight(self, *names: str) -> float:
        """Return how often an epoch hears a corpus that has these names."""
        for pattern, weight in self.corpus_weights.items():
            if any(fnmatchcase(name, pattern) for name in names):
                return weight
        return 1.0

    @property
    def mmi_head(self) -> str | None:
        """The head that MMI trains, or None."""
        phones = (name for name in self.head_weights if is_phones(name))
        return next(phones, None) if self.mmi_weight else None


def read_recipe(path: Path, **overrides: Any) -> Recipe:
    """Read a recipe: JSON with fields of `Recipe`; those it leaves out keep their defaults.

    Raises:
        ConfigError: the file is missing, not JSON, names a field that does not exist, or holds a
            value that cannot be used.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"the recipe {path} cannot be read ({reason(error)}).") from error
    return read_config(Recipe, values | overrides, f"the recipe {path}")


def recipe_of(values: dict[str, Any]) -> Recipe:
    """Return the recipe that plain `values` describe, as JSON holds them.

    Raises:
        ConfigError: a name is no field, or a value cannot be used.
    """
    return read_config(Recipe, values, "the recipe")
