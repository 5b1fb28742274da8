"""Containers, codecs, rates, channels and sample formats: `python -m tests.formats.matrix`.

One spoken clip is encoded every way, read and recognized. What loses nothing gives the clean clip's
words; what is lossy or narrow-band is held against the same samples handed over as an array, within
a word error rate. `--quick` tries thirty.
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

import numpy as np
from support.sounds import at_rate, clip, spread, write_sound

from rivulet.audio import load
from rivulet.metrics import error_counts
from rivulet.recognizer import Recognizer

LOSSY = 0.21  # word error rate: 3 of the clip's 15 words
NARROW_AND_LOSSY = 0.4  # the codec loses some of the little that a telephone's band leaves
QUICK = 30
PLAIN = (
    ("aiff", "pcm_s16be"), ("au", "pcm_s16be"), ("m4a", "alac"), ("mov", "alac"), ("mka", "alac"),
    ("caf", "alac"), ("tta", "tta"), ("wv", "wavpack"), ("ogg", "flac"), ("mka", "flac"),
    ("avi", "pcm_s16le"), ("mov", "pcm_s24le"), ("nut", "pcm_s32le"),
)  # fmt: skip
LOSSY_ELSEWHERE = (
    ("mka", "libmp3lame", 44_100, 2), ("avi", "libmp3lame", 44_100, 2),
    ("ts", "libmp3lame", 44_100, 2),
    ("mp4", "libmp3lame", 44_100, 2), ("nut", "libmp3lame", 44_100, 2), ("ac3", "ac3", 48_000, 6),
    ("mka", "ac3", 48_000, 6), ("ts", "ac3", 48_000, 6), ("mp4", "ac3", 48_000, 6),
    ("vob", "ac3", 48_000, 6), ("ogg", "libopus", 48_000, 2), ("mka", "libopus", 48_000, 2),
    ("webm", "libopus", 48_000, 2), ("mp4", "libopus", 48_000, 2), ("eac3", "eac3", 48_000, 2),
    ("mp2", "mp2", 48_000, 2), ("ts", "mp2", 48_000, 2), ("mpg", "mp2", 48_000, 2),
    ("au", "pcm_mulaw", 44_100, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Combination:
    """One way to write a sound."""

    suffix: str
    codec: str
    rate: int = 16_000
    channels: int = 1
    sample_format: str | None = None
    lossy: bool = False

    def __str__(self) -> str:
        """Name it, as in wav-pcm_s16le-16000-2."""
        parts = [self.suffix, self.codec, str(self.rate), str(self.channels)]
        return "-".join([*parts, *filter(None, [self.sample_format])])


def _plain() -> Iterator[Combination]:
    """Yield what loses nothing."""
    for codec in ("s16le", "s24le", "s32le", "f32le", "f64le"):
        yield Combination("wav", f"pcm_{codec}")
    for rate in (4_000, 8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 384_000):
        for suffix, codec in (("wav", "pcm_s16le"), ("mka", "pcm_f32le"), ("caf", "pcm_s24le")):
            yield Combination(suffix, codec, rate)
    for channels in (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24):
        for suffix, codec in (("wav", "pcm_s16le"), ("w64", "pcm_f32le"), ("aiff", "pcm_s24be")):
            yield Combination(suffix, codec, 16_000, channels)
    for suffix, codec in PLAIN:
        yield Combination(suffix, codec, 44_100, 2)


def _flac_and_opus() -> Iterator[Combination]:
    """Yield the codecs whose channels have places of their own."""
    for channels in range(1, 9):
        yield Combination("flac", "flac", 16_000, channels, "s16")
        yield Combination("opus", "libopus", 48_000, channels, lossy=True)
    for rate in (8_000, 44_100, 96_000, 192_000):
        yield Combination("flac", "flac", rate, 2, "s32")


def _lossy() -> Iterator[Combination]:
    """Yield what loses something."""
    yield Combination("wav", "pcm_u8", lossy=True)
    for codec in ("pcm_mulaw", "pcm_alaw", "adpcm_ms", "adpcm_ima_wav"):
        for rate in (8_000, 16_000, 44_100):
            yield Combination("wav", codec, rate, lossy=True)
    for suffix in ("m4a", "mp4", "mov", "mka", "ts", "aac", "flv", "nut"):
        for rate, channels in ((44_100, 1), (44_100, 2), (22_050, 1)):
            yield Combination(suffix, "aac", rate, channels, lossy=True)
    for rate in (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000):
        yield Combination("mp3", "libmp3lame", rate, 1 + (rate > 20_000), lossy=True)
    for suffix, codec, rate, channels in LOSSY_ELSEWHERE:
        yield Combination(suffix, codec, rate, channels, lossy=True)


ALL = (*_plain(), *_flac_and_opus(), *_lossy())


def quick() -> tuple[Combination, ...]:
    """Thirty of them, evenly spread."""
    return tuple(ALL[i * len(ALL) // QUICK] for i in range(QUICK))


@cache
def recognizer() -> Recognizer:
    """The shipped model."""
    return Recognizer.load()


def words(samples: np.ndarray, rate: int = 16_000) -> str:
    """What is recognized in samples (n,)."""
    stream = recognizer().stream(rate)
    events = stream.accept(samples) + stream.finish()
    return " ".join(event.text for event in events if type(event).__name__ == "Final")


@cache
def expected(rate: int) -> str:
    """What the clean clip gives at a rate; from 16 kHz on that is one text."""
    return words(clip() if rate >= 16_000 else at_rate(clip(), rate), min(rate, 16_000))


def wrong(combination: Combination, folder: Path) -> str | None:
    """Say what is wrong; None if the words and the length are right."""
    c = combination
    path = folder / f"{c}.{c.suffix}"
    sound = spread(at_rate(clip(), c.rate), c.channels)
    write_sound(path, sound, c.rate, c.codec, sample_format=c.sample_format)
    heard = load(path)
    if abs(len(heard) / 16_000 - len(clip()) / 16_000) > 0.15:
        return f"{len(heard) / 16_000:.2f} s of {len(clip()) / 16_000:.2f} s"
    text = words(heard)
    rate = error_counts(expected(c.rate), text).rate
    bound = LOSSY if c.lossy or c.rate < 16_000 else 0.07  # one word may tip over in resampling
    bound = NARROW_AND_LOSSY if c.lossy and c.rate < 16_000 else bound
    return None if rate <= bound else f"{100 * rate:.0f} % of the words: {text}"


def main() -> int:
    """Print every combination and how it went."""
    tried = quick() if "--quick" in sys.argv else ALL
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        for combination in tried:
            try:
                how = wrong(combination, Path(folder))
            except Exception as error:  # a combination that fails is counted and named
                how = f"{type(error).__name__} {str(error)[:150]}"
            right += how is None
            print(f"{combination!s:40} {how or 'right'}", flush=True)  # noqa: T201
    print(f"{right} of {len(tried)} right")  # noqa: T201
    return int(right < len(tried))


if __name__ == "__main__":
    sys.exit(main())
