"""Texts on disk, plain or packed, and the pronouncing dictionaries among them."""

import gzip
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)
"""What reading a packed file raises when it is cut short or no such file."""


def open_packed(path: Path, encoding: str = "utf-8") -> TextIO:
    """Open a plain, .gz or .xz file of text; what cannot be decoded reads as U+FFFD."""
    opener = OPENERS.get(path.suffix, open)
    opened: TextIO = opener(path, "rt", encoding=encoding, errors="replace")
    return opened


def read_pronunciations(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield word, in upper case, and phones, without stress, of `WORD [N] PHONES…` lines.

    Variants come as `WORD(2)` or `WORD 2`, and as the same word. Phones are not checked: a line of
    CMU 0.6, `ENGINEER E21`, brings a phone E that no other has, and the tokens of trained weights
    count it.
    """
    with open_packed(path, "latin-1") as file:
        for line in file:
            if line.startswith((";", "#")) or not line.strip():
                continue
            word, *rest = line.split()
            phones = tuple(re.sub(r"\d", "", phone) for phone in rest if not phone.isdigit())
            if phones:
                yield re.sub(r"\(\d+\)$", "", word).upper(), phones
