"""A training run → a checkpoint that ships."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from rivulet import audio, checkpoint
from rivulet.acoustic.arrays import Weights
from rivulet.acoustic.frames import HOP, STRIDE, WINDOW
from rivulet.acoustic.moments import input_moments
from rivulet.checkpoint import Checkpoint
from rivulet.corpora.manifest import Utterance, read_manifest
from rivulet.decoding.settings import BeamConfig, BeamSettings
from rivulet.errors import ConfigError
from rivulet.language.model import LanguageModel
from rivulet.training.initial_weights import (
    InitialWeights,
    TrainedRun,
    read_initial_weights,
    read_run,
)

FEW_BITS = 8  # of a weight, or fewer: it is rounded with care
ROUNDING_S = 420.0  # of speech: thirty times as many frames as the widest layer has inputs


@dataclass(frozen=True)
class ExportConfig:
    """What of a run ships.

    head: the head that writes words greedily.
    phones: the head that writes phones for the beam, and the folder of its language model.
    bits: of a weight, 5, 6, 8, 16 or 32.
    average: runs and checkpoints whose weights are averaged with the run's, each counting as much.
    beam: how wide its beam is and what counts how much.
    rounding_speech: manifests; what the network makes of minutes of them says which weights may
        be rounded how, where they have 8 bits or fewer.
    """

    name: str
    head: str
    phones: str | None = None
    language_model: Path | None = None
    bits: int = 16
    average: tuple[str, ...] = ()
    beam: BeamConfig = field(default_factory=BeamConfig)
    rounding_speech: tuple[Path, ...] = ()


def export(run: Path, folder: Path, config: ExportConfig) -> Checkpoint:
    """Write the averaged weights of `run` that did best on dev to the checkpoint `folder`.

    Raises:
        ConfigError: the run has no such head, or no weights yet; what is averaged with it has
            another network, no such head, or other feature statistics.
        CheckpointError: what is averaged with it is neither a run nor a checkpoint.
    """
    trained = read_run(run)
    heads = tuple(filter(None, (config.head, config.phones)))
    for head in heads:
        if head not in trained.tokenizers:
            raise ConfigError(
                f"the run has no head {head!r}; choose {', '.join(trained.tokenizers)}."
            )
    trained = average(trained, [read_initial_weights(source) for source in config.average], heads)
    language_model = (
        LanguageModel.load(config.language_model) if config.language_model is not None else None
    )
    made = Checkpoint.of(
        model=trained.model.with_output(config.head, config.phones),
        tokenizer=trained.tokenizers[config.head],
        phones=trained.tokenizers[config.phones] if config.phones else None,
        features=trained.recipe.features,
        statistics=trained.statistics,
        beam=BeamSettings(config=config.beam),
        name=config.name,
    )
    with_care = config.bits <= FEW_BITS and config.rounding_speech
    moments = moments_on(made, config.rounding_speech) if with_care else None
    checkpoint.save(made, folder, config.bits, language_model, moments)
    return checkpoint.load(folder, "torch")


def moments_on(made: Checkpoint, manifests: Sequence[Path]) -> Weights:
    """Return what the network's inputs are like over minutes of speech, evenly spread."""
    utterances = [utterance for path in manifests for utterance in read_manifest(path)]
    network = made.torch.network
    every = max(1, round(sum(u.seconds for u in utterances) / ROUNDING_S))

    def frames(utterance: Utterance) -> Tensor:
        samples = torch.from_numpy(audio.load(utterance.path))
        samples = functional.pad(samples, (0, max(0, WINDOW + STRIDE * HOP - len(samples))))
        heard = network.statistics.normalize(network.frontend(samples[None]))
        return heard[:, : heard.shape[1] // STRIDE * STRIDE]

    return input_moments(network.model, (frames(u) for u in utterances[::every]))


def average(
    trained: TrainedRun, others: Sequence[InitialWeights], heads: Sequence[str]
) -> TrainedRun:
    """Give `trained` the mean of its weights and those of `others`, each counting as much.

    What is averaged began with the same weights, or one with the other: a "model soup" (Wortsman
    et al. 2022, arXiv 2203.05482). A head that one of `others` lacks counts there as the run's
    own; of `heads` none may be lacking.

    Raises:
        ConfigError: other networks, heads or feature statistics cannot be averaged.
    """
    models = [trained.model]
    for other in others:
        _check_alike(trained, other, heads)
        model = copy.deepcopy(trained.model)
        other.give_to(model, trained.tokenizers)
        models.append(model)
    states = [model.state_dict() for model in models]
    mean = {name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]}
    averaged = copy.deepcopy(trained.model)
    averaged.load_state_dict(mean)
    return replace(trained, model=averaged)


def _check_alike(trained: TrainedRun, other: InitialWeights, heads: Sequence[str]) -> None:
    lacking = set(heads) - other.heads_for(trained.model, trained.tokenizers).keys()
    if lacking:
        raise ConfigError(
            f"{other.name} has no head like {', '.join(sorted(lacking))} of the run; average what "
            "was trained with `--start` from the same weights."
        )
    own, theirs = trained.statistics, other.statistics
    if not (torch.allclose(own.mean, theirs.mean) and torch.allclose(own.std, theirs.std)):
        raise ConfigError(
            f"the feature statistics of {other.name} are not the run's; average what was trained "
            "with `--start` from the same weights."
        )
