"""An archive's index for reading: as it is, or with what it lacks made again from the texts."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rivulet.archive.index import INDEX_FILE, Index, is_damage
from rivulet.archive.records import Job, Result
from rivulet.archive.stored import STATE_FOLDER, text_of
from rivulet.checkpoint.folder import LM_FOLDER
from rivulet.errors import ConfigError
from rivulet.events import Final, Word

LEDGER = Path(STATE_FOLDER, "ledger.sqlite")
BUSY_S = 1.0  # a run that is at work writes the index itself
SURE = 1.0  # confidence of words from texts that hold none
_CUE = re.compile(r"((?:\d+:)?\d+:\d+[.,]\d+) --> ((?:\d+:)?\d+:\d+[.,]\d+)")


@dataclass(frozen=True)
class _Text:
    """A text as the ledger knows it."""

    place: str
    source: str
    seconds: float


def language_model_of(model: str) -> Path | None:
    """Return the folder of a model's lexicon and letters; None where it has none, or is gone."""
    folder = Path(model) / LM_FOLDER
    return folder if folder.is_dir() else None


def open_index(folder: Path, say: Callable[[str], None]) -> Index:
    """Open the index of an archive; what it lacks is added from the texts, which `say` announces.

    Raises:
        ConfigError: the folder is no archive, or an archive whose first run is at work.
    """
    if not (folder / LEDGER).is_file():
        raise ConfigError(f"{folder} holds no archive; make one with `rivulet archive`.")
    known = _read_ledger(folder)
    if known is None:  # a run holds it, and adds to the index as results come
        if not (folder / INDEX_FILE).is_file():
            raise ConfigError(f"a run is at work in {folder} and has 0 results; search later.")
        return Index(folder, None, BUSY_S)
    settings, texts = known
    index = _opened(folder, language_model_of(str(settings.get("model", ""))))
    try:
        there = index.places()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        index.begin_anew()
        there = set()
    missing = [text for text in texts if text.place not in there]
    if missing:
        say(f"the index lacks {len(missing)} of {len(texts)} texts; reading them ...")
        for text in missing:
            index.add(_result(folder, text, str(settings.get("format", ""))))
        index.commit()
    return index


def _opened(folder: Path, language_model: Path | None) -> Index:
    """Open or begin the index; in memory where nothing can be written."""
    try:
        return Index(folder, language_model, BUSY_S)
    except ConfigError:
        if (folder / INDEX_FILE).is_file():
            raise
        return Index(None, language_model)


def _read_ledger(folder: Path) -> tuple[dict[str, Any], list[_Text]] | None:
    """Return the settings of an archive and its texts; None while a run holds the ledger."""
    path = (folder / LEDGER).absolute().as_uri()
    for mode in ("mode=ro", "immutable=1"):  # the latter where no file can be made beside it
        with (
            _explained(folder),
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"{path}?{mode}", timeout=BUSY_S, uri=True)) as ledger,
        ):
            (settings,) = ledger.execute(
                "SELECT value FROM about WHERE name = 'settings'"
            ).fetchone() or ("{}",)
            rows = ledger.execute(
                "SELECT place, source, seconds FROM inputs WHERE text_bytes IS NOT NULL"
            )
            texts = [
                _Text(place, text_of(source), seconds or 0.0) for place, source, seconds in rows
            ]
            return json.loads(settings), texts
        if (folder / LEDGER).with_name("ledger.sqlite-wal").exists():
            return None
    return None


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            f"the ledger of {folder} is damaged ({error}); give `rivulet archive` the same inputs "
            f"again after deleting {folder / LEDGER.parent}."
        ) from error


def _result(folder: Path, text: _Text, suffix: str) -> Result:
    """Read one text; one that is gone or damaged counts as empty, until its input is done again."""
    job = Job(text.source, text.place, 0)
    try:
        content = (folder / f"{text.place}.{suffix}").read_text(encoding="utf-8")
        segments = tuple(READERS[suffix](content))
    except (OSError, ValueError, KeyError):
        return Result(job, seconds=text.seconds)
    return Result(job, segments, text.seconds)


def _from_jsonl(content: str) -> Iterator[Final]:
    """Read `rivulet.writers.JsonLinesWriter`'s events."""
    for line in content.splitlines():
        if '"type": "final"' in line[:40]:
            yield msgspec.json.decode(line, type=Final)


def _from_json(content: str) -> Iterator[Final]:
    """Read the document of `rivulet.writers.JsonWriter`."""
    for number, segment in enumerate(json.loads(content)["segments"]):
        yield msgspec.convert({**segment, "segment": number, "at": segment["end"]}, type=Final)


def _from_cues(content: str) -> Iterator[Final]:
    """Read subtitles; the words of a cue share its time evenly."""
    for number, block in enumerate(re.split(r"\n\s*\n", content)):
        cue = _CUE.search(block)
        if cue:
            start, end = map(_seconds, cue.groups())
            yield _final(number, block[cue.end() :].split(), start, end)


def _from_lines(content: str) -> Iterator[Final]:
    """Read plain text, which holds no times: every word is at the beginning of its file."""
    for number, line in enumerate(content.splitlines()):
        yield _final(number, line.split(), 0.0, 0.0)


def _final(number: int, words: list[str], start: float, end: float) -> Final:
    share = (end - start) / max(1, len(words))
    timed = tuple(
        Word(word, start + i * share, start + (i + 1) * share, SURE) for i, word in enumerate(words)
    )
    return Final(number, " ".join(words), timed, start, end, end)


def _seconds(clock: str) -> float:
    seconds = 0.0
    for part in clock.replace(",", ".").split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


READERS: dict[str, Callable[[str], Iterator[Final]]] = {
    "jsonl": _from_jsonl,
    "json": _from_json,
    "srt": _from_cues,
    "vtt": _from_cues,
    "txt": _from_lines,
}
