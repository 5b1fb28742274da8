"""What is wrong with a microphone: pure checks over its blocks; a finding names the remedy."""

import math
from dataclasses import dataclass

import numpy as np

from rivulet.audio.pcm import FULL_SCALE
from rivulet.live.microphone import Block, SignalFormat

CLIPPED = 32_767  # samples at least so large touched the end of the scale
ZEROS_S = 1.0  # exact zeros for longer come from no open microphone
WINDOW_S = 1.0  # clipping, offset and level are judged over so much sound
CLIPPED_SHARE = 0.001  # of a window's samples; speech that just touches full scale stays below
OFFSET_SHARE = 0.02  # of full scale, -34 dBFS: a tenth of what normal speech reaches
OFFSET_WINDOWS = 3  # in a row; one window of rumble is no offset
QUIET_DB = -55.0  # dBFS peak; normal speech peaks between -30 and -6
QUIET_S = 10.0  # so long from the start without a louder sound
DRIFT_SHARE = 0.002  # sound cards keep to 0.0002
DRIFT_SLACK_S = 0.3  # blocks may arrive so unevenly
DRIFT_WINDOW_S = 3.0  # the clocks are compared so often
DRIFT_SETTLE_S = 3.0  # devices deliver unevenly when they begin
AGAIN_S = 60.0  # the same finding is not repeated sooner
CHECKS = ("zeros", "clipping", "offset", "quiet", "overflow", "lost", "drift")


@dataclass(frozen=True)
class InputWarning:
    """Which check failed, what was seen and what to do; `at` in seconds of the session."""

    check: str
    message: str
    at: float


@dataclass(frozen=True)
class Levels:
    """What a window of sound was like, in dBFS (0 is full scale, -200 is silence)."""

    peak_db: float
    rms_db: float


