"""Clips with a known text: from a manifest, or sound files with a .txt beside each."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rivulet.corpora.manifest import Utterance, read_manifest, read_text
from rivulet.errors import ConfigError, ManifestError
from rivulet.text.normalize import normalize

if TYPE_CHECKING:
    from rivulet.audio import Samples


def add_clip_flags(parser: argparse.ArgumentParser) -> None:
    """Declare which clips."""
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="sound files, each with its .txt",
    )
    parser.add_argument("--manifest", type=Path, metavar="FILE.tsv", help="instead of FILEs")
    parser.add_argument("--limit", type=int, metavar="N", help="only N clips, spread evenly")


def read_clips(args: argparse.Namespace) -> list[Utterance]:
    """Return the clips that the flags name, each with words; with `--limit` every so manyth.

    Raises:
        ConfigError: neither or both of files and a manifest are given, or the limit is below 1.
        ManifestError: a text is missing or has no words, or two clips share a name.
    """
    clips = named_clips(args)
    for clip in clips:
        if not clip.text:
            raise ManifestError(
                f"the clip {clip.id} has 0 words, so no word of it can be late; leave it out."
            )
    return spread(clips, args.limit)


def named_clips(args: argparse.Namespace) -> list[Utterance]:
    """Return all clips that the flags name.

    Raises:
        ConfigError: neither or both of files and a manifest are given.
        ManifestError: a text is missing, or two clips share a name.
    """
    if bool(args.files) == bool(args.manifest):
        raise ConfigError(
            f"{len(args.files)} files and {int(bool(args.manifest))} manifests are given; "
            "name sound files or one --manifest."
        )
    clips = read_manifest(args.manifest) if args.manifest else [_beside(f) for f in args.files]
    names = [clip.id for clip in clips]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ManifestError(f"{names.count(twice)} clips are called {twice}; rename one.")
    return clips


def spread(clips: list[Utterance], limit: int | None) -> list[Utterance]:
    """Return `limit` of the clips, evenly spread.

    Raises:
        ConfigError: the limit is below 1.
    """
    if limit is None or limit >= len(clips):
        return clips
    if limit < 1:
        raise ConfigError(f"--limit {limit} leaves 0 clips; give at least 1.")
    return [clips[i * len(clips) // limit] for i in range(limit)]


def load_samples(clip: Utterance) -> "Samples":
    """Return a clip as mono samples (n,) at 16 kHz."""
    from rivulet import audio

    return audio.load(clip.path)


def _beside(sound: Path) -> Utterance:
    text = sound.with_suffix(".txt")
    if not sound.is_file():
        raise ManifestError(f"{sound} does not exist; check the spelling.")
    if not text.is_file():
        raise ManifestError(f"{sound} has no text; write what is said in it to {text}.")
    return Utterance(sound.stem, sound, 0.0, "", normalize(read_text(text)), sound.parent.name)
