"""`rivulet data`: turn a corpus into a manifest for training and evaluation."""

import argparse
from pathlib import Path
from typing import Any

from rivulet.errors import ManifestError


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("data", help="turn a corpus into a manifest", description=__doc__)
    kinds = parser.add_subparsers(metavar="CORPUS", required=True)
    libri = kinds.add_parser("librispeech", help="LibriSpeech, downloaded or a local copy")
    libri.add_argument("root", type=Path, help="the folder that holds LibriSpeech/")
    libri.add_argument("--part", required=True, help="for example train-clean-100")
    libri.add_argument("--download", action="store_true", help="fetch it from OpenSLR first")
    voice = kinds.add_parser("common-voice", help="a Common Voice list and its clips")
    voice.add_argument("tsv", type=Path, help="for example cv-corpus/en/validated.tsv")
    folder = kinds.add_parser("folder", help="any folder of sound files with .txt beside them")
    folder.add_argument("root", type=Path)
    noise = kinds.add_parser("noise", help="any folder of sound files without words")
    noise.add_argument("root", type=Path)
    noise.add_argument(
        "--exclude", nargs="*", default=[], metavar="PART", help="leave out paths that contain this"
    )
    for kind in (libri, voice, folder, noise):
        kind.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.tsv")
        kind.set_defaults(run=run, corpus=kind.prog.split()[-1])

    words = kinds.add_parser("dictionary", help="a pronunciation for every word of manifests")
    words.add_argument("manifests", nargs="+", type=Path, metavar="FILE.tsv")
    words.add_argument(
        "--dictionary", type=Path, required=True, metavar="FILE", help="CMU-style; it comes first"
    )
    words.add_argument(
        "--language-model",
        type=Path,
        metavar="DIR",
        help="whose letter-to-sound says the other words (that of the shipped model)",
    )
    words.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    words.set_defaults(run=run_dictionary)


def run(args: argparse.Namespace) -> int:
    """Write the manifest and say what is in it."""
    from rivulet.corpora import sources
    from rivulet.corpora.manifest import write_manifest

    if args.corpus == "librispeech":
        found = sources.librispeech(args.root, args.part, args.download)
    elif args.corpus == "common-voice":
        found = sources.common_voice(args.tsv)
    else:
        found = sources.sound_folder(args.root, with_text=args.corpus == "folder")
    unwanted = [part.lower() for part in getattr(args, "exclude", [])]
    kept = [u for u in found if not any(part in str(u.path).lower() for part in unwanted)]
    if not kept:
        raise ManifestError("0 utterances are left; exclude less.")
    count = write_manifest(args.output, kept)
    hours = sum(u.seconds for u in kept) / 3600
    print(f"{args.output}: {count} utterances, {hours:.2f} h")
    return 0


def run_dictionary(args: argparse.Namespace) -> int:
    """Write the dictionary that a phone head needs, and say what was guessed."""
    from rivulet import checkpoint
    from rivulet.corpora.manifest import read_manifest
    from rivulet.language.model import LanguageModel
    from rivulet.training.targets import complete_dictionary

    shipped = checkpoint.find(checkpoint.DEFAULT_NAME) / checkpoint.LM_FOLDER
    model = LanguageModel.load(args.language_model or shipped)
    texts = [u.text for path in args.manifests for u in read_manifest(path)]
    whole, missing = complete_dictionary(
        args.dictionary, texts, lambda word: model.pronounce(word)[0]
    )
    lines = (f"{word} {' '.join(phones)}\n" for word, phones in whole.items())
    args.output.write_text("".join(lines), encoding="latin-1")
    print(f"{args.output}: {len(whole)} words, {len(missing)} of them guessed from their letters")
    return 0
