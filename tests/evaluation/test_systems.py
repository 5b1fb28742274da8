"""Systems: rivulet watched frame by frame, PocketSphinx itself, the others against stand-ins."""

import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from support import ROOT

from rivulet.audio.pcm import to_bytes
from rivulet.errors import EngineError
from rivulet.evaluation.systems import (
    MODULES,
    SystemConfig,
    SystemStream,
    TimedEvent,
    check_system,
    load_system,
)
from rivulet.evaluation.systems.common import Screen, folder_bytes
from rivulet.evaluation.systems.rivulet import RivuletStream
from rivulet.events import Final, Partial
from rivulet.recognizer import Recognizer

SECOND = np.zeros(16_000, np.float32)


def hear(session: SystemStream, samples: np.ndarray, chunk: int) -> list[TimedEvent]:
    events = [
        event
        for start in range(0, len(samples), chunk)
        for event in session.accept(samples[start : start + chunk])
    ]
    return events + session.finish()


def texts(heard: list[TimedEvent]) -> list[tuple[str, str]]:
    return [(type(item.event).__name__, item.event.text) for item in heard]


# rivulet


def test_watching_changes_no_event(small: Recognizer, babble: np.ndarray) -> None:
    stream = small.stream()
    plain = [*stream.accept(babble), *stream.finish()]
    assert [item.event for item in hear(RivuletStream(small), babble, 700)] == plain
    assert len(plain) > 10


def test_every_word_says_what_sound_it_needed(small: Recognizer, babble: np.ndarray) -> None:
    heard = hear(RivuletStream(small), babble, 1600)
    for item in heard:
        assert len(item.needed_s) == len(item.event.text.split())
        assert list(item.needed_s) == sorted(item.needed_s)
    before_end = [item for item in heard if item.event.at < 5.9]
    assert all(max(item.needed_s) <= item.event.at + 1e-9 for item in before_end)


@pytest.mark.slow
def test_what_a_word_needed_does_not_depend_on_chunk_or_block(
    small: Recognizer, babble: np.ndarray
) -> None:
    def needs(block_ms: int, chunk: int) -> list[tuple[str, tuple[float, ...]]]:
        session = RivuletStream(replace(small, block_ms=block_ms))
        heard = hear(session, babble, chunk)
        return [(h.event.text, h.needed_s) for h in heard if isinstance(h.event, Final)]

    fine = needs(40, 160)
    assert sum(len(text.split()) for text, _ in fine) > 5
    assert needs(40, 50_000) == fine
    for (text, coarse), (same, exact) in zip(needs(160, 999), fine, strict=True):
        assert text == same
        assert coarse == pytest.approx(exact)


@pytest.mark.slow
def test_with_the_smallest_block_the_newest_word_waits_for_no_block(
    small: Recognizer, babble: np.ndarray
) -> None:
    heard = hear(RivuletStream(replace(small, block_ms=40)), babble, 160)
    live = [item for item in heard if isinstance(item.event, Partial) and item.event.at < 5.9]
    grown = [
        (a, b)
        for a, b in pairwise(live)
        if a.event.segment == b.event.segment and a.event.text != b.event.text
    ]
    assert grown
    assert all(b.event.at == pytest.approx(b.needed_s[-1]) for _, b in grown)


# PocketSphinx


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    from rivulet.evaluation.synthesis import speak

    try:
        clip = speak("SHE HAD YOUR DARK SUIT IN GREASY WASH WATER ALL YEAR", "flite:rms")
    except EngineError as error:
        pytest.skip(str(error))
    return np.concatenate([SECOND, clip.samples, SECOND])


def test_pocketsphinx_shows_partials_and_ends_the_segment_itself(speech: np.ndarray) -> None:
    pytest.importorskip("pocketsphinx")
    system = load_system(SystemConfig("pocketsphinx"))
    hear(system.stream(), speech, 1600)  # PocketSphinx 5.1.1 scores its very first utterance apart
    heard = hear(system.stream(), speech, 1600)
    finals = [item.event for item in heard if isinstance(item.event, Final)]
    assert len(finals) == 1
    assert (
        len({"SHE", "HAD", "YOUR", "DARK", "SUIT", "IN", "ALL"} & set(finals[0].text.split())) > 3
    )
    assert 1.0 < finals[0].at < len(speech) / 16_000
    assert sum(isinstance(item.event, Partial) for item in heard) > 5
    assert system.size_bytes > 10_000_000
    assert hear(system.stream(), speech, 1600) == heard  # sessions leave nothing behind


