"""Where things lie, and a small model that speaks: what tests of every folder share."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.features import FeatureConfig
from rivulet.acoustic.log_mel import FeatureStatistics
from rivulet.acoustic.model import AcousticModel
from rivulet.checkpoint import Checkpoint
from rivulet.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "data" / "samples"
SHARED = Path(os.environ.get("RIVULET_SHARED", ROOT.parent / "shared"))


def kept(monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> list[Any]:
    """Return a list that everything which a public method returns from now on is added to."""
    made: list[Any] = []
    usual = getattr(owner, method)

    def keeping(*given: Any, **named: Any) -> Any:
        made.append(usual(*given, **named))
        return made[-1]

    monkeypatch.setattr(owner, method, keeping)
    return made


def small_model(cell: str = "gru", seed: int = 0, lookahead: int = 2) -> AcousticModel:
    """A model with random weights, loud enough at its output to write many tokens."""
    torch.manual_seed(seed)
    config = ModelConfig(
        channels=4,
        hidden=32,
        layers=2,
        cell=cell,  # type: ignore[arg-type]
        lookahead=lookahead,
        lookahead_ms=40 * lookahead,
        dropout=0.0,
    )
    model = AcousticModel(config).eval().requires_grad_(False)
    model.output.weight.mul_(25.0)
    model.output.bias[7:] -= 1000.0  # few letters, so that blanks and boundaries win often
    model.row.weight.uniform_(-1.0, 1.0)
    return model


def small_checkpoint(cell: str = "gru", seed: int = 0) -> Checkpoint:
    statistics = FeatureStatistics(torch.full((80,), -7.0), torch.full((80,), 4.0))
    return Checkpoint.of(
        small_model(cell, seed), Tokenizer.characters(), FeatureConfig(), statistics, name="small"
    )
