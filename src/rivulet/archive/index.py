"""The words of an archive in one SQLite file beside its texts, for `rivulet search`.

    files    one row an input: its place, its source, and its words packed
    spoken   FTS5 over the words, in the order they were spoken; a row's id is that of its file
    sounds   every word that was ever spoken here, and how it may sound (`language.sounds`)

The texts are the truth. The index is made from results as they come, a result that is there already
costs a look-up, and a lost or damaged index is made again from the texts (`reindexing`).
"""

import hashlib
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from rivulet.archive.records import Result
from rivulet.errors import ConfigError
from rivulet.events import DisplayToken, Final, Word
from rivulet.language.sounds import Pronouncer
from rivulet.text.normalize import normalize

INDEX_FILE = "index.sqlite"
VERSION = 1  # of the tables
BUSY_S = 30.0  # wait so long for another process that writes
NOT_A_WORD = "_"  # stands for what has no letter, so that places stay those of the words
SCHEMA = """
CREATE TABLE files(
    id INTEGER PRIMARY KEY, place TEXT UNIQUE NOT NULL, mark BLOB NOT NULL, source BLOB NOT NULL,
    seconds REAL NOT NULL, words BLOB NOT NULL);
CREATE VIRTUAL TABLE spoken USING fts5(words, content='', tokenize="ascii tokenchars '''_'");
CREATE VIRTUAL TABLE places USING fts5vocab(spoken, 'instance');
CREATE VIRTUAL TABLE counts USING fts5vocab(spoken, 'row');
CREATE TABLE sounds(word TEXT, phones BLOB, PRIMARY KEY(word, phones)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class IndexedFile:
    """One input as it is found again.

    tokens: its words as they are searched. shown: what people read for them, first and last words
    counted through the whole file.
    """

    place: str
    source: str
    seconds: float
    tokens: tuple[str, ...]
    words: tuple[Word, ...]
    shown: tuple[DisplayToken, ...]


class _Packed(msgspec.Struct, array_like=True):
    """The words of a file: texts by line, times in milliseconds, confidences in 255ths."""

    words: str
    gaps: bytes  # int32, from the end of the word before to the start
    lengths: bytes  # int32
    confidences: bytes  # uint8
    shown: str  # what people read, by line
    spans: bytes  # uint32, (first, last): the words that each line of `shown` stands for


class Index:
    """An open index; `add` results as they come, `commit` now and then, `close` at the end."""

    def __init__(
        self, folder: Path | None, language_model: Path | None = None, busy_s: float = BUSY_S
    ) -> None:
        """Open the index in `folder`, or begin one where there is none or one of another version.

        Args:
            folder: that of the texts; None: in memory, gone at the end.
            language_model: whose lexicon and letters say how words sound; None: the usual sound of
                each letter.
            busy_s: wait so long where another process writes.

        Raises:
            ConfigError: the folder cannot be written to.
        """
        self.pronouncer = Pronouncer(language_model)
        self._path, self._busy_s = (folder or Path()) / INDEX_FILE, busy_s
        if folder is None:
            self.connection = _connected(":memory:", busy_s)
            return
        with self._explained():
            try:
                self.connection = _connected(self._path, busy_s)
            except sqlite3.DatabaseError as error:  # the texts are there
                if not is_damage(error):
                    raise
                self._path.unlink()
                self.connection = _connected(self._path, busy_s)

    def add(self, result: Result) -> None:
        """Add an input's words, in place of those of an older result; one without words counts.

        Raises:
            ConfigError: it cannot be written.
        """
        with self._explained():
            try:
                self._add(result)
            except sqlite3.DatabaseError as error:  # further on; the next search reads the texts
                if not is_damage(error):
                    raise
                self.begin_anew()
                self._add(result)

    def begin_anew(self) -> None:
        """Throw away a damaged index and begin an empty one."""
        self.connection.close()
        for suffix in ("", "-wal", "-shm", "-journal"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self.__dict__.pop("_known", None)
        self.connection = _connected(self._path, self._busy_s)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in a sentence why the index cannot be written."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ConfigError(
                f"{self._path} cannot be written ({error}); make room, or wait for the other "
                "process that writes it; what was done stays done, and the same command goes on."
            ) from error

    def _add(self, result: Result) -> None:
        job, packed = result.job, _pack(result.segments)
        mark = hashlib.blake2b(packed + os.fsencode(job.source), digest_size=16).digest()
        before = self.connection.execute(
            "SELECT id, mark FROM files WHERE place = ?", (job.place,)
        ).fetchone()
        if before and before[1] == mark:
            return
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")
        if before:
            self._drop(before[0])
        tokens = [token(word.text) for final in result.segments for word in final.words]
        self._sound(tokens)
        number = self.connection.execute(
            "INSERT INTO files(place, mark, source, seconds, words) VALUES (?, ?, ?, ?, ?)",
            (job.place, mark, os.fsencode(job.source), result.seconds, packed),
        ).lastrowid
        if tokens:
            self.connection.execute(
                "INSERT INTO spoken(rowid, words) VALUES (?, ?)", (number, " ".join(tokens))
            )

    def places(self) -> set[str]:
        """Return the places of the inputs that it holds."""
        return {place for (place,) in self.connection.execute("SELECT place FROM files")}

    def file(self, number: int) -> IndexedFile:
        """Return a file by its id."""
        place, source, seconds, packed = self.connection.execute(
            "SELECT place, source, seconds, words FROM files WHERE id = ?", (number,)
        ).fetchone()
        words, shown = _unpack(packed)
        tokens = tuple(token(word.text) for word in words)
        return IndexedFile(place, os.fsdecode(source), seconds, tokens, words, shown)

    def commit(self) -> None:
        """Keep what was added."""
        with self._explained():
            if self.connection.in_transaction:
                self.connection.execute("COMMIT")

    def close(self) -> None:
        """Keep what was added and close the file."""
        self.commit()
        self.connection.close()

    def _drop(self, number: int) -> None:
        text = " ".join(self.file(number).tokens)  # FTS5 keeps no text and has to be told
        if text:
            self.connection.execute(
                "INSERT INTO spoken(spoken, rowid, words) VALUES ('delete', ?, ?)", (number, text)
            )
        self.connection.execute("DELETE FROM files WHERE id = ?", (number,))

    def _sound(self, tokens: Iterable[str]) -> None:
        """Note how words sound that were never spoken here before."""
        for word in set(tokens) - self._known - {NOT_A_WORD}:
            self._known.add(word)
            self.connection.executemany(
                "INSERT OR IGNORE INTO sounds VALUES (?, ?)",
                [(word, phones) for phones in self.pronouncer.pronounce(word)],
            )

    @cached_property
    def _known(self) -> set[str]:
        return {word for (word,) in self.connection.execute("SELECT DISTINCT word FROM sounds")}


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether a file is damaged or of another version; otherwise it is busy, full or no place."""
    return not isinstance(error, sqlite3.OperationalError)


