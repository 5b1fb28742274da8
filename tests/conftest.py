"""What several tests share: a small model that speaks, the shipped model, real recordings."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rivulet.checkpoint import Checkpoint
from rivulet.features import FeatureConfig, FeatureStatistics
from rivulet.model import AcousticModel, ModelConfig
from rivulet.recognizer import Recognizer
from rivulet.tokenizer import Tokenizer

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "data" / "samples"
SHARED = Path(os.environ.get("RIVULET_SHARED", ROOT.parent / "shared"))

torch.set_num_threads(1)  # one thread is what we promise numbers for, and keeps sums in one order


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real speech, where there is some."""
    if not (SHARED / "speech" / "dev.tsv").is_file():
        pytest.skip(f"no recordings at {SHARED}/speech")
    return SHARED


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
    return Checkpoint(
        small_model(cell, seed), Tokenizer.characters(), FeatureConfig(), statistics, name="small"
    )


@pytest.fixture(scope="session")
def small() -> Recognizer:
    """A recognizer that writes nonsense, the same nonsense every time."""
    return Recognizer(small_checkpoint())


@pytest.fixture(scope="session")
def recognizer() -> Recognizer:
    """The shipped model."""
    return Recognizer.load()


@pytest.fixture(scope="session")
def babble() -> np.ndarray:
    """Six seconds of noise whose loudness comes and goes, float32 at 16 kHz."""
    rng = np.random.default_rng(7)
    envelope = np.repeat(rng.uniform(0.0, 0.4, 60), 1600)
    return (rng.standard_normal(96_000) * envelope).astype(np.float32)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden from what is written now"
    )
