"""The 26 kinds of input that failed, each made anew and tried: `python -m tests.formats.cases`.

A case makes its files in a folder, runs what a user would run, and fails by an assertion. The list
that is printed says "right" or what was wrong.
"""

import contextlib
import io
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

import numpy as np
from support import ROOT, SAMPLES
from support.sounds import at_rate, clip, encoded, spoil, spread, write_sound, write_video

from rivulet.__main__ import main
from rivulet.audio import AudioFile, load
from rivulet.errors import RivuletError
from rivulet.metrics import error_counts
from rivulet.recognizer import Recognizer
from rivulet.text.normalize import normalize

LOSSY = 0.15  # word error rate against the clean clip's words, where a codec loses something
Case = Callable[[Path], None]
CASES: list["Kind"] = []


@dataclass(frozen=True)
class Kind:
    """A kind of input: its number in the list, what it is, and how it is tried."""

    number: int
    title: str
    run: Case


def kind(number: int, title: str) -> Callable[[Case], Case]:
    """Put a case into the list."""

    def add(run: Case) -> Case:
        CASES.append(Kind(number, title, run))
        return run

    return add


@dataclass(frozen=True)
class Result:
    """What a command gave."""

    status: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Its text in one line, as the model writes it."""
        return normalize(self.out)


class Shared:
    """The recognizer and the clean clips' words, made once."""

    recognizer: Recognizer | None = None
    words: dict[str, str] = {}  # noqa: RUF012 (filled once)


def recognizer() -> Recognizer:
    """The shipped model."""
    Shared.recognizer = Shared.recognizer or Recognizer.load()
    return Shared.recognizer


def rivulet(*arguments: Any) -> Result:
    """Run the command line in this process, with the shipped model loaded once."""
    out, err = io.StringIO(), io.StringIO()
    loader = mock.patch("rivulet.commands.batch.load_recognizer", return_value=recognizer())
    with loader, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
    return Result(status, out.getvalue(), err.getvalue())


def command(*arguments: Any, shell: str = "", **environment: str) -> Result:
    """Run the command line in a process; `shell` is what follows it there."""
    words = [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]
    env = {**os.environ, **environment}
    line = " ".join(f"'{word}'" for word in words) + f" {shell}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, env=env, timeout=300)
    err = done.stderr.decode("utf-8", "replace")
    return Result(done.returncode, done.stdout.decode("utf-8", "replace"), err)


def words_of(name: str) -> str:
    """What the clean clip gives."""
    if name not in Shared.words:
        Shared.words[name] = rivulet("transcribe", SAMPLES / f"{name}.flac").words
    return Shared.words[name]


def is_said(path: Path, *names: str, bound: float = LOSSY, status: int = 0) -> Result:
    """Check that a file gives the clips' words, one after the other."""
    result = rivulet("transcribe", path)
    assert result.status == status, f"{path.name}: status {result.status}: {result.err}"
    expected = " ".join(map(words_of, names))
    rate = error_counts(expected, result.words).rate
    assert rate <= bound, f"{path.name}: {100 * rate:.0f} % of the words: {result.words}"
    return result


def seconds_of(path: Path, warnings: list[str] | None = None) -> float:
    """How long the sound is."""
    with AudioFile(path, warn=None if warnings is None else warnings.append) as audio:
        return sum(map(len, audio)) / audio.sample_rate


def first_word_s(samples: np.ndarray) -> float:
    """Where the first sound above silence begins, of samples at 16 kHz."""
    loud = np.flatnonzero(np.abs(samples) > 0.05 * np.abs(samples).max())
    return float(loud[0]) / 16_000


def raises(says: str, run: Callable[[], Any]) -> None:
    """Check that it is refused with a sentence."""
    try:
        run()
    except RivuletError as error:
        if says not in str(error):
            raise AssertionError(f"{error} does not say {says}") from error
    else:
        raise AssertionError(f"it was taken, and should have said {says}")


def refused(result: Result, says: str, status: int = 1) -> None:
    """Check that there is one sentence and no traceback."""
    assert result.status == status, f"status {result.status}: {result.err[-300:]}"
    assert says in result.err, result.err[-300:]
    assert "Traceback" not in result.err, result.err[-300:]


S, A = "slt", "awb"


@kind(1, "8 and more channels")
def channels(folder: Path) -> None:
    for suffix, codec, count in [
        ("opus", "libopus", 8),
        ("wav", "pcm_s16le", 8),
        ("wav", "pcm_f32le", 24),
        ("flac", "flac", 8),
        ("aiff", "pcm_s24be", 8),
        ("caf", "pcm_s16le", 16),
        ("mka", "pcm_s16le", 24),
        ("wv", "wavpack", 16),
    ]:
        rate = 48_000 if codec == "libopus" else 16_000
        sound = spread(at_rate(clip(S), rate), count)
        is_said(write_sound(folder / f"{count}-{codec}.{suffix}", sound, rate, codec), S)