def token(text: str) -> str:
    """Return a word as it is searched: one run of A-Z and apostrophes."""
    return normalize(text).replace(" ", "") or NOT_A_WORD


def _connected(path: Path | str, busy_s: float) -> sqlite3.Connection:
    """Open a file of this version, or make the tables in a new one.

    Raises:
        sqlite3.DatabaseError: it is damaged or of another version.
    """
    connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not version and not tables:
            connection.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"version {version}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _pack(segments: Sequence[Final]) -> bytes:
    words = [word for final in segments for word in final.words]
    ms = np.rint(np.array([(w.start, w.end) for w in words]).reshape(-1, 2) * 1000).astype(int)
    before = np.concatenate([[0], ms[:-1, 1]])[: len(ms)]
    shown = _shown(segments)
    packed = _Packed(
        "\n".join(word.text for word in words),
        (ms[:, 0] - before).astype("<i4").tobytes(),
        (ms[:, 1] - ms[:, 0]).astype("<i4").tobytes(),
        np.rint(np.array([w.confidence for w in words]) * 255).astype("u1").tobytes(),
        "\n".join(item.text for item in shown),
        np.array([(item.first, item.last) for item in shown], "<u4").tobytes(),
    )
    return zlib.compress(msgspec.msgpack.encode(packed), 1)


def _unpack(blob: bytes) -> tuple[tuple[Word, ...], tuple[DisplayToken, ...]]:
    packed = msgspec.msgpack.decode(zlib.decompress(blob), type=_Packed)
    gaps, lengths = (np.frombuffer(raw, "<i4").astype(int) for raw in (packed.gaps, packed.lengths))
    ends = np.cumsum(gaps + lengths)
    times = zip((ends - lengths) / 1000, ends / 1000, strict=True)
    sure = np.frombuffer(packed.confidences, "u1") / 255
    texts = packed.words.split("\n") if packed.words else []
    words = tuple(
        Word(text, float(start), float(end), round(float(confidence), 2))
        for text, (start, end), confidence in zip(texts, times, sure, strict=True)
    )
    spans = np.frombuffer(packed.spans, "<u4").reshape(-1, 2).tolist()
    shown = packed.shown.split("\n") if spans else []
    return words, tuple(DisplayToken(t, *span) for t, span in zip(shown, spans, strict=True))


def _shown(segments: Iterable[Final]) -> list[DisplayToken]:
    """Return what is shown for the words of a file, which count through all segments."""
    found, before = [], 0
    for final in segments:
        own = final.tokens
        if own is None:
            own = tuple(DisplayToken(w.text.lower(), i, i + 1) for i, w in enumerate(final.words))
        found += [DisplayToken(t.text, before + t.first, before + t.last) for t in own]
        before += len(final.words)
    return found
