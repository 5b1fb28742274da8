from pathlib import Path

import pytest
from support.microphone import save_tiny_model

from rivulet.recognizer import Recognizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(model: Path) -> Recognizer:
    return Recognizer.load(model)
