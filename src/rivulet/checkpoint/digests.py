"""sha256 of files, computed once: what was verified is known by its size and time of change."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import platformdirs

PIECE = 1 << 20  # bytes in memory at a time


def sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def verified(path: Path, expected: str) -> bool:
    """Whether the file has the `expected` sha256, now or when it last had this size and time."""
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns, status.st_ino, expected]
    name = str(path.resolve())
    if _known().get(name) == stamp:
        return True
    if sha256(path) != expected:
        return False
    _remember(name, stamp)
    return True


def _stamps() -> Path:
    return platformdirs.user_cache_path("rivulet", appauthor=False) / "verified.json"


def _known() -> dict[str, Any]:
    try:
        known = json.loads(_stamps().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none yet, or another program wrote it
        return {}
    return known if isinstance(known, dict) else {}


def _remember(name: str, stamp: list[Any]) -> None:
    """Keep the stamp where that is possible; where it is not, the next start hashes again."""
    path = _stamps()
    fresh = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(_known() | {name: stamp}), encoding="utf-8")
        fresh.replace(path)  # whole or not at all, whoever else writes
