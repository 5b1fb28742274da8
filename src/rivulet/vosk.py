"""vosk's Python interface, so that a script made for vosk changes one import.

    from rivulet.vosk import KaldiRecognizer, Model

The names and the JSON are vosk's (vosk-api, `python/vosk/__init__.py`): text in lower case, times
in seconds from the first sample. What vosk answers with a silent exit is a `RivuletError` here.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rivulet.checkpoint import DEFAULT_NAME
from rivulet.errors import AudioError, ConfigError
from rivulet.events import Event, Final, Partial, Word
from rivulet.recognizer import Recognizer
from rivulet.stream import Stream

GRAMMAR_BOOST = 4.0  # nats that a phrase of the grammar gains, as `--hot-word` gives by default
UNKNOWN = "[unk]"  # vosk's word for everything outside the grammar; it boosts nothing
SAMPLE_BYTES = 2  # vosk hears int16, little-endian, mono


@dataclass
class ReplyOptions:
    """What vosk's JSON holds: words with times, the same in partials, and n-best."""

    words: bool = False
    partial_words: bool = False
    max_alternatives: int = 0


@dataclass
class Replies:
    """Events in, vosk's JSON out; times move by `offset_s` after a reset."""

    options: ReplyOptions = field(default_factory=ReplyOptions)
    offset_s: float = 0.0
    _finals: list[Final] = field(default_factory=list)
    _partial: str = ""

    def take(self, events: Iterable[Event]) -> bool:
        """Remember what the latest audio said; return whether a segment ended."""
        self._finals.clear()
        for event in events:
            if isinstance(event, Final):
                self._finals.append(event)
                self._partial = ""
            elif isinstance(event, Partial):
                self._partial = event.text
        return bool(self._finals)

    def partial(self, words: Sequence[Word] = ()) -> str:
        """Return `{"partial": …}`, with the open segment's `words` where they are asked for."""
        reply: dict[str, Any] = {"partial": self._partial.lower()}
        if self.options.partial_words and self._partial:
            reply["partial_result"] = [self._word(word) for word in words]
        return _dump(reply)

    def result(self) -> str:
        """Return what ended, once: `{"text": …}`, `result` and `alternatives` where asked for."""
        finals, self._finals = self._finals, []
        words = [self._word(word) for word in chain.from_iterable(f.words for f in finals)]
        text = _joined(final.text for final in finals)
        if self.options.max_alternatives > 0:
            return _dump({"alternatives": self._alternatives(finals, text, words)})
        reply: dict[str, Any] = {"text": text}
        if self.options.words and words:
            reply = {"result": words, **reply}
        return _dump(reply)

    def final_result(self, events: Iterable[Event]) -> str:
        """Return what ended and what `finish` added, and begin with an empty partial."""
        ended = list(self._finals)
        self.take(events)
        self._finals[:0] = ended
        self._partial = ""
        return self.result()

    def _alternatives(
        self, finals: list[Final], text: str, words: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the readings, the best first; of several segments the n-th of each are joined."""
        count = max((len(final.alternatives) for final in finals), default=0)
        count = min(max(count, 1), self.options.max_alternatives)
        readings: list[dict[str, Any]] = []
        for rank in range(count):
            chosen = [
                f.alternatives[min(rank, len(f.alternatives) - 1)] for f in finals if f.alternatives
            ]
            best = rank == 0 or len(chosen) < len(finals)
            reading: dict[str, Any] = {
                "confidence": round(sum(a.score for a in chosen), 6),
                "text": text if best else _joined(a.text for a in chosen),
            }
            if rank == 0 and self.options.words and words:
                reading["result"] = [{k: v for k, v in w.items() if k != "conf"} for w in words]
            readings.append(reading)
        return readings

    def _word(self, word: Word) -> dict[str, Any]:
        return {
            "conf": round(word.confidence, 6),
            "end": round(word.end + self.offset_s, 3),
            "start": round(word.start + self.offset_s, 3),
            "word": word.text.lower(),
        }


def parse_grammar(grammar: str) -> dict[str, float]:
    """Return a grammar, a JSON list of phrases, as hot words.

    Raises:
        ConfigError: it is none.
    """
    try:
        return grammar_boosts(json.loads(grammar))
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"a grammar of {len(grammar)} characters is no JSON ({error}); "
            'give for example \'["turn on the light", "[unk]"]\'.'
        ) from error


def grammar_boosts(phrases: Sequence[str]) -> dict[str, float]:
    """Return the phrases of a vosk grammar as hot words, with their boosts in nats.

    Raises:
        ConfigError: they are no list of strings.
    """
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise ConfigError(
            f"a grammar is a JSON list of phrases, not {type(phrases).__name__}; "
            'give for example ["turn on the light", "[unk]"].'
        )
    kept = (phrase.replace(UNKNOWN, " ").strip() for phrase in phrases)
    return {phrase: GRAMMAR_BOOST for phrase in kept if phrase}


class Model:
    """A loaded model; any number of recognizers use it at once."""

    def __init__(
        self, model_path: str | None = None, model_name: str | None = None, lang: str | None = None
    ) -> None:
        """Load rivulet's model by folder or name; without either the default.

        Raises:
            CheckpointError: there is no such model.
            ConfigError: the language is not English.
        """
        if lang is not None and lang.lower().replace("_", "-").split("-")[0] != "en":
            raise ConfigError(f"the language {lang!r} has no model; rivulet hears English (en-us).")
        self.recognizer = Recognizer.load(model_path or model_name or DEFAULT_NAME)

    def vosk_model_find_word(self, word: str) -> int:
        """Return the word's number in the lexicon, -1 if it has none."""
        words = self.recognizer.decoding.lexicon
        return words.index(word.upper()) if word.upper() in words else -1


class SpkModel:
    """vosk's speaker model, which rivulet does not have."""

    def __init__(self, model_path: str) -> None:
        """Say so.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"the speaker model {Path(model_path).name} cannot be loaded: rivulet tells no "
            "speakers apart; leave SpkModel out."
        )


class KaldiRecognizer:
    """One live signal, int16 mono at `sample_rate` Hz, with vosk's methods."""

    def __init__(self, model: Model, sample_rate: float, grammar: str | None = None) -> None:
        """Begin at time 0; `grammar` is a JSON list of phrases, which are hot words here.

        Raises:
            AudioError: the rate is outside 4 to 384 kHz.
            ConfigError: a phrase cannot be used.
        """
        self._model = model
        self._rate = int(sample_rate)
        self._options = ReplyOptions()
        self._replies = Replies(self._options)
        self._boosts = parse_grammar(grammar) if grammar else {}
        self._heard = 0  # samples before the open stream
        self._fed = 0  # samples given to the open stream
        self._odd = b""  # half a sample that waits for its other byte
        self._stream: Stream | None = None

    def SetWords(self, enable_words: bool) -> None:  # noqa: N802 (vosk's name, as all below)
        """Give words with times and confidence in results."""
        self._options.words = bool(enable_words)

    def SetPartialWords(self, enable_partial_words: bool) -> None:  # noqa: N802
        """Give words with times and confidence in partial results."""
        self._options.partial_words = bool(enable_partial_words)

    def SetMaxAlternatives(self, max_alternatives: int) -> None:  # noqa: N802
        """Give so many readings; more than now take effect with the next stream."""
        self._options.max_alternatives = int(max_alternatives)

    def SetGrammar(self, grammar: str) -> None:  # noqa: N802
        """Expect these phrases from the next stream on."""
        self._boosts = parse_grammar(grammar)

    def SetNLSML(self, enable_nlsml: bool) -> None:  # noqa: N802
        """Refuse NLSML.

        Raises:
            ConfigError: it was asked for.
        """
        if enable_nlsml:
            raise ConfigError("results are JSON and not NLSML; leave SetNLSML out.")

    def AcceptWaveform(self, data: bytes | bytearray | memoryview | str) -> int:  # noqa: N802
        """Hear int16 samples; return 1 if a segment ended, else 0.

        Raises:
            AudioError: the data is no sound.
        """
        if isinstance(data, str):
            raise AudioError(f"{len(data)} characters of text are no sound; give int16 bytes.")
        data = self._odd + bytes(data)
        whole = len(data) - len(data) % SAMPLE_BYTES
        self._odd = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").astype(np.int16, copy=False)
        stream = self._open()
        self._fed += len(samples)
        return int(self._replies.take(stream.accept(samples)))

    def Result(self) -> str:  # noqa: N802
        """Return the segment that ended with the latest data, as JSON."""
        return self._replies.result()

    def PartialResult(self) -> str:  # noqa: N802
        """Return the open segment as it reads now, as JSON; asking changes nothing."""
        words = self._stream.words() if self._stream and self._options.partial_words else ()
        return self._replies.partial(words)

    def FinalResult(self) -> str:  # noqa: N802
        """Decode to the last sample and return what is left, as JSON; more audio may follow."""
        reply = self._replies.final_result(self._stream.finish() if self._stream else [])
        self._begin_anew()
        return reply

    def Reset(self) -> None:  # noqa: N802
        """Forget what was heard since the latest result."""
        self._begin_anew()
        self._replies = Replies(self._options, self._replies.offset_s)

    def SrtResult(self, stream: BinaryIO, words_per_line: int = 7) -> str:  # noqa: N802
        """Hear a whole binary stream and return SubRip with so many words a cue."""
        self._options.words = True
        replies = [json.loads(reply) for reply in self._replies_to(stream)]
        lines = [
            reply["result"][first : first + words_per_line]
            for reply in replies
            for first in range(0, len(reply.get("result", ())), words_per_line)
        ]
        return "".join(_cue(number, line) for number, line in enumerate(lines, 1))

    def _replies_to(self, stream: BinaryIO) -> Iterator[str]:
        while data := stream.read(4000):
            if self.AcceptWaveform(data):
                yield self.Result()
        yield self.FinalResult()

    def _open(self) -> Stream:
        if self._stream is None:
            count = max(0, self._options.max_alternatives)
            recognizer = self._model.recognizer.with_alternatives(count)
            self._stream = recognizer.stream(self._rate, self._boosts)
        return self._stream

    def _begin_anew(self) -> None:
        self._heard += self._fed
        self._fed = 0
        self._odd = b""
        self._stream = None
        self._replies.offset_s = self._heard / self._rate


def SetLogLevel(level: int) -> None:  # noqa: N802
    """Do nothing: rivulet writes no log of its own."""


def GpuInit() -> None:  # noqa: N802
    """Do nothing: rivulet runs on the CPU."""


def GpuThreadInit() -> None:  # noqa: N802
    """Do nothing: rivulet runs on the CPU."""


def _joined(texts: Iterable[str]) -> str:
    return " ".join(text.lower() for text in texts if text)


def _dump(reply: dict[str, Any]) -> str:
    """Return JSON laid out as vosk lays it out."""
    return json.dumps(reply, indent=2, separators=(",", " : "), ensure_ascii=False)


def _cue(number: int, words: list[dict[str, Any]]) -> str:
    start, end = (_clock(t) for t in (words[0]["start"], words[-1]["end"]))
    return f"{number}\n{start} --> {end}\n{' '.join(word['word'] for word in words)}\n\n"


def _clock(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"
