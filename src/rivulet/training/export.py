"""A training run → a checkpoint that ships."""

from dataclasses import dataclass
from pathlib import Path

from rivulet import checkpoint
from rivulet.checkpoint import Checkpoint
from rivulet.errors import ConfigError
from rivulet.lm import LanguageModel
from rivulet.training.start import read_run


@dataclass(frozen=True)
class ExportConfig:
    """What of a run ships.

    head: the head that writes words greedily.
    phones: the head that writes phones for the beam, and the folder of its language model.
    bits: of a weight, 6, 8, 16 or 32.
    """

    name: str
    head: str
    phones: str | None = None
    language_model: Path | None = None
    bits: int = 16


def export(run: Path, folder: Path, config: ExportConfig) -> Checkpoint:
    """Write the averaged weights of `run` that did best on dev to the checkpoint `folder`.

    Raises:
        ConfigError: the run has no such head, or no weights yet.
    """
    trained = read_run(run)
    for head in filter(None, (config.head, config.phones)):
        if head not in trained.tokenizers:
            raise ConfigError(
                f"the run has no head {head!r}; choose {', '.join(trained.tokenizers)}."
            )
    language_model = (
        LanguageModel.load(config.language_model) if config.language_model is not None else None
    )
    made = Checkpoint(
        model=trained.model.with_output(config.head, config.phones),
        tokenizer=trained.tokenizers[config.head],
        phones=trained.tokenizers[config.phones] if config.phones else None,
        features=trained.recipe.features,
        statistics=trained.statistics,
        name=config.name,
    )
    checkpoint.save(made, folder, config.bits, language_model)
    return checkpoint.load(folder)
