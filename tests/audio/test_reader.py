import io
import itertools

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SAMPLES

from rivulet.audio import AudioFile, Resampler, read, to_mono
from rivulet.errors import AudioError

TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.float32)


def write_sound(path, samples, rate, codec, channels=1, **options):
    """Encode (n,) float32 with FFmpeg, the same on every channel."""
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, **options)
        convert = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        data = np.repeat((samples * 32767).astype(np.int16), channels)[None]
        frame = av.AudioFrame.from_ndarray(data, format="s16", layout=layout)
        frame.sample_rate = rate
        frame_size = stream.codec_context.frame_size
        fifo = av.AudioFifo()
        for part in [*convert.resample(frame), *convert.resample(None)]:
            fifo.write(part)
        while (part := fifo.read(frame_size or 1024)) or (part := fifo.read(0, True)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


FORMATS = [
    ("wav", "pcm_s16le", 8_000, 1),
    ("wav", "pcm_s16le", 44_100, 2),
    ("wav", "pcm_f32le", 48_000, 1),
    ("flac", "flac", 16_000, 2),
    ("flac", "flac", 48_000, 1),
    ("mp3", "libmp3lame", 44_100, 2),
    ("mp3", "libmp3lame", 16_000, 1),
    ("m4a", "aac", 44_100, 1),
    ("opus", "libopus", 48_000, 2),
    ("webm", "libopus", 48_000, 1),
]


@pytest.mark.parametrize(("suffix", "codec", "rate", "channels"), FORMATS)
def test_every_format_rate_and_channel_count_is_read(tmp_path, suffix, codec, rate, channels):
    path = tmp_path / f"tone.{suffix}"
    samples = np.interp(np.arange(rate) / rate, np.arange(48_000) / 48_000, TONE)
    write_sound(path, samples.astype(np.float32), rate, codec, channels)
    heard = np.concatenate(list(read(path)))
    assert heard.dtype == np.float32
    assert len(heard) == pytest.approx(16_000, abs=1_500)
    middle = heard[4_000:12_000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == pytest.approx(220, abs=1)  # 440 Hz in 0.5 s
    assert np.abs(middle).max() == pytest.approx(0.3, rel=0.1)


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(TONE)), max_size=30),
    rate=st.sampled_from([8_000, 11_025, 44_100, 48_000, 96_000]),
)
def test_resampling_does_not_depend_on_chunking(cuts, rate):
    whole = Resampler(rate)
    expected = np.concatenate([whole.push(TONE), whole.flush()])
    pieces = Resampler(rate)
    edges = [0, *sorted(cuts), len(TONE)]
    heard = [pieces.push(TONE[a:b]) for a, b in itertools.pairwise(edges)]
    assert np.array_equal(np.concatenate([*heard, pieces.flush()]), expected)
    assert len(expected) == pytest.approx(len(TONE) * 16_000 / rate, abs=2)


def test_16_khz_passes_unchanged():
    same = Resampler(16_000)
    assert np.array_equal(same.push(TONE), TONE)
    assert len(same.flush()) == 0


def test_a_file_is_read_in_blocks():
    with AudioFile(SAMPLES / "slt.flac") as file:
        sizes = [len(block) for block in file]
    assert len(sizes) > 3
    assert max(sizes) < 1.0 * file.sample_rate


def test_a_stream_of_bytes_is_read(tmp_path):
    path = tmp_path / "tone.wav"
    write_sound(path, TONE, 48_000, "pcm_s16le")
    with AudioFile(io.BytesIO(path.read_bytes())) as file:
        assert sum(map(len, file)) == 16_000


def test_the_callers_buffer_may_be_reused():
    buffer = np.ones(10, np.float32)
    mono = to_mono(buffer)
    buffer[:] = 0.0
    assert mono.sum() == 10.0


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.array([0.0, np.inf], np.float32), "1 of 2 samples are NaN or infinite, the first at 1"),
        (np.zeros(4, np.int32), "samples are int32; give float32"),
        (np.zeros((2, 2, 2), np.float32), "3 dimensions"),
        (np.zeros((4, 0), np.float32), "0 channels"),
    ],
)
def test_arrays_that_are_no_sound_are_refused(samples, says):
    with pytest.raises(AudioError, match=says):
        to_mono(samples)


def whole(path):
    with AudioFile(path) as file:
        return list(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"nothing\.wav does not exist"):
        whole(tmp_path / "nothing.wav")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(AudioError, match="is a folder"):
        whole(tmp_path)


def test_an_empty_file_says_so(tmp_path):
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match=r"is empty \(0 bytes\)"):
        whole(tmp_path / "empty.wav")


def test_a_text_file_is_not_sound(tmp_path):
    (tmp_path / "talk.wav").write_text("This is a text and no sound at all.\n" * 100)
    with pytest.raises(AudioError, match="not a sound file"):
        whole(tmp_path / "talk.wav")


def test_a_video_without_sound_says_so(tmp_path):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(5):
            image = np.zeros((64, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="no sound track"):
        whole(path)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_truncated_file_gives_what_is_there_and_then_says_so(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    write_sound(path, np.tile(TONE, 4), 48_000, "flac" if suffix == "flac" else "pcm_s16le")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    heard = []
    with AudioFile(path) as file, pytest.raises(AudioError, match=r"4\.00 s|damaged after"):
        heard.extend(file)
    assert sum(map(len, heard)) > 16_000


def test_a_wav_header_without_samples_says_so(tmp_path):
    path = tmp_path / "header.wav"
    write_sound(path, TONE, 48_000, "pcm_s16le")
    path.write_bytes(path.read_bytes()[:44])
    with pytest.raises(AudioError):
        whole(path)


def test_memory_does_not_grow_with_the_file(tmp_path):
    import tracemalloc

    path = tmp_path / "long.flac"
    write_sound(path, np.zeros(16_000 * 600, np.float32), 16_000, "flac")
    tracemalloc.start()
    for _ in read(path):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000  # ten minutes are 38 MB
