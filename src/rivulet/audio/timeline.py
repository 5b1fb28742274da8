"""Where decoded sound lies in time: silence for gaps, cuts for overlaps."""

from dataclasses import dataclass
from math import isnan

TOLERANCE_S = 0.1  # live muxers write stamps that jitter by tens of milliseconds
EXACT_S = 0.001  # the coarsest time base in use (Matroska, FLV)
MAX_GAP_S = 3600.0  # longer is a clock that was set, not a pause
RESTART_S = 10.0  # back by more is a clock that was set (FFmpeg's dts_delta_threshold)
SAME_START_S = 0.5  # back to the first stamp, give or take so much, is a file appended to a file


@dataclass(frozen=True)
class Placement:
    """How a block continues what came before it, in samples at its own rate."""

    silence: int = 0  # to put before it
    skip: int = 0  # to leave out at its beginning


class Timeline:
    """Turns the stamps of successive blocks into silence and cuts; seconds throughout."""

    def __init__(self, origin_s: float | None) -> None:
        """Begin at `origin_s` on the container's clock; None: at the first stamp."""
        self.position_s = 0.0  # end of what was placed
        self.overlap_s = 0.0  # cut so far
        self.lead_s = 0.0  # silence before the first sound
        self._origin_s = origin_s
        self._first_s = float("nan")
        self._exact = True  # the next stamp is taken to the sample: at the start, after damage

    def begin(self) -> None:
        """Let the next stamp be what comes now: its clock is another."""
        self._origin_s = None
        self._first_s = float("nan")

    def distrust(self) -> None:
        """Let the next stamp decide to the sample, as something was lost before it."""
        self._exact = True

    def advance(self, seconds: float) -> None:
        """Count sound that no stamp placed."""
        self.position_s += seconds

    def place(self, stamp_s: float | None, samples: int, sample_rate: int) -> Placement:
        """Return how a block of `samples` that begins at `stamp_s` continues the sound."""
        placement = self._placement(stamp_s, samples, sample_rate)
        self._exact = placement.skip > 0  # the cut ends where the stamps say
        if not self.position_s:
            self.lead_s = placement.silence / sample_rate
        placed = placement.silence + samples - placement.skip
        self.position_s += placed / sample_rate
        self.overlap_s += placement.skip / sample_rate
        return placement

    def _placement(self, stamp_s: float | None, samples: int, sample_rate: int) -> Placement:
        if stamp_s is None:
            return Placement()
        if self._origin_s is None:
            self._origin_s = stamp_s - self.position_s
        if isnan(self._first_s):
            self._first_s = stamp_s
        ahead_s = stamp_s - self._origin_s - self.position_s
        if abs(ahead_s) <= (EXACT_S if self._exact else TOLERANCE_S):
            return Placement()
        if ahead_s > MAX_GAP_S or (ahead_s < 0 and self._restarted(stamp_s, ahead_s)):
            self._origin_s = stamp_s - self.position_s
            return Placement()
        if ahead_s > 0:
            return Placement(silence=round(ahead_s * sample_rate))
        return Placement(skip=min(samples, round(-ahead_s * sample_rate)))

    def _restarted(self, stamp_s: float, ahead_s: float) -> bool:
        """Whether the clock went back, as where files were appended, and no sound lies twice."""
        back_to_start = abs(stamp_s - self._first_s) < SAME_START_S
        return -ahead_s > RESTART_S or (back_to_start and self.position_s > SAME_START_S)
