"""Lists of utterances: `id  path  seconds  speaker  text`, tab-separated, paths relative to it."""

import csv
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
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise ManifestError(
                f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                f"its first line must be {' '.join(COLUMNS)}, separated by tabs."
            )
        return [_utterance(row, path, number) for number, row in enumerate(rows, 2)]


def _utterance(row: dict[str, str], manifest: Path, number: int) -> Utterance:
    try:
        seconds = float(row["seconds"])
        sound = (manifest.parent / row["path"]).absolute()
        text = normalize(row["text"])
    except (TypeError, ValueError) as error:
        raise ManifestError(
            f"{manifest} line {number} cannot be read ({error}); "
            f"give the {len(COLUMNS)} columns {' '.join(COLUMNS)}, seconds as a number."
        ) from error
    if not sound.is_file():
        raise ManifestError(f"{manifest} line {number} names {sound}, which does not exist.")
    set_name = Path(row["path"]).parts[0] if len(Path(row["path"]).parts) > 1 else manifest.stem
    return Utterance(row["id"], sound, seconds, row["speaker"], text, set_name)


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
