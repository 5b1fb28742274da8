"""What several tests share: a small model that speaks, the shipped model, real recordings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from support import SHARED, small_checkpoint

from rivulet.recognizer import Recognizer

settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # a machine with other work draws slowly, which is no failure
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


SLOW = (  # files and tests that take more than a second of CPU each
    "archive/test_pool.py",
    "archive/test_work.py",
    "commands/test_bench_latency.py",
    "commands/test_calibrate.py",
    "commands/test_lm.py",
    "commands/test_bench_accuracy.py::test_pocketsphinx",
    "commands/test_bench_accuracy.py::test_a_process_that_dies",
    "commands/test_transcribe.py::test_train_and_export",
    "commands/test_transcribe.py::test_bench_speed",
    "decoding/test_native.py::test_both_searches_say_the_same",
    "evaluation/test_systems.py::test_pocketsphinx",
    "formats/",
    "fuzz/",
    "live/test_listening.py::test_an_hour",
    "server/test_attacks.py",
    "server/test_page.py",
    "test_accuracy.py::test_a_shipped",
    "test_accuracy.py::test_settled",
    "test_batching.py::test_a_streams_events",
    "test_packaging.py",
    "training/test_mmi.py",
    "training/test_recipes.py::test_a_recipe_goes",
    "training/test_start_and_export.py",
    "training/test_training.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `pytest -m "not slow"` leaves out."""
    for item in items:
        if item.nodeid.removeprefix("tests/").startswith(SLOW):
            item.add_marker(pytest.mark.slow)