def test_pocketsphinx_finishes_speech_that_is_cut_off(speech: np.ndarray) -> None:
    pytest.importorskip("pocketsphinx")
    system = load_system(SystemConfig("pocketsphinx"))
    assert isinstance(hear(system.stream(), speech[:40_000], 480)[-1].event, Final)
    assert hear(system.stream(), SECOND, 480) == []
    assert system.stream().finish() == []


# systems that the user has, played by stand-ins


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **content: object) -> None:
    module = ModuleType(name)
    module.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, module)


def test_vosk_answers_become_events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = iter([("partial", "the"), ("partial", "the"), ("text", "the old"), ("partial", "")])

    class Kaldi:
        def __init__(self, model: object, rate: float) -> None:
            assert rate == 16_000

        def AcceptWaveform(self, pcm: bytes) -> bool:  # noqa: N802
            assert len(pcm) == 32_000
            self.key, self.text = next(answers)
            return self.key == "text"

        def Result(self) -> str:  # noqa: N802
            return json.dumps({self.key: self.text})

        PartialResult = Result

        def FinalResult(self) -> str:  # noqa: N802
            return '{"text": "man\'s"}'

    stand_in(
        monkeypatch,
        "vosk",
        SetLogLevel=lambda level: None,
        Model=lambda folder: folder,
        KaldiRecognizer=Kaldi,
    )
    (tmp_path / "model.bin").write_bytes(b"12345")
    system = load_system(SystemConfig("vosk", str(tmp_path)))
    heard = hear(system.stream(), np.zeros(64_000, np.float32), 16_000)
    assert texts(heard) == [("Partial", "THE"), ("Final", "THE OLD"), ("Final", "MAN'S")]
    assert [item.event.at for item in heard] == [1.0, 3.0, 4.0]
    assert [item.event.segment for item in heard] == [0, 0, 1]
    assert system.size_bytes == 5


