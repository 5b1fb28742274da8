"""KenLM's binaries, taken apart: the quantized tries that `build_binary trie` writes.

The file is a header, hashes of the words, tables of quantized scores, and a trie from an n-gram's
last word to its first (Heafield 2011, sections 3.2 and 4; KenLM's lm/trie.hh and lm/quantize.hh).
Reading it here keeps every score as it is: rivulet's own file then holds the same 256 values.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rivulet.errors import LanguageModelError
from rivulet.language.tables import MARKS, Floats, NGramTables, unpack_records

MAGIC = b"mmap lm http://kheafield.com/code format version 5\n\0"
SANITY = 88  # bytes of the header's record that tells one machine's files from another's
PARAMETERS = struct.Struct("<B3xfIB3xI")  # order, probing's factor, kind, words inside, version
UNIGRAM = np.dtype([("prob", "<f4"), ("backoff", "<f4"), ("next", "<u8")])
QUANTIZED, ARRAYS = (3, 5), (5,)  # kinds of models: tries of quantized scores
UNKNOWN = "<unk>"


@dataclass(frozen=True)
class _Found:
    """N-grams of one length in KenLM's order, the last word first.

    words: (N, n) KenLM's ids; probs, backoffs: (N,); next: (N + 1,) where their longer ones begin.
    """

    words: npt.NDArray[np.uint32]
    probs: Floats
    backoffs: Floats
    next: npt.NDArray[np.int64]


def read_kenlm(path: Path, words: tuple[str, ...]) -> NGramTables:
    """Read a KenLM binary over `words`; n-grams of other words go, and new words are unknown ones.

    Raises:
        LanguageModelError: it is no trie of KenLM's that holds its words.
    """
    raw = np.fromfile(path, np.uint8)
    head = raw[: SANITY + PARAMETERS.size].tobytes()
    if not head.startswith(MAGIC) or len(head) < SANITY + PARAMETERS.size:
        raise LanguageModelError(f"{path} is no binary of KenLM's; give one made by build_binary.")
    order, _, kind, has_words, _ = PARAMETERS.unpack_from(head, SANITY)
    if kind not in QUANTIZED or not has_words or order < 2:
        raise LanguageModelError(
            f"{path} is of KenLM's kind {kind} with {has_words} lists of words, and only quantized "
            "tries that hold their words can be taken apart; make it with `build_binary -q 8 -b 8 "
            "trie`, or give the ARPA file."
        )
    try:
        found, names = _Reader(raw, order, kind).read()
    except (IndexError, ValueError, UnicodeDecodeError, struct.error) as error:
        raise LanguageModelError(f"{path} is damaged ({error}); get it again.") from error
    return _renumbered(found, names, words)


class _Reader:
    """Goes through a file from front to end."""

    def __init__(self, raw: npt.NDArray[np.uint8], order: int, kind: int) -> None:
        self.raw, self.order, self.kind = raw, order, kind
        at = SANITY + PARAMETERS.size
        self.counts = [int(c) for c in np.frombuffer(raw, "<u8", order, at)]
        self.at = _aligned(at + 8 * order)

    def read(self) -> tuple[list[_Found], list[str]]:
        self.at += 8 + 8 * self.counts[0]  # number of words, hashes of all but <unk>
        tables = self._tables()
        found = [self._unigrams()]
        for n in range(2, self.order + 1):
            found.append(self._longer(n, found[-1], tables))
        names = self.raw[self.at :].tobytes().decode("ascii").split("\0")
        return found, names[: self.counts[0]]

    def _take(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        values = np.frombuffer(self.raw, dtype, count, self.at)
        self.at += values.nbytes
        return values

    def _tables(self) -> list[tuple[Floats, Floats]]:
        """Return probabilities and back-offs of each length from 2 on."""
        _, *bits = (int(b) for b in self._take(np.uint8, 8)[:3])
        self.bits = (bits[0], bits[1])
        tables = []
        for n in range(2, self.order + 1):
            probs = self._take("<f4", 1 << bits[0])
            tables.append((probs, self._take("<f4", 1 << bits[1]) if n < self.order else probs))
        return tables

    def _unigrams(self) -> _Found:
        rows = self._take(UNIGRAM, self.counts[0] + 2)
        count = self.counts[0]
        ids = np.arange(count, dtype=np.uint32)[:, None]
        next_ = rows["next"][: count + 1].astype(np.int64)
        return _Found(ids, rows["prob"][:count], rows["backoff"][:count], next_)

    def _longer(self, n: int, shorter: _Found, tables: list[tuple[Floats, Floats]]) -> _Found:
        count, last = self.counts[n - 1], n == self.order
        widths = [self.counts[0].bit_length(), self.bits[0]]
        jumps = np.zeros(1, np.uint64)
        if not last:
            jumps, pointer = self._jumps(count + 1, self.counts[n])
            widths = [widths[0], self.bits[1], self.bits[0], pointer]
        size = ((1 + count) * sum(widths) + 7) // 8 + 8
        values = unpack_records(self.raw[self.at : self.at + size], widths, count + (not last))
        self.at += size
        context = np.repeat(np.arange(len(shorter.words)), np.diff(shorter.next))
        words = np.column_stack([shorter.words[context], values[0][:count]])
        probs = tables[n - 2][0][values[1 if last else 2][:count]]
        if last:
            return _Found(words, probs, np.zeros_like(probs), np.zeros(0, np.int64))
        high = np.searchsorted(jumps, np.arange(count + 1, dtype=np.uint64), side="right") - 1
        next_ = values[3].astype(np.int64) | high << widths[3]
        return _Found(words, probs, tables[n - 2][1][values[1][:count]], next_)

    def _jumps(self, entries: int, longer: int) -> tuple[npt.NDArray[np.uint64], int]:
        """Return where the upper bits of pointers grow by one, and how many bits entries keep."""
        bits = longer.bit_length()
        if self.kind not in ARRAYS:
            return np.zeros(1, np.uint64), bits
        most = min(bits, int(self.raw[self.at + 1]))  # after the version
        cut = min(
            range(most + 1), key=lambda bits_: (longer >> (bits - bits_)) * 64 - entries * bits_
        )
        count = (longer >> (bits - cut)) + 1
        start = _aligned(self.at) + 8
        self.at += 8 * (1 + count) + 7
        return np.frombuffer(self.raw, "<u8", count, start), bits - cut


def _aligned(at: int) -> int:
    return -(-at // 8) * 8


def _renumbered(found: list[_Found], names: list[str], words: tuple[str, ...]) -> NGramTables:
    """Give the n-grams rivulet's ids, front to back, and leave out those of other words."""
    ids = {word: index for index, word in enumerate(words)}
    ids |= {UNKNOWN: len(words), "<s>": len(words) + 1, "</s>": len(words) + 2}
    missing = len(ids)
    new = np.array([ids.get(name, missing) for name in names], np.uint32)
    grams = [_words(found[0], new, missing)]
    for part in found[1:]:
        rows = new[part.words[:, ::-1]]
        kept = (rows < missing).all(axis=1)
        grams.append((rows[kept], part.probs[kept], part.backoffs[kept]))
    return NGramTables.of_grams(len(words), grams)


def _words(
    found: _Found, new: npt.NDArray[np.uint32], count: int
) -> tuple[npt.NDArray[np.uint32], Floats, Floats]:
    """Return the single words in rivulet's order; those that the model lacks are unknown ones."""
    unknown = int(np.flatnonzero(new == count - MARKS)[0])
    probs = np.full(count, found.probs[unknown], np.float32)
    backoffs = np.zeros(count, np.float32)
    known = new < count
    probs[new[known]], backoffs[new[known]] = found.probs[known], found.backoffs[known]
    return np.arange(count, dtype=np.uint32)[:, None], probs, backoffs
