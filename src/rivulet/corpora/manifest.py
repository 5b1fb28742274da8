"""Lists of utterances: `id  path  seconds  speaker  text`, tab-separated, paths relative to it."""

import codecs
import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rivulet.errors import ManifestError
from rivulet.text.normalize import normalize

COLUMNS = ("id", "path", "seconds", "speaker", "text")


@dataclass(frozen=True)
class Utterance:
    """One line of a manifest.

    `path` is absolute, `set_name` the first folder of the path as written.
    """

    id: str
    path: Path
    seconds: float
    speaker: str
    text: str
    set_name: str


def read_manifest(path: Path) -> list[Utterance]:
    """Read a manifest and check that every file it names exists.

    Raises:
        ManifestError: the manifest or a file is missing, a column is missing, or a line is
            unusable.
    """
    if not path.is_file():
        raise ManifestError(f"the manifest {path} does not exist; make one with `rivulet data`.")
    try:
        utterances = _read_rows(path)
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path} is not UTF-8 text ({error.reason}); save it as such."
        ) from error
    if not utterances:
        raise ManifestError(f"{path} lists 0 utterances; give one a line after the header.")
    return utterances


def _read_rows(path: Path) -> list[Utterance]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        try:
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise ManifestError(
                    f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                    f"its first line must be {' '.join(COLUMNS)}, separated by tabs."
                )
            utterances = [_utterance(row, path, rows.line_num) for row in rows]
        except csv.Error as error:
            raise ManifestError(
                f"{path} line {rows.line_num + 1} cannot be read ({error}); "
                f"give the {len(COLUMNS)} columns {' '.join(COLUMNS)}, separated by tabs."
            ) from error
    _check_ids(utterances, path)
    return utterances


def _check_ids(utterances: Iterable[Utterance], path: Path) -> None:
    first: dict[str, int] = {}
    for number, item in enumerate(utterances, 2):
        if item.id in first:
            raise ManifestError(
                f"{path} line {number} has the id {item.id} of line {first[item.id]} again; "
                "give every utterance an id of its own."
            )
        first[item.id] = number


def _utterance(row: dict[str, str], manifest: Path, number: int) -> Utterance:
    try:
        if None in row.values() or None in row:
            raise ValueError(f"{sum(value is not None for value in row.values())} columns")
        seconds = float(row["seconds"])
        if not 0.0 <= seconds < math.inf:
            raise ValueError(f"{row['seconds']} seconds")
        sound = (manifest.parent / row["path"]).absolute()
        exists = sound.is_file()
    except (TypeError, ValueError, OSError) as error:
        raise ManifestError(
            f"{manifest} line {number} cannot be read ({error}); "
            f"give the {len(COLUMNS)} columns {' '.join(COLUMNS)}, seconds as a number."
        ) from error
    if not exists:
        raise ManifestError(f"{manifest} line {number} names {sound}, which does not exist.")
    set_name = Path(row["path"]).parts[0] if len(Path(row["path"]).parts) > 1 else manifest.stem
    return Utterance(row["id"], sound, seconds, row["speaker"], normalize(row["text"]), set_name)


def read_text(path: Path) -> str:
    """Return the text beside a sound: UTF-8, or what its byte-order mark says.

    Raises:
        ManifestError: it cannot be read, or is in another encoding.
    """
    try:
        content = path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as such."
        ) from error
    if "\0" in text:
        raise ManifestError(f"{path} is no text: it holds bytes of 0; write what is said to it.")
    return text


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> int:
    """Write a manifest, paths relative to its folder where possible; return the line count."""
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.absolute()
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("\t".join(COLUMNS) + "\n")
        for item in utterances:
            inside = item.path.is_relative_to(folder)
            name = item.path.relative_to(folder) if inside else item.path
            file.write(f"{item.id}\t{name}\t{item.seconds:.2f}\t{item.speaker}\t{item.text}\n")
            count += 1
    return count
