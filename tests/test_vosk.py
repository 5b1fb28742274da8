"""The module shaped like vosk: a script changes one import."""

import inspect
import io
import json
from pathlib import Path

import numpy as np
import pytest

import rivulet.vosk
from rivulet.audio import SAMPLE_RATE, load
from rivulet.errors import AudioError, ConfigError, RivuletError
from rivulet.events import Final
from rivulet.recognizer import Recognizer
from rivulet.vosk import KaldiRecognizer, Model, SpkModel

CLIP = Path(__file__).parents[1] / "data" / "samples" / "slt.flac"


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(lang="en-us")


@pytest.fixture(scope="module")
def sound() -> tuple[bytes, int]:
    return (load(CLIP) * 32767).astype("<i2").tobytes(), SAMPLE_RATE


def results(recognizer: KaldiRecognizer, sound: bytes, size: int = 4000) -> list[dict[str, object]]:
    """Do what vosk's `test_simple.py` does."""
    found = []
    for first in range(0, len(sound), size):
        if recognizer.AcceptWaveform(sound[first : first + size]):
            found.append(json.loads(recognizer.Result()))
        else:
            assert "partial" in json.loads(recognizer.PartialResult())
    return [*found, json.loads(recognizer.FinalResult())]


@pytest.mark.slow
def test_a_vosk_script_has_the_words_and_times_of_a_stream(
    model: Model, recognizer: Recognizer, sound: tuple[bytes, int]
) -> None:
    samples, rate = sound
    kaldi = KaldiRecognizer(model, rate)
    kaldi.SetWords(True)
    found = [word for result in results(kaldi, samples) for word in result.get("result", ())]  # type: ignore[attr-defined]
    stream = recognizer.stream(rate)
    events = [*stream.accept(np.frombuffer(samples, "<i2")), *stream.finish()]
    words = [word for event in events if isinstance(event, Final) for word in event.words]
    assert [(w["word"], w["start"], w["end"]) for w in found] == [
        (w.text.lower(), w.start, w.end) for w in words
    ]


@pytest.mark.slow
def test_more_audio_after_the_final_result_goes_on_in_time(
    model: Model, sound: tuple[bytes, int]
) -> None:
    samples, rate = sound
    kaldi = KaldiRecognizer(model, rate)
    kaldi.SetWords(True)
    first, second = (results(kaldi, samples)[-1] for _ in range(2))
    assert first["text"] == second["text"]
    shift = round(len(samples) / 2 / rate, 3)
    starts = [[word["start"] for word in result["result"]] for result in (first, second)]  # type: ignore[attr-defined]
    assert starts[1] == pytest.approx([start + shift for start in starts[0]])


@pytest.mark.slow
def test_a_grammar_is_heard_as_hot_words_and_readings_are_given(
    model: Model, sound: tuple[bytes, int]
) -> None:
    samples, rate = sound
    kaldi = KaldiRecognizer(model, rate, '["the bridge", "[unk]"]')
    kaldi.SetMaxAlternatives(3)
    readings = results(kaldi, samples)[-1]["alternatives"]
    assert 1 <= len(readings) <= 3  # type: ignore[arg-type]
    assert readings[0]["text"].endswith("the bridge")  # type: ignore[index]


def test_partial_words_have_times_and_asking_changes_nothing(
    model: Model, sound: tuple[bytes, int]
) -> None:
    samples, rate = sound
    asked, plain = KaldiRecognizer(model, rate), KaldiRecognizer(model, rate)
    asked.SetPartialWords(True)
    asked.AcceptWaveform(samples[:64_000])
    plain.AcceptWaveform(samples[:64_000])
    partial = json.loads(asked.PartialResult())
    assert asked.PartialResult() == asked.PartialResult()
    assert [w["word"] for w in partial["partial_result"]] == partial["partial"].split()
    starts = [w["start"] for w in partial["partial_result"]]
    assert starts == sorted(starts)
    asked.AcceptWaveform(samples[64_000:])
    plain.AcceptWaveform(samples[64_000:])
    assert asked.FinalResult() == plain.FinalResult()


def test_a_reset_forgets(model: Model, sound: tuple[bytes, int]) -> None:
    samples, rate = sound
    kaldi = KaldiRecognizer(model, rate)
    kaldi.AcceptWaveform(samples)
    kaldi.Reset()
    assert json.loads(kaldi.FinalResult()) == {"text": ""}


def test_subtitles_have_so_many_words_a_cue(model: Model, sound: tuple[bytes, int]) -> None:
    samples, rate = sound
    srt = KaldiRecognizer(model, rate).SrtResult(io.BytesIO(samples), words_per_line=5)
    cues = srt.strip().split("\n\n")
    assert cues[0].splitlines()[0] == "1"
    assert [len(cue.splitlines()[2].split()) for cue in cues[:-1]] == [5] * (len(cues) - 1)


def test_what_vosk_would_not_understand_is_said_in_a_sentence(model: Model) -> None:
    with pytest.raises(ConfigError, match="English"):
        Model(lang="de")
    with pytest.raises(RivuletError, match=r"\.$"):
        Model("vosk-model-small-en-us-0.15")
    with pytest.raises(ConfigError, match="speaker"):
        SpkModel("model-spk")
    with pytest.raises(ConfigError, match="grammar"):
        KaldiRecognizer(model, 16_000, '{"a": 1}')
    with pytest.raises(ConfigError, match="JSON"):
        KaldiRecognizer(model, 16_000, "turn on the light")
    with pytest.raises(AudioError, match="text"):
        KaldiRecognizer(model, 16_000).AcceptWaveform("hello")
    with pytest.raises(AudioError, match="rate"):
        KaldiRecognizer(model, 1).AcceptWaveform(bytes(2))


def test_words_are_found_in_the_lexicon(model: Model) -> None:
    assert model.vosk_model_find_word("bridge") >= 0
    assert model.vosk_model_find_word("xqzzy") == -1


def test_every_name_of_vosk_that_a_script_for_one_stream_uses_is_there() -> None:
    vosk = pytest.importorskip("vosk")
    for name in ("Model", "KaldiRecognizer", "SpkModel", "SetLogLevel", "GpuInit", "GpuThreadInit"):
        assert hasattr(rivulet.vosk, name)
    theirs = {n for n, _ in inspect.getmembers(vosk.KaldiRecognizer, inspect.isfunction)}
    ours = {n for n, _ in inspect.getmembers(KaldiRecognizer, inspect.isfunction)}
    missing = {name for name in theirs - ours if not name.startswith("_")}
    assert missing == {"SetSpkModel"}
