"""Speak the clips in data/samples: `python data/make_samples.py` (needs apt's espeak-ng and flite).

The sentences are the project's own. Each clip's text lies beside it, so that the folder is a
corpus for `rivulet data folder data/samples`.
"""

import subprocess
import tempfile
from pathlib import Path

import av

FOLDER = Path(__file__).parent / "samples"
CLIPS = {
    "slt": (
        "flite",
        "slt",
        "the little boat went down the river and the children waved from the bridge",
    ),
    "rms": ("flite", "rms", "he opened the door and looked out into the cold dark night"),
    "awb": ("flite", "awb", "please bring me a glass of water and a piece of bread"),
    "espeak": ("espeak-ng", "en-us", "we will meet again at the station in the morning"),
}
RATE_HZ = 16_000


def speak(program: str, voice: str, text: str, path: Path) -> None:
    """Write `text` as the synthesizer says it to `path`, a WAV file at the voice's own rate."""
    if program == "flite":
        command = ["flite", "-voice", voice, "-t", text, "-o", str(path)]
    else:
        command = ["espeak-ng", "-v", voice, "-s", "140", "-w", str(path), text]
    subprocess.run(command, check=True)


def to_flac(source: Path, target: Path) -> None:
    """Convert to 16 kHz mono FLAC."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream("flac", rate=RATE_HZ, layout="mono")
        convert = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        for frame in [*reader.decode(audio=0), None]:
            for part in convert.resample(frame):
                writer.mux(stream.encode(part))
        writer.mux(stream.encode(None))


def main() -> None:
    """Make every clip and its text."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, (program, voice, text) in CLIPS.items():
            wav = Path(folder) / f"{name}.wav"
            speak(program, voice, text, wav)
            to_flac(wav, FOLDER / f"{name}.flac")
            (FOLDER / f"{name}.txt").write_text(text + "\n")


if __name__ == "__main__":
    main()
