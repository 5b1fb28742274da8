"""Inputs that are no local paths: buckets and web servers, listed and opened through fsspec.

A file is read by blocks as FFmpeg asks for them and never held whole. A network that breaks off is
asked again a few times, from the byte where it broke off; then the file has failed, not the run.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import unquote

from rivulet.archive.records import UNKNOWN, Found
from rivulet.errors import AudioError, ConfigError, RivuletError

T = TypeVar("T")

BLOCK = 2**21  # bytes asked for at a time: a minute of 16-bit sound at 16 kHz, 2 minutes of MP3
PAUSES_S = (0.5, 2.0, 8.0)  # before each further try
CONNECT_S, READ_S = 15, 60  # a server that says nothing for so long has broken off
AT_ONCE = (
    16  # files of a web folder asked about together, as its listing says neither size nor time
)
ASKED = 10 * AT_ONCE  # before the first of them is handed on
DEEPEST = 64  # folders within each other; more are a circle of links
STAMPS = ("ETag", "etag", "md5Hash", "Last-Modified", "LastModified", "updated", "mtime", "created")
WEB = ("http", "https")
PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    **dict.fromkeys(WEB, "aiohttp"),
}
EXTRA = ("fsspec", "s3fs", "aiohttp")  # what rivulet[archive] brings
PASSING_STATUS = (408, 425, 429)  # of those below 500: try again
CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or FSSPEC_S3_ANON=true "
    "for a public bucket",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or FSSPEC_GS_TOKEN=anon for a public bucket",
}


def is_url(source: str) -> bool:
    """Say whether a source is no local path."""
    return "://" in source


def listed(url: str) -> Iterator[Found]:
    """Yield the files of one input: all below a folder or prefix, or the one file that it names.

    Raises:
        ConfigError: there is nothing, it may not be read, a package is missing, or the network
            breaks off again and again.
    """
    files = _file_system(url)
    path = files._strip_protocol(url)
    info = _tried(url, lambda: files.info(path), ConfigError)
    if _is_folder(url, info):
        yield from _below(url, files, path.rstrip("/"))
    else:
        yield _found(url, _place(path.rpartition("/")[2]), info)


@contextmanager
def opened(source: str) -> Iterator[str | BinaryIO]:
    """Yield what `AudioFile` takes: a local path as it is, or a file that is read through fsspec.

    Raises:
        AudioError: there is no such file, it may not be read, or the network breaks off.
        ConfigError: a package is missing.
    """
    if not is_url(source):
        yield source
        return
    file = RemoteFile(source)
    try:
        yield cast(BinaryIO, file)
    finally:
        file.close()


class RemoteFile:
    """A file behind a URL, in binary: what a network loses on the way is asked for again."""

    def __init__(self, url: str) -> None:
        """Open `url`.

        Raises:
            AudioError: there is no such file, it may not be read, or the network breaks off.
            ConfigError: a package is missing.
        """
        self.name = url
        self._files = _file_system(url)
        self._at = 0
        self._ended = False
        self._file = _tried(url, self._open, AudioError)
        self._seeks = bool(self._file.seekable() and self._file.size is not None)

    def _open(self) -> Any:
        return self._files.open(self.name, "rb", block_size=BLOCK, cache_type="readahead")

    def read(self, count: int = -1) -> bytes:
        """Return up to `count` bytes; none at the end.

        Raises:
            AudioError: the network broke off again and again.
        """
        if self._ended:  # a server without ranges is not asked beyond the end
            return b""
        content = _tried(self.name, lambda: self._read(count), AudioError, self._again, self._where)
        self._at += len(content)
        self._ended = not (content or self._seeks) and count != 0
        return content

    def _read(self, count: int) -> bytes:
        if self._seeks:
            self._file.seek(self._at)
        return bytes(self._file.read(count))

    def _again(self) -> None:
        """Open the file anew where it broke off; what cannot seek is read up to there."""
        self._file.close()
        self._file = self._open()
        left = 0 if self._seeks else self._at
        while left > 0 and (skipped := self._file.read(min(left, BLOCK))):
            left -= len(skipped)

    def _where(self) -> str:
        size = f" of {self._file.size}" if self._file.size is not None else ""
        return f" at byte {self._at}{size}"

    def seekable(self) -> bool:
        """Say whether the server gives any part of the file."""
        return self._seeks

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as a file does."""
        base = (0, self._at, self._file.size or 0)[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._at

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._file.close()


def _below(url: str, files: Any, folder: str) -> Iterator[Found]:
    """Yield every file below a folder, folder by folder, each in the order of names."""
    root = _place(folder.rpartition("/")[2] or folder)
    waiting, seen = [folder], {folder}
    nothing = True
    while waiting:
        here = waiting.pop()
        entries = _entries(url, files, here)
        folders = [entry["name"].rstrip("/") for entry in entries if entry["type"] == "directory"]
        deep = [name for name in folders if name.count("/") - folder.count("/") > DEEPEST]
        if deep:
            raise ConfigError(f"{url} is more than {DEEPEST} folders deep at {deep[0]}.")
        new = [name for name in dict.fromkeys(folders) if name not in seen]
        seen.update(new)
        waiting += reversed(new)
        for entry in _with_sizes(files, [entry for entry in entries if entry["type"] == "file"]):
            nothing = False
            below = _place(entry["name"][len(folder) :])
            yield _found(files.unstrip_protocol(entry["name"]), f"{root}/{below}", entry)
    if nothing:
        raise ConfigError(f"{url} holds 0 files; check the spelling.")


def _entries(url: str, files: Any, folder: str) -> list[dict[str, Any]]:
    """Return what lies in one folder, in the order of names; of a web page, its links below it."""
    asked = f"{folder}/" if _protocol(url) in WEB else folder
    entries = _tried(url, lambda: files.ls(asked, detail=True, refresh=True), ConfigError)
    files.invalidate_cache()  # it would keep every listing
    inside = [
        entry for entry in entries if _is_inside(folder, entry["name"], _protocol(url) in WEB)
    ]
    return sorted(inside, key=lambda entry: str(entry["name"]))


def _is_inside(folder: str, name: str, web: bool) -> bool:
    """Say whether `name` lies in a folder and is not the folder itself.

    Pages have links that sort the listing, and to the page itself and the one above.
    """
    below = name[len(folder) :].strip("/")
    if not name.startswith(f"{folder}/") or not below:
        return False
    return not web or not (set(below) & set("?#") or {"", ".", ".."} & set(below.split("/")))


def _with_sizes(files: Any, entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Ask about entries whose listing says no size, many at a time."""
    if all(entry.get("size") is not None for entry in entries):
        yield from entries
        return

    def ask(entry: dict[str, Any]) -> dict[str, Any]:
        try:
            return {**files.info(entry["name"]), "name": entry["name"]}
        except Exception:
            return entry

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for begin in range(0, len(entries), ASKED):
            yield from threads.map(ask, entries[begin : begin + ASKED])


def _found(source: str, place: str, info: dict[str, Any]) -> Found:
    size = info.get("size")
    stamp = next((str(info[key]) for key in STAMPS if info.get(key)), "")
    return Found(source, place, UNKNOWN if size is None else int(size), stamp)


def _place(name: str) -> str:
    """Return a URL's path as one below a folder of this machine."""
    parts = [unquote(part) for part in name.strip("/").split("/")]
    plain = [
        "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in p) for p in parts
    ]
    return "/".join("_" if part in ("", ".", "..") else part for part in plain)


def _is_folder(url: str, info: dict[str, Any]) -> bool:
    if info["type"] == "directory" or url.endswith("/"):
        return True
    return _protocol(url) in WEB and info.get("mimetype") == "text/html"


def _protocol(url: str) -> str:
    return url.partition("://")[0].lower()


def _file_system(url: str) -> Any:
    """Return fsspec's file system for a URL.

    Raises:
        ConfigError: it knows no such protocol, or a package is missing.
    """
    protocol = _protocol(url)
    package = PACKAGES.get(protocol, "fsspec")
    install = "'rivulet[archive]'" if package in EXTRA else package
    try:
        import fsspec

        return fsspec.filesystem(protocol, **_options(protocol))
    except ImportError as error:
        raise ConfigError(f"{url} needs the package {package}; pip install {install}.") from error
    except ValueError as error:
        raise ConfigError(
            f"{url} cannot be read ({error}); use s3://, gs:// or https://, or a path."
        ) from error


def _options(protocol: str) -> dict[str, Any]:
    if protocol in WEB:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)
        return {"client_kwargs": {"timeout": timeout}, "simple_links": False}
    if PACKAGES.get(protocol) == "s3fs":
        return {"config_kwargs": {"connect_timeout": CONNECT_S, "read_timeout": READ_S}}
    return {}


def _tried(
    url: str,
    call: Callable[[], T],
    kind: type[RivuletError],
    again: Callable[[], None] = lambda: None,
    where: Callable[[], str] = str,
) -> T:
    """Return what `call` does; what may pass is tried again after a pause.

    Args:
        url: what is asked for.
        call: asks.
        kind: of the error.
        again: prepares for another try.
        where: says how far it came.
    """
    for pause in (*PAUSES_S, None):
        try:
            return call()
        except RivuletError:
            raise
        except Exception as error:
            cause = _cause(error)
            if pause is None or not _may_pass(cause):
                raise kind(_sentence(url, cause, where())) from error
        time.sleep(pause)
        with _ignored():
            again()
    raise AssertionError("the last try returns or raises")


@contextmanager
def _ignored() -> Iterator[None]:
    """Leave an error to the next try, which meets it too."""
    try:
        yield
    except Exception:
        return


def _cause(error: Exception) -> Exception:
    """Return what went wrong: to fsspec a web file does not exist whatever its server answers."""
    cause = error.__cause__
    if type(error) is not FileNotFoundError or not isinstance(cause, Exception):
        return error
    return cause if type(cause).__module__.startswith("aiohttp") else error


def _may_pass(error: Exception) -> bool:
    """Say whether another try may succeed: a connection that broke, a server that is busy."""
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, ValueError)):
        return False
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        return False
    status = getattr(error, "status", 500)
    return not isinstance(status, int) or status >= 500 or status in PASSING_STATUS


def _sentence(url: str, error: Exception, where: str) -> str:
    protocol = _protocol(url)
    status = getattr(error, "status", None)
    credentials = CREDENTIALS.get(protocol, "check who may read it")
    if "Credentials" in type(error).__name__ or "Profile" in type(error).__name__:
        return f"{url} needs credentials ({_reason(error)}); {credentials}."
    if isinstance(error, PermissionError) or status in (401, 403):
        return f"{url} may not be read ({_reason(error)}); {credentials}."
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return f"{url} does not exist; check the spelling."
    tries = f" {len(PAUSES_S) + 1} times" if _may_pass(error) else ""
    return f"{url} broke off{where}{tries} ({_reason(error)}); try again later."


def _reason(error: Exception) -> str:
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return f"status {status}"
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
