"""The network on ONNX Runtime: a graph that gets the checkpoint's weights when it is loaded."""

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from rivulet.acoustic.arrays import Pieces, Weights, dft_matrix, for_operators, in_8_bits
from rivulet.acoustic.choices import EngineName
from rivulet.acoustic.engine import FloatArray, StateLayout
from rivulet.acoustic.frames import HOP, STRIDE, WINDOW
from rivulet.acoustic.instructions import instruction_set
from rivulet.errors import ConfigError

DFT = "frontend.dft"  # the one large array of a graph that no checkpoint holds
LAYOUT = "rivulet.layout"  # names the state's layout in the graph's metadata
ANY = 0  # stands for the graph that takes blocks of any length
STEP = STRIDE * HOP  # samples per output frame


class Sessions:
    """A session for each graph of one network, made when its block is first asked for."""

    def __init__(
        self, graphs: Mapping[int, bytes], weights: Weights, name: EngineName, threads: int
    ) -> None:
        """Take the graphs by the output frames of their block, or one under `ANY`."""
        self._graphs = dict(sorted(graphs.items(), reverse=True))
        self._weights, self._name, self._threads = weights, name, threads
        self._made: dict[int, onnxruntime.InferenceSession] = {}

    def of(self, frames: int) -> tuple[int, onnxruntime.InferenceSession]:
        """Return the largest block of at most `frames` output frames, and what runs it."""
        size = next(size for size in self._graphs if size <= frames)
        if size not in self._made:  # two threads may each make one: the first that is there stays
            self._made.setdefault(size, self._session(self._graphs[size]))
            if list(self._graphs) == [ANY]:
                self._weights = {}  # no other session will ask for them
        return size or frames, self._made[size]

    def _session(self, graph: bytes) -> onnxruntime.InferenceSession:
        made = in_8_bits if self._name == "onnx8" else for_operators
        arrays = {key: _in_own_pages(pieces) for key, pieces in made(self._weights)}
        arrays[DFT] = dft_matrix(WINDOW)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: nothing it warns of is in the user's hands
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in arrays.values()]
        options.add_external_initializers(list(arrays), values)
        try:
            return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise ConfigError(f"the weights do not fit the graph: {error}") from error


@dataclass(frozen=True)
class OnnxEngine:
    """Graphs and their weights on the CPU.

    With 8-bit weights a graph is of one block, so that its cells need no loop; a block that has no
    graph is put together from smaller ones.
    """

    name: EngineName
    sessions: Sessions
    layout: StateLayout
    threads: int = 1

    @classmethod
    def load(
        cls,
        graphs: Mapping[int, bytes],
        weights: Weights,
        name: EngineName = "onnx",
        threads: int = 1,
        frames: int = 4,
    ) -> "OnnxEngine":
        """Fill `graphs` with float32 `weights`, named and laid out as torch does.

        graphs: by the output frames of their block; one for all blocks under `ANY`.
        frames: of the block that will be asked for, whose session is made now.
        """
        sessions = Sessions(graphs, weights, name, threads)
        _, session = sessions.of(max(1, frames))
        stored = json.loads(session.get_modelmeta().custom_metadata_map[LAYOUT])
        layout = StateLayout(stored["size"], tuple(stored["recurrent"]))
        return cls(name, sessions, layout, threads)

    @property
    def arithmetic(self) -> str:
        """What its last bits depend on."""
        return f"onnxruntime {onnxruntime.__version__} {instruction_set()}"

    def joins(self, frames: int) -> bool:
        """Say whether blocks should be joined: with 8 bits they cost the same, a graph is of one.

        The row convolution adds up in another order where its output is a single frame.
        """
        return self.name == "onnx" and frames > 1

    def step(self, samples: FloatArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Advance B streams by one block; a row is the same bits whatever the other rows hold."""
        total = (samples.shape[1] - (WINDOW - HOP)) // STEP
        rows: list[FloatArray] = []
        done = 0
        while done < total:
            frames, session = self.sessions.of(total - done)
            piece = samples[:, done * STEP : (done + frames) * STEP + WINDOW - HOP]
            log_probs, state = session.run(None, {"samples": piece, "state": state})
            rows.append(log_probs)
            done += frames
        return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1), state


def _in_own_pages(pieces: Pieces) -> npt.NDArray[Any]:
    """Return the array; its memory goes back with it to the system, the heap would keep it."""
    return pieces.copied_to(mmap.mmap(-1, max(1, pieces.nbytes)))
