"""Sound from a pipe comes as its bytes do; a pipe on a virtual clock says how late it is."""

import io

import numpy as np
import pytest
from support.sounds import at_rate, encoded

from rivulet.audio import SAMPLE_RATE, AudioFile
from rivulet.errors import AudioError

VOICE = (np.random.default_rng(5).standard_normal(2 * SAMPLE_RATE) * 0.1).astype(np.float32)
LATE_S = 0.32  # two blocks of 160 ms
CODECS = [
    ("pcm_u8", 8_000),
    ("pcm_s16le", 4_000),
    ("pcm_s16le", 16_000),
    ("pcm_s16le", 48_000),
    ("pcm_s24le", 96_000),
    ("pcm_s32le", 44_100),
    ("pcm_f32le", 384_000),
    ("pcm_f64le", 16_000),
    ("pcm_mulaw", 8_000),
    ("pcm_alaw", 8_000),
    ("adpcm_ms", 8_000),
    ("adpcm_ms", 44_100),
    ("adpcm_ima_wav", 16_000),
    ("libmp3lame", 16_000),
    ("mp2", 48_000),
]


class LivePipe(io.RawIOBase):
    """As much as was recorded comes at once; what is read beyond moves the clock."""

    def __init__(self, content, seconds):
        self._content, self._at = content, 0
        self._rate = len(content) / seconds
        self.clock_s = 0.0

    def readable(self):
        return True

    def read(self, count=-1):
        there = int(self.clock_s * self._rate)
        if there <= self._at:  # wait 20 ms, as a recorder hands over
            self.clock_s = max(self.clock_s, self._at / self._rate) + 0.02
            there = int(self.clock_s * self._rate)
        content = self._content[self._at : min(there, self._at + count)]
        self._at += len(content)
        return content


@pytest.mark.parametrize(("codec", "rate"), CODECS)
def test_sound_from_a_pipe_is_at_most_two_blocks_late(codec, rate):
    content = encoded(at_rate(VOICE, rate), "wav", codec, rate)
    pipe = LivePipe(content, 2.0)
    heard, late = 0, []
    with AudioFile(pipe) as audio:
        for block in audio:
            heard += len(block)
            late.append(pipe.clock_s - heard / SAMPLE_RATE)
    assert max(late[:-2]) < LATE_S
    assert heard == pytest.approx(len(VOICE), abs=3000)


def test_a_pipe_that_ends_early_is_truncated():
    content = encoded(VOICE, "wav", "pcm_s16le")
    cut = LivePipe(content[: len(content) // 2], 1.0)
    with AudioFile(cut) as audio, pytest.raises(AudioError, match=r"says 2\.00 s and only 1\.00 s"):
        list(audio)
