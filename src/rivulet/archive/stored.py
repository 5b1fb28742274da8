"""What SQLite keeps of an archive: names as it takes them, its errors as sentences."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rivulet.errors import ConfigError

STATE_FOLDER = ".rivulet"


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Say in a sentence why the ledger cannot be used."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise ConfigError(
                f"another run is at work in {folder}; wait for its end, or name another --output."
            ) from error
        raise ConfigError(
            f"the ledger in {folder} cannot be written ({error}); make room or name another "
            "--output; the same command then goes on."
        ) from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            f"the ledger in {folder} is damaged ({error}); delete {folder / STATE_FOLDER} and run "
            "again with the same --output: everything is done anew."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror}); name another --output."
        ) from error


def stored(source: str) -> str | bytes:
    """Return a source as SQLite takes it: names that are no text are bytes."""
    try:
        source.encode()
    except UnicodeEncodeError:
        return os.fsencode(source)
    return source


def text_of(kept: str | bytes) -> str:
    """Return what `stored` was given."""
    return kept if isinstance(kept, str) else os.fsdecode(kept)


def printable(text: str) -> str:
    """Return a text as UTF-8 has it: what is none becomes escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
