"""Where each word of a known text lies in its sound, by a judge other than the recognizer judged.

`Aligner` is PocketSphinx's forced alignment: an independent HMM recognizer that is told the words
and only has to place them. `calibration.measure_delay` uses such times to find how late a rivulet
model shows a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.audio.pcm import to_bytes
from rivulet.errors import AlignmentError, EngineError
from rivulet.evaluation.ctm import SpokenWord
from rivulet.language.g2p_rules import guess

FRAME_S = 0.01  # PocketSphinx: 100 frames a second
FRAME_CENTER_S = (0.025625 - FRAME_S) / 2  # between two 25.6 ms windows, mid-window
BEAMS = (None, 1e-120)  # its own beam, and one so wide that nearly every path stays
PAD_S = 0.2  # zeros around a clip: without, its last word swallows a short pause (170 ms)
INSTALL = "install it with `pip install rivulet[bench]`"


@dataclass(frozen=True)
class Deviation:
    """How far one set of word times lies from another; seconds, later is positive.

    median_s: systematic difference.
    mean_abs_s, p90_abs_s: size of the difference of one word.
    within_20ms, within_50ms: share of words closer than that, 0 to 1.
    """

    median_s: float
    mean_abs_s: float
    p90_abs_s: float
    within_20ms: float
    within_50ms: float


class Aligner:
    """Forced alignment by PocketSphinx; what it says of a clip rests on that clip alone."""

    def __init__(self) -> None:
        """Load the American English model that comes with the package.

        Raises:
            EngineError: PocketSphinx is not installed.
        """
        self.guessed: set[str] = set()  # words that its dictionary lacked
        self._decoders = [_decoder(beam) for beam in BEAMS]
        self._cepstra = self._decoders[0].get_cmn(False)

    def align(self, samples: Samples, text: str) -> tuple[SpokenWord, ...]:
        """Find the words of `text` (upper case A-Z, apostrophe, space) in mono 16 kHz samples (n,).

        Raises:
            AlignmentError: there is no word, no sound, or the words do not fit into the sound.
        """
        words = text.split()
        if not words:
            raise AlignmentError("a clip without words cannot be aligned; leave it out.")
        if not len(samples):
            raise AlignmentError(f"0 samples cannot hold {len(words)} words; record it again.")
        pcm = to_bytes(np.pad(samples, int(PAD_S * SAMPLE_RATE)))
        for decoder in self._decoders:
            found = self._place(decoder, words, pcm)
            if found is not None:
                return found
        raise AlignmentError(
            f"{len(words)} words do not fit into {len(samples) / SAMPLE_RATE:.2f} s of sound "
            f"({' '.join(words[:4])} ...); check that the text is what was said."
        )

    def _place(self, decoder: Any, words: list[str], pcm: bytes) -> tuple[SpokenWord, ...] | None:
        lower = [word.lower() for word in words]
        for word in lower:
            if decoder.lookup_word(word) is None:
                self.guessed.add(word)
                decoder.add_word(word, guess(word, decoder.lookup_word), True)
        try:
            decoder.set_align_text(" ".join(lower))
            decoder.set_cmn(self._cepstra)
            decoder.start_utt()
            decoder.process_raw(pcm, full_utt=True)
            decoder.end_utt()
        except RuntimeError:  # the search died: no path through the sound
            return None
        segments = [s for s in decoder.seg() or () if not s.word.startswith(("<", "["))]
        if [s.word.split("(")[0] for s in segments] != lower:
            return None
        limit = len(pcm) / 2 / SAMPLE_RATE - 2 * PAD_S
        return tuple(
            SpokenWord(word, _seconds(s.start_frame, limit), _seconds(s.end_frame + 1, limit))
            for word, s in zip(words, segments, strict=True)
        )


@cache
def shared_aligner() -> Aligner:
    """Return one aligner for the whole process; loading its model takes a while.

    Raises:
        EngineError: PocketSphinx is not installed.
    """
    return Aligner()


def deviation(measured: Sequence[float], true: Sequence[float]) -> Deviation:
    """Compare times (n,) with true times (n,), n ≥ 1; seconds."""
    difference = np.subtract(measured, true)
    size = np.abs(difference)
    return Deviation(
        float(np.median(difference)),
        float(size.mean()),
        float(np.percentile(size, 90)),
        float((size <= 0.02).mean()),
        float((size <= 0.05).mean()),
    )


def _seconds(frame: int, limit: float) -> float:
    """Time of the boundary before a frame of the padded sound, inside the sound itself."""
    return round(min(max(frame * FRAME_S + FRAME_CENTER_S - PAD_S, 0.0), limit), 3)


def _decoder(beam: float | None) -> Any:
    try:
        import pocketsphinx
    except ImportError as error:
        raise EngineError(f"the aligner PocketSphinx is not installed; {INSTALL}.") from error
    wide = {} if beam is None else {"beam": beam, "wbeam": beam, "pbeam": beam}
    return pocketsphinx.Decoder(samprate=SAMPLE_RATE, lm=None, loglevel="FATAL", **wide)
