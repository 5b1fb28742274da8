"""Files of n-grams, as KenLM reads them: binaries and ARPA."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BINARY = b"mmap lm"  # how a KenLM binary begins
ORDER_AT = 88  # byte of a KenLM binary that holds its order: after the header's sanity record
UNKNOWN = "<unk>"


def read_ngram(path: Path, words: Iterable[str]) -> Any:
    """Return KenLM's model in `path`; ids are places in `words`, the next one is no word at all."""
    # flashlight is imported where it is needed: the command line's help needs none of it
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    return KenLM(str(path), Dictionary([*words, UNKNOWN]))


def order_of(path: Path) -> int:
    """Return the longest n-gram of a KenLM binary or an ARPA file, from its head."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(BINARY):
        return head[ORDER_AT]
    return max(int(n) for n in re.findall(rb"^ngram ([0-9]+)=", head, re.MULTILINE))
