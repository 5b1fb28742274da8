import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from support.sounds import encoded, write_sound

from rivulet.audio import AudioFile, load
from rivulet.audio.sources import open_source
from rivulet.errors import AudioError

TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
POSIX = pytest.mark.skipif(os.name != "posix", reason="named pipes and modes of POSIX")


class Pipe(io.RawIOBase):
    """Bytes that come a few at a time and never again."""

    def __init__(self, content, step=1000):
        self._file, self._step = io.BytesIO(content), step

    def readable(self):
        return True

    def readinto(self, buffer):
        content = self._file.read(min(len(buffer), self._step))
        buffer[: len(content)] = content
        return len(content)


PIPED = [
    ("wav", "pcm_s16le", 1),
    ("wav", "pcm_u8", 2),
    ("wav", "pcm_s24le", 2),
    ("wav", "pcm_s32le", 1),
    ("wav", "pcm_f32le", 10),
    ("wav", "pcm_f64le", 1),
    ("wav", "pcm_mulaw", 1),
    ("wav", "adpcm_ms", 2),
    ("wav", "libmp3lame", 1),
    ("flac", "flac", 1),
    ("mp3", "libmp3lame", 2),
    ("ogg", "libopus", 1),
    ("mp4", "aac", 1),
    ("aiff", "pcm_s16be", 1),
    ("au", "pcm_s16be", 1),
    ("caf", "pcm_s16le", 1),
    ("matroska", "flac", 1),
    ("mpegts", "aac", 1),
]


@pytest.mark.parametrize(("suffix", "codec", "channels"), PIPED)
def test_a_pipe_gives_what_the_file_gives(suffix, codec, channels):
    sound = np.repeat(TONE[:, None], channels, axis=1)
    content = encoded(sound, suffix, codec, rate=48_000 if codec == "libopus" else 16_000)
    expected = load(io.BytesIO(content))
    heard = load(Pipe(content))
    assert len(heard) == pytest.approx(len(expected), abs=1200 if "mp3" in codec else 64)
    if codec.startswith("pcm"):
        assert np.array_equal(heard, expected)


@POSIX
def test_a_named_pipe_is_no_empty_file(tmp_path):
    path = tmp_path / "live.wav"
    os.mkfifo(path)
    content = encoded(TONE, "wav", "pcm_s16le")
    writer = threading.Thread(target=path.write_bytes, args=[content])
    writer.start()
    assert len(load(path)) == 16_000
    writer.join()


@pytest.mark.slow
@POSIX
def test_the_files_of_a_shell_are_read(tmp_path):
    path = write_sound(tmp_path / "tone.wav", TONE)
    program = "import sys; from rivulet.audio import load; print(len(load(sys.argv[1])))"
    for place in ("/dev/stdin", "/dev/fd/0"):
        cat = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
        done = subprocess.run(
            [sys.executable, "-c", program, place],
            stdin=cat.stdout,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.stdout.strip() == "16000", done.stderr


@pytest.mark.parametrize(
    "name", ["2024-08-20T13:28:35Z.wav", "http:x.wav", "a b%20?.wav", "é☃.wav"]
)
def test_any_name_of_a_file_is_only_a_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_sound("tone.wav", TONE)
    os.rename("tone.wav", name)
    assert len(load(name)) == 16_000


@POSIX
def test_a_name_that_is_no_text_is_read(tmp_path):
    write_sound(tmp_path / "tone.wav", TONE)
    name = os.fsdecode(bytes(tmp_path / "t") + b"\xff.wav")
    os.rename(tmp_path / "tone.wav", name)
    assert len(load(name)) == 16_000


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x" * 300, "too long|does not exist"),
        ("a\0b", "no name of a file"),
        ("no/where", "not exist"),
    ],
)
def test_names_that_no_file_can_have_are_sentences(name, says):
    with pytest.raises(AudioError, match=says):
        open_source(name)


@POSIX
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_sentence(tmp_path):
    path = write_sound(tmp_path / "tone.wav", TONE)
    path.chmod(0)
    with pytest.raises(AudioError, match="may not be read"):
        load(path)


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {0}\n"]
)
def test_a_playlist_in_disguise_opens_no_other_file(tmp_path, text):
    other = write_sound(tmp_path / "other.ts", TONE, codec="aac")
    path = tmp_path / "talk.wav"
    path.write_text(text.format(other))
    with pytest.raises(AudioError):
        load(path)


def test_a_stream_of_bytes_is_not_closed():
    file = io.BytesIO(encoded(TONE, "wav", "pcm_s16le"))
    with AudioFile(file):
        pass
    assert not file.closed
