"""Decode a pack of sound on all cores: `python decode.py PACK OUT` writes OUT/PACK.i16 and .json.

The JSON file comes last: a list of names, and one of lengths in samples at 16 kHz. libsndfile reads
the files, since PyAV is not on the machine.
"""

import io
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 16_000
UNREADABLE = bytes(2 * RATE)  # a second of silence: one file must not stop a lease


def main() -> None:
    """Decode the pack."""
    pack, out = Path(sys.argv[1]), Path(sys.argv[2])
    raw = pack.read_bytes()
    at = 8 + int.from_bytes(raw[:8], "little")
    names, sizes = json.loads(raw[8:at])
    ends = at + np.cumsum(sizes)
    files = [raw[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    lengths = []
    with ProcessPoolExecutor() as pool, (out / f"{pack.stem}.i16").open("wb") as samples:
        for sound in pool.map(decode, files, chunksize=32):
            samples.write(sound)
            lengths.append(len(sound) // 2)
    part = out / f"{pack.stem}.part"
    part.write_text(json.dumps([names, lengths]))
    part.rename(out / f"{pack.stem}.json")
    print(f"{pack.stem}: {len(names)} files, {sum(lengths) / RATE / 3600:.2f} h")


def decode(data: bytes) -> bytes:
    """Return a file's sound as int16 at 16 kHz."""
    try:
        sound, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        print(f"taken for silence: {error}")
        return UNREADABLE
    mono = sound.mean(axis=1)
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE)
    return bytes(np.clip(np.round(mono * 32768), -32768, 32767).astype(np.int16).tobytes())


if __name__ == "__main__":
    main()
