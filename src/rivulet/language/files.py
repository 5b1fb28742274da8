"""Texts on disk, plain or packed, and the pronouncing dictionaries among them."""

import codecs
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
MARKS = {  # the longer first: UTF-16's begins UTF-32's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def open_packed(path: Path, encoding: str = "utf-8") -> TextIO:
    """Open a plain, .gz or .xz file of text.

    A byte-order mark says its encoding; bytes that are no UTF-8 read as Latin-1.
    """
    opener = OPENERS.get(path.suffix, open)
    if encoding == "utf-8" and path.is_file():
        with opener(path, "rb") as file:
            head = file.read(4)
        encoding = next((name for mark, name in MARKS.items() if head.startswith(mark)), encoding)
    opened: TextIO = opener(path, "rt", encoding=encoding, errors=AS_LATIN_1)
    return opened


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


AS_LATIN_1 = "rivulet-latin-1"  # the name of the handler of errors
codecs.register_error(AS_LATIN_1, _as_latin_1)


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
