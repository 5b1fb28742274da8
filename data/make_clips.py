"""Speak the clips in data/clips: `python data/make_clips.py` (needs apt's espeak-ng and flite).

Twenty sentences of the project's own, five by each of four synthetic voices, with the exact time of
every word. They let a clone see a word error rate and a latency without any corpus. Synthetic
speech is clear and always the same: how well rivulet hears people is said by docs/accuracy.md.
"""

from pathlib import Path

import av

from rivulet.audio import SAMPLE_RATE, Samples, to_int16
from rivulet.corpora.manifest import Utterance, write_manifest
from rivulet.evaluation.ctm import SpokenWord, write_ctm
from rivulet.evaluation.synthesis import speak

FOLDER = Path(__file__).parent / "clips"
SENTENCES = {
    "flite:slt": (
        "the farmer carried two baskets of apples to the market",
        "my sister plays the piano every evening after dinner",
        "a cold wind was blowing from the mountains",
        "nobody knew where the old road would take them",
        "the train leaves from the second platform in ten minutes",
    ),
    "flite:rms": (
        "she wrote a long letter to her brother in london",
        "we saw the first stars over the quiet harbor",
        "the doctor told him to stay in bed for a week",
        "there is a small garden behind the yellow house",
        "they were talking about the weather and the price of bread",
    ),
    "flite:awb": (
        "open the window and let some fresh air in",
        "the captain looked at his watch and said nothing",
        "every child in the village had heard the story",
        "it was raining when the visitors came home",
        "the river is too deep to cross without a boat",
    ),
    "espeak:en-us": (
        "our neighbors painted their house last summer",
        "the teacher asked a question and nobody answered",
        "summer was over and the leaves began to fall",
        "he sold his horse and bought a piece of land",
        "the soldiers marched through the city in silence",
    ),
}


def write_flac(path: Path, samples: Samples) -> None:
    """Write mono 16 kHz samples (n,) in 16 bits."""
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        stream.options = {"compression_level": "12"}
        frame = av.AudioFrame.from_ndarray(to_int16(samples)[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))


def main() -> None:
    """Make every clip, the manifest and the word times."""
    FOLDER.mkdir(exist_ok=True)
    clips: list[Utterance] = []
    times: dict[str, tuple[SpokenWord, ...]] = {}
    for voice, sentences in SENTENCES.items():
        speaker = voice.replace(":", "-")
        for number, sentence in enumerate(sentences, 1):
            name, text = f"{speaker}-{number}", sentence.upper()
            spoken = speak(text, voice)
            path = FOLDER / f"{name}.flac"
            write_flac(path, spoken.samples)
            seconds = len(spoken.samples) / SAMPLE_RATE
            clips.append(Utterance(name, path, seconds, speaker, text, "clips"))
            times[name] = spoken.words
    write_manifest(FOLDER / "manifest.tsv", clips)
    write_ctm(FOLDER / "words.ctm", times)


if __name__ == "__main__":
    main()
