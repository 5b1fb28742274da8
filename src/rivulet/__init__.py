"""Rivulet: speech becomes text while it is spoken, and every word says how late it was."""

from importlib import import_module
from typing import TYPE_CHECKING

from rivulet.endpoint import EndpointConfig
from rivulet.errors import RivuletError
from rivulet.events import Event, Final, Partial, Transcript, Word

if TYPE_CHECKING:
    from rivulet import audio
    from rivulet.live.listening import listen, listen_in_background
    from rivulet.live.microphone import Gap
    from rivulet.recognizer import Recognizer
    from rivulet.stream import Stream
    from rivulet.text.formatter import FormatConfig, Formatter

__version__ = "0.1.0"

__all__ = [
    "EndpointConfig",
    "Event",
    "Final",
    "FormatConfig",
    "Formatter",
    "Gap",
    "Partial",
    "Recognizer",
    "RivuletError",
    "Stream",
    "Transcript",
    "Word",
    "audio",
    "listen",
    "listen_in_background",
]

HOMES = {
    "FormatConfig": "rivulet.text.formatter",
    "Formatter": "rivulet.text.formatter",
    "Gap": "rivulet.live.microphone",
    "Recognizer": "rivulet.recognizer",
    "Stream": "rivulet.stream",
    "listen": "rivulet.live.listening",
    "listen_in_background": "rivulet.live.listening",
}
"""name → module that is imported when it is first asked for: `import rivulet` takes no time."""
MODULES = ("audio",)

if not TYPE_CHECKING:  # a type checker would take it for a promise of every name

    def __getattr__(name):
        if name in MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = getattr(import_module(HOMES[name]), name)
        return globals()[name]

    def __dir__():
        return sorted({*globals(), *HOMES, *MODULES})
