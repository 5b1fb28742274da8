"""Results go to the folder: texts one by one, then the ledger, and now and then the tables."""

import errno
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Protocol

from rivulet.archive.ledger import Ledger, Row
from rivulet.archive.records import Result, Settings
from rivulet.archive.stored import STATE_FOLDER
from rivulet.errors import ConfigError
from rivulet.replacing import replacing
from rivulet.writers import open_writer

COMMIT_S = 1.0  # seconds of results that a kill may cost
TABLES_S = 120.0  # between two writings of the tables, at the least
TABLES_SHARE = 0.02  # of the time may go into writing tables
NO_PLACE = (
    errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EINVAL,
)  # fmt: skip
ROW_GROUP = 10_000  # rows that are in memory at a time


class Sink(Protocol):
    """Takes results besides the texts, such as an index; may be given one twice after a kill."""

    def add(self, result: Result) -> None:
        """Take a result in the place of what there was of its job."""

    def commit(self) -> None:
        """Make everything last that was added."""

    def close(self) -> None:
        """Let go."""


class Recorder:
    """Writes results where they belong, each exactly once, whenever the process is killed."""

    def __init__(
        self, folder: Path, ledger: Ledger, settings: Settings, sinks: Sequence[Sink] = ()
    ) -> None:
        """Write below `folder`, and to the sinks."""
        self._folder = folder
        self._ledger = ledger
        self._settings = settings
        self._sinks = sinks
        self._committed = time.monotonic()
        self._tables_due = time.monotonic() + TABLES_S
        self._made: set[Path] = set()

    def add(self, result: Result) -> Result:
        """Take a result: its text, the sinks, the ledger, in this order; return what is noted.

        An input whose text can have no place is one that failed.

        Raises:
            ConfigError: something cannot be written.
        """
        try:
            text_bytes = self._write_text(result)
        except _NoPlaceError as error:
            result, text_bytes = replace(result, segments=(), error=str(error)), None
        for sink in self._sinks:
            sink.add(result)
        self._ledger.add(result, text_bytes)
        if result.error:
            self._append_error(result.job.source, result.error)
        if time.monotonic() - self._committed >= COMMIT_S:
            self.commit()
        return result

    def commit(self) -> None:
        """Make everything last that was added, and write the tables if it is time."""
        for sink in self._sinks:
            sink.commit()
        self._ledger.commit()
        self._committed = time.monotonic()
        if self._committed >= self._tables_due:
            self.write_tables()

    def close(self) -> None:
        """Commit, write the tables, and let the sinks go."""
        self.commit()
        self.write_tables()
        for sink in self._sinks:
            sink.close()

    def write_tables(self) -> None:
        """Write results.parquet and errors.jsonl anew."""
        begun = time.monotonic()
        write_errors(self._folder, self._ledger)
        if find_spec("pyarrow") is not None:
            write_parquet(self._folder, self._ledger)
        took = time.monotonic() - begun
        self._tables_due = time.monotonic() + max(TABLES_S, took / TABLES_SHARE)

    def _write_text(self, result: Result) -> int | None:
        """Put the text in its place; return its bytes, None if nothing was heard."""
        path = self._folder / f"{result.job.place}.{self._settings.format}"
        if result.error and not result.segments:
            with suppress(OSError):
                path.unlink()  # of what the input was before
            return None
        content = rendered(result, self._settings).encode("utf-8", "backslashreplace")
        with explained(path), _placed(path):
            if path.parent not in self._made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(path.parent)
            with replacing(path, self._folder / STATE_FOLDER / "text.part") as part:
                part.write_bytes(content)
        return len(content)

    def _append_error(self, source: str, error: str) -> None:
        path = self._folder / "errors.jsonl"
        with explained(path), path.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"file": source, "error": error}) + "\n")


def rendered(result: Result, settings: Settings) -> str:
    """Return the text of a result in the format of the settings."""
    out = StringIO()
    writer = open_writer(settings.format, out, result.job.source, False, settings.layout)
    for final in result.segments:
        writer.write(final)
    writer.close(result.seconds)
    return out.getvalue()


def write_errors(folder: Path, ledger: Ledger) -> None:
    """Write what failed, one JSON object a line; no file where nothing did."""
    lines = [json.dumps({"file": file, "error": error}) for file, error in ledger.errors()]
    path = folder / "errors.jsonl"
    with explained(path):
        if lines:
            content = "\n".join([*lines, ""]).encode()
            with replacing(path, folder / STATE_FOLDER / "errors.part") as part:
                part.write_bytes(content)
        else:
            path.unlink(missing_ok=True)


def write_parquet(folder: Path, ledger: Ledger) -> None:
    """Write one row an input that is done; see `Row` for the columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            pa.field("file", pa.string(), nullable=False),
            ("text_file", pa.string()),
            pa.field("seconds", pa.float64(), nullable=False),
            pa.field("words", pa.int64(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("confidence", pa.float64(), nullable=False),
            ("real_time_factor", pa.float64()),
            ("error", pa.string()),
            ("warnings", pa.string()),
        ]
    )
    path, rows = folder / "results.parquet", ledger.rows()
    with (
        explained(path),
        replacing(path, folder / STATE_FOLDER / "results.part") as part,
        pq.ParquetWriter(part, schema, compression="zstd") as writer,
    ):
        while group := list(islice(rows, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist([_columns(row) for row in group], schema))


def _columns(row: Row) -> dict[str, object]:
    return dict(vars(row))


class _NoPlaceError(Exception):
    """A text that cannot lie where its input's name puts it."""


@contextmanager
def _placed(path: Path) -> Iterator[None]:
    """Tell a name that no file can have from a disk that takes no more."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        raise _NoPlaceError(
            f"the text {path} cannot be written ({error.strerror}); rename the input."
        ) from error


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in a sentence why something cannot be written."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); make room or name another --output; "
            "what was done stays done, and the same command goes on."
        ) from error
