"""What a run has done, at its end: a sentence, summary.json, and a picture."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from rivulet.archive.ledger import Plan
from rivulet.archive.progress import clock
from rivulet.archive.recording import explained
from rivulet.archive.records import Result

POINTS = 1000  # of the curve: memory does not grow with the archive
KINDS = 12  # of errors in the picture
WORDS_OF_A_KIND = 6


class Summary:
    """Counts the results of one run."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.monotonic) -> None:
        """Begin; the clock `now` is in seconds."""
        self.files = 0
        self.errors: Counter[str] = Counter()
        self._folder = folder
        self._now = now
        self._begun = now()
        self._words = 0
        self._seconds = 0.0
        self._computing_s = 0.0
        self._curve = [(0.0, 0.0)]  # seconds since the beginning, hours heard

    def add(self, result: Result) -> None:
        """Count a result."""
        self.files += 1
        self._words += result.words
        self._seconds += result.seconds
        self._computing_s += result.elapsed_s
        if result.error:
            self.errors[kind_of(result.error, result.job.source)] += 1
        self._curve.append((self._now() - self._begun, self._seconds / 3600))
        if len(self._curve) > 2 * POINTS:
            self._curve = [*self._curve[:-1:2], self._curve[-1]]

    def close(self, plan: Plan) -> str:
        """Write summary.json and, where matplotlib is, summary.png; return all in a sentence.

        Raises:
            ConfigError: they cannot be written.
        """
        took_s = self._now() - self._begun
        numbers = {
            "files": self.files,
            "left": plan.waiting - self.files,
            "done_before": plan.done,
            "failed": sum(self.errors.values()),
            "hours": round(self._seconds / 3600, 4),
            "words": self._words,
            "took_s": round(took_s, 2),
            "times_real_time": round(self._seconds / max(took_s, 1e-3), 2),
            "computing_s": round(self._computing_s, 2),
            "errors": dict(self.errors.most_common()),
        }
        path = self._folder / "summary.json"
        with explained(path):
            path.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
        if self.files and find_spec("matplotlib") is not None:
            self._draw(self._folder / "summary.png")
        failed = f", {numbers['failed']} failed (errors.jsonl)" if self.errors else ""
        return (
            f"{self.files} files{failed}, {self._seconds / 3600:.2f} h of sound and {self._words} "
            f"words in {clock(took_s)}: {numbers['times_real_time']:.1f} × real time."
        )

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.0, 3.2 + 0.25 * len(self.errors)), layout="constrained")
        hours, *kinds = figure.subplots(
            1 + bool(self.errors), 1, squeeze=False, height_ratios=[3, 2] if self.errors else None
        )[:, 0]
        scale, unit = (3600, "h") if self._curve[-1][0] > 7200 else (60, "min")
        hours.plot([at / scale for at, _ in self._curve], [heard for _, heard in self._curve])
        hours.set(xlabel=f"time, {unit}", ylabel="hours of sound", ylim=(0, None), xlim=(0, None))
        for axes in kinds:
            named = self.errors.most_common(KINDS)[::-1]
            axes.barh([kind for kind, _ in named], [count for _, count in named])
            axes.set(xlabel="files that failed")
        with explained(path):
            figure.savefig(path, dpi=100)


def kind_of(error: str, source: str) -> str:
    """Return what is the same in the sentences of errors of one kind: no names, no numbers."""
    said = error.replace(source, " ").replace(source.rpartition("/")[2], " ")
    said = re.split(r"[;:(]", said.strip(" :"))[0]
    words = re.sub(r"\S*[\d/]\S*", "…", said).split()
    return " ".join(words[:WORDS_OF_A_KIND]) or "something else"
