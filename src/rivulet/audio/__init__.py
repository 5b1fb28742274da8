"""Sound in: files and pipes of any format, channel count and rate, as mono float32 at 16 kHz."""

from rivulet.audio.blocks import Sound, open_sound
from rivulet.audio.mixing import Downmix, Samples, to_mono
from rivulet.audio.pcm import from_int16, to_int16
from rivulet.audio.reader import AudioFile, load, read
from rivulet.audio.resampler import RATE_RANGE_HZ, SAMPLE_RATE, Resampler

__all__ = [
    "RATE_RANGE_HZ",
    "SAMPLE_RATE",
    "AudioFile",
    "Downmix",
    "Resampler",
    "Samples",
    "Sound",
    "from_int16",
    "load",
    "open_sound",
    "read",
    "to_int16",
    "to_mono",
]
