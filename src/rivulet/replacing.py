"""Files that are whole or not there: written beside, then moved into their place."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file beside `path`; what the block wrote there takes its place when it ends well.

    If it does not, `path` is as it was. Who is killed leaves the file beside, which the next
    attempt writes anew.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
