"""`POST /v1/render`: finals as lines of JSON → txt, srt or vtt, by the writers of `transcribe`."""

import io
import json
import math
from typing import Any

from rivulet.events import DisplayToken, Final, Word
from rivulet.server.transcription import MEDIA_TYPES, RequestError
from rivulet.writers import open_writer

FORMATS = {"txt": "text/plain", "srt": MEDIA_TYPES["srt"], "vtt": MEDIA_TYPES["vtt"]}
BODY_BYTES = 8 << 20  # some thirty hours of speech


def rendered(body: bytes, format_name: str) -> str:
    """Return finals in another format.

    Raises:
        RequestError: the format is not known, or a line is no final.
    """
    if format_name not in FORMATS:
        raise RequestError(
            f"format {format_name[:40]!r} is not known; choose one of {tuple(FORMATS)}.",
            param="format",
        )
    out = io.StringIO()
    writer = open_writer(format_name, out, "", several=False)
    end_s = 0.0
    for number, line in enumerate(body.splitlines(), 1):
        final = _final(line, number)
        writer.write(final)
        end_s = final.end
    writer.close(end_s)
    return out.getvalue()


def _final(line: bytes, number: int) -> Final:
    try:
        values = json.loads(line)
        words = tuple(_word(word) for word in values["words"])
        tokens = values.get("tokens")
        shown = None if tokens is None else tuple(_token(t, len(words)) for t in tokens)
        text, segment = str(values["text"]), int(values["segment"])
        start, end, at = (_seconds(values[name]) for name in ("start", "end", "at"))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise RequestError(
            f"line {number} is no final event; send the finals of a stream, one a line."
        ) from error
    return Final(segment, text, words, start, end, at, tokens=shown)


def _word(word: dict[str, Any]) -> Word:
    start, end = _seconds(word["start"]), _seconds(word["end"])
    return Word(str(word["text"]), start, end, float(word["confidence"]))


def _token(token: dict[str, Any], words: int) -> DisplayToken:
    first, last = int(token["first"]), int(token["last"])
    if not 0 <= first <= last <= words:
        raise ValueError(f"token of words {first} to {last} of {words}")
    return DisplayToken(str(token["text"]), first, last)


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not (math.isfinite(seconds) and 0.0 <= seconds < 1e9):
        raise ValueError(f"{seconds} s")
    return seconds
