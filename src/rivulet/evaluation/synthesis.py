"""Speech whose word times are known exactly, because a synthesizer made it: flite and eSpeak NG.

Both are asked through their C libraries (ctypes), which hand over the times with the sound. They
serve to judge an aligner, not to train or to test a recognizer.
"""

import ctypes
import ctypes.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rivulet.audio import Resampler, Samples, from_int16
from rivulet.errors import AlignmentError, EngineError
from rivulet.evaluation.ctm import SpokenWord

FLITE_VOICES = ("slt", "rms", "awb")
ESPEAK_VOICES = ("en-us",)
ESPEAK_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: a call returns when all was said
ESPEAK_PHONEMES = 1  # espeakINITIALIZE_PHONEME_EVENTS
EVENT_END, EVENT_WORD, EVENT_PHONEME = 0, 1, 7  # espeak_EVENT_TYPE
CHARS_UTF8 = 1


@dataclass(frozen=True)
class SpokenClip:
    """Mono 16 kHz samples (n,) and the words in them with their exact times."""

    samples: Samples
    words: tuple[SpokenWord, ...]


def speak(text: str, voice: str) -> SpokenClip:
    """Say `text` (upper case A-Z, apostrophe, space).

    Args:
        text: the words.
        voice: `flite:slt`, `flite:rms`, `flite:awb` or `espeak:en-us`.

    Raises:
        AlignmentError: the synthesizer said other words, such as a letter's name.
        EngineError: the voice is unknown or its library is not installed.
    """
    synthesizer, _, name = voice.partition(":")
    if voice not in voices():
        raise EngineError(f"there is no voice {voice!r}; use one of {', '.join(voices())}.")
    samples, rate, words = (_flite if synthesizer == "flite" else _espeak)(text.lower(), name)
    wanted = text.split()
    if [w.text for w in words] != wanted:
        raise AlignmentError(
            f"{voice} said {len(words)} words and the text has {len(wanted)} "
            f"({' '.join(wanted[:4])} ...); choose another sentence."
        )
    resampler = Resampler(rate)
    return SpokenClip(np.concatenate([resampler.push(samples), resampler.flush()]), tuple(words))


def voices() -> tuple[str, ...]:
    """Return the names that `speak` knows."""
    return (*(f"flite:{v}" for v in FLITE_VOICES), *(f"espeak:{v}" for v in ESPEAK_VOICES))


Spoken = tuple[Samples, int, list[SpokenWord]]


class _Wave(ctypes.Structure):
    """cst_wave of flite."""

    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT of eSpeak NG."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


def _flite(text: str, voice: str) -> Spoken:
    """A word's time is that of its first and last segment in flite's utterance structure."""
    lib = _library("flite", "flite", global_symbols=True)
    register = getattr(_library(f"flite_cmu_us_{voice}", "flite"), f"register_cmu_us_{voice}")
    pointer, text_p = ctypes.c_void_p, ctypes.c_char_p
    register.restype = pointer
    synth = _function(lib, "flite_synth_text", pointer, text_p, pointer)
    relation = _function(lib, "utt_relation", pointer, pointer, text_p)
    head = _function(lib, "relation_head", pointer, pointer)
    following = _function(lib, "item_next", pointer, pointer)
    number = _function(lib, "ffeature_float", ctypes.c_float, pointer, text_p)
    string = _function(lib, "ffeature_string", text_p, pointer, text_p)
    lib.flite_init()
    utterance = synth(text.encode(), register(None))
    words: list[SpokenWord] = []
    item = head(relation(utterance, b"Word"))
    while item:
        name = string(item, b"name").decode().upper()
        start = number(item, b"R:SylStructure.daughter1.daughter1.R:Segment.p.end")
        end = number(item, b"R:SylStructure.daughtern.daughtern.R:Segment.end")
        if name.startswith("'") and words:  # flite cuts IT'S in two
            words[-1] = SpokenWord(words[-1].text + name, words[-1].start, end)
        else:
            words.append(SpokenWord(name, start, end))
        item = following(item)
    made = _function(lib, "utt_wave", pointer, pointer)(utterance)
    wave = ctypes.cast(made, ctypes.POINTER(_Wave)).contents
    samples = from_int16(np.ctypeslib.as_array(wave.samples, (wave.num_samples,)))
    rate = int(wave.sample_rate)
    _function(lib, "delete_utterance", None, pointer)(utterance)
    return samples, rate, words


def _espeak(text: str, voice: str) -> Spoken:
    """A word ends where the pause after it or the next word begins."""
    lib = _library("espeak-ng", "espeak-ng")
    pieces: list[Samples] = []
    marks: list[tuple[int | None, int]] = []  # where in the text a word begins, None: pause; sample

    def take(wave: Any, count: int, events: Any) -> int:
        index = 0
        while events[index].type != EVENT_END:
            event = events[index]
            pause = event.type == EVENT_PHONEME and not event.id.string
            if event.type == EVENT_WORD or pause:
                marks.append((None if pause else event.text_position - 1, event.sample))
            index += 1
        if wave and count:
            pieces.append(from_int16(np.ctypeslib.as_array(wave, (count,))))
        return 0

    kind = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
    )
    callback = kind(take)
    rate = int(lib.espeak_Initialize(ESPEAK_SYNCHRONOUS, 0, None, ESPEAK_PHONEMES))
    lib.espeak_SetSynthCallback(callback)
    lib.espeak_SetVoiceByName(voice.encode())
    encoded = text.encode()
    lib.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, CHARS_UTF8, None, None)
    total = sum(len(piece) for piece in pieces)
    return np.concatenate(pieces), rate, _espeak_words(text, marks, total, rate)


def _espeak_words(
    text: str, marks: list[tuple[int | None, int]], total: int, rate: int
) -> list[SpokenWord]:
    """A word ends at the next mark; two marks inside one written word (DOG'S) are one word."""
    words: list[SpokenWord] = []
    begun = -1
    for index, (position, sample) in enumerate(marks):
        if position is None:
            continue
        end_s = (marks[index + 1][1] if index + 1 < len(marks) else total) / rate
        begin = text.rfind(" ", 0, position) + 1
        if begin == begun:
            words[-1] = SpokenWord(words[-1].text, words[-1].start, end_s)
        else:
            words.append(SpokenWord(text[begin:].split()[0].upper(), sample / rate, end_s))
        begun = begin
    return words


def _function(lib: Any, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(lib, name)
    function.restype, function.argtypes = result, arguments  # type: ignore[attr-defined]
    return function


def _library(name: str, package: str, global_symbols: bool = False) -> Any:
    path = ctypes.util.find_library(name)
    if path is None:
        raise EngineError(
            f"the synthesizer {package} is not installed (no library {name}); "
            f"install it, on Debian with `apt install {package}`."
        )
    return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL if global_symbols else ctypes.DEFAULT_MODE)
