"""The ways in which inputs are spoiled."""

import random
import struct
from collections.abc import Callable

INTERESTING = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000)


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite, cut, insert, repeat or move bytes, a few times."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not data:
            return bytes(rng.randbytes(rng.randrange(64)))
        at = rng.randrange(len(data))
        # headers lie in front: half of the changes fall there
        at = at % min(len(data), 512) if rng.random() < 0.5 else at
        match rng.randrange(7):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(INTERESTING))
            case 2:
                data[at:] = b""
            case 3:
                data[at:at] = rng.randbytes(rng.randrange(1, 200))
            case 4:
                del data[at : at + rng.randrange(1, 400)]
            case 5:
                end = min(len(data), at + rng.randrange(1, 2000))
                data[at:at] = data[at:end]
            case 6:
                data[at : at + 16] = rng.randbytes(min(16, len(data) - at))
    return bytes(data)


ODD_VALUES = (None, True, -1, 0, 1e308, float("nan"), "", "x", [], {}, [[]], 2**70, "9" * 40)


def spoiled_value(value: object, rng: random.Random) -> object:
    """Change one thing in a value of JSON."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if rng.random() < 0.1:
            return {**value, "strange": rng.choice(ODD_VALUES)}
        return {**value, key: spoiled_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        return [*value[:at], spoiled_value(value[at], rng), *value[at + 1 :]]
    return rng.choice(ODD_VALUES)


def lines(seed: bytes) -> Callable[[random.Random], bytes]:
    """Spoil a text: its bytes, or its fields and lines."""

    def make(rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return mutate(seed, rng)
        rows = seed.split(b"\n")
        at = rng.randrange(len(rows))
        fields = rows[at].replace(b"\t", b" \t ").split(b" ")
        odd = (b"nan", b"-inf", b"", b"\t", b"9" * 5000, b"\xff\xfe", b"\0", b"=", b"1e999", b"\\")
        fields[rng.randrange(len(fields))] = rng.choice(odd)
        rows[at] = b" ".join(fields).replace(b" \t ", b"\t")
        if rng.random() < 0.3:
            rows.insert(rng.randrange(len(rows)), rng.choice(rows))
        return b"\n".join(rows)

    return make
