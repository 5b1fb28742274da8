"""`rivulet train-text TEXT...`: a tagger that writes case and punctuation."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rivulet.errors import ConfigError

UNREADABLE = "\0"  # sound and pictures have it, texts do not


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "train-text", help="case and punctuation from your own text", description=__doc__
    )
    parser.add_argument(
        "texts",
        nargs="+",
        type=Path,
        metavar="TEXT",
        help="cased, punctuated, a paragraph a line; plain, .gz or .xz",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "-m", "--model", default="default", help="whose lexicon says what sounds alike"
    )
    parser.add_argument("--base", default="english", help="language whose other files are taken")
    parser.add_argument("--words", type=float, default=12e6, help="to train on (%(default).0f)")
    parser.add_argument("--minutes", type=float, default=60.0, help="at most (%(default).0f)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, write the language's folder and say how large it is."""
    import numpy as np
    import torch

    from rivulet.training import tagger, tagger_data
    from rivulet.training.punctuated import examples

    if args.words < 1 or args.minutes <= 0:
        raise ConfigError(f"{args.words:.0f} words in {args.minutes} minutes are no training.")
    torch.set_num_threads(args.threads)
    config = tagger.TaggerConfig(words=int(args.words), minutes=args.minutes)
    corpus, mixed = tagger_data.read_corpus(examples(_lines(args.texts)))
    least = config.batch * config.steps
    if len(corpus.types) < least:
        raise ConfigError(f"the texts hold {len(corpus.types)} words; give at least {least}.")
    print(f"{len(corpus.types)} words, {len(corpus.spellings)} different")
    vocabulary = tagger_data.build_vocabulary(corpus, mixed, config.vocabulary)
    counts = np.bincount(corpus.types, minlength=len(corpus.spellings)).tolist()
    similar = tagger_data.confusions(corpus.spellings, counts, lexicon(args.model))
    network = tagger.train(
        corpus, vocabulary, similar, config, lambda line: print(line, flush=True)
    )
    tagger.export(network, vocabulary, args.base, args.output)
    size = sum(path.stat().st_size for path in args.output.iterdir())
    print(f"{args.output}: {size / 1e6:.2f} MB; try it with --language {args.output}")
    return 0


def _lines(paths: list[Path]) -> Iterator[str]:
    from rivulet.language.files import DAMAGED, open_packed

    for path in paths:
        try:
            with open_packed(path) as file:
                for line in file:
                    if UNREADABLE in line:
                        raise ConfigError(
                            f"{path} is no text; give plain text, or .gz or .xz of it."
                        )
                    yield line
        except (OSError, *DAMAGED) as error:  # noqa: PERF203 (a text is megabytes)
            raise ConfigError(f"{path} cannot be read ({error}); get it again.") from error


def lexicon(model: str) -> dict[str, tuple[str, ...]]:
    """Return the pronunciations of a model's lexicon; the first of each word."""
    from rivulet import checkpoint
    from rivulet.language.files import read_pronunciations

    path = checkpoint.find(model) / checkpoint.LM_FOLDER / "lexicon.txt.xz"
    if not path.is_file():
        raise ConfigError(f"the model {model} has no lexicon; name one that decodes with a beam.")
    phones: dict[str, tuple[str, ...]] = {}
    for word, spoken in read_pronunciations(path):
        phones.setdefault(word.lower(), spoken)
    return phones
