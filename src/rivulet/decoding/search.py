"""What both searches share: constants, words as they give them, priors, noise."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rivulet.decoding.settings import BeamConfig
from rivulet.errors import ConfigError
from rivulet.tokenizer import BLANK_ID

PRUNE_EVERY = 50  # the beam drops what is settled after so many frames: 2 s
BLANK_SKIP_LOGP = math.log(0.99)  # a frame as blank as this, after another, says nothing new
TIE_BREAK_FRAMES = 61  # the tie-breaking noise repeats after so many frames
TIE_BREAK = 1e-4  # nats
# nats for the first word of a segment, which 119 dev clips then show 30 ms sooner. Given for every
# word, it would bring 8 ms and make 0.51 revisions a word instead of 0.41.
DISPLAY_BONUS = 1.0

Floats = npt.NDArray[np.float32]


class SpokenWord(NamedTuple):
    """A word, its output frames [start, end), and what the search saw of it: see `WordEvidence`."""

    text: str
    start: int
    end: int
    agreement: float
    sharpness: float
    phones: int


def emission_bonus(priors: Sequence[float], config: BeamConfig, phones: int) -> Floats:
    """Return what each phone gains by its prior, (phones,), in nats; the blank gains nothing.

    Raises:
        ConfigError: there are not as many priors as phones.
    """
    if not priors:
        return np.zeros(phones, np.float32)
    if len(priors) != phones:
        raise ConfigError(
            f"{len(priors)} priors do not fit {phones} phones; measure them with "
            "`rivulet calibrate --priors`."
        )
    logs = np.asarray(priors)
    gains: Floats = (config.prior_weight * (logs[BLANK_ID] - logs)).astype(np.float32)
    return gains


@lru_cache(maxsize=4)
def tie_break(columns: int) -> Floats:
    """Return noise (frames, columns), always the same: it leaves no ties to be broken by chance."""
    noise = np.random.default_rng(0).uniform(0.0, TIE_BREAK, (TIE_BREAK_FRAMES, columns))
    fixed: Floats = noise.astype(np.float32)
    fixed.flags.writeable = False
    return fixed
