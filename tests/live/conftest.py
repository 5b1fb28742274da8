from pathlib import Path

import pytest
from support.microphone import save_tiny_model, sound_server

from rivulet.recognizer import Recognizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(model: Path) -> Recognizer:
    return Recognizer.load(model)


@pytest.fixture
def server() -> str:
    """The address of a real sound server, which PortAudio has seen."""
    address = sound_server()
    import sounddevice

    sounddevice._terminate()  # an earlier look may have found no server
    sounddevice._initialize()
    return address
