"""Files that are whole or not there: written beside, then moved into their place."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = "unfinished-"  # begins what is made beside its place; what is left, a kill left


@contextmanager
def replacing(path: Path, part: Path | None = None) -> Iterator[Path]:
    """Yield a file beside `path`; what the block wrote there takes its place when it ends well.

    If it does not, `path` is as it was. Who is killed leaves the file beside, which the next
    attempt writes anew. `part` names another than the usual, on the same file system.
    """
    part = part or path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
