"""How an archive goes: a bar and a table of workers on a terminal, a line a minute in a log."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from rivulet.archive.ledger import Plan
from rivulet.archive.records import Result

LOG_S = 60.0  # between two lines in a log
SHOWN_S = 0.25  # between two pictures on a terminal
ROWS = 16  # workers that are shown


class WorkerView(Protocol):
    """What is shown of a worker."""

    @property
    def name(self) -> str:
        """Which one it is."""

    @property
    def heard(self) -> dict[str, float]:
        """Seconds heard of each of its files."""

    @property
    def deaths(self) -> int:
        """How often it had to be started anew."""


@dataclass
class Tally:
    """What was done since `begun`, on a clock in seconds."""

    plan: Plan
    begun: float
    files: int = 0
    errors: int = 0
    size: int = 0
    seconds: float = 0.0
    under_way_s: float = 0.0

    def add(self, result: Result) -> None:
        """Count a result."""
        self.files += 1
        self.errors += result.error is not None
        self.size += max(0, result.job.size)
        self.seconds += result.seconds

    def speed(self, now: float) -> float:
        """Return how many times faster than real time the files are heard."""
        return (self.seconds + self.under_way_s) / max(1e-3, now - self.begun)

    def left_s(self, now: float) -> float | None:
        """Return the seconds that the rest will take, by its bytes or files; None at first."""
        by_size = self.plan.size > 0
        done = self.size if by_size else self.files
        if not done:
            return None
        total = self.plan.size if by_size else self.plan.waiting
        return max(0, total - done) / done * (now - self.begun)

    def sentence(self, now: float) -> str:
        """Say all of it."""
        left_s = self.left_s(now)
        parts = [
            f"{self.files} of {self.plan.waiting} files",
            f"{self.seconds / 3600:.2f} h",
            f"{self.speed(now):.1f} × real time",
        ]
        if self.errors:
            parts.append(f"{self.errors} failed")
        if left_s is not None:
            parts.append(f"{clock(left_s)} left")
        return ", ".join(parts)


@dataclass
class Progress:
    """Shows how it goes, on standard error; use it in a `with` block.

    console: where. now: the clock, in seconds.
    """

    plan: Plan
    console: Console = field(default_factory=lambda: Console(stderr=True))
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """Begin to count."""
        self._tally = Tally(self.plan, self.now())
        self._workers: Sequence[WorkerView] = ()
        self._due = self.now() + (SHOWN_S if self.console.is_terminal else LOG_S)
        self._live: Live | None = None
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(),
            TaskProgressColumn(), console=self.console, expand=True,
        )  # fmt: skip
        self._task = self._bar.add_task("files", total=self.plan.waiting)

    def __enter__(self) -> "Progress":
        """Begin to show."""
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the picture away."""
        if self._live is not None:
            self._live.stop()

    def done(self, result: Result) -> None:
        """Count a result; one that failed is said at once."""
        self._tally.add(result)
        self._bar.update(self._task, completed=self._tally.files)
        if result.error:
            self.console.print(Text(f"rivulet: {result.error}"), soft_wrap=True)

    def show(self, workers: Sequence[WorkerView]) -> None:
        """Show it, if it is time."""
        self._workers = workers
        self._tally.under_way_s = sum(sum(worker.heard.values()) for worker in workers)
        now = self.now()
        if now < self._due:
            return
        if self._live is not None:
            self._due = now + SHOWN_S
            self._live.update(self._picture(now), refresh=True)
        else:
            self._due = now + LOG_S
            self.console.print(Text(f"rivulet: {self._tally.sentence(now)}"), soft_wrap=True)

    def _picture(self, now: float) -> RenderableType:
        return Group(self._bar, Text(self._tally.sentence(now)), self._table())

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in ("worker", "files", "heard", "deaths", "longest under way"):
            table.add_column(title, no_wrap=True)
        for worker in self._workers[:ROWS]:
            heard = worker.heard
            longest = max(heard, key=lambda name: heard[name], default="")
            table.add_row(
                worker.name,
                str(len(heard)),
                clock(sum(heard.values())),
                str(worker.deaths),
                Text(longest, overflow="ellipsis"),
            )
        if len(self._workers) > ROWS:
            table.add_row(f"and {len(self._workers) - ROWS} more")
        return table


def clock(seconds: float) -> str:
    """Return a length of time as hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
