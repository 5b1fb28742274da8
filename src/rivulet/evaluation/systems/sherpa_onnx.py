"""sherpa-onnx streaming models (transducer, or Zipformer CTC) that the user has."""

from pathlib import Path
from typing import Any

from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.errors import EngineError
from rivulet.evaluation.systems.common import (
    Screen,
    SystemConfig,
    TimedEvent,
    folder_bytes,
    model_folder,
    require,
)
from rivulet.text.normalize import normalize

WHERE = "https://k2-fsa.github.io/sherpa/onnx/pretrained_models"
PARTS = ("encoder", "decoder", "joiner")


class SherpaSystem:
    """An online recognizer with its own endpoint rules switched on."""

    lookahead_s = 0.0

    def __init__(self, recognizer: Any, folder: Path) -> None:
        """Wrap a loaded recognizer."""
        self._recognizer = recognizer
        self.digest = folder.name
        self.size_bytes = folder_bytes(folder)

    def stream(self) -> "SherpaStream":
        """Begin a live signal."""
        return SherpaStream(self._recognizer)


class SherpaStream:
    """Decodes as soon as enough frames are there, and asks for an endpoint after that."""

    def __init__(self, recognizer: Any) -> None:
        """Begin at time 0."""
        self._recognizer = recognizer
        self._stream = recognizer.create_stream()
        self._screen = Screen()

    def accept(self, samples: Samples) -> list[TimedEvent]:
        """Hear mono 16 kHz samples (n,)."""
        self._screen.hear(samples)
        self._stream.accept_waveform(SAMPLE_RATE, samples)
        text = self._decode()
        if not self._recognizer.is_endpoint(self._stream):
            return self._screen.partial(text)
        self._recognizer.reset(self._stream)
        return self._screen.final(text)

    def finish(self) -> list[TimedEvent]:
        """Decode what is left."""
        self._stream.input_finished()
        return self._screen.final(self._decode())

    def _decode(self) -> str:
        while self._recognizer.is_ready(self._stream):
            self._recognizer.decode_stream(self._stream)
        return normalize(self._recognizer.get_result(self._stream))


def load(config: SystemConfig) -> SherpaSystem:
    """Load the folder that `config` names.

    Raises:
        EngineError: it is not installed, there is no such folder, or it holds no streaming model.
    """
    recognizers = require("sherpa_onnx", "sherpa-onnx").OnlineRecognizer
    folder = model_folder(config, WHERE)
    tokens = folder / "tokens.txt"
    common = {
        "tokens": str(tokens),
        "num_threads": config.threads,
        "enable_endpoint_detection": True,
    }
    parts = {part: _onnx(folder, part) for part in PARTS}
    single = _onnx(folder, "model") or _onnx(folder, "ctc")
    if tokens.is_file() and all(parts.values()):
        return SherpaSystem(recognizers.from_transducer(**parts, **common), folder)
    if tokens.is_file() and single:
        return SherpaSystem(recognizers.from_zipformer2_ctc(model=single, **common), folder)
    raise EngineError(
        f"{folder} has {len(list(folder.glob('*.onnx')))} .onnx files and no complete streaming "
        f"model; it needs tokens.txt and encoder, decoder, joiner or a CTC model, see {WHERE}."
    )


def _onnx(folder: Path, part: str) -> str | None:
    """Return the smallest ONNX file named after `part`: the int8 one where there are two."""
    found = sorted(folder.glob(f"*{part}*.onnx"), key=lambda path: path.stat().st_size)
    return str(found[0]) if found else None