def _joined(folder: Path, name: str, codec: str, form: str, *parts: tuple[int, int]) -> Path:
    content = b""
    for voice, (rate, count) in zip((S, A), parts, strict=True):
        content += encoded(spread(at_rate(clip(voice), rate), count), form, codec, rate)
    path = folder / name
    path.write_bytes(content)
    return path


@kind(2, "channel count changes midway")
def channels_change(folder: Path) -> None:
    for suffix, codec, form in [
        ("mp3", "libmp3lame", "mp3"),
        ("ts", "aac", "mpegts"),
        ("aac", "aac", "adts"),
        ("ac3", "ac3", "ac3"),
        ("opus", "libopus", "opus"),
    ]:
        for first, second in ((1, 2), (2, 1)):
            name = f"{first}{second}.{suffix}"
            path = _joined(folder, name, codec, form, (48_000, first), (48_000, second))
            is_said(path, S, A)


@kind(3, "sample rate changes midway")
def rate_changes(folder: Path) -> None:
    for suffix, codec, form, second in [
        ("mp3", "libmp3lame", "mp3", 24_000),
        ("mp3", "libmp3lame", "mp3", 44_100),
        ("aac", "aac", "adts", 16_000),
        ("ts", "aac", "mpegts", 32_000),
    ]:
        name = f"{second}.{suffix}"
        path = _joined(folder, name, codec, form, (48_000, 1), (second, 1))
        is_said(path, S, A)
        expected = (len(clip(S)) + len(clip(A))) / 16_000
        assert abs(seconds_of(path) - expected) < 0.15, f"{name}: {seconds_of(path):.2f} s"


@kind(4, "one bad packet")
def bad_packet(folder: Path) -> None:
    both = np.concatenate([clip(S), clip(A)])
    for suffix, codec in [
        ("mp3", "libmp3lame"),
        ("adts", "aac"),
        ("ogg", "libopus"),
        ("matroska", "aac"),
        ("mp4", "aac"),
        ("mpegts", "aac"),
        ("ac3", "ac3"),
        ("wav", "adpcm_ms"),
    ]:
        content = encoded(at_rate(both, 48_000), suffix, codec, 48_000)
        path = folder / f"bad-{codec}.{suffix}"
        path.write_bytes(spoil(content, 0.515, 200))
        assert abs(seconds_of(path) - len(both) / 16_000) < 0.3, f"{path.name}: length"
        is_said(path, S, A, bound=0.3)
    path = _joined(folder, "same.mp3", "libmp3lame", "mp3", (44_100, 2), (44_100, 2))
    warning = is_said(path, S, A).err
    assert "is damaged: 0.0" in warning, warning
    assert " s at 3.7" in warning, warning


VIDEOS = [
    ("mp4", "aac", "mpeg4", 16_000),
    ("mov", "alac", "mpeg4", 48_000),
    ("mkv", "libopus", "mpeg4", 48_000),
    ("webm", "libopus", "libvpx", 48_000),
    ("ts", "aac", "mpeg2video", 48_000),
    ("flv", "aac", "flv", 44_100),
    ("vob", "ac3", "mpeg2video", 48_000),
]


@kind(5, "sound begins late in the picture")
def late(folder: Path) -> None:
    for suffix, codec, video, rate in VIDEOS:
        path = folder / f"late.{suffix}"
        write_video(path, [(clip(S), 5.0)], 10.0, codec, video, rate=rate)
        begins = first_word_s(load(path)) - first_word_s(clip(S))
        assert abs(begins - 5.0) < 0.05, f"{suffix}: {begins:.2f} s"
    path = folder / "late.mp4"
    cue = rivulet("transcribe", path, "-t", "srt").out
    assert "00:00:05," in cue, cue
    is_said(path, S)


@kind(6, "a stretch is missing between packets")
def missing(folder: Path) -> None:
    whole = np.concatenate([clip(S), np.zeros(160_000, np.float32), clip(S)])
    for suffix, codec, video, rate in VIDEOS:
        path = folder / f"gap.{suffix}"
        how = {"gap": (4.5, 13.0), "rate": rate}
        write_video(path, [(whole, 0.0)], 18.0, codec, video, **how)
        heard = load(path)
        begins = 8.0 + first_word_s(heard[8 * 16_000 :])
        expected = 13.72 + first_word_s(clip(S))
        assert abs(begins - expected) < 0.05, f"{suffix}: {begins:.2f} s, not {expected:.2f} s"
    is_said(folder / "gap.ts", S, S)


