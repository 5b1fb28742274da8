"""Decoded blocks of any rate and layout → mono samples at 16 kHz, each in its place in time."""

from collections.abc import Iterator

import numpy as np

from rivulet.audio.frames import Block
from rivulet.audio.mixing import MAX_PEAK, Samples
from rivulet.audio.resampler import Resampler
from rivulet.audio.stretches import Stretches
from rivulet.audio.timeline import Timeline

SILENCE_S = 0.5  # silence handed over at a time
MAX_BAD_SHARE = 0.1  # of a block's samples beyond any scale: more is another scale, not damage


class Assembler:
    """Takes blocks, gives sound without holes; what it met on the way stands in its attributes.

    decoded_s: seconds of sound that were decoded.
    damage: what could not be.
    gaps: where the stamps leave time between sound that is whole.
    cancelled: whether the channels' mean cancelled somewhere.
    """

    def __init__(self, origin_s: float | None, hold_s: float) -> None:
        """Begin.

        Args:
            origin_s: second on the container's clock that is 0 here; None: the first stamp.
            hold_s: seconds of sound to hand over at a time; 0: at once.
        """
        self.timeline = Timeline(origin_s)
        self.damage = Stretches()
        self.gaps = Stretches()
        self.decoded_s = 0.0
        self.cancelled = False
        self._hold_s = hold_s
        self._held: list[Samples] = []
        self._held_s = 0.0
        self._form = (0, 0)  # sample rate, channels
        self._resampler: Resampler | None = None

    def push(self, block: Block) -> Iterator[Samples]:
        """Yield what `block` completes, (n,) at 16 kHz.

        Raises:
            AudioError: its rate is outside 4 to 384 kHz, or its samples are beyond any scale.
        """
        form = (block.sample_rate, block.samples.shape[1])
        if form != self._form and len(block.samples):
            yield from self._finish()
            self._form, self._resampler = form, Resampler(block.sample_rate)
        if block.begins:
            self.timeline.begin()
        if block.lost_s:
            yield from self._lose(block)
        samples = self._repaired(block.samples, block.sample_rate)
        before_s = self.timeline.position_s
        placement = self.timeline.place(block.stamp_s, len(samples), block.sample_rate)
        if placement.silence and self.decoded_s and not block.lost_s:
            self.gaps.add(before_s, placement.silence / block.sample_rate)
        yield from self._silence(placement.silence)
        self.decoded_s += len(samples) / block.sample_rate
        yield from self._hold(samples[placement.skip :])

    def flush(self) -> Iterator[Samples]:
        """Yield the rest."""
        yield from self._finish()
        self._resampler = None

    def _lose(self, block: Block) -> Iterator[Samples]:
        self.damage.add(self.timeline.position_s, block.lost_s)
        if block.stamp_s is not None:
            self.timeline.distrust()  # the stamp says how much is missing
            return
        self.timeline.advance(block.lost_s)
        yield from self._silence(round(block.lost_s * block.sample_rate))

    def _repaired(self, samples: Samples, sample_rate: int) -> Samples:
        """Silence what is no number or beyond any scale, where it is little."""
        bad = np.logical_not((np.abs(samples) <= MAX_PEAK).all(axis=1))
        count = int(np.count_nonzero(bad))
        wrong_scale = np.isfinite(samples).all() and count > MAX_BAD_SHARE * len(samples)
        if not count or wrong_scale:
            return samples
        at = self.timeline.position_s + float(np.argmax(bad)) / sample_rate
        self.damage.add(at, count / sample_rate)
        repaired: Samples = samples.copy()
        repaired[bad] = 0.0
        return repaired

    def _silence(self, samples: int) -> Iterator[Samples]:
        rate, channels = self._form
        while samples > 0:
            count = min(samples, int(SILENCE_S * rate))
            yield from self._hold(np.zeros((count, channels), np.float32))
            samples -= count

    def _hold(self, samples: Samples) -> Iterator[Samples]:
        if not len(samples):
            return
        self._held.append(samples)
        self._held_s += len(samples) / max(self._form[0], 1)
        if self._held_s >= self._hold_s:
            yield from self._release()

    def _release(self) -> Iterator[Samples]:
        if self._resampler is not None and self._held:
            mono = self._resampler.push(np.concatenate(self._held))
            self._held, self._held_s = [], 0.0
            if len(mono):
                yield mono

    def _finish(self) -> Iterator[Samples]:
        """End what has one form."""
        yield from self._release()
        if self._resampler is not None:
            self.cancelled |= self._resampler.cancelled
            rest = self._resampler.flush()
            if len(rest):
                yield rest
