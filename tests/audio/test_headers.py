import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sounds import encoded

from rivulet.audio import load
from rivulet.audio.headers import read_header

TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
UNKNOWING_32 = (0, 1, 0x7F000000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0)


def field(content, name, offset, value, layout):
    """Put `value` at `offset` after the chunk called `name`."""
    at = content.index(name) + len(name) + offset
    new = struct.pack(layout, value)
    return content[:at] + new + content[at + len(new) :]


def parsed(content, pipe=False):
    file = io.BytesIO(content)
    if pipe:
        return read_header(file.read)

    def peek(offset, count):
        return content[offset : offset + count]

    return read_header(file.read, len(content), peek)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("wav", "pcm_s16le"),
        ("aiff", "pcm_s16be"),
        ("au", "pcm_s16be"),
        ("w64", "pcm_s16le"),
        ("caf", "pcm_s16le"),
    ],
)
def test_a_header_that_knows_is_believed(suffix, codec):
    content = encoded(TONE, suffix, codec)
    for pipe in (False, True):
        header = parsed(content, pipe)
        assert header.declared == 32_000
        assert not header.patches
        assert header.offset + 32_000 <= len(content)


@pytest.mark.parametrize("value", UNKNOWING_32)
def test_a_wav_header_that_cannot_be_true_reads_to_the_end(value):
    content = field(encoded(TONE, "wav", "pcm_s16le"), b"data", 0, value, "<I")
    assert parsed(content).declared is None
    assert len(load(io.BytesIO(content))) == 16_000


@pytest.mark.parametrize("value", [*UNKNOWING_32, 8])
@pytest.mark.parametrize("frames", [0, 0xFFFFFFFF, 16_000])
def test_an_aiff_header_that_cannot_be_true_reads_to_the_end(value, frames):
    content = field(encoded(TONE, "aiff", "pcm_s16be"), b"SSND", 0, value, ">I")
    content = field(content, b"COMM", 6, frames, ">I")
    assert parsed(content).declared is None
    assert len(load(io.BytesIO(content))) == pytest.approx(16_000, abs=8)


@pytest.mark.parametrize("value", [v for v in UNKNOWING_32 if v != 1])
def test_an_au_header_that_cannot_be_true_reads_to_the_end(value):
    content = field(encoded(TONE, "au", "pcm_s16be"), b".snd", 4, value, ">I")
    assert parsed(content).declared is None
    assert len(load(io.BytesIO(content))) == 16_000


@pytest.mark.parametrize("value", [0, 24, (1 << 63) - 1, (1 << 64) - 1])
def test_a_wave64_header_that_cannot_be_true_reads_to_the_end(value):
    content = field(encoded(TONE, "w64", "pcm_s16le"), b"data", 12, value, "<Q")
    assert parsed(content).declared is None
    assert len(load(io.BytesIO(content))) == 16_000


@pytest.mark.parametrize("value", [0, -1, 1 << 62])
def test_a_caf_header_that_cannot_be_true_reads_to_the_end(value):
    content = field(encoded(TONE, "caf", "pcm_s16le"), b"data", 0, value, ">q")
    assert parsed(content).declared is None
    assert len(load(io.BytesIO(content))) == 16_000


def test_a_length_written_early_and_never_again_does_not_end_the_sound():
    content = field(encoded(TONE, "wav", "pcm_s16le"), b"data", 0, 8_000, "<I")
    assert len(load(io.BytesIO(content))) == 16_000


def test_what_follows_the_samples_is_no_sound():
    content = encoded(TONE, "wav", "pcm_s16le") + b"LIST\x04\0\0\0abcd"
    assert parsed(content).declared == 32_000
    assert len(load(io.BytesIO(content))) == 16_000


@settings(max_examples=200, deadline=None)
@given(
    head=st.sampled_from([b"RIFF", b"RF64", b"FORM", b".snd", b"riff", b"caff"]), rest=st.binary()
)
def test_no_bytes_make_the_reader_of_headers_fail(head, rest):
    for content in (head + rest, head + rest[:4] + b"WAVE" + rest[4:]):
        parsed(content)
        parsed(content, pipe=True)
