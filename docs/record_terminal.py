"""Draw README's picture: what `rivulet listen` shows while two clips of data/samples play.

python docs/record_terminal.py docs/images/listen.svg

The words and the times at which they appear are those of the shipped model; nothing is drawn by
hand. The clips go through a stream piece by piece, and every event becomes a frame of the picture.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

import rivulet

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
CLIPS = ("awb.flac", "rms.flac")
SAMPLE_RATE = 16_000
PAUSE_S = 1.2  # between clips: longer than the silence that ends a segment
END_S = 3.0  # the finished screen stays so long before the picture begins again
STEP_S = 0.16  # of sound handed over at a time; events do not depend on it

WIDTH, LINE, LEFT, TOP = 860, 26, 24, 64  # pixels
STYLE = """
  .screen { fill: #16181d } .bar { fill: #22252c }
  text { font: 16px ui-monospace, 'SF Mono', Menlo, Consolas, monospace; fill: #e6e6e6;
         white-space: pre }
  .time { fill: #7d8590 } .dim { fill: #6b7280 } .prompt { fill: #4ade80 }
"""


@dataclass(frozen=True)
class Frame:
    """What stands on the screen from `start_s` on: finished segments, then the open one."""

    start_s: float
    finals: tuple[tuple[float, str], ...]
    settled: str
    open: str


def frames() -> Iterator[Frame]:
    """Play the clips and yield a frame for every event."""
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE), np.float32)
    clips = [rivulet.audio.load(SAMPLES / name) for name in CLIPS]
    sound = np.concatenate([part for clip in clips for part in (clip, pause)])
    stream, formatter = rivulet.Recognizer.load().stream(), rivulet.Formatter()
    finals: tuple[tuple[float, str], ...] = ()
    yield Frame(0.0, finals, "", "")
    step = int(STEP_S * SAMPLE_RATE)
    pieces = [sound[begin : begin + step] for begin in range(0, len(sound), step)]
    for event in [event for piece in pieces for event in stream.accept(piece)]:
        shown = formatter.push(event)
        if isinstance(shown, rivulet.Final):
            finals = (*finals, (shown.start, shown.display))
            yield Frame(shown.at, finals, "", "")
        else:
            words = [token.text for token in shown.tokens or ()]
            settled, rest = words[: shown.stable_tokens], words[shown.stable_tokens :]
            yield Frame(shown.at, finals, " ".join(settled), " ".join(rest))


def draw(shown: list[Frame]) -> str:
    """Return the animated SVG; where nothing moves, its last frame stands."""
    total_s = shown[-1].start_s + END_S
    lines = max(len(frame.finals) for frame in shown) + 1
    height = TOP + (lines + 1) * LINE
    ends = [frame.start_s for frame in shown[1:]] + [total_s]
    groups = [
        _frame(frame, end_s, total_s, last=frame is shown[-1])
        for frame, end_s in zip(shown, ends, strict=True)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>rivulet listen: words appear while they are spoken</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="screen" width="{WIDTH}" height="{height}" rx="10"/>',
            f'<text x="{LEFT}" y="{TOP - LINE}"><tspan class="prompt">$</tspan> '
            "rivulet listen</text>",
            *groups,
            "</svg>\n",
        ]
    )


def _frame(frame: Frame, end_s: float, total_s: float, last: bool) -> str:
    begin, end = frame.start_s / total_s, min(1.0, end_s / total_s)
    values, times = ("0;1;0", f"0;{begin:.4f};{end:.4f}") if begin else ("1;0", f"0;{end:.4f}")
    rows = [_row(index, at, escape(text), "") for index, (at, text) in enumerate(frame.finals)]
    if frame.settled or frame.open:
        rows.append(_row(len(frame.finals), None, escape(frame.settled), escape(frame.open)))
    return (
        f'<g opacity="{int(last)}"><animate attributeName="opacity" calcMode="discrete" '
        f'values="{values}" keyTimes="{times}" dur="{total_s:.2f}s" repeatCount="indefinite"/>'
        + "".join(rows)
        + "</g>"
    )


def _row(index: int, at: float | None, settled: str, dim: str) -> str:
    time = "       " if at is None else f"{at:5.2f}  "
    gap = " " if settled and dim else ""
    return (
        f'<text x="{LEFT}" y="{TOP + index * LINE + 8}"><tspan class="time">{time}</tspan>'
        f'{settled}{gap}<tspan class="dim">{dim}</tspan></text>'
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(list(frames())), encoding="utf-8")
