"""What a process of its own hears, and what of the model's files it shares with others."""

from dataclasses import dataclass
from pathlib import Path

from rivulet.audio import load
from rivulet.events import Event
from rivulet.recognizer import Recognizer
from support import SAMPLES

SECONDS = 2.0


@dataclass(frozen=True)
class Mapped:
    """A mapped file: its name, the KiB that are in memory, and those that only this process has."""

    name: str
    resident: int
    own: int


def events_of(recognizer: Recognizer) -> list[Event]:
    """Hear the beginning of a clip."""
    samples = load(SAMPLES / "slt.flac")[: int(SECONDS * 16_000)]
    stream = recognizer.stream()
    events = []
    for start in range(0, len(samples), 4_000):
        events += stream.accept(samples[start : start + 4_000])
    return events + stream.finish()


def hear(model: str) -> tuple[list[Event], list[Mapped]]:
    """Load a model, hear, and say what is mapped."""
    recognizer = Recognizer.load(model)
    return events_of(recognizer), mapped_files()  # while it holds them


def mapped_files() -> list[Mapped]:
    """Return this process's mappings of language models and weights; none where no /proc is."""
    smaps = Path("/proc/self/smaps")
    found: list[Mapped] = []
    for line in smaps.read_text().splitlines() if smaps.exists() else ():
        fields = line.split()
        if not fields[0].endswith(":"):
            found.append(Mapped(fields[-1], 0, 0))
        elif fields[0] == "Rss:":
            found[-1] = Mapped(found[-1].name, int(fields[1]), 0)
        elif fields[0] == "Private_Dirty:":
            found[-1] = Mapped(found[-1].name, found[-1].resident, int(fields[1]))
    return [f for f in found if f.name.endswith((".bin", ".safetensors"))]
