"""A language model in one packed file: n-gram, lexicon tree, spellings, pieces of every word.

    graph.bin      mapped into memory and shared: what a model that is used every day ships with
    graph.bin.xz   its n-grams in columns, compressed, for a model that must be small; the rest
                   follows from the lexicon beside it and from the checkpoint's tokens one folder
                   above. It is put together once, and kept in the user's cache.

Both are made by `rivulet lm build` and `rivulet export`. A folder of an older version holds lm.bin,
a binary of KenLM's, instead: it is taken apart and packed into the cache when it is first used.
"""

import hashlib
import itertools
import lzma
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from rivulet.errors import LanguageModelError, reason
from rivulet.language.arpa_tables import read_arpa
from rivulet.language.columns import META, columns, of_columns
from rivulet.language.kenlm_binary import MAGIC, read_kenlm
from rivulet.language.packed import PackedFile, Sections, open_mapped, pack
from rivulet.language.tables import NGramTables
from rivulet.language.tree import piece_sections, split_text, tree_sections, word_sections
from rivulet.replacing import UNFINISHED
from rivulet.tokenizer import Tokenizer

PACKED_FILE = "graph.bin"
COMPRESSED_FILE = "graph.bin.xz"
KENLM_FILE = "lm.bin"  # of older models
TOKENS_FILE = "tokens.txt"  # of a checkpoint, one folder above its language model
PIECES = ("tokens.i", "piece.at", "pieces")  # sections that only some files have
CACHE = "graphs"  # folder in the user's cache
MOST_CACHED = 8  # files

Pronunciations = Iterable[tuple[int, Sequence[str]]]
Lexicon = tuple[tuple[str, ...], Pronunciations]


def read_tables(path: Path, words: tuple[str, ...]) -> NGramTables:
    """Read the n-grams over `words` of a KenLM binary or an ARPA file, plain, .gz or .xz.

    Raises:
        LanguageModelError: it is neither, or damaged.
    """
    try:
        with path.open("rb") as file:
            binary = file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise LanguageModelError(
            f"{path} cannot be read ({reason(error)}); name another."
        ) from error
    return read_kenlm(path, words) if binary else read_arpa(path, words)


def pack_model(
    words: Sequence[str], pronunciations: Pronunciations, tables: NGramTables
) -> PackedFile:
    """Return n-gram, tree and spellings as a packed file in memory.

    Raises:
        LanguageModelError: the lexicon has no phones or more than 255.
    """
    ngrams = tables.sections()
    # the tree looks ahead to what the search will read, scores in their bins, not to what was given
    kept = NGramTables.of_sections(PackedFile(pack(ngrams)))
    tree = tree_sections(pronunciations, kept.first_scores())
    return PackedFile(pack({**ngrams, **tree, **word_sections(words)}))


def with_pieces(packed: PackedFile, tokenizer: Tokenizer) -> PackedFile:
    """Return the file with the pieces of its words by `tokenizer`; itself if it has them."""
    mark = np.frombuffer(tokens_digest(tokenizer), np.uint8)
    if "tokens.i" in packed and np.array_equal(packed.get("tokens.i", "u1"), mark):
        return packed
    kept: Sections = {n: packed.get(n, "u1") for n in packed.names if n not in PIECES}
    pieces = piece_sections(words_of(packed), tokenizer.pieces)
    return PackedFile(pack({**kept, "tokens.i": mark, **pieces}))


def tokens_digest(tokenizer: Tokenizer) -> bytes:
    """Name a list of tokens in 32 bytes."""
    return hashlib.sha256("\n".join(tokenizer.tokens).encode("utf-8")).digest()


def words_of(packed: PackedFile) -> tuple[str, ...]:
    """Return the words by id."""
    text = packed.get("words", "u1").tobytes().decode("ascii")
    places = packed.get("words.at", "<u4").tolist()
    return tuple(text[a:b] for a, b in itertools.pairwise(places))


def phones_of(packed: PackedFile) -> list[str]:
    """Return the phones of the tree; node tokens count them from 1."""
    return split_text(packed.get("phones", "u1"))


