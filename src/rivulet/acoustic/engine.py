"""What a stream needs of a network: samples and a state in, log-probabilities and a state out."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from rivulet.acoustic.choices import EngineName

FloatArray: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StateLayout:
    """The state of one stream as a row of numbers.

    size: numbers in the row.
    recurrent: [start, stop) of what the recurrent layers carry; the rest are frames that wait.
    """

    size: int
    recurrent: tuple[int, int]

    def zeros(self, batch: int = 1) -> FloatArray:
        """Return the states (batch, size) of new streams: zeros, which is the mean feature."""
        return np.zeros((batch, self.size), np.float32)

    def reset_recurrent(self, state: FloatArray) -> FloatArray:
        """Return `state` (B, size) as if the recurrent layers had heard nothing yet."""
        start, stop = self.recurrent
        fresh: FloatArray = state.copy()
        fresh[:, start:stop] = 0.0
        return fresh


class Engine(Protocol):
    """A network that runs, whatever runs it; shared by all streams, it holds no state of theirs."""

    @property
    def name(self) -> EngineName:
        """Which engine it is."""

    @property
    def threads(self) -> int:
        """CPU threads that it may use for one step."""

    @property
    def arithmetic(self) -> str:
        """What its last bits depend on: engine, version, and the kernels this machine gets."""

    @property
    def layout(self) -> StateLayout:
        """What a stream's state looks like."""

    def joins(self, frames: int) -> bool:
        """Say whether several blocks of so many output frames cost less in one step.

        They are the same bits then.
        """

    def step(self, samples: FloatArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Advance B streams by one block.

        Args:
            samples: (B, (4k - 1) * 160 + 400) in [-1, 1] at 16 kHz, what the 4k feature frames of
                a block look at.
            state: (B, layout.size), what the previous step returned, or `layout.zeros(B)`.

        Returns:
            log_probs (B, k, tokens + phones), natural logarithm, and the new state
            (B, layout.size).
        """
