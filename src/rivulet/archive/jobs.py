"""What is to be done: files, folders, manifests and URLs, each with the place of its text."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePath

from rivulet.archive.records import Found
from rivulet.archive.stored import printable
from rivulet.corpora.manifest import read_manifest
from rivulet.errors import ConfigError

SOUNDS = (
    "*.3gp", "*.aac", "*.ac3", "*.aif", "*.aiff", "*.amr", "*.ape", "*.au", "*.avi", "*.caf",
    "*.flac", "*.m4a", "*.m4b", "*.m4v", "*.mka", "*.mkv", "*.mov", "*.mp2", "*.mp3", "*.mp4",
    "*.mpeg", "*.mpg", "*.oga", "*.ogg", "*.ogv", "*.opus", "*.spx", "*.ts", "*.w64", "*.wav",
    "*.webm", "*.wma", "*.wmv", "*.wv",
)  # fmt: skip
"""What is taken of a folder unless patterns are given."""
MANIFEST = ".tsv"


@dataclass(frozen=True)
class Choice:
    """Which files of folders are taken; a pattern without "/" looks at names, others at paths.

    include: what is taken; nothing for what sounds are usually called. exclude: what is not.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, place: str) -> bool:
        """Whether a file, by its path below the folder that was given, is taken."""
        return _fits(place, self.include or SOUNDS) and not _fits(place, self.exclude)

    def enters(self, place: str) -> bool:
        """Whether a folder is looked into."""
        return not _fits(place, self.exclude)


def listed(
    inputs: Sequence[str],
    choice: Choice,
    output: Path,
    list_url: Callable[[str], Iterable[Found]],
) -> Iterator[Found]:
    """Yield what the inputs name, file by file; nothing is opened.

    Args:
        inputs: files, folders, manifests (.tsv) and URLs.
        choice: which files of folders and URLs are taken; files that are named are taken.
        output: the folder of results, which is left out where it lies in an input.
        list_url: lists one URL.

    Raises:
        ConfigError: an input does not exist, or a folder may not be read.
        ManifestError: a manifest cannot be used.
    """
    for name in inputs:
        if "://" in name:
            yield from _url(name, choice, list_url)
            continue
        path, mode = Path(name), _mode(name)
        if stat.S_ISDIR(mode):
            _refuse_output(path, output)
            yield from _folder(path, choice, output)
        elif path.suffix.lower() == MANIFEST:
            yield from _manifest(path)
        else:
            yield _file(name, path.name)


def _mode(name: str) -> int:
    """Return what kind of thing an input is, as `os.stat` says it.

    Raises:
        ConfigError: it is not there, or cannot be looked at.
    """
    if not name:
        raise ConfigError("an input has an empty name; give . for this folder.")
    try:
        return os.stat(name).st_mode
    except (FileNotFoundError, ValueError) as error:  # ValueError: a zero byte
        raise ConfigError(f"{name} does not exist; check the spelling.") from error
    except OSError as error:
        raise ConfigError(f"{name} cannot be read ({error.strerror}); leave it out.") from error


def _url(name: str, choice: Choice, list_url: Callable[[str], Iterable[Found]]) -> Iterator[Found]:
    """Yield what a URL names: the one file, whatever it is called, or what is taken below it."""
    try:
        for found in list_url(name):
            if "/" not in found.place or choice.takes(_below(found.place)):
                yield found
    except OSError as error:  # of a protocol that reads local files
        raise ConfigError(f"{name} cannot be listed ({error}); leave it out.") from error


def _refuse_output(folder: Path, output: Path) -> None:
    if os.path.realpath(folder) == os.path.realpath(output):
        raise ConfigError(
            f"{folder} is an input and the folder of results; name another --output, such as "
            f"{folder / 'texts'}."
        )


def _folder(folder: Path, choice: Choice, output: Path) -> Iterator[Found]:
    """Yield a folder's sounds in the order of their names, links followed but never in a circle."""
    name = folder.resolve().name
    left_out = os.path.realpath(output)
    waiting = [(os.fspath(folder), "")]
    seen: set[str] = set()
    while waiting:
        where, below = waiting.pop()
        real = os.path.realpath(where)
        if real == left_out or real in seen:
            continue
        seen.add(real)
        inner = []
        for entry in _entries(where):
            place = f"{below}{entry.name}"
            about = _about(entry)
            if about is None:
                continue
            if stat.S_ISDIR(about.st_mode):
                if choice.enters(place):
                    inner.append((entry.path, f"{place}/"))
            elif choice.takes(place) and stat.S_ISREG(about.st_mode):
                yield _found(entry.path, f"{name}/{place}" if name else place, about)
        waiting += reversed(inner)


def _about(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Look at an entry; None for a link that leads nowhere and what is gone meanwhile."""
    try:
        return entry.stat()
    except OSError:
        return None


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what is in a folder by name, without what is hidden.

    Raises:
        ConfigError: it may not be read.
    """
    try:
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise ConfigError(
            f"the folder {folder} cannot be read ({error.strerror}); leave it out with --exclude."
        ) from error
    return sorted(seen, key=lambda entry: entry.name)


def _manifest(path: Path) -> Iterator[Found]:
    """Yield the sounds of a manifest, placed as they lie below it, others by their whole path."""
    folder = path.parent.absolute()
    for utterance in read_manifest(path):
        inside = utterance.path.is_relative_to(folder)
        within = utterance.path.relative_to(folder) if inside else _rootless(utterance.path)
        parts = [part for part in within.parts if part != ".."]
        yield _file(os.fspath(utterance.path), "/".join([path.stem, *parts]))


def _rootless(path: Path) -> PurePath:
    return path.relative_to(path.anchor)


def _file(source: str, place: str) -> Found:
    try:
        return _found(source, place, os.stat(source))
    except OSError as error:
        raise ConfigError(f"{source} cannot be read ({error.strerror}); leave it out.") from error


def _found(source: str, place: str, about: os.stat_result) -> Found:
    return Found(os.path.abspath(source), printable(place), about.st_size, str(about.st_mtime_ns))


def _below(place: str) -> str:
    """Return a place without its first part, the name of the input."""
    return place.partition("/")[2] or place


def _fits(place: str, patterns: Sequence[str]) -> bool:
    name = place.rpartition("/")[2].lower()
    return any(
        fnmatch(place.lower() if "/" in pattern else name, pattern.lower()) for pattern in patterns
    )
