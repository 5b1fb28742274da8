"""`rivulet lm`: language models and lexicons from your own text, from a ready model, or mixed."""

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.corpora.manifest import COLUMNS, read_manifest
from rivulet.errors import ConfigError
from rivulet.text.normalize import normalize

if TYPE_CHECKING:
    from rivulet.language.build.assemble import BuildReport
    from rivulet.language.model import LanguageModel


def add_parser(commands: Any) -> None:
    """Declare the command and its verbs."""
    parser = commands.add_parser("lm", help="build a language model", description=__doc__)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _add_build(verbs)

    tools = verbs.add_parser("tools", help="fetch and compile KenLM's lmplz and build_binary")
    tools.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="(kenlm in the user's cache)"
    )
    tools.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="compilers at once (%(default)s)"
    )
    tools.set_defaults(run=run_tools)

    evaluate = verbs.add_parser("evaluate", help="perplexity and unknown words of texts")
    evaluate.add_argument("model", type=Path, metavar="DIR", help="made by `rivulet lm build`")
    evaluate.add_argument("texts", nargs="+", type=Path, metavar="TEXT|MANIFEST.tsv")
    evaluate.set_defaults(run=run_evaluate)

    _add_pack(verbs)

    pronounce = verbs.add_parser("pronounce", help="how a model thinks words sound")
    pronounce.add_argument("model", type=Path, metavar="DIR", help="made by `rivulet lm build`")
    pronounce.add_argument("words", nargs="+", metavar="WORD")
    pronounce.add_argument("--count", type=int, default=3, help="guesses a word (%(default)s)")
    pronounce.set_defaults(run=run_pronounce)


def _add_pack(verbs: Any) -> None:
    pack = verbs.add_parser("pack", help="a ready model, whatever its format, into the packed file")
    pack.add_argument("model", type=Path, metavar="ARPA|KENLM|DIR", help="plain, .gz or .xz")
    place = pack.add_mutually_exclusive_group(required=True)
    place.add_argument("-o", "--output", type=Path, metavar="DIR", help="language model to write")
    place.add_argument(
        "--into", type=Path, metavar="CHECKPOINT", help="replace its language model, pieces and all"
    )
    pack.add_argument(
        "--lexicon",
        type=Path,
        metavar="DIR",
        help="language model whose words and pronunciations an n-gram file takes (the shipped one)",
    )
    pack.set_defaults(run=run_pack)


def _add_build(verbs: Any) -> None:
    build = verbs.add_parser("build", help="a model from texts, from an ARPA file, or from both")
    build.add_argument(
        "texts", nargs="*", type=Path, metavar="TEXT", help="plain, .gz or .xz; - is standard input"
    )
    build.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    build.add_argument(
        "--arpa",
        type=Path,
        metavar="FILE|DIR",
        help="a ready model: ARPA, plain, .gz or .xz, or a folder that this command made",
    )
    build.add_argument(
        "--mix",
        type=float,
        default=0.5,
        metavar="WEIGHT",
        help="share of the texts beside --arpa, between 0 and 1 (%(default)s)",
    )
    _add_ngram_flags(build)
    _add_pronunciation_flags(build)
    build.add_argument("--write-arpa", type=Path, metavar="FILE", help="keep the model as ARPA")
    build.add_argument("--evaluate", nargs="+", type=Path, default=[], metavar="TEXT|MANIFEST.tsv")
    build.set_defaults(run=run_build)


def _add_ngram_flags(build: argparse.ArgumentParser) -> None:
    build.add_argument("--order", type=int, default=3, help="words in an n-gram (%(default)s)")
    build.add_argument(
        "--prune",
        type=int,
        nargs="+",
        default=[0],
        metavar="COUNT",
        help="for each order: drop n-grams of the texts seen so often or less (0)",
    )
    build.add_argument(
        "--vocabulary",
        metavar="N|FILE",
        help="the N most frequent words of the texts, without texts of --arpa; or a list",
    )
    build.add_argument(
        "--entropy-prune",
        type=float,
        default=0.0,
        metavar="GROWTH",
        help="drop n-grams without which perplexity grows by less than this share, such as 1e-8",
    )


def _add_pronunciation_flags(build: argparse.ArgumentParser) -> None:
    build.add_argument(
        "--dictionary",
        action="append",
        metavar="FILE|pocketsphinx",
        help="CMU-style pronunciations; may be repeated, the first with a word wins "
        "(the lexicon of the shipped model)",
    )
    build.add_argument(
        "--held-out",
        type=int,
        default=1000,
        metavar="WORDS",
        help="words of the dictionaries on which letter-to-sound is measured (%(default)s)",
    )
    build.add_argument(
        "--no-g2p",
        action="store_true",
        help="leave letter-to-sound out (1.3 MB): words given at run time are sounded by rules",
    )


def run_tools(args: argparse.Namespace) -> int:
    """Fetch and compile KenLM's programs."""
    from rivulet.language.build import kenlm_tools

    if args.jobs < 1:
        raise ConfigError(f"{args.jobs} compilers cannot compile; use at least 1.")
    tools = kenlm_tools.install(args.output, args.jobs)
    print(f"{tools.lmplz}\n{tools.build_binary}")
    if args.output:
        print(f"tell rivulet with: export {kenlm_tools.ENVIRONMENT}={args.output.absolute()}")
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """Print perplexity and unknown words, a line for each set."""
    from rivulet.language.model import LanguageModel

    results = _evaluate(LanguageModel.load(args.model), args.texts)
    print(json.dumps({"lm": str(args.model), "evaluation": results}))
    return 0


