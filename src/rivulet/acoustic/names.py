"""Names of the engines; importing them costs nothing, so the command line can list them."""

from typing import Literal

EngineName = Literal["onnx", "onnx8", "torch"]
ENGINES: tuple[EngineName, ...] = ("onnx", "onnx8", "torch")
DEFAULT_ENGINE: EngineName = "onnx"