def write_packed(packed: PackedFile, folder: Path, compress: bool = False) -> None:
    """Write the file to `folder`, and nothing else of these remains there.

    Compressed, scores have fewer bins; see `language.columns`.
    """
    name, other = (COMPRESSED_FILE, PACKED_FILE) if compress else (PACKED_FILE, COMPRESSED_FILE)
    raw = bytes(packed.buffer)
    if compress:
        small = pack(columns(NGramTables.of_sections(packed)))
        raw = lzma.compress(small, preset=9 | lzma.PRESET_EXTREME)
    _write(folder / name, raw)
    for stale in (other, KENLM_FILE):
        (folder / stale).unlink(missing_ok=True)


def open_packed_model(folder: Path, read_lexicon: Callable[[], Lexicon]) -> PackedFile:
    """Map the packed file of a folder, by way of the user's cache where it is not there as it is.

    Args:
        folder: of the language model.
        read_lexicon: returns words and pronunciations, where there is no whole packed file.

    Raises:
        LanguageModelError: there is no n-gram, or it is damaged.
    """
    if (folder / PACKED_FILE).is_file():
        return PackedFile(open_mapped(folder / PACKED_FILE))
    if (folder / COMPRESSED_FILE).is_file():
        return _cached(folder / COMPRESSED_FILE, lambda path: _unpack(path, read_lexicon))
    if (folder / KENLM_FILE).is_file():
        return _cached(folder / KENLM_FILE, lambda path: _convert(path, read_lexicon))
    raise LanguageModelError(f"{folder} lacks {PACKED_FILE}; make it with `rivulet lm build`.")


def _convert(path: Path, read_lexicon: Callable[[], Lexicon]) -> PackedFile:
    words, pronunciations = read_lexicon()
    return pack_model(words, pronunciations, read_tables(path, words))


def _unpack(path: Path, read_lexicon: Callable[[], Lexicon]) -> PackedFile:
    """Put a compressed file together again; those of older versions are whole."""
    try:
        packed = PackedFile(lzma.decompress(path.read_bytes()))
    except lzma.LZMAError as error:
        raise LanguageModelError(f"{path} is damaged ({error}); get it again.") from error
    if META not in packed:
        return packed
    words, pronunciations = read_lexicon()
    tables = of_columns(packed)
    if tables.words != len(words):
        raise LanguageModelError(
            f"{path} is over {tables.words} words and the lexicon beside it has {len(words)}; "
            "get both again."
        )
    whole = pack_model(words, pronunciations, tables)
    tokens = path.parent.parent / TOKENS_FILE
    if not tokens.is_file():
        return whole
    lines = tokens.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return with_pieces(whole, Tokenizer(tuple(lines)))


def _cached(source: Path, make: Callable[[Path], PackedFile]) -> PackedFile:
    """Map what was made of `source` before, or make it, in memory where nothing can be written."""
    folder = cache_folder()
    path = folder / f"{_stamp(source)}.bin"
    try:
        if path.is_file():
            return PackedFile(open_mapped(path))
    except LanguageModelError:
        path.unlink(missing_ok=True)
    made = make(source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, bytes(made.buffer))
        _forget_old(folder)
    except OSError:
        return made
    return PackedFile(open_mapped(path))


def cache_folder() -> Path:
    """Return where unpacked files lie."""
    from platformdirs import user_cache_path  # a model that is mapped as it is needs none

    return user_cache_path("rivulet") / CACHE


def _stamp(source: Path) -> str:
    """Name the content of a file, of the lexicon beside it, and of the tokens above."""
    digest = hashlib.sha256()
    tokens = source.parent.parent / TOKENS_FILE
    above = [tokens] if tokens.is_file() else []
    for path in [*sorted(source.parent.glob("lexicon*")), *above, source]:
        digest.update(path.read_bytes())
    return f"{source.parent.parent.name or 'model'}-{digest.hexdigest()[:24]}"


def _write(path: Path, content: bytes) -> None:
    """Write beside and move, so that nobody maps half a file."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=UNFINISHED, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
    path.chmod(0o644)


def _forget_old(folder: Path) -> None:
    """Keep the files used last; each is some 5 to 20 MB."""
    files = sorted(folder.glob("*.bin"), key=lambda path: path.stat().st_atime, reverse=True)
    for path in files[MOST_CACHED:]:
        path.unlink(missing_ok=True)