def run_pack(args: argparse.Namespace) -> int:
    """Pack a language model and print its size and n-grams, JSON in the last line."""
    from rivulet import checkpoint
    from rivulet.language.build.assemble import file_sizes
    from rivulet.language.model import LanguageModel

    if args.model.is_dir():
        inside = args.model / checkpoint.LM_FOLDER
        model = LanguageModel.load(inside if inside.is_dir() else args.model)
    else:
        lexicon = LanguageModel.load(args.lexicon or _shipped())
        model = LanguageModel.of(lexicon.words, lexicon.pronunciations, args.model, lexicon.g2p)
    if args.into is not None:
        checkpoint.store_language_model(args.into, model)
    else:
        model.save(args.output)
    folder = args.output or args.into / checkpoint.LM_FOLDER
    sizes = file_sizes(folder)
    counts = LanguageModel.load(folder).scorer.counts
    _print_ngrams(counts)
    _print_sizes(sizes)
    print(json.dumps({"lm": str(folder), "ngrams": counts, "bytes": sizes}))
    return 0


def run_pronounce(args: argparse.Namespace) -> int:
    """Print a line for each pronunciation of each word."""
    from rivulet.language.model import LanguageModel

    model = LanguageModel.load(args.model)
    for word in args.words:
        for phones in model.pronounce(word, max(1, args.count)):
            print(f"{word} {' '.join(phones)}")
    return 0


def run_build(args: argparse.Namespace) -> int:
    """Build, measure, and print the numbers with one JSON object as the last line."""
    from rivulet.language.build import assemble, kenlm_tools
    from rivulet.language.model import LanguageModel

    config = assemble.BuildConfig(
        texts=tuple(args.texts),
        arpa=args.arpa,
        mix=args.mix,
        order=args.order,
        prune=tuple(args.prune),
        vocabulary=args.vocabulary,
        entropy_prune=args.entropy_prune,
        dictionaries=tuple(args.dictionary or ()),
        held_out=args.held_out,
        with_g2p=not args.no_g2p,
        write_arpa=args.write_arpa,
    )
    tools = kenlm_tools.find() if config.texts or config.dictionaries else None
    report = assemble.build(config, args.output, _shipped(), tools)
    _print_report(report)
    results = _evaluate(LanguageModel.load(args.output), args.evaluate)
    print(json.dumps({"lm": str(args.output), **asdict(report), "evaluation": results}))
    return 0


def _shipped() -> Path:
    from rivulet import checkpoint

    return checkpoint.find(checkpoint.DEFAULT_NAME) / checkpoint.LM_FOLDER


def _print_report(report: "BuildReport") -> None:
    from rivulet.language.build.text import LONGEST_WORD

    read = report.text
    if read and read.too_long:
        print(f"{read.too_long} words of more than {LONGEST_WORD} letters left out")
    if read:
        print(f"{read.words} words of text, {read.kept} of {read.different} different ones kept")
    _print_ngrams(report.ngrams)
    print(f"{report.words:9} words with {report.pronunciations} pronunciations, words from:")
    for source, count in report.sources.items():
        print(f"{count:9}   {source}")
    if report.g2p:
        print(
            f"letter-to-sound on {report.g2p.words} held-out words: "
            f"{100 * report.g2p.phone_error_rate:.1f} % of the phones wrong, "
            f"{100 * report.g2p.word_error_rate:.1f} % of the words"
        )
    _print_sizes(report.bytes)


def _print_ngrams(counts: Sequence[int]) -> None:
    for n, count in enumerate(counts, 1):
        print(f"{count:9} {n}-grams")


def _print_sizes(sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        print(f"{size / 1e6:9.2f} MB {name}")


def _evaluate(model: "LanguageModel", paths: list[Path]) -> dict[str, dict[str, float]]:
    """Measure texts and manifests, print a line for each set, and return the numbers by set."""
    from rivulet.language.build.assemble import perplexities

    sets: dict[str, list[str]] = {}
    for path in paths:
        for name, line in _lines(path):
            sets.setdefault(name, []).append(line)
    parts = perplexities(model, sets)
    if parts:
        print(f"{'perplexity':>10} {'unknown words':>19}  set")
    for name, part in parts.items():
        share = f"{part.unknown} ({100 * part.unknown_rate:.2f} %)"
        print(f"{part.value:10.1f} {share:>19}  {name}, {part.words} words")
    return {
        name: {
            "perplexity": round(part.value, 2),
            "words": part.words,
            "unknown": part.unknown,
            "unknown_rate": round(part.unknown_rate, 6),
        }
        for name, part in parts.items()
    }


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (set, normalized line) of a text, or of a manifest by the first folder of its paths."""
    from rivulet.language.build.arpa import open_text

    with open_text(path) as file:
        first = file.readline()
        if first.rstrip("\n").split("\t")[: len(COLUMNS)] == list(COLUMNS):
            yield from ((u.set_name, u.text) for u in read_manifest(path))
        else:
            yield from ((path.name, normalize(line)) for line in (first, *file))
