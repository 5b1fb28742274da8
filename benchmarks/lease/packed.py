"""What travels to a lent machine besides weights and sound."""

from dataclasses import dataclass

from rivulet.training.config import Recipe
from rivulet.training.targets import Encoded


@dataclass(frozen=True)
class Packed:
    """Names of the sound, and texts as each head's tokens (None where it has no target).

    weights: how often an epoch hears each of `train`.
    """

    recipe: Recipe
    tokens: dict[str, tuple[str, ...]]
    train: list[str]
    weights: list[float]
    targets: Encoded
    dev: list[str]
    dev_texts: list[str]
    dev_targets: Encoded
    noise: list[str]
