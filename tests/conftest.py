"""What several tests share: a small model that speaks, the shipped model, real recordings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support import SHARED, small_checkpoint

from rivulet.recognizer import Recognizer

torch.set_num_threads(1)  # one thread is what we promise numbers for, and keeps sums in one order


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real speech, where there is some."""
    if not (SHARED / "speech" / "dev.tsv").is_file():
        pytest.skip(f"no recordings at {SHARED}/speech")
    return SHARED


@pytest.fixture(scope="session")
def small() -> Recognizer:
    """A recognizer that writes nonsense, the same nonsense every time."""
    return Recognizer.of(small_checkpoint())


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
