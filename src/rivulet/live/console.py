"""Live text on a terminal (rich) and live transcripts in a pipe or a file.

A settled word is printed plain from the moment it is settled and never changes again.
"""

import json
import math
import time
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rivulet.events import Final, Partial
from rivulet.live.checks import InputWarning
from rivulet.live.listening import LiveSession
from rivulet.live.microphone import Gap
from rivulet.live.stream import LiveEvent, live_event_to_dict
from rivulet.text.subtitles import SubtitleLayout
from rivulet.writers import JsonWriter, Writer, open_writer

METER_CELLS = 20  # width of the level meter
METER_FLOOR_DB = -60.0  # an empty meter; full is 0 dBFS
REFRESH_S = 0.1  # the meter moves so often; text is drawn the moment it is there
LAG_SHOWN_S = 0.5  # a lag above is drawn in red


class LiveView:
    """The screen: finished segments scroll up, below them the open one and a line of meters."""

    def __init__(self, console: Console, device: str) -> None:
        """Draw on `console`."""
        self._console = console
        self._device = device
        self._open: Partial | None = None
        self._status = Text()
        self._drawn = -math.inf  # when the meters were drawn last
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveView":
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the meters; the text stays."""
        self._live.stop()

    def show(self, event: LiveEvent) -> None:
        """Draw an event."""
        if isinstance(event, Partial):
            self._open = event
        else:
            if isinstance(event, Final):
                self._open = None
            self._live.console.print(line_of(event))
        self._refresh()

    def meters(self, listening: LiveSession) -> None:
        """Redraw level, lag and drops, at most every 0.1 s."""
        now = time.monotonic()
        if now - self._drawn < REFRESH_S:
            return
        self._drawn = now
        dropped_s = listening.dropped_s
        self._status = status_line(listening.level_db, listening.lag_s, dropped_s, self._device)
        self._refresh()

    def _refresh(self) -> None:
        room = self._console.width * max(self._console.height - 3, 1)
        parts = [open_line(self._open, room)] if self._open and self._open.text else []
        self._live.update(Group(*parts, self._status), refresh=True)


def open_line(partial: Partial, room: int) -> Text:
    """Return the open segment's newest `room` characters, settled words plain, the others dim."""
    tokens = partial.tokens
    words = partial.text.split() if tokens is None else [token.text for token in tokens]
    settled = partial.stable if tokens is None else partial.stable_tokens
    dropped = 0
    while len(" ".join(words[dropped:])) > room and dropped < len(words) - 1:
        dropped += 1
    margin = " " * len(clock(partial.at))  # where the start time will stand: words stay in place
    line = Text(margin + ("… " if dropped else "  "))
    for index, word in enumerate(words[dropped:], dropped):
        if index > dropped:
            line.append(" ")
        line.append(word, style="" if index < settled else "dim")
    return line


def line_of(event: Final | Gap | InputWarning) -> Text:
    """Return what stays on the screen of a finished segment, a gap or a warning."""
    if isinstance(event, Final):
        return Text.assemble((f"{clock(event.start)}  ", "cyan"), event.display)
    if isinstance(event, Gap):
        return Text(f"{clock(event.start)}  {gap_text(event)}", style="red")
    return Text(f"warning: {event.message}", style="yellow")


def status_line(level_db: float, lag_s: float, dropped_s: float, device: str) -> Text:
    """Return level meter, lag, drops and the device's name."""
    share = min(max(1.0 - level_db / METER_FLOOR_DB, 0.0), 1.0)
    cells = round(share * METER_CELLS)
    line = Text.assemble(
        ("█" * cells, "red" if level_db > -1.0 else "green"),
        ("░" * (METER_CELLS - cells), "dim"),
        (f"  {max(level_db, -99.0):4.0f} dB", "dim"),
        (f"  lag {lag_s * 1000:4.0f} ms", "red" if lag_s > LAG_SHOWN_S else "dim"),
    )
    if dropped_s:
        line.append(f"  dropped {dropped_s:.2f} s", style="red")
    line.append(f"  {device}", style="dim")
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


class Transcript:
    """Live events in a file or a pipe: txt, srt, vtt, json or jsonl.

    A gap stands where the sound is missing: before the first segment that begins after it. In jsonl
    every event stands where it happened.
    """

    def __init__(
        self, format_name: str, out: TextIO, device: str, layout: SubtitleLayout | None = None
    ) -> None:
        """Write `format_name` to `out`; subtitles are set in `layout`."""
        self._out = out
        self._lines = format_name == "jsonl"
        self._gaps: list[Gap] = []
        self._told: list[dict[str, Any]] = []  # gaps and warnings of a JSON document
        self._document = format_name == "json"
        self._writer: Writer = (
            JsonWriter(self._dump, device)
            if self._document
            else open_writer(format_name, out, device, False, layout)
        )

    def write(self, event: LiveEvent) -> None:
        """Take any event."""
        if self._lines:
            self._out.write(json.dumps(live_event_to_dict(event)) + "\n")
            self._out.flush()
        elif self._document and isinstance(event, (Gap, InputWarning)):
            self._told.append(live_event_to_dict(event))
        elif isinstance(event, Gap):
            self._gaps.append(event)
        elif isinstance(event, Final):
            self._place_gaps(event.start)
            self._writer.write(event)

    def close(self, seconds: float) -> None:
        """Write what had to wait for the end of a session of `seconds`."""
        self._place_gaps(math.inf)
        self._writer.close(seconds)

    def _place_gaps(self, before_s: float) -> None:
        while self._gaps and self._gaps[0].start < before_s:
            gap = self._gaps.pop(0)
            self._writer.write(Final(-1, f"[{gap_text(gap)}]", (), gap.start, gap.end, gap.end))

    def _dump(self, document: dict[str, Any]) -> None:
        gaps = [told for told in self._told if told["type"] == "gap"]
        warnings = [told for told in self._told if told["type"] == "warning"]
        json.dump({**document, "gaps": gaps, "warnings": warnings}, self._out, indent=2)
        self._out.write("\n")


def gap_text(gap: Gap) -> str:
    """Return a gap in words."""
    return f"{gap.end - gap.start:.2f} s of sound lost: {gap.reason}"


def clock(seconds: float) -> str:
    """Return minutes, seconds and hundredths, with hours when there are any."""
    hundredths = round(seconds * 100)
    hours, rest = divmod(hundredths, 360_000)
    text = f"{rest // 6000:02}:{rest // 100 % 60:02}.{rest % 100:02}"
    return f"{hours}:{text}" if hours else text
