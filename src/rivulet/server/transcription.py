"""OpenAI's transcription answers, out of finals and partials; no socket."""

import io
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rivulet.errors import RivuletError
from rivulet.events import Event, Final
from rivulet.server.settled import SettledText
from rivulet.writers import event_to_dict, open_writer

FORMATS = ("json", "text", "srt", "vtt", "verbose_json", "jsonl")
MEDIA_TYPES = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "jsonl": "application/x-ndjson",
}
MARKS = ".,?!"
LEAST_CONFIDENCE = 1e-6  # below, a logarithm says no more


class RequestError(RivuletError):
    """A request that cannot be served: a sentence, the HTTP status, and the field at fault."""

    def __init__(self, sentence: str, status: int = 400, param: str | None = None) -> None:
        """Answer with `status`."""
        super().__init__(sentence)
        self.status = status
        self.param = param


@dataclass(frozen=True)
class Wishes:
    """What a client asks of a transcription."""

    response_format: str = "json"
    stream: bool = False
    words: bool = False
    segments: bool = True
    hot_words: dict[str, float] = field(default_factory=dict)


def wishes_of(fields: Iterable[tuple[str, str]], boost: float) -> Wishes:
    """Return what the form's text fields ask; what does not concern this recognizer is left out.

    Args:
        fields: names and values; lists come as `name[]`.
        boost: what a keyword gains, in nats.

    Raises:
        RequestError: a value cannot be used.
    """
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name.removesuffix("[]"), []).append(value)
    response_format = values.get("response_format", ["json"])[-1]
    if response_format not in FORMATS:
        raise RequestError(
            f"response_format {response_format[:40]!r} is not known; choose one of {FORMATS}.",
            param="response_format",
        )
    language = values.get("language", ["en"])[-1].lower()
    if language.split("-")[0] not in ("en", "english", ""):
        raise RequestError(
            f"language {language[:40]!r} has no model; this server hears English.",
            param="language",
        )
    granularities = values.get("timestamp_granularities", ["segment"])
    return Wishes(
        response_format,
        values.get("stream", ["false"])[-1].lower() in ("true", "1"),
        "word" in granularities,
        "segment" in granularities,
        dict.fromkeys(values.get("keywords", []), boost),
    )


def render(
    wishes: Wishes, finals: Sequence[Final], seconds: float, warnings: Sequence[str] = ()
) -> str:
    """Return the whole answer for a file of `seconds`; JSON says what was not as it should be."""
    text = " ".join(final.display for final in finals if final.display)
    if wishes.response_format == "json":
        usage = {"type": "duration", "seconds": math.ceil(seconds)}
        return json.dumps({"text": text, "usage": usage, **_warned(warnings)})
    if wishes.response_format == "verbose_json":
        answer = _verbose(wishes, finals, text, seconds)
        return json.dumps({**answer, **_warned(warnings)})
    if wishes.response_format == "text":
        return text + "\n"
    out = io.StringIO()
    writer = open_writer(wishes.response_format, out, "", several=False)
    for final in finals:
        writer.write(final)
    writer.close(seconds)
    return out.getvalue()


def server_sent(data: dict[str, Any]) -> str:
    """Return one server-sent event."""
    return f"data: {json.dumps(data)}\n\n"


class Deltas:
    """Events → the lines of a streamed answer."""

    def __init__(self, wishes: Wishes) -> None:
        """Answer with server-sent events, or with lines of JSON for `jsonl`."""
        self._plain = wishes.response_format == "jsonl"
        self._settled = SettledText()

    @property
    def media_type(self) -> str:
        """The answer's Content-Type."""
        return MEDIA_TYPES["jsonl"] if self._plain else "text/event-stream"

    def push(self, event: Event) -> str:
        """Return what is sent for one event; empty for nothing."""
        if self._plain:
            return json.dumps(event_to_dict(event)) + "\n"
        delta = self._settled.push(event)
        return server_sent({"type": "transcript.text.delta", "delta": delta}) if delta else ""

    def close(self, seconds: float, warnings: Sequence[str] = ()) -> str:
        """Return the last line, for a file of `seconds`."""
        if self._plain:
            told = [{"type": "warning", "message": sentence} for sentence in warnings]
            end = {"type": "end", "seconds": round(seconds, 3)}
            return "".join(json.dumps(line) + "\n" for line in (*told, end))
        return server_sent({"type": "transcript.text.done", "text": self._settled.text})

    def fail(self, error: RivuletError) -> str:
        """Return the last line where a file turns out to be damaged halfway."""
        if self._plain:
            return json.dumps({"type": "error", "message": str(error)}) + "\n"
        return server_sent({"error": error_body(str(error))["error"]})


def error_body(sentence: str, status: int = 400, param: str | None = None) -> dict[str, Any]:
    """Return an error as OpenAI's clients read it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": sentence, "type": kind, "param": param, "code": None}}


def _warned(warnings: Sequence[str]) -> dict[str, Any]:
    return {"warnings": list(warnings)} if warnings else {}


def _verbose(wishes: Wishes, finals: Sequence[Final], text: str, seconds: float) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": round(seconds, 3),
        "text": text,
        "usage": {"type": "duration", "seconds": math.ceil(seconds)},
    }
    if wishes.segments:
        answer["segments"] = [_segment(number, final) for number, final in enumerate(finals)]
    if wishes.words:
        answer["words"] = [word for final in finals for word in _words(final)]
    return answer


def _words(final: Final) -> Iterator[dict[str, Any]]:
    """Yield words as they are shown, without the marks behind them."""
    if final.tokens is None:
        yield from ({"word": w.text, "start": w.start, "end": w.end} for w in final.words)
        return
    for token in final.tokens:
        if covered := final.words[token.first : token.last]:
            text = token.text.rstrip(MARKS) or token.text
            yield {"word": text, "start": covered[0].start, "end": covered[-1].end}


def _segment(number: int, final: Final) -> dict[str, Any]:
    """Return a segment; Whisper's fields that have no meaning here say what they can.

    `avg_logprob` is the mean logarithm of the words' confidence; `tokens` are none; `temperature`
    and `no_speech_prob` are 0: nothing is sampled, and a segment exists where words were found.
    """
    encoded = final.display.encode()
    logs = [math.log(max(word.confidence, LEAST_CONFIDENCE)) for word in final.words]
    return {
        "id": number,
        "seek": round(final.start * 100),  # in Whisper's frames of 10 ms
        "start": final.start,
        "end": final.end,
        "text": final.display,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(sum(logs) / len(logs), 4) if logs else 0.0,
        "compression_ratio": round(len(encoded) / max(1, len(zlib.compress(encoded))), 4),
        "no_speech_prob": 0.0,
    }
