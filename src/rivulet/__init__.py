"""Rivulet: speech becomes text while it is spoken, and every word says how late it was."""

from rivulet.endpoint import EndpointConfig
from rivulet.errors import RivuletError
from rivulet.events import Event, Final, Partial, Word
from rivulet.listening import listen, listen_in_background
from rivulet.recognizer import Recognizer, Stream

__version__ = "0.1.0"

__all__ = [
    "EndpointConfig",
    "Event",
    "Final",
    "Partial",
    "Recognizer",
    "RivuletError",
    "Stream",
    "Word",
    "listen",
    "listen_in_background",
]
