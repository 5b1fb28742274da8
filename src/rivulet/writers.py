"""Text out: txt, srt, vtt, json and jsonl; what a writer wrote is never rewritten."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Protocol, TextIO

from rivulet.events import Event, Final, Partial
from rivulet.text.subtitles import SubtitleLayout, cues

ON_REQUEST = ("alternatives", "hot_words")  # of a Final, written only where there are some
SHOWN = ("tokens", "stable_tokens")  # of an event, written only behind a Formatter
FORMATS = ("txt", "srt", "vtt", "json", "jsonl")


class Writer(Protocol):
    """Takes events as they come; `close` says how long the file was, in seconds."""

    def write(self, event: Event) -> None:
        """Take one event."""

    def close(self, seconds: float) -> None:
        """Write what had to wait for the end."""


class Formatter(Protocol):
    """What a writer needs of `rivulet.text.formatter.Formatter`."""

    def push(self, event: Event) -> Event:
        """Return the event with what is shown for it."""


class FormattingWriter:
    """Gives every event to a formatter first, if there is one."""

    def __init__(self, writer: Writer, formatter: Formatter | None) -> None:
        """Write through `writer`."""
        self._writer, self._formatter = writer, formatter

    def write(self, event: Event) -> None:
        """Write any event."""
        self._writer.write(self._formatter.push(event) if self._formatter else event)

    def close(self, seconds: float) -> None:
        """Write what had to wait for the end."""
        self._writer.close(seconds)


class TextWriter:
    """One line per segment, with the file's name before it if there are several."""

    def __init__(self, out: TextIO, file: str | None = None) -> None:
        """Write to `out`."""
        self._out = out
        self._prefix = f"{file}: " if file else ""

    def write(self, event: Event) -> None:
        """Write a finished segment; none if nothing of it is shown."""
        if isinstance(event, Final) and event.display:
            self._out.write(f"{self._prefix}{event.display}\n")
            self._out.flush()

    def close(self, seconds: float) -> None:
        """Nothing waits for the end."""


class SubtitleWriter:
    """SubRip or WebVTT: cues that can be read in their time."""

    def __init__(self, out: TextIO, kind: str, layout: SubtitleLayout | None = None) -> None:
        """Write `kind` "srt" or "vtt" to `out`."""
        self._out = out
        self._point = "," if kind == "srt" else "."
        self._numbered = kind == "srt"
        self._layout = layout or SubtitleLayout()
        self._cues = 0
        if kind == "vtt":
            out.write("WEBVTT\n\n")

    def write(self, event: Event) -> None:
        """Write a finished segment as cues."""
        if not isinstance(event, Final):
            return
        for cue in cues(event, self._layout):
            self._cues += 1
            if self._numbered:
                self._out.write(f"{self._cues}\n")
            start, end = (_clock(t, self._point) for t in (cue.start, cue.end))
            self._out.write(f"{start} --> {end}\n" + "\n".join(cue.lines) + "\n\n")
        self._out.flush()

    def close(self, seconds: float) -> None:
        """Nothing waits for the end."""


class JsonWriter:
    """One document per file, handed to `give` when the file is over."""

    def __init__(self, give: Callable[[dict[str, Any]], None], file: str) -> None:
        """Collect the segments of `file`."""
        self._give = give
        self._file = file
        self._finals: list[Final] = []

    def write(self, event: Event) -> None:
        """Keep a finished segment."""
        if isinstance(event, Final):
            self._finals.append(event)

    def close(self, seconds: float) -> None:
        """Hand over the document."""
        segments = [_segment(final) for final in self._finals]
        document = {"file": self._file, "seconds": round(seconds, 3)}
        document["text"] = " ".join(f.text for f in self._finals)
        if any(f.tokens is not None for f in self._finals):
            document["display"] = " ".join(f.display for f in self._finals if f.display)
        self._give({**document, "segments": segments})


class JsonLinesWriter:
    """One event a line, as it happens; with `"file"` if there are several."""

    def __init__(self, out: TextIO, file: str | None = None) -> None:
        """Write to `out`."""
        self._out = out
        self._file = file

    def write(self, event: Event) -> None:
        """Write any event."""
        line = event_to_dict(event)
        if self._file is not None:
            line = {"file": self._file, **line}
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()

    def close(self, seconds: float) -> None:
        """Nothing waits for the end."""


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return an event as plain data, `"type"` first; what is shown if a `Formatter` said it."""
    partial = isinstance(event, Partial)
    fields = asdict(replace(event, words=()) if partial else event)  # it shows no words
    shown = {name: fields.pop(name) for name in SHOWN if name in fields}
    unasked = {name for name in ON_REQUEST if not getattr(event, name, True)}
    if partial:
        unasked.add("words")  # a final has them
    fields = {k: v for k, v in fields.items() if k not in unasked}
    if event.tokens is not None:
        fields |= {"display": event.display, **shown}
    return {"type": "partial" if partial else "final", **fields}


def _segment(final: Final) -> dict[str, Any]:
    """Return a segment of a document."""
    names = ("start", "end", "text", "display", "words", "tokens", *ON_REQUEST)
    whole = event_to_dict(final)
    return {name: whole[name] for name in names if name in whole}


def open_writer(
    format_name: str,
    out: TextIO,
    file: str,
    several: bool,
    layout: SubtitleLayout | None = None,
) -> Writer:
    """Return the writer of one file; `several` files share `out`. Subtitles are set in `layout`."""
    if format_name == "txt":
        return TextWriter(out, file if several else None)
    if format_name in ("srt", "vtt"):
        return SubtitleWriter(out, format_name, layout)
    if format_name == "jsonl":
        return JsonLinesWriter(out, file if several else None)
    return JsonWriter(lambda document: _dump(document, out), file)


def _dump(document: Any, out: TextIO) -> None:
    json.dump(document, out, indent=2)
    out.write("\n")


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds."""
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"
