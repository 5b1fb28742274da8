"""Recognizers side by side: one small file each, all behind the same two verbs."""

from importlib import import_module
from types import ModuleType

from rivulet.errors import EngineError
from rivulet.evaluation.systems.common import (
    System,
    SystemConfig,
    SystemStream,
    TimedEvent,
    require,
)

MODULES = {
    "rivulet": "rivulet.evaluation.systems.rivulet",
    "pocketsphinx": "rivulet.evaluation.systems.pocketsphinx",
    "vosk": "rivulet.evaluation.systems.vosk",
    "sherpa-onnx": "rivulet.evaluation.systems.sherpa_onnx",
    "whisper": "rivulet.evaluation.systems.faster_whisper",
}
"""name → module with `load(config) -> System`."""

PACKAGES = {
    "pocketsphinx": ("pocketsphinx", "pocketsphinx"),
    "vosk": ("vosk", "vosk"),
    "sherpa-onnx": ("sherpa_onnx", "sherpa-onnx"),
    "whisper": ("faster_whisper", "faster-whisper"),
}
"""name → what it imports, and what pip calls that."""

__all__ = [
    "MODULES",
    "System",
    "SystemConfig",
    "SystemStream",
    "TimedEvent",
    "check_system",
    "load_system",
]


def check_system(config: SystemConfig) -> None:
    """Make sure that the system is known and installed, before minutes are spent on another.

    Raises:
        EngineError: the name is unknown or the package is missing.
    """
    _module(config)
    if config.name in PACKAGES:
        require(*PACKAGES[config.name])


def load_system(config: SystemConfig) -> System:
    """Load the system that `config` names.

    Raises:
        EngineError: the name is unknown, the system is not installed, or its model is missing.
    """
    system: System = _module(config).load(config)
    return system


def _module(config: SystemConfig) -> ModuleType:
    if config.name not in MODULES:
        raise EngineError(
            f"there is no system {config.name!r}; use one of {', '.join(MODULES)}, "
            "or several with commas between."
        )
    return import_module(MODULES[config.name])
