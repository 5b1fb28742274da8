"""What is done: an SQLite file in the folder of results, so that a killed run goes on.

A text takes its place before the ledger commits. So after a kill the ledger knows too little at the
most, never too much: what it does not know is done again and puts the same text in the same place.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rivulet.archive.members import sha256
from rivulet.archive.records import Found, Job, Result, Settings
from rivulet.archive.stored import STATE_FOLDER, explained, printable, stored, text_of
from rivulet.errors import ConfigError

OWN_FILES = ("results.parquet", "errors.jsonl", "summary.json", "summary.png", "index.sqlite")
WAITING, DONE, FAILED = 0, 1, 2  # states of an input
PAGE = 1000  # inputs read at a time: memory does not grow with the archive
TABLES = """
CREATE TABLE IF NOT EXISTS inputs (
  place TEXT PRIMARY KEY, source NOT NULL, size INTEGER NOT NULL, stamp TEXT NOT NULL,
  run INTEGER NOT NULL, state INTEGER NOT NULL, digest TEXT, text_bytes INTEGER,
  seconds REAL, words INTEGER, text TEXT, confidence REAL, elapsed_s REAL, error TEXT,
  warnings TEXT, finished REAL
);
CREATE INDEX IF NOT EXISTS by_size ON inputs (run, state, size DESC, place);
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Row:
    """What is known of an input that is done: one row of results.parquet.

    file: the source. text_file: below the folder of results, None where nothing could be heard.
    """

    file: str
    text_file: str | None
    seconds: float
    words: int
    text: str
    confidence: float
    real_time_factor: float | None
    error: str | None
    warnings: str | None


@dataclass
class Plan:
    """How many inputs are new, changed, done, or failed before; and bytes that are to be read."""

    new: int = 0
    changed: int = 0
    done: int = 0
    failed: int = 0
    size: int = 0

    @property
    def waiting(self) -> int:
        """Inputs that are to be done."""
        return self.new + self.changed

    @property
    def total(self) -> int:
        """All inputs."""
        return self.waiting + self.done + self.failed


@dataclass(frozen=True)
class _Known:
    """What the ledger knows of an input."""

    source: str
    size: int
    stamp: str
    run: int
    state: int
    digest: str | None
    text_bytes: int | None

    def is_at(self, found: Found) -> bool:
        return (self.size, self.stamp) == (found.size, found.stamp)