class InputMonitor:
    """Takes every block of a session, in order; its state has constant size."""

    def __init__(self, signal: SignalFormat) -> None:
        """Examine a source of this format."""
        self._signal = signal
        self._position = 0  # samples per channel since the start, lost ones included
        self._zeros = 0  # samples since the last one that was not exactly zero
        self._window = _Window()
        self._offsets = 0  # windows in a row with an offset
        self._loudest_db = -200.0
        self._anchor: tuple[float, float] | None = (
            None  # seconds ahead, and when, in a first window
        )
        self._ahead_s = (
            -math.inf
        )  # how far the sound was ahead of the clock, at best, in this window
        self._drift_due = DRIFT_SETTLE_S + DRIFT_WINDOW_S
        self._told: dict[str, float] = {}  # when each check last spoke
        self.levels = Levels(-200.0, -200.0)  # of the latest whole window

    @property
    def now(self) -> float:
        """Seconds of the session so far, lost sound included."""
        return self._position / self._signal.sample_rate

    def push(self, block: Block) -> list[InputWarning]:
        """Return what `block` brings to light."""
        self._position += block.lost + len(block.samples)
        found = [self._lost(block), self._zero_run(block), self._drift(block)]
        self._window.add(block)
        if self._window.count >= WINDOW_S * self._signal.sample_rate:
            found += [self._clipping(), self._offset(), self._quiet()]
            self.levels = self._window.levels()
            self._window = _Window()
        return [finding for finding in found if finding is not None]

    def _tell(self, check: str, message: str) -> InputWarning | None:
        last = self._told.get(check)
        if last is not None and self.now - last < AGAIN_S:
            return None
        self._told[check] = self.now
        return InputWarning(check, message, round(self.now, 3))

    def _lost(self, block: Block) -> InputWarning | None:
        rate = self._signal.sample_rate
        if block.queue_lost:
            return self._tell(
                "lost",
                f"{block.queue_lost / rate:.2f} s of sound were dropped because the recognizer "
                "fell behind; close other programs or use a smaller model.",
            )
        if block.overflowed:
            return self._tell(
                "overflow",
                f"the system lost sound before it reached rivulet ({block.overflow_lost} samples "
                "as far as its clock tells); close other programs that keep the processor busy.",
            )
        return None

    def _zero_run(self, block: Block) -> InputWarning | None:
        sounding = np.flatnonzero(block.samples.any(axis=1))
        before = self._zeros
        run = before + (int(sounding[0]) if sounding.size else len(block.samples))
        self._zeros = len(block.samples) - 1 - int(sounding[-1]) if sounding.size else run
        limit = ZEROS_S * self._signal.sample_rate
        if before <= limit < run:
            return self._tell(
                "zeros",
                f"the microphone has sent nothing but exact zeros for {ZEROS_S:.0f} s; unmute it, "
                "and on macOS allow this terminal under Privacy & Security > Microphone.",
            )
        return None

    def _clipping(self) -> InputWarning | None:
        share = self._window.clipped / max(self._window.values, 1)
        if share < CLIPPED_SHARE:
            return None
        return self._tell(
            "clipping",
            f"{share:.1%} of the samples of the last second are at full scale, so the sound is "
            "clipped; lower the input level or move away from the microphone.",
        )

    def _offset(self) -> InputWarning | None:
        share = abs(self._window.mean) / FULL_SCALE
        self._offsets = self._offsets + 1 if share > OFFSET_SHARE else 0
        if self._offsets < OFFSET_WINDOWS:
            return None
        return self._tell(
            "offset",
            f"the signal is off center by {share:.1%} of full scale (DC offset); use another "
            "input, cable or sound card.",
        )

    def _quiet(self) -> InputWarning | None:
        self._loudest_db = max(self._loudest_db, self._window.levels().peak_db)
        silent = self._zeros > ZEROS_S * self._signal.sample_rate  # has its own finding
        if self._loudest_db > QUIET_DB or self.now < QUIET_S or silent:
            return None
        return self._tell(
            "quiet",
            f"nothing in {self.now:.0f} s was louder than {self._loudest_db:.0f} dBFS, and speech "
            "should reach -30; if you spoke, raise the input level or choose another device.",
        )

    def _drift(self, block: Block) -> InputWarning | None:
        """Compare clocks by the earliest block of each window; a busy machine makes some late."""
        if not len(block.samples) or self.now < DRIFT_SETTLE_S:
            return None
        if block.overflowed or block.asleep_lost:  # what was lost is not known exactly
            self._anchor, self._ahead_s = None, -math.inf
        self._ahead_s = max(self._ahead_s, self.now - block.arrived_s)
        if self.now < self._drift_due:
            return None
        self._drift_due = self.now + DRIFT_WINDOW_S
        ahead_s, self._ahead_s = self._ahead_s, -math.inf
        if self._anchor is None:
            self._anchor = (ahead_s, self.now)
            return None
        gained_s, elapsed_s = ahead_s - self._anchor[0], self.now - self._anchor[1]
        if abs(gained_s) <= DRIFT_SLACK_S + DRIFT_SHARE * elapsed_s:
            return None
        rate = self._signal.sample_rate
        measured = rate * elapsed_s / max(elapsed_s - gained_s, 1e-3)
        return self._tell(
            "drift",
            f"the device says {rate} Hz and delivers about {measured:.0f} ({gained_s:+.2f} s in "
            f"{elapsed_s:.0f} s), so times drift; choose its own rate with -r, or another device.",
        )


class _Window:
    """Sums over the blocks of a window; all channels together."""

    def __init__(self) -> None:
        self.count = 0  # samples per channel
        self.values = 0  # samples of all channels
        self.clipped = 0
        self._sum = 0.0
        self._squares = 0.0
        self._peak = 0

    def add(self, block: Block) -> None:
        """Take (n, channels)."""
        if not block.samples.size:
            return
        wide = block.samples.astype(np.int32)
        size = np.abs(wide)
        self.count += len(block.samples)
        self.values += wide.size
        self.clipped += int(np.count_nonzero(size >= CLIPPED))
        self._sum += float(wide.sum())
        self._squares += float(np.square(wide, dtype=np.float64).sum())
        self._peak = max(self._peak, int(size.max()))

    @property
    def mean(self) -> float:
        """Mean of all samples, in int16 steps."""
        return self._sum / max(self.values, 1)

    def levels(self) -> Levels:
        """Return the levels so far."""
        return Levels(decibels(self._peak), decibels((self._squares / max(self.values, 1)) ** 0.5))


def decibels(amplitude: float) -> float:
    """Return `amplitude`, in int16 steps, in dBFS; -200 for zero."""
    return 20.0 * float(np.log10(amplitude / FULL_SCALE)) if amplitude > 0 else -200.0


def block_level_db(block: Block) -> float:
    """Return the peak of a block in dBFS, for a level meter."""
    if not block.samples.size:
        return -200.0
    return decibels(float(np.abs(block.samples.astype(np.int32)).max()))
