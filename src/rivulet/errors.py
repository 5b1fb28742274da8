"""Every error a caller can be shown.

RivuletError            one sentence: what is wrong, with the numbers, and the remedy
├── AudioError          a file, a stream or an array that cannot be heard
├── CheckpointError     a model folder that is missing, altered or too new
├── ManifestError       a list of utterances that cannot be used
├── DeviceError         a microphone that is missing, refuses, or went away
├── RecordingError        a recording that cannot be written, read or replayed
├── AlignmentError      times of words that are missing, damaged or of another text
├── LanguageModelError  a language model, a lexicon or their tools, missing or damaged
├── EngineError         another recognizer that is not installed or has no model
└── ConfigError         a setting outside its range
"""


class RivuletError(Exception):
    """Base of all errors raised on purpose; its text is one sentence for the user."""


class AudioError(RivuletError):
    """Sound that cannot be read or is not sound (missing, empty, truncated, not finite)."""


class CheckpointError(RivuletError):
    """A model folder that is missing, altered, incomplete or of a newer version."""


class ManifestError(RivuletError):
    """A manifest with a missing column, a missing file or an unusable line."""


class DeviceError(RivuletError):
    """No PortAudio library, no such input device, a refused rate, or a device that vanished."""


class RecordingError(RivuletError):
    """A recording that cannot be written, is damaged, or was made with another model."""


class ConfigError(RivuletError):
    """A setting outside its allowed range."""


class AlignmentError(RivuletError):
    """Times of words that are missing, damaged, of another text, or cannot be found."""


class EngineError(RivuletError):
    """Another recognizer or a synthesizer that is not installed, or has no model."""


class LanguageModelError(RivuletError):
    """A language model, lexicon or text that cannot be used, or no tools to make one."""


def reason(error: Exception) -> str:
    """Return what an error says, without a number that only the system knows."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
