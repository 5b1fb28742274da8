"""Write down recordings with Whisper, for training: `python label.py MODEL_DIR OUT.tsv FILE_LIST`.

A line for each file: its name, seconds, mean log-probability a token, no-speech probability,
compression ratio, text. It goes on where an earlier call stopped. MODEL_DIR holds CTranslate2's
files. Every clip is encoded once, in a window of its own length instead of Whisper's 30 s, with a
beam of 5: a quarter of what `WhisperModel.transcribe` takes. Needs faster-whisper.
"""

import os
import sys
import zlib
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from ctranslate2 import StorageView
from faster_whisper import WhisperModel
from faster_whisper.audio import decode_audio
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

RATE = 16_000
HOP = 160
SHORTEST_S, LONGEST_S = 0.8, 27.0
LEAST_WINDOW_S = 8.0
AFTER_S = 2.0  # of silence behind the clip in its window
MOST_TOKENS = 120


def main() -> None:
    """Label every file of the list that has no line yet."""
    folder, out, names = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).read_text().split("\n")
    model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1)
    tokenizer = Tokenizer(model.hf_tokenizer, True, task="transcribe", language="en")
    done = {line.split("\t")[0] for line in out.open()} if out.exists() else set()
    with out.open("a") as file:
        for path in (Path(name) for name in names if name and Path(name).stem not in done):
            sound = decode_audio(str(path), sampling_rate=RATE)
            seconds = len(sound) / RATE
            if SHORTEST_S <= seconds <= LONGEST_S:
                found = label(model, tokenizer, sound)
                file.write("\t".join([path.stem, f"{seconds:.2f}", *found]) + "\n")
                file.flush()


def label(model: WhisperModel, tokenizer: Tokenizer, sound: Any) -> list[str]:
    """Return score, no-speech probability, compression ratio and text of float32 (n,)."""
    samples = int(max(len(sound) / RATE + AFTER_S, LEAST_WINDOW_S) * RATE)
    frames = model.feature_extractor(np.pad(sound, (0, samples - len(sound))))
    frames = np.ascontiguousarray(frames[None, :, : samples // HOP], np.float32)
    (result,) = model.model.generate(
        model.model.encode(StorageView.from_array(frames)),
        [[*tokenizer.sot_sequence, tokenizer.no_timestamps]],
        beam_size=5,
        return_scores=True,
        return_no_speech_prob=True,
        max_length=MOST_TOKENS,
        suppress_blank=True,
        suppress_tokens=list(get_suppressed_tokens(tokenizer, [-1])),
    )
    ids = result.sequences_ids[0]
    score = result.scores[0] * len(ids) / (len(ids) + 1)  # as faster-whisper's avg_logprob
    text = tokenizer.decode(ids).strip()
    raw = text.encode() or b" "
    ratio = len(raw) / len(zlib.compress(raw))
    return [f"{score:.3f}", f"{result.no_speech_prob:.3f}", f"{ratio:.2f}", text]


if __name__ == "__main__":
    main()