@kind(7, "picture longer than sound")
def picture_longer(folder: Path) -> None:
    for suffix, codec, video, rate in VIDEOS:
        path = folder / f"long.{suffix}"
        is_said(write_video(path, [(clip(S), 0.0)], 8.0, codec, video, rate=rate), S)


@kind(8, "the transcript would replace its own recording")
def replaces(folder: Path) -> None:
    sound = write_sound(folder / "x.wav", clip(S))
    content = sound.read_bytes()
    link = folder / "link.txt"
    link.symlink_to(sound)
    text = folder / "x.txt"
    text.write_text("what was said")
    for output in (sound, link, folder, text):
        refused(rivulet("transcribe", sound, "-o", output), "--output")
    assert sound.read_bytes() == content
    assert text.read_text() == "what was said"


@kind(9, "console that cannot write a name")
def console(folder: Path) -> None:
    names = ["日本語.wav", "Ω.wav"]
    paths = [
        write_sound(folder / f"{i}.wav", clip(S)).rename(folder / n) for i, n in enumerate(names)
    ]
    result = command("transcribe", *paths, PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    assert result.status == 0, result.err[-300:]
    assert "\\u65e5" in result.out, result.out
    assert result.words.count(words_of(S)) == 2, result.out


@kind(10, "a name with a colon")
def colon(folder: Path) -> None:
    before = Path.cwd()
    os.chdir(folder)
    try:
        for name in ("2024-08-20T13:28:35Z.wav", "http:x.wav", "-x:y.flac"):
            write_sound(folder / "plain.wav", clip(S))
            (folder / "plain.wav").rename(folder / name)
            is_said(Path("./") / name if not name.startswith("-") else folder / name, S)
    finally:
        os.chdir(before)


@kind(11, "a folder of the model's name")
def model_name(folder: Path) -> None:
    from rivulet.checkpoint import find

    before = Path.cwd()
    os.chdir(folder)
    try:
        for name in ("default", "tiny"):
            (folder / name).mkdir()
            assert (find(name) / "config.json").is_file()
    finally:
        os.chdir(before)


@kind(12, "pipes")
def pipes(folder: Path) -> None:
    for suffix, codec in (
        ("wav", "pcm_s16le"),
        ("flac", "flac"),
        ("m4a", "aac"),
        ("mp3", "libmp3lame"),
    ):
        sound = write_sound(folder / f"x.{suffix}", at_rate(clip(S), 48_000), 48_000, codec)
        pipe = folder / f"pipe.{suffix}"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=[sound.read_bytes()])
        writer.start()
        is_said(pipe, S)
        writer.join()
    result = command("transcribe", "/dev/stdin", shell=f"< <(cat '{folder / 'x.wav'}')")
    assert result.words == words_of(S), result


