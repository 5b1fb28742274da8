import io
import itertools

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SAMPLES
from support.sounds import encoded, spoil, spread, write_sound, write_video

from rivulet.audio import AudioFile, Resampler, load, read, to_mono
from rivulet.errors import AudioError

TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.float32)


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
    write_sound(path, spread(samples.astype(np.float32), channels), rate, codec)
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


@pytest.mark.slow
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


@pytest.mark.parametrize("second", [(48_000, 1), (48_000, 2), (24_000, 1)])
def test_ogg_files_in_one_file_are_read_one_after_the_other(second):
    first = encoded(TONE[:, None], "ogg", "flac", 48_000)
    rate, channels = second
    after = encoded(spread(TONE[: rate // 2], channels), "ogg", "flac", rate)
    assert len(load(io.BytesIO(first + after + first))) == pytest.approx(40_000, abs=50)


@pytest.mark.slow
def test_a_container_that_says_so_may_hold_less_sound_than_picture(tmp_path):
    path = write_video(
        tmp_path / "film.webm", [(TONE[::3], 0.0)], 4.0, "libopus", "libvpx", rate=48_000
    )
    assert len(load(path)) == pytest.approx(16_000, abs=400)


def test_a_matroska_file_that_is_cut_says_so(tmp_path):
    path = write_video(tmp_path / "film.mkv", [(np.tile(TONE[::3], 6), 0.0)], 6.0)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="is truncated"):
        load(path)


@pytest.mark.parametrize("suffix", ["flac", "adts", "mp3", "ogg", "ac3", "mpegts"])
def test_bytes_lost_in_the_middle_cost_no_more_than_themselves(suffix):
    codec = {"adts": "aac", "mp3": "libmp3lame", "ogg": "libopus", "mpegts": "aac"}.get(
        suffix, suffix
    )
    sound = np.random.default_rng(1).standard_normal(4 * 48_000).astype(np.float32) * 0.1
    content = encoded(sound, suffix, codec, 48_000)
    damaged = load(io.BytesIO(spoil(content, 0.5, 300)))
    assert len(damaged) == pytest.approx(64_000, abs=4_000)
    assert np.abs(damaged[-8_000:-3_000]).max() > 0.05


def test_damage_is_said_with_its_place_and_length():
    first = encoded(TONE, "mp3", "libmp3lame", 48_000)
    warnings = []
    with AudioFile(io.BytesIO(first + first), warn=warnings.append) as audio:
        list(audio)
    assert warnings == audio.warnings
    assert "0.024 s of its sound cannot be decoded" in warnings[0]
    assert "0.024 s at 1.0" in warnings[0]


def test_a_gap_between_packets_is_silence_and_is_said(tmp_path):
    sound = np.tile(TONE[::3], 6)
    path = write_video(
        tmp_path / "gap.ts", [(sound, 0.0)], 6.0, "aac", "mpeg2video", gap=(2.0, 4.0)
    )
    warnings = []
    with AudioFile(path, warn=warnings.append) as audio:
        heard = np.concatenate(list(audio))
    assert len(heard) == pytest.approx(96_000, abs=2_100)
    assert np.abs(heard[40_000:60_000]).max() == 0.0
    assert "has no sound for 2.0" in warnings[0] or "has no sound for 1.9" in warnings[0]


def test_damage_at_the_very_end_of_many_channels_is_silence_too():
    sound = np.random.default_rng(2).standard_normal((48_000, 2)).astype(np.float32) * 0.1
    content = encoded(sound, "matroska", "flac", 48_000)
    for share in (0.97, 0.98, 0.99):
        assert len(load(io.BytesIO(spoil(content, share, 400)))) == pytest.approx(16_000, abs=3_300)
