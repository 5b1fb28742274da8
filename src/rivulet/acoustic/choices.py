"""What can be chosen of the network; importing it costs nothing, so flags can list it."""

from typing import Literal

EngineName = Literal["onnx", "onnx8", "torch"]
ENGINES: tuple[EngineName, ...] = ("onnx", "onnx8", "torch")
DEFAULT_ENGINE: EngineName = "onnx"

BLOCK_MS = (40, 80, 120, 160, 320)  # each a whole number of output frames
DEFAULT_BLOCK_MS = 120  # the smallest that costs less than 1.3 times what 160 does: docs/speed.md