@kind(13, "a header that does not know its length")
def length_unknown(folder: Path) -> None:
    for suffix, codec, mark, layout in [
        ("wav", "pcm_s16le", b"data", "<I"),
        ("aiff", "pcm_s16be", b"SSND", ">I"),
        ("au", "pcm_s16be", b".snd\0\0\0", ">I"),
    ]:
        content = encoded(clip(S), suffix, codec)
        at = content.index(mark) + len(mark) + (1 if suffix == "au" else 0)
        for value in (0, 0x7F000000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            path = folder / f"{value}.{suffix}"
            path.write_bytes(content[:at] + struct.pack(layout, value) + content[at + 4 :])
            assert seconds_of(path) > 3.7, f"{path.name}: {seconds_of(path)} s"
        is_said(path, S)


WIDE = ("pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le")


@kind(14, "WAV of every codec")
def wav_codecs(folder: Path) -> None:
    for codec in ("adpcm_ms", "adpcm_ima_wav", "pcm_mulaw", "pcm_alaw", "pcm_u8", *WIDE):
        is_said(write_sound(folder / f"{codec}.wav", clip(S), 16_000, codec), S, bound=0.2)
    extensible = write_sound(folder / "extensible.wav", spread(clip(S), 6), 16_000, "pcm_s24le")
    assert extensible.read_bytes()[20:22] == b"\xfe\xff"
    is_said(extensible, S)
    path = folder / "gsm.wav"
    if shutil.which("sox"):
        subprocess.run(["sox", SAMPLES / "slt.flac", "-r", "8000", "-e", "gsm", path], check=True)
        is_said(path, S, bound=0.6)


@kind(15, "closed standard input or output")
def closed(folder: Path) -> None:
    refused(command("transcribe", "-", shell="<&-"), "standard input is closed")
    refused(command("transcribe", SAMPLES / "slt.flac", shell=">&-"), "standard output is closed")


@kind(16, "settings that are no numbers")
def settings(folder: Path) -> None:
    for setting in (
        ["--lm-weight", "nan"],
        ["--lm-weight", "inf"],
        ["--word-insertion-bonus", "nan"],
        ["--prior-weight", "nan"],
        ["--beam-size", "1"],
    ):
        result = rivulet("transcribe", SAMPLES / "slt.flac", *setting)
        refused(result, setting[0], status=2)
        assert result.err.count("\n") == 1, result.err


@kind(17, "opposite channels")
def opposite(folder: Path) -> None:
    for suffix, codec, gain in (
        ("wav", "pcm_s16le", -1.0),
        ("flac", "flac", -0.9),
        ("m4a", "aac", -1.0),
    ):
        sound = np.stack([clip(S), gain * clip(S)], axis=1)
        result = is_said(write_sound(folder / f"opp{gain}.{suffix}", sound, 16_000, codec), S)
        assert "cancels" in result.err, result.err
    stream = recognizer().stream()
    events = stream.accept(np.stack([clip(S), -clip(S)], axis=1)) + stream.finish()
    assert events[-1].text == words_of(S)


@kind(18, "several sound tracks")
def tracks(folder: Path) -> None:
    silent = 0 * clip(S)
    for suffix, codec in (("mp4", "aac"), ("mkv", "aac"), ("mov", "aac")):
        path = folder / f"obs.{suffix}"
        write_video(path, [(silent, 0.0), (clip(S), 0.0)], 4.0, codec, default=0)
        result = rivulet("transcribe", path)
        assert "2 sound tracks" in result.err, result.err
        assert rivulet("transcribe", path, "--track", 2).words == words_of(S)
        path = folder / f"second.{suffix}"
        write_video(path, [(silent, 0.0), (clip(S), 0.0)], 4.0, codec, default=1)
        assert rivulet("transcribe", path).words == words_of(S), suffix


@kind(19, "arrays of another shape or scale")
def arrays(folder: Path) -> None:
    for samples, says in (
        (clip(S)[None], "(n, channels)"),
        (np.stack([clip(S)] * 2), "(n, channels)"),
        (clip(S) * 32768, "full scale is 1"),
    ):
        raises(says, lambda samples=samples: recognizer().stream().accept(samples))


@kind(20, "manifests with bad lines")
def manifests(folder: Path) -> None:
    from rivulet.corpora.manifest import read_manifest

    head, sound = "id\tpath\tseconds\tspeaker\ttext\n", SAMPLES / "slt.flac"
    line = f"u1\t{sound}\t3.7\ts\ttext\n"
    bom = folder / "bom.tsv"
    bom.write_bytes(b"\xef\xbb\xbf" + (head + line).encode())
    assert len(read_manifest(bom)) == 1
    for name, content, says in (
        ("short", f"{head}u1\t{sound}\t3.7\n", "line 2"),
        ("long", f"{head}{line}u2\t{sound}\t3.7\ts\t{'x' * 200_000}\n", "line 3"),
        ("more", f"{head}u1\t{sound}\t3.7\ts\ttext\tmore\n", "line 2"),
        ("nan", head + line.replace("3.7", "nan"), "line 2"),
        ("negative", head + line.replace("3.7", "-1"), "line 2"),
        ("twice", head + line + line, "line 3"),
    ):
        path = folder / f"{name}.tsv"
        path.write_text(content)
        raises(says, lambda path=path: read_manifest(path))


@kind(21, "texts in other encodings")
def encodings(folder: Path) -> None:
    from rivulet.corpora.manifest import read_text
    from rivulet.language.build.text import read_sentences
    from rivulet.text.normalize import normalize

    said = "the café is naïve about fiancées\n"
    for name, content in (
        ("utf8", said.encode()),
        ("mark", b"\xef\xbb\xbf" + said.encode()),
        ("utf16", said.encode("utf-16")),
        ("latin1", said.encode("latin-1")),
        ("apart", "the cafe\u0301 is nai\u0308ve about fiance\u0301es\n".encode()),
    ):
        path = folder / f"{name}.txt"
        path.write_bytes(content)
        read = list(read_sentences([path]))
        assert read == ["THE CAFE IS NAIVE ABOUT FIANCEES"], (name, read)
    assert normalize(read_text(folder / "utf16.txt")) == "THE CAFE IS NAIVE ABOUT FIANCEES"
    raises("is not UTF-8 text", lambda: read_text(folder / "latin1.txt"))
    raises("is no text", lambda: list(read_sentences([SAMPLES / "slt.flac"])))


@kind(22, "a file among others that cannot be read")
def among_others(folder: Path) -> None:
    (folder / "none.wav").symlink_to(folder / "none.wav")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(folder / "socket.wav"))
    bad = [folder / "none.wav", folder / ("x" * 300), folder / "socket.wav", folder]
    (folder / "text.wav").write_text("no sound\n" * 1000)
    good = [SAMPLES / "slt.flac", SAMPLES / "awb.flac"]
    result = rivulet("transcribe", *bad, good[0], folder / "text.wav", good[1], "-t", "json")
    refused(result, "too long")
    assert result.err.count("\n") == 5, result.err
    assert result.out.count('"file"') == 2, result.out
    assert words_of(A) in result.out, result.out


