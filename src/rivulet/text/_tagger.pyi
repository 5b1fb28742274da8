"""The tagger's step in C++; see the folder _tagger."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Matrix = tuple[npt.NDArray[np.int8], Floats]

class Tagger:
    def __init__(
        self,
        tables: Sequence[Floats],
        matrices: Sequence[tuple[Matrix, Matrix]],
        biases: Sequence[tuple[Floats, Floats]],
        head: tuple[Matrix, Matrix, Matrix],
        head_biases: tuple[Floats, Floats],
    ) -> None: ...
    def step(
        self, rows: tuple[int, int, int, int, int], first: Floats, second: Floats, recent: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]: ...
