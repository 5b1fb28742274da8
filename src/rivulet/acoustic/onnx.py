"""The network on ONNX Runtime: a graph that gets the checkpoint's weights when it is loaded."""

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from rivulet.acoustic.arrays import Weights, dft_matrix, for_operators, in_8_bits
from rivulet.acoustic.engine import FloatArray, StateLayout
from rivulet.acoustic.frames import HOP, STRIDE, WINDOW
from rivulet.acoustic.instructions import instruction_set
from rivulet.acoustic.names import EngineName
from rivulet.errors import ConfigError

DFT = "frontend.dft"  # the one large array of a graph that no checkpoint holds
LAYOUT = "rivulet.layout"  # names the state's layout in the graph's metadata
STEP = STRIDE * HOP  # samples per output frame


@dataclass(frozen=True)
class OnnxEngine:
    """A graph and its weights on the CPU.

    whole: whether the graph takes blocks of any length; that with 8-bit weights goes by output
        frames, so that its cells need no loop.
    """

    name: EngineName
    session: onnxruntime.InferenceSession
    layout: StateLayout
    threads: int = 1
    whole: bool = True

    @classmethod
    def load(
        cls, graph: bytes, weights: Weights, name: EngineName = "onnx", threads: int = 1
    ) -> "OnnxEngine":
        """Fill `graph` with float32 `weights`, named and laid out as torch does."""
        whole = name != "onnx8"
        made = for_operators(weights) if whole else in_8_bits(weights)
        arrays = {key: _in_own_pages(array) for key, array in made}
        arrays[DFT] = dft_matrix(WINDOW)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: nothing it warns of is in the user's hands
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in arrays.values()]
        options.add_external_initializers(list(arrays), values)
        try:
            session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise ConfigError(f"the weights do not fit the graph: {error}") from error
        stored = json.loads(session.get_modelmeta().custom_metadata_map[LAYOUT])
        return cls(
            name, session, StateLayout(stored["size"], tuple(stored["recurrent"])), threads, whole
        )

    @property
    def arithmetic(self) -> str:
        """What its last bits depend on."""
        return f"onnxruntime {onnxruntime.__version__} {instruction_set()}"

    def step(self, samples: FloatArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Advance B streams by one block; a row is the same bits whatever the other rows hold."""
        rows = []
        for piece in [samples] if self.whole else _by_output_frame(samples):
            log_probs, state = self.session.run(None, {"samples": piece, "state": state})
            rows.append(log_probs)
        return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1), state


def _in_own_pages(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy whose memory goes back to the system with it; the heap would keep it."""
    pages = np.frombuffer(mmap.mmap(-1, max(1, array.nbytes)), array.dtype, array.size)
    pages[:] = array.reshape(-1)
    return pages.reshape(array.shape)


def _by_output_frame(samples: FloatArray) -> Iterator[FloatArray]:
    """(B, (4k - 1) * 160 + 400) → k times what one output frame looks at."""
    needed = STEP - HOP + WINDOW
    for start in range(0, samples.shape[1] - needed + 1, STEP):
        yield samples[:, start : start + needed]