@kind(23, "sound piped live")
def live(folder: Path) -> None:
    for codec, rate in (
        ("pcm_s16le", 16_000),
        ("pcm_s16le", 8_000),
        ("pcm_mulaw", 8_000),
        ("libmp3lame", 16_000),
    ):
        content = encoded(at_rate(clip(S), rate), "wav", codec, rate)
        read_end, write_end = os.pipe()
        began = time.monotonic()
        feeder = threading.Thread(target=_feed, args=(write_end, content, 3.72, began))
        feeder.start()
        late_s, heard = [], 0
        with AudioFile(os.fdopen(read_end, "rb", buffering=0)) as audio:
            for block in audio:
                heard += len(block)
                late_s.append(time.monotonic() - began - heard / 16_000)
        feeder.join()
        typical = sorted(late_s)[len(late_s) // 2]  # the machine may be busy for a moment
        assert typical < 0.35, f"{codec} {rate}: {typical:.2f} s late"


def _feed(pipe: int, content: bytes, seconds: float, began: float) -> None:
    with os.fdopen(pipe, "wb", buffering=0) as out:
        at = 0
        while at < len(content):
            end = int((time.monotonic() - began) / seconds * len(content)) + 1
            out.write(content[at:end])
            at = max(at, end)
            time.sleep(0.02)


@kind(24, "no home")
def no_home(folder: Path) -> None:
    from rivulet.language.build import kenlm_tools

    with mock.patch.object(kenlm_tools, "user_cache_path", side_effect=RuntimeError("no user")):
        with mock.patch.dict(os.environ, {"PATH": str(folder)}):
            raises("no home", kenlm_tools.find)
        for program in kenlm_tools.PROGRAMS:
            (folder / program).touch(mode=0o755)
        with mock.patch.dict(os.environ, {"RIVULET_KENLM": str(folder)}):
            assert kenlm_tools.find().lmplz == folder / "lmplz"


@kind(25, "a word of 100,000 letters")
def long_word(folder: Path) -> None:
    from collections import Counter

    from rivulet.language.build.text import read_sentences

    path = folder / "long.txt"
    path.write_text(f"hello {'x' * 100_000} world\n")
    dropped: Counter[str] = Counter()
    assert list(read_sentences([path], dropped=dropped)) == ["HELLO WORLD"]
    assert dropped.total() == 1


@kind(26, "what is missing is said at once")
def at_once(folder: Path) -> None:
    def loads(args: object) -> None:
        raise AssertionError("a model was loaded first")

    with mock.patch("rivulet.commands.listen.load_recognizer", loads):
        refused(rivulet("listen", "--device", "no such device"), "device")
    out = io.StringIO()
    with (
        mock.patch("rivulet.commands.batch.load_recognizer", loads),
        contextlib.redirect_stderr(out),
    ):
        assert main(["transcribe", str(folder / "none.wav")]) == 1
    assert "does not exist" in out.getvalue()


def results(wanted: set[int]) -> Iterator[tuple[Kind, str]]:
    """Try the cases and say how each ended."""
    for case in CASES:
        if wanted and case.number not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                case.run(Path(folder))
            except Exception as error:  # a traceback is what a case must not give
                yield case, f"WRONG: {type(error).__name__} {str(error)[:200]}"
            else:
                yield case, "right"


if __name__ == "__main__":
    wrong = 0
    for case, how in results({int(number) for number in sys.argv[1:]}):
        print(f"{case.number:2}  {case.title:50} {how}", flush=True)  # noqa: T201
        wrong += how != "right"
    sys.exit(1 if wrong else 0)