def test_sherpa_is_read_until_it_has_no_more_and_reset_at_endpoints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Recognizer:
        def __init__(self, **options: object) -> None:
            self.options = options

        def create_stream(self) -> SimpleNamespace:
            stream = SimpleNamespace(ready=0, steps=0, over=False)
            stream.accept_waveform = lambda rate, samples: setattr(stream, "ready", 2)
            stream.input_finished = lambda: setattr(stream, "over", True)
            return stream

        def is_ready(self, stream: SimpleNamespace) -> bool:
            return bool(stream.ready)

        def decode_stream(self, stream: SimpleNamespace) -> None:
            stream.ready -= 1
            stream.steps += 1

        def get_result(self, stream: SimpleNamespace) -> str:
            return " ".join(["word"] * (stream.steps // 2))

        def is_endpoint(self, stream: SimpleNamespace) -> bool:
            return bool(stream.steps == 4)

        def reset(self, stream: SimpleNamespace) -> None:
            stream.steps = 0

    made: list[dict[str, object]] = []

    def transducer(**options: object) -> Recognizer:
        made.append(options)
        return Recognizer(**options)

    stand_in(
        monkeypatch, "sherpa_onnx", OnlineRecognizer=SimpleNamespace(from_transducer=transducer)
    )
    with pytest.raises(EngineError, match=r"0 \.onnx files"):
        load_system(SystemConfig("sherpa-onnx", str(tmp_path)))
    for name, size in (("encoder", 9), ("encoder.int8", 3), ("decoder", 2), ("joiner", 1)):
        (tmp_path / f"{name}.onnx").write_bytes(b"x" * size)
    (tmp_path / "tokens.txt").write_text("a 0\n")
    system = load_system(SystemConfig("sherpa-onnx", str(tmp_path), threads=2))
    assert made[0]["encoder"] == str(tmp_path / "encoder.int8.onnx")
    assert (made[0]["num_threads"], made[0]["enable_endpoint_detection"]) == (2, True)
    heard = hear(system.stream(), np.zeros(48_000, np.float32), 16_000)
    expected = [("Partial", "WORD"), ("Final", "WORD WORD"), ("Partial", "WORD"), ("Final", "WORD")]
    assert texts(heard) == expected


def test_whisper_settles_what_two_runs_agree_on(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter([" The old", " The cold man", " The cold man", " The cold man"])
    vocabulary = {"The": 7, "2": 3, " 10": 1, "<|0.00|>": 9, "$": 4}

    class Model:
        hf_tokenizer = SimpleNamespace(get_vocab=lambda: vocabulary)

        def __init__(self, name: str, **options: object) -> None:
            assert (name, options["cpu_threads"]) == ("tiny.en", 1)

        def transcribe(self, sound: np.ndarray, **options: object) -> tuple[list[object], None]:
            assert options["suppress_tokens"] == [-1, 1, 3, 4]  # what writes numbers as digits
            ends = min(len(sound) / 16_000, 2.5)  # the speech is over after 2.5 s
            said = [SimpleNamespace(word=f" {word}", end=ends) for word in next(runs).split()]
            return [SimpleNamespace(words=said)], None

    stand_in(
        monkeypatch,
        "faster_whisper",
        WhisperModel=Model,
        download_model=lambda name, local_files_only: str(ROOT / "tests" / "golden"),
    )
    system = load_system(SystemConfig("whisper", "tiny.en"))
    heard = hear(system.stream(), np.zeros(64_000, np.float32), 8_000)
    events = [item.event for item in heard]
    assert texts(heard) == [
        ("Partial", "THE OLD"),
        ("Partial", "THE COLD MAN"),
        ("Partial", "THE COLD MAN"),
        ("Final", "THE COLD MAN"),
    ]
    assert [e.stable for e in events if isinstance(e, Partial)] == [0, 1, 3]
    assert [e.at for e in events] == [1.0, 2.0, 3.0, 4.0]
    assert system.size_bytes == folder_bytes(ROOT / "tests" / "golden")
    runs = iter([" In one piece"])  # one run, for nothing is new at the end
    heard = hear(system.stream(), np.zeros(64_000, np.float32), 64_000)
    assert texts(heard)[-1] == ("Final", "IN ONE PIECE")


# bad input


@pytest.mark.parametrize("name", ["vosk", "sherpa-onnx", "whisper", "pocketsphinx"])
def test_a_system_that_is_not_installed_says_how_to_install_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"sherpa-onnx": "sherpa_onnx", "whisper": "faster_whisper"}.get(name, name)
    monkeypatch.setitem(sys.modules, module, None)
    for act in (check_system, load_system):
        with pytest.raises(EngineError, match="not installed; install it with `pip install"):
            act(SystemConfig(name))


@pytest.mark.parametrize("name", ["vosk", "sherpa-onnx"])
def test_a_system_without_its_model_says_where_models_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, name.replace("-", "_"), OnlineRecognizer=None)
    with pytest.raises(EngineError, match=rf"needs a model and none was named.*{name}=FOLDER"):
        load_system(SystemConfig(name))
    with pytest.raises(EngineError, match="/nowhere is no folder"):
        load_system(SystemConfig(name, "/nowhere"))


def test_an_unknown_system_is_refused_with_the_names() -> None:
    with pytest.raises(EngineError, match=r"'kaldi'; use one of rivulet, pocketsphinx"):
        check_system(SystemConfig("kaldi"))
    assert set(MODULES) == {"rivulet", "pocketsphinx", "vosk", "sherpa-onnx", "whisper"}


def test_a_screen_shows_nothing_twice_and_no_empty_segment() -> None:
    screen = Screen()
    assert screen.partial("") == []
    assert screen.final("") == []
    assert len(screen.partial("A")) == 1
    assert screen.partial("A") == []
    assert texts(screen.final("")) == [("Partial", "")]
    assert screen.final("B")[0].event.segment == 0


def test_pcm_is_clipped_little_endian() -> None:
    assert to_bytes(np.array([0.0, 2.0, -2.0], np.float32)) == b"\x00\x00\xff\x7f\x00\x80"
