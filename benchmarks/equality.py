"""What must be the same is looked at clip by clip: two searches, or two engines.

usage: python benchmarks/equality.py search|engines MANIFEST --log FILE [--every N] [--first N]

`search`: the beam in C++ beside flashlight's, frame by frame: partials, settled counts, finals,
times, confidences. `engines`: ONNX Runtime beside torch: log-probabilities, greedy text. A clip is
a line of JSON in the log, which a second call goes on with; what all lines say together is printed.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from rivulet.acoustic.frontend import Frontend
from rivulet.audio import SAMPLE_RATE, Samples, load
from rivulet.corpora.manifest import read_manifest
from rivulet.decoding.beam import BeamDecoder, SearchName
from rivulet.decoding.decoder import DecodedWord
from rivulet.decoding.strategy import BeamDecoding
from rivulet.recognizer import Recognizer

EVERY_FRAMES = 3  # a partial is asked for as often as a block of 120 ms brings one
SILENCE_S = 1.0  # after a clip, as the recognizer hears it out
NEAR = 1e-9  # what the order of additions may change in a confidence
CLOSE = 1e-4  # what another library's sums may change in a log-probability


def log_probs_of(recognizer: Recognizer, sound: Samples) -> np.ndarray:
    """Return the log-probabilities (frames, columns) of a clip, block by block."""
    engine = recognizer.checkpoint.engine
    frontend = Frontend(recognizer.block_ms // 10, SAMPLE_RATE)
    state = engine.layout.zeros()
    rows = []
    for block in [*frontend.push(sound), *frontend.flush(SILENCE_S)]:
        log_probs, state = engine.step(block.samples[None], state)
        rows.append(log_probs[0])
    return np.concatenate(rows)


class Searches:
    """The beam in C++ and flashlight's."""

    def __init__(self) -> None:
        """Load the shipped model."""
        self._recognizer = Recognizer.load()

    def look(self, sound: Samples) -> dict[str, Any]:
        """Decode a clip with both, and count what is the same."""
        rows = log_probs_of(self._recognizer, sound)
        native, other = self._decoder("native"), self._decoder("flashlight")
        found = {"frames": len(rows), "partials": 0, "partials_equal": 0, "settled_equal": 0}
        for number, row in enumerate(rows):
            native.push(row[None])
            other.push(row[None])
            if number % EVERY_FRAMES == EVERY_FRAMES - 1:
                found["partials"] += 1
                found["partials_equal"] += alike(native.words(), other.words())
                found["settled_equal"] += native.settled() == other.settled()
        mine, theirs = native.finish_segment(False), other.finish_segment(False)
        return {**found, "equal": alike(mine, theirs), "words": len(mine)}

    def _decoder(self, search: SearchName) -> BeamDecoder:
        decoding = self._recognizer.decoding
        assert isinstance(decoding, BeamDecoding)
        measured = decoding.measured
        return BeamDecoder(
            decoding.graph,
            decoding.settings.beam,
            decoding.tokenizer,
            measured.confidence,
            decoding.settings.alternatives,
            measured.priors,
            search=search,
        )


def alike(mine: list[DecodedWord], theirs: list[DecodedWord]) -> bool:
    """Whether words and times are the same, and confidences but for the last bits."""
    same = [(w.text, w.start, w.end) for w in mine] == [(w.text, w.start, w.end) for w in theirs]
    return same and all(
        abs(a.confidence - b.confidence) < NEAR for a, b in zip(mine, theirs, strict=True)
    )


class Engines:
    """ONNX Runtime and torch."""

    def __init__(self) -> None:
        """Load the shipped model with each."""
        self._onnx = Recognizer.load(decoder="greedy")
        self._torch = Recognizer.load(decoder="greedy", engine="torch")

    def look(self, sound: Samples) -> dict[str, Any]:
        """Recognize a clip with both."""
        first, second = log_probs_of(self._onnx, sound), log_probs_of(self._torch, sound)
        texts = [text_of(recognizer, sound) for recognizer in (self._onnx, self._torch)]
        return {
            "frames": len(first),
            "largest_difference": float(np.abs(first - second).max()),
            "equal": texts[0] == texts[1],
            "words": len(texts[0].split()),
        }


def text_of(recognizer: Recognizer, sound: Samples) -> str:
    """Return the text of a clip (samples,) at 16 kHz."""
    return recognizer.transcribe(sound, SAMPLE_RATE).text


def together(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up what the lines say."""
    summed = {"clips": len(lines), "clips_equal": sum(line["equal"] for line in lines)}
    for key in ("frames", "words", "partials", "partials_equal", "settled_equal"):
        if key in lines[0]:
            summed[key] = sum(line[key] for line in lines)
    if "largest_difference" in lines[0]:
        differences = [line["largest_difference"] for line in lines]
        summed["largest_difference"] = max(differences)
        summed["clips_close"] = sum(difference < CLOSE for difference in differences)
    summed["cpu_seconds"] = round(sum(line["cpu_seconds"] for line in lines), 1)
    return summed


def main() -> int:
    """Read the flags and go."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["search", "engines"])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="every Nth clip")
    parser.add_argument("--first", type=int, default=0, help="of them, the first")
    args = parser.parse_args()
    lines = []
    if args.log.exists():
        lines = [json.loads(line) for line in args.log.read_text().splitlines()]
    done = {line["id"] for line in lines}
    pair = {"search": Searches, "engines": Engines}[args.what]()
    for clip in read_manifest(args.manifest)[args.first :: args.every]:
        if clip.id in done:
            continue
        begun = time.process_time()
        found = pair.look(load(clip.path))
        lines.append({"id": clip.id, **found, "cpu_seconds": time.process_time() - begun})
        with args.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(lines[-1]) + "\n")
    print(json.dumps(together(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
