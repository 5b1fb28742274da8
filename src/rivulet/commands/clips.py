"""Clips with a known text: from a manifest, or sound files with a .txt beside each."""

import argparse
from pathlib import Path

import numpy as np

from rivulet import audio
from rivulet.errors import ConfigError, ManifestError
from rivulet.training.manifest import Utterance, normalize, read_manifest


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
    """Return the clips that the flags name; with `--limit` every so manyth.

    Raises:
        ConfigError: neither or both of files and a manifest are given, or the limit is below 1.
        ManifestError: a text is missing or has no words, or two clips share a name.
    """
    if bool(args.files) == bool(args.manifest):
        raise ConfigError(
            f"{len(args.files)} files and {int(bool(args.manifest))} manifests are given; "
            "name sound files or one --manifest."
        )
    clips = read_manifest(args.manifest) if args.manifest else [_beside(f) for f in args.files]
    for clip in clips:
        if not clip.text:
            raise ManifestError(
                f"the clip {clip.id} has 0 words, so no word of it can be late; leave it out."
            )
    names = [clip.id for clip in clips]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ManifestError(f"{names.count(twice)} clips are called {twice}; rename one.")
    if args.limit is None or args.limit >= len(clips):
        return clips
    if args.limit < 1:
        raise ConfigError(f"--limit {args.limit} leaves 0 clips; give at least 1.")
    return [clips[i * len(clips) // args.limit] for i in range(args.limit)]


def load_samples(clip: Utterance) -> audio.Samples:
    """Return a clip as mono samples (n,) at 16 kHz."""
    return np.concatenate(list(audio.read(clip.path)))


def _beside(sound: Path) -> Utterance:
    text = sound.with_suffix(".txt")
    if not sound.is_file():
        raise ManifestError(f"{sound} does not exist; check the spelling.")
    if not text.is_file():
        raise ManifestError(f"{sound} has no text; write what is said in it to {text}.")
    return Utterance(
        sound.stem, sound, 0.0, "", normalize(text.read_text(encoding="utf-8")), sound.parent.name
    )
