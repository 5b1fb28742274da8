"""Pictures of `rivulet bench latency`, made from the document that its --json wrote."""

from pathlib import Path
from statistics import median
from typing import Any

from rivulet.errors import ConfigError

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe-Ito: seen by everyone
WIDTH_IN, DPI = 8.0, 130  # inches; 1040 pixels, as wide as a README shows
CDF_LIMIT_MS = (-250, 3000)
BEST_WORDS = 9  # a waterfall of about so many words can be read

Document = dict[str, Any]


def draw_all(document: Document, path: Path) -> list[Path]:
    """Write three PNGs beside each other: `…-cdf`, `…-waterfall`, `…-wer`; return their paths.

    Raises:
        ConfigError: matplotlib is not installed, or the folder does not exist.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist; make it first.")
    makers = {"cdf": draw_cdf, "waterfall": draw_waterfall, "wer": draw_wer}
    made = []
    for name, draw in makers.items():
        out = path.with_name(f"{path.stem}-{name}.png")
        figure = draw(document)
        figure.savefig(out, dpi=DPI, metadata={"Software": None})
        made.append(out)
    return made


def draw_cdf(document: Document) -> Any:
    """Share of words shown within so many milliseconds, one line per system."""
    figure, axes = _figure(3.6)
    for color, (name, words) in zip(COLORS, _words(document).items(), strict=False):
        late = sorted(word["first_ms"] for word in words)
        if late:
            share = [100 * (i + 1) / len(late) for i in range(len(late))]
            label = f"{name} (median {median(late):.0f} ms)"
            axes.step(late, share, where="post", color=color, linewidth=2, label=label)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set(
        xlim=CDF_LIMIT_MS,
        ylim=(0, 100),
        xlabel="from a word's true end to its first emission for good, ms",
        ylabel="hits, %",
        title="How late is a word?",
    )
    axes.legend(loc="lower right", frameon=False)
    return figure


def draw_waterfall(document: Document) -> Any:
    """One utterance of the first system: each word spoken, then waiting to be shown and settled."""
    name, words = next(iter(_words(document).items()))
    rows = _readable(words)
    figure, axes = _figure(1.6 + 0.32 * len(rows))
    for place, word in enumerate(rows):
        start, end = word["start_ms"], word["end_ms"]
        shown, settled = end + word["first_ms"], end + word["settled_ms"]
        axes.barh(place, end - start, left=start, color="0.35", height=0.6)
        axes.barh(place, shown - end, left=end, color=COLORS[4], height=0.35)
        axes.barh(place, settled - shown, left=shown, color=COLORS[0], height=0.35)
        axes.plot(
            end + word["final_ms"], place, marker="|", color=COLORS[2], markersize=11, mew=2.5
        )
    axes.set_yticks(range(len(rows)), [word["word"] for word in rows])
    axes.invert_yaxis()
    axes.set(xlabel="time, ms", title=f"One utterance, {name}")
    handles = [
        _patch("0.35", "spoken"),
        _patch(COLORS[4], "until shown for good"),
        _patch(COLORS[0], "until settled"),
        _patch(COLORS[2], "final"),
    ]
    axes.legend(handles=handles, loc="lower left", frameon=False, fontsize=8)
    return figure


def draw_wer(document: Document) -> Any:
    """Word error rate against median latency, one point per system and chunk size."""
    figure, axes = _figure(3.6)
    for color, (name, system) in zip(COLORS, document["systems"].items(), strict=False):
        points = [
            (run["first"]["p50_ms"], 100 * run["wer"], chunk)
            for chunk, run in system["chunks"].items()
        ]
        axes.plot([p[0] for p in points], [p[1] for p in points], "o-", color=color, label=name)
        for late, wer, chunk in points:
            axes.annotate(chunk, (late, wer), xytext=(3, 5), textcoords="offset points", fontsize=7)
    axes.set(
        xlabel="median latency of the first emission, ms; small numbers: chunk in ms",
        ylabel="word error rate, %",
        title="Accuracy against latency",
    )
    axes.margins(0.12)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.legend(loc="best", frameon=False)
    return figure


def _words(document: Document) -> dict[str, list[dict[str, Any]]]:
    """Every system's words at its first chunk size, as dicts."""
    columns = document["word_columns"]
    return {
        f"{name}, {system['words_chunk_ms']} ms chunks": [
            dict(zip(columns, word, strict=True)) for word in system["words"]
        ]
        for name, system in document["systems"].items()
    }


def _readable(words: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The clip whose number of hits is nearest to what can be read; the first such."""
    clips: dict[str, list[dict[str, Any]]] = {}
    for word in words:
        clips.setdefault(word["clip"], []).append(word)
    return min(clips.values(), key=lambda rows: abs(len(rows) - BEST_WORDS), default=[])


def draw_speed(numbers: Document) -> Any:
    """Streams that a core carries over streams in one step, and a mean block cut into its parts."""
    figure, axes = _figure(3.6)
    crowds, parts = numbers["crowds"], numbers["parts"]
    streams, carried = zip(*((c["streams"], c["streams_per_core"]) for c in crowds), strict=True)
    whole = sum(parts.values())
    shares = ", ".join(f"{name} {100 * ms / whole:.0f} %" for name, ms in parts.items())
    axes.plot(streams, carried, marker="o", color=COLORS[0], linewidth=2)
    for x, y in zip(streams, carried, strict=True):
        axes.annotate(f"{y:.0f}", (x, y), (0, 6), textcoords="offset points", ha="center")
    axes.set_xscale("log", base=2)
    axes.set_xticks(streams, [str(count) for count in streams])
    axes.set(
        ylim=(0, 1.2 * max(carried)),
        xlabel="live streams advanced together",
        ylabel="streams that a core carries",
        title=f"One block of one stream: {whole:.1f} ms ({shares})",
    )
    flame = axes.inset_axes((0.0, 0.93, 1.0, 0.05))
    left = 0.0
    for color, ms in zip(COLORS, parts.values(), strict=False):
        flame.barh(0, ms, left=left, color=color)
        left += ms
    flame.set_xlim(0, whole)
    flame.axis("off")
    return figure


def _figure(height_in: float) -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "pictures need matplotlib, which is not installed; "
            "install it with `pip install rivulet[bench]`."
        ) from error
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    return figure, axes


def _patch(color: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=color, label=label)
