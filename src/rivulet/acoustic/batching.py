"""Many streams in one step of an engine: the weights are read once for all of them."""

from collections.abc import Iterator, Sequence

import numpy as np

from rivulet.acoustic.engine import Engine, FloatArray

LARGEST = 64  # streams in one step: more gain nothing, and what a step needs in memory is bounded
AHEAD_MS = 1280  # sound of one recording in one step: more gains nothing


def step_together(
    engine: Engine, blocks: Sequence[FloatArray], states: Sequence[FloatArray]
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Advance streams by one block each; yield their log_probs (k, columns) and states (1, size).

    What a stream gets is the same bits in any company (`Engine.step`).

    Args:
        engine: runs them all.
        blocks: the samples (n,) of each.
        states: of each, (1, size).
    """
    for start in range(0, len(blocks), LARGEST):
        chosen = slice(start, start + LARGEST)
        log_probs, new = engine.step(np.stack(blocks[chosen]), np.concatenate(states[chosen]))
        for row in range(len(log_probs)):
            # a copy, so that a stream that waits does not keep the whole batch in memory
            yield log_probs[row], new[row : row + 1].copy()
