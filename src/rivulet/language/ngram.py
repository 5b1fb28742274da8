"""Files of n-grams over units of letters, as KenLM reads them: binaries and ARPA."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

UNKNOWN = "<unk>"


def read_ngram(path: Path, words: Iterable[str]) -> Any:
    """Return KenLM's model in `path`; ids are places in `words`, the next one is no word at all."""
    # flashlight is imported where it is needed: the command line's help needs none of it
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    return KenLM(str(path), Dictionary([*words, UNKNOWN]))
