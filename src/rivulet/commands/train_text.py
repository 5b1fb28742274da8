"""`rivulet train-text TEXT...`: a tagger that writes case and punctuation.

A run that was cut off goes on where it stood when the same command is given again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.errors import ConfigError

if TYPE_CHECKING:
    from rivulet.training.tagger import TaggerConfig
    from rivulet.training.tagger_data import Texts
    from rivulet.training.tagger_loop import Material

RESUME_FILE = "training.safetensors"  # in the output folder until the run has ended

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
    parser.add_argument("--words", type=float, default=24e6, help="to train on (%(default).0f)")
    parser.add_argument("--hidden", type=int, default=192, help="size of the GRU (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and errors (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, write the language's folder and say how large it is."""
    import torch

    from rivulet.training import tagger, tagger_data, tagger_loop, tagger_tuning
    from rivulet.training.punctuated import examples

    if args.words < 1:
        raise ConfigError(f"{args.words:.0f} words are no training.")
    torch.set_num_threads(args.threads)
    config = tagger.TaggerConfig(words=int(args.words), hidden=args.hidden)
    texts = tagger_data.read_texts(examples(_lines(path)) for path in args.texts)
    material = _material(texts, config, args.model)
    print(f"{len(texts.corpus.types)} words, {len(texts.corpus.spellings)} different", flush=True)
    network = tagger_loop.train(
        material,
        config,
        lambda line: print(line, flush=True),
        args.seed,
        args.output / RESUME_FILE,
    )
    bias = tagger_tuning.tuned_bias(network, material.vocabulary, texts.held, material.similar)
    print("added to , . ? :", *(f"{bias[mark]:.1f}" for mark in tagger_tuning.TUNED))
    tagger.export(network, material.vocabulary, args.base, args.output, bias.tolist())
    (args.output / RESUME_FILE).unlink()
    size = sum(path.stat().st_size for path in args.output.iterdir())
    print(f"{args.output}: {size / 1e6:.2f} MB; try it with --language {args.output}")
    return 0


def _material(texts: "Texts", config: "TaggerConfig", model: str) -> "Material":
    """Return what to train on.

    Raises:
        ConfigError: the texts are too short.
    """
    import numpy as np

    from rivulet.training import tagger_data, tagger_loop

    corpus = texts.corpus
    least = config.steps * tagger_loop.ROUNDS
    if len(corpus.types) < least:
        raise ConfigError(f"the texts hold {len(corpus.types)} words; give at least {least}.")
    vocabulary = tagger_data.build_vocabulary(corpus, texts.mixed, config.vocabulary)
    counts = np.bincount(corpus.types, minlength=len(corpus.spellings)).tolist()
    similar = tagger_data.confusions(corpus.spellings, counts, lexicon(model))
    return tagger_loop.Material(corpus, vocabulary, similar)


def _lines(path: Path) -> Iterator[str]:
    from rivulet.language.files import DAMAGED, open_packed

    try:
        with open_packed(path) as file:
            for line in file:
                if UNREADABLE in line:
                    raise ConfigError(f"{path} is no text; give plain text, or .gz or .xz of it.")
                yield line
    except (OSError, *DAMAGED) as error:
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
