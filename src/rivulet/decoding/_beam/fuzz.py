"""Feed the search damaged language models: an error in a sentence or some words, never a crash.

    python src/rivulet/decoding/_beam/fuzz.py --seconds 60

Bytes, numbers and stretches of a packed file are changed, cut and swapped at random; what opens
all the same is searched with random log-probabilities and hot words. sanitize.sh runs it too.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np

from rivulet.decoding import _beam
from rivulet.language.arpa_tables import read_arpa
from rivulet.language.packed import PackedFile
from rivulet.language.packing import pack_model, with_pieces
from rivulet.tokenizer import BLANK, Tokenizer

WORDS = ("A", "BAA", "BEE", "BEEBEE")
SOUNDS = ((0, ("AA",)), (1, ("B", "AA")), (2, ("B", "IY")), (3, ("B", "IY", "B", "IY")))
PIECES = Tokenizer((BLANK, "▁B", "EE", "▁BEE", "▁A", "AA"))
PHONES = 4  # columns, the blank among them
ARPA = Path(__file__).with_name("fuzz.arpa")
EXTREMES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\xc0\x7f", b"\xff\xff\xff\x7f")
SETTINGS = {
    "beam_size": 30,
    "beam_tokens": 8,
    "beam_threshold": 20.0,
    "beam_token_threshold": 20.0,
    "lm_weight": 0.7,
    "word_insertion_bonus": -0.5,
    "subword_weight": 0.5,
    "subword_bonus": 1.0,
    "reads_subwords": True,
    "first_phone": len(PIECES),
    "alternatives": 3,
    "prune_every": 10,
    "blank_skip": -0.01,
    "display_bonus": 1.0,
}


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """Return `raw` with some of it changed."""
    out = bytearray(raw)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out))
        kind = rng.randrange(4)
        if kind == 0:
            out[at] = rng.randrange(256)
        elif kind == 1:  # a number that is too large, too small or no number
            value = rng.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\xc0\x7f", b"\xff\xff\xff\x7f"]
            )
            at -= at % 4
            out[at : at + 4] = value
        elif kind == 2:
            size = rng.randint(1, 64)
            there = rng.randrange(len(out))
            out[at : at + size] = out[there : there + size]
        else:
            out[at] ^= 1 << rng.randrange(8)
    return bytes(out[: rng.randrange(len(out))] if rng.random() < 0.05 else out)


def attempt(raw: bytes, rng: random.Random) -> str:
    """Open and search a file; return what came of it."""
    try:
        graph = _beam.Graph(raw)
    except _beam.FileError:
        return "refused"
    if rng.random() < 0.3 and graph.words:
        ids = [rng.randrange(graph.words) for _ in range(3)]
        graph = graph.with_hot_words(
            [("OBBY", [4, 1])],
            [((*ids, graph.words), 4.0), ((ids[0],), 2.0)],
            [(graph.words, [1, 2, 3]), (ids[0], [2])],
            {ids[0]: 1.0},
        )
    columns = [0, *(i % PHONES for i in range(1, graph.phones + 1))]
    noise = np.zeros(2 * PHONES, np.float32)
    try:
        search = _beam.Search(graph, SETTINGS, np.zeros(PHONES, np.float32), columns, noise)
    except ValueError:
        return "refused"
    values = np.random.default_rng(rng.randrange(1 << 30))
    for _ in range(3):
        rows = values.normal(-2.0, 3.0, (30, len(PIECES) + PHONES)).astype(np.float32)
        search.push(np.minimum(rows, 0.0))
        try:
            search.words(), search.settled()
            search.finish_segment(rng.random() < 0.5)
        except UnicodeDecodeError:
            return "garbled"  # a word's spelling is no text
    return "searched"


def main() -> None:
    """Run for so many seconds and print what came of the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    packed: PackedFile = pack_model(WORDS, SOUNDS, read_arpa(ARPA, WORDS))
    raw = bytes(with_pieces(packed, PIECES).buffer)
    rng = random.Random(args.seed)
    counts: dict[str, int] = {}
    end = time.monotonic() + args.seconds
    while time.monotonic() < end:
        result = attempt(damaged(raw, rng), rng)
        counts[result] = counts.get(result, 0) + 1
    print(counts)  # noqa: T201 (a program of its own)


if __name__ == "__main__":
    main()