class Ledger:
    """The inputs of one folder of results, and what came of them; one driver at a time holds it."""

    def __init__(self, folder: Path) -> None:
        """Open or begin the ledger of `folder`.

        Raises:
            ConfigError: another run holds it, or it cannot be written.
        """
        self._folder = folder
        with explained(folder):
            (folder / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
            path = folder / STATE_FOLDER / "ledger.sqlite"
            self._db = sqlite3.connect(path, timeout=0.5, isolation_level=None)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")  # ends with the process
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost seconds of work
            self._db.executescript(TABLES)
            self._begin()
        self._run = int(self._about("run") or 0)
        self._suffix = ""

    def __enter__(self) -> "Ledger":
        """Enter a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Commit and let go."""
        try:
            if self._db.in_transaction:  # a full disk has ended it, and its sentence counts
                self.commit()
        finally:
            self._db.close()

    def settle(self, settings: Settings) -> None:
        """Hold every run to the settings of the first.

        Raises:
            ConfigError: they differ; the sentence says in what.
        """
        self._suffix = settings.format
        before = self._about("settings")
        if before is None or not self._has_results():
            self._write_about("settings", settings.to_json())
            self.commit()
            return
        old, new = _flat(json.loads(before)), _flat(json.loads(settings.to_json()))
        for values in (old, new):
            values.pop("model", None)  # a name or a folder: the digest says whether it is the same
        differ = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if differ:
            named = "; ".join(f"{name} {old.get(name)}, now {new.get(name)}" for name in differ[:3])
            more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
            raise ConfigError(
                f"the texts in {self._folder} were made with other settings ({named}{more}); leave "
                "them as they were, name another --output, or do everything again with --restart."
            )

    def _has_results(self) -> bool:
        with explained(self._folder):
            found = self._db.execute("SELECT 1 FROM inputs WHERE state<>? LIMIT 1", (WAITING,))
            return found.fetchone() is not None

    def forget(self) -> None:
        """Forget all results and delete their texts, so that everything is done again."""
        suffix = json.loads(self._about("settings") or "{}").get("format", "")
        with explained(self._folder):
            for (place,) in self._db.execute("SELECT place FROM inputs"):
                with suppress(OSError):
                    (self._folder / f"{place}.{suffix}").unlink()
            for name in OWN_FILES:
                (self._folder / name).unlink(missing_ok=True)
            self._db.execute("DELETE FROM inputs")
            self._db.execute("DELETE FROM about")
        self.commit()

    def plan(self, found: Iterable[Found], verify: bool = False, retry: bool = False) -> Plan:
        """Decide what is to be done of what a listing found.

        Args:
            found: the inputs.
            verify: compare what is in the files too, where size and time are the same.
            retry: do again what failed.

        Raises:
            ConfigError: two inputs would have the same text.
        """
        self._run += 1
        self._write_about("run", str(self._run))
        plan = Plan()
        for one in found:
            with explained(self._folder):
                self._plan_one(one, plan, verify, retry)
        self._forget_gone()
        self.commit()
        return plan

    def _forget_gone(self) -> None:
        """Forget what failed before and is no more."""
        with explained(self._folder):
            failed = self._db.execute(
                "SELECT place, source FROM inputs WHERE state=? AND run<?", (FAILED, self._run)
            ).fetchall()
            gone = [
                (place,)
                for place, source in failed
                if "://" not in (name := text_of(source)) and not os.path.exists(name)
            ]
            self._db.executemany("DELETE FROM inputs WHERE place=?", gone)

    def _plan_one(self, found: Found, plan: Plan, verify: bool, retry: bool) -> None:
        known = self._known(found.place)
        self._refuse_own_files(found)
        if known is not None:
            if known.run == self._run and known.source == found.source:
                return  # an input that is given twice is one
            self._refuse_sharing(found, known)
            known_text = self._has_text(found.place, known)
            if known.state != WAITING and known_text and _is_same(found, known, verify):
                plan.failed += known.state == FAILED and not retry
                plan.done += known.state == DONE
                state = WAITING if known.state == FAILED and retry else known.state
                plan.changed += state == WAITING
                plan.size += max(0, found.size) if state == WAITING else 0
                self._note(found, state)
                return
        plan.new += known is None or known.state == WAITING
        plan.changed += known is not None and known.state != WAITING
        plan.size += max(0, found.size)
        self._note(found, WAITING)

    def _known(self, place: str) -> _Known | None:
        row = self._db.execute(
            "SELECT source, size, stamp, run, state, digest, text_bytes FROM inputs WHERE place=?",
            (place,),
        ).fetchone()
        return _Known(text_of(row[0]), *row[1:]) if row else None

    def _refuse_sharing(self, found: Found, known: _Known) -> None:
        """Refuse another input with the same text; one that was moved is the same."""
        if os.path.abspath(known.source) == found.source or known.source == found.source:
            return
        if known.run == self._run or "://" in known.source or os.path.exists(known.source):
            raise shared(known.source, found, self._suffix)

    def _refuse_own_files(self, found: Found) -> None:
        text = f"{found.place}.{self._suffix}"
        if text in OWN_FILES:
            raise ConfigError(
                f"the text of {found.source} would be {text}, which the archive writes itself; "
                "rename the input or choose another --format."
            )

    def _has_text(self, place: str, known: _Known) -> bool:
        """Whether the text is there as it was written; a power cut may have taken it."""
        if known.text_bytes is None:
            return True
        try:
            size = os.stat(self._folder / f"{place}.{self._suffix}").st_size
        except OSError:
            return False
        return size == known.text_bytes

    def _note(self, found: Found, state: int) -> None:
        self._db.execute(
            "INSERT INTO inputs (place, source, size, stamp, run, state) VALUES (?,?,?,?,?,?) "
            "ON CONFLICT (place) DO UPDATE SET source=excluded.source, size=excluded.size, "
            "stamp=excluded.stamp, run=excluded.run, state=excluded.state",
            (found.place, stored(found.source), found.size, found.stamp, self._run, state),
        )

    def waiting(self) -> Iterator[Job]:
        """Yield what this run has to do, the largest first; results may be added meanwhile."""
        last: tuple[int, str] | None = None
        while True:
            size, place = last or (1 << 62, "")
            rows = self._read(
                "SELECT source, place, size FROM inputs WHERE run=? AND state=? "
                "AND (size < ? OR (size = ? AND place > ?)) ORDER BY size DESC, place LIMIT ?",
                (self._run, WAITING, size, size, place, PAGE),
            )
            for row in rows:
                yield Job(text_of(row[0]), row[1], row[2])
            if len(rows) < PAGE:
                return
            last = (rows[-1][2], rows[-1][1])

    def add(self, result: Result, text_bytes: int | None) -> None:
        """Note a result whose text, of so many bytes, is in its place; `commit` makes it last."""
        with explained(self._folder):
            self._db.execute(
                "UPDATE inputs SET state=?, digest=?, text_bytes=?, seconds=?, words=?, text=?, "
                "confidence=?, elapsed_s=?, error=?, warnings=?, finished=? WHERE place=?",
                (
                    FAILED if result.error else DONE,
                    result.digest,
                    text_bytes,
                    round(result.seconds, 3),
                    result.words,
                    result.text,
                    result.confidence,
                    result.elapsed_s,
                    result.error and printable(result.error),
                    printable(" ".join(result.warnings)) or None,
                    time.time(),
                    result.job.place,
                ),
            )

    def rows(self) -> Iterator[Row]:
        """Yield what is done, failed or not, by the texts' places."""
        last = ""
        while True:
            rows = self._read(
                "SELECT place, source, text_bytes, seconds, words, text, confidence, elapsed_s, "
                "error, warnings FROM inputs WHERE state<>? AND place>? ORDER BY place LIMIT ?",
                (WAITING, last, PAGE),
            )
            for (
                place,
                source,
                text_bytes,
                seconds,
                words,
                text,
                confidence,
                elapsed_s,
                *said,
            ) in rows:
                text_file = f"{place}.{self._suffix}" if text_bytes is not None else None
                factor = elapsed_s / seconds if seconds else None
                file = printable(text_of(source))
                yield Row(file, text_file, seconds, words, text, confidence, factor, *said)
            if len(rows) < PAGE:
                return
            last = rows[-1][0]

    def errors(self) -> Iterator[tuple[str, str]]:
        """Yield the source of every input that failed, and the sentence."""
        rows = self._read(
            "SELECT source, error FROM inputs WHERE state=? ORDER BY place", (FAILED,)
        )
        for source, error in rows:
            yield printable(text_of(source)), error

    def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with explained(self._folder):
            return self._db.execute(query, values).fetchall()

    def commit(self) -> None:
        """Make everything last that was added."""
        with explained(self._folder):
            self._db.execute("COMMIT")
            self._begin()

    def _begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def _about(self, name: str) -> str | None:
        with explained(self._folder):
            row = self._db.execute("SELECT value FROM about WHERE name=?", (name,)).fetchone()
        return row[0] if row else None

    def _write_about(self, name: str, value: str) -> None:
        with explained(self._folder):
            self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))


def shared(other: str, found: Found, suffix: str) -> ConfigError:
    """Return what to say of two inputs with one text."""
    return ConfigError(
        f"{other} and {found.source} would share the text {found.place}.{suffix}; give one of "
        "them another --output."
    )


def _is_same(found: Found, known: _Known, verify: bool) -> bool:
    """Whether an input is what it was when it was done."""
    if not verify or known.digest is None:
        return known.is_at(found)
    return known.size == found.size and known.digest == sha256(found.source)  # None: unreadable


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    """Return nested settings as names with dots and their values."""
    if not isinstance(values, dict):
        return {name: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{name}.{key}" if name else key)
    return flat
