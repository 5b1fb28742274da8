"""Corpora as they are published → utterances of a manifest."""

import csv
from collections.abc import Iterator
from pathlib import Path

from rivulet import audio
from rivulet.corpora.manifest import Utterance, read_text
from rivulet.errors import AudioError, ManifestError
from rivulet.text.normalize import normalize

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".webm", ".mp4"})
LIBRISPEECH_PARTS = (
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
)


def librispeech(root: Path, part: str, download: bool = False) -> Iterator[Utterance]:
    """Yield one part of `root`/LibriSpeech, fetched from OpenSLR first if `download`.

    Raises:
        ManifestError: the part is unknown or not there.
    """
    if part not in LIBRISPEECH_PARTS:
        raise ManifestError(
            f"LibriSpeech has no part {part!r}; use one of {', '.join(LIBRISPEECH_PARTS)}."
        )
    if download:
        import torchaudio

        root.mkdir(parents=True, exist_ok=True)
        torchaudio.datasets.LIBRISPEECH(str(root), url=part, download=True)
    folder = root / "LibriSpeech" / part
    if not folder.is_dir():
        raise ManifestError(
            f"{folder} does not exist; add --download, or unpack {part}.tar.gz in {root}."
        )
    for transcript in sorted(folder.rglob("*.trans.txt")):
        for line in transcript.read_text(encoding="utf-8").splitlines():
            key, text = line.split(" ", 1)
            path = transcript.parent / f"{key}.flac"
            yield _utterance(key, path, f"ls-{key.split('-')[0]}", text, part)


def common_voice(tsv: Path) -> Iterator[Utterance]:
    """Yield the clips of a Common Voice list: `en/validated.tsv` lists what lies in `en/clips`.

    Clips with digits are left out: how they were read is not known.

    Raises:
        ManifestError: the list is missing or lacks a column.
    """
    if not tsv.is_file():
        raise ManifestError(
            f"{tsv} does not exist; give a list such as cv-corpus/en/validated.tsv."
        )
    with tsv.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        needed = {"client_id", "path", "sentence"}
        missing = needed - set(rows.fieldnames or ())
        if missing:
            raise ManifestError(
                f"{tsv} lacks the columns {', '.join(sorted(missing))}; it is no Common Voice list."
            )
        for row in rows:
            if not any(letter.isdigit() for letter in row["sentence"]):
                path = tsv.parent / "clips" / row["path"]
                speaker = f"cv-{row['client_id'][:16]}"
                yield _utterance(path.stem, path, speaker, row["sentence"], tsv.stem)


def sound_folder(root: Path, with_text: bool = True) -> Iterator[Utterance]:
    """Yield every sound file under `root` that has its text beside it (`talk.wav`, `talk.txt`).

    The file's folder counts as its speaker. Without `with_text` every sound is taken, with no
    words: noise.

    Raises:
        ManifestError: the folder is missing, or no file has a text.
    """
    if not root.is_dir():
        raise ManifestError(f"the folder {root} does not exist.")
    found = False
    for path in sorted(root.rglob("*")):
        beside = path.with_suffix(".txt")
        if path.suffix.lower() in SOUND_SUFFIXES and (not with_text or beside.is_file()):
            found = True
            text = read_text(beside) if with_text else ""
            key = "-".join(path.relative_to(root).with_suffix("").parts)
            yield _utterance(key, path, path.parent.name, text, root.name)
    if not found:
        kind = "sound file with a .txt of the same name" if with_text else "sound file"
        raise ManifestError(f"{root} holds no {kind}; put them there.")


def _utterance(key: str, path: Path, speaker: str, text: str, set_name: str) -> Utterance:
    try:
        samples = sum(len(block) for block in audio.read(path))
    except AudioError as error:
        raise ManifestError(f"{key} cannot be used: {error}") from error
    return Utterance(
        key, path.absolute(), samples / audio.SAMPLE_RATE, speaker, normalize(text), set_name
    )
