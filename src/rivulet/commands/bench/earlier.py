"""What `rivulet bench accuracy --json` keeps of every clip, and reading it back."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.corpora.manifest import Utterance
from rivulet.errors import ConfigError

if TYPE_CHECKING:
    from rivulet.evaluation.accuracy import SystemTranscripts


def clip_rows(
    clips: Sequence[Utterance], done: "Sequence[SystemTranscripts]"
) -> list[dict[str, Any]]:
    """Return every clip: the reference, and the hypothesis of each system."""
    rows = []
    for place, clip in enumerate(clips):
        hypotheses = {system.name: _hypothesis(system, place) for system in done}
        about = {
            "id": clip.id,
            "part": clip.set_name,
            "speaker": clip.speaker,
            "reference": clip.text,
        }
        rows.append({**about, "hypotheses": hypotheses})
    return rows


def _hypothesis(system: "SystemTranscripts", place: int) -> dict[str, Any]:
    clip = system.clips[place]
    failure = {"failure": clip.failure} if clip.failure else {}
    return {"text": clip.text, **asdict(clip.words), **failure}


def clip_seconds(done: "Sequence[SystemTranscripts]") -> dict[str, list[tuple[float, float]]]:
    """Return seconds of sound and of a core for each clip, by system; they differ between runs."""
    return {
        system.name: [(clip.audio_s, clip.compute_s) for clip in system.clips] for system in done
    }


def read_earlier(path: Path, clips: Sequence[Utterance]) -> "dict[str, SystemTranscripts]":
    """Return what the systems of an earlier run wrote for the same `clips`, by name.

    Raises:
        ConfigError: the file is missing, of something else, or of other clips.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = document["clips"]
        there = [(row["id"], row["reference"]) for row in rows]
        found = {name: _system(document, name) for name in document["systems"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read as results of bench accuracy ({error}); name a file that "
            "--json wrote."
        ) from error
    if there != [(clip.id, clip.text) for clip in clips]:
        raise ConfigError(
            f"{path} has {len(there)} clips, which are not the {len(clips)} of this run; choose "
            "the same ones with --manifest, --part, --every and --limit."
        )
    return found


def _system(document: dict[str, Any], name: str) -> "SystemTranscripts":
    from rivulet.evaluation.accuracy import ClipTranscript, SystemTranscripts
    from rivulet.metrics import ErrorCounts

    about, measured = document["systems"][name], document["machine"]["systems"][name]
    clips = []
    seconds = document["clips_s"][name]
    for row, (audio_s, compute_s) in zip(document["clips"], seconds, strict=True):
        hypothesis = dict(row["hypotheses"][name])
        text, failure = hypothesis.pop("text"), hypothesis.pop("failure", "")
        clips.append(ClipTranscript(text, ErrorCounts(**hypothesis), audio_s, compute_s, failure))
    return SystemTranscripts(
        name,
        about["model"],
        about["model_bytes"],
        measured["load_s"],
        tuple(clips),
        measured["added_bytes"],
    )
