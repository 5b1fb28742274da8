"""`rivulet lm`: language models and lexicons from your own text, from a ready model, or mixed."""

import argparse
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.corpora.manifest import COLUMNS, read_manifest
from rivulet.errors import ConfigError, LanguageModelError
from rivulet.text.normalize import normalize

if TYPE_CHECKING:
    from rivulet.language.build.arpa import BackoffModel
    from rivulet.language.build.g2p_training import SpellingErrors
    from rivulet.language.build.kenlm_tools import Tools
    from rivulet.language.build.lexicon import Pronunciations
    from rivulet.language.g2p import G2P
    from rivulet.language.model import LanguageModel

ALL = "all"  # the name of the whole beside its sets


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
    build.add_argument("--arpa", type=Path, metavar="FILE", help="a ready model, plain, .gz or .xz")
    build.add_argument(
        "--mix",
        type=float,
        default=0.5,
        metavar="WEIGHT",
        help="share of the texts beside --arpa, between 0 and 1 (%(default)s)",
    )
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
    build.add_argument("--write-arpa", type=Path, metavar="FILE", help="keep the model as ARPA")
    build.add_argument("--evaluate", nargs="+", type=Path, default=[], metavar="TEXT|MANIFEST.tsv")
    build.set_defaults(run=run_build)


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

    results = evaluate(LanguageModel.load(args.model), args.texts)
    print(json.dumps({"lm": str(args.model), "evaluation": results}))
    return 0


def run_pack(args: argparse.Namespace) -> int:
    """Pack a language model and print its size and n-grams, JSON in the last line."""
    from rivulet import checkpoint
    from rivulet.language.model import FILES, LanguageModel

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
    sizes = {n: (folder / n).stat().st_size for n in FILES if (folder / n).is_file()}
    counts = LanguageModel.load(folder).scorer.counts
    for n, count in enumerate(counts, 1):
        print(f"{count:9} {n}-grams")
    for name, size in sizes.items():
        print(f"{size / 1e6:9.2f} MB {name}")
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
    from rivulet.language.build import kenlm_tools, lexicon
    from rivulet.language.model import FILES, LanguageModel

    _check(args)
    tools = kenlm_tools.find()
    dictionaries = _dictionaries(args.dictionary)
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output, prefix="unfinished-") as name:
        work = Path(name)
        ngrams = _ngrams(args, lexicon.merge(dictionaries.values()), tools, work)
        g2p, errors = _g2p(args, dictionaries, tools, work)
        found = lexicon.build(ngrams.words, dictionaries, g2p)
        kept = None if args.no_g2p else g2p
        model = LanguageModel.of(ngrams.words, found.pronunciations, work / "lm.arpa", kept)
        model.save(args.output)
    files = [args.output / name for name in FILES]
    sizes = {path.name: path.stat().st_size for path in files if path.is_file()}
    numbers = {
        "ngrams": ngrams.counts,
        "words": len(ngrams.words),
        "pronunciations": len(found.pronunciations),
        "sources": found.sources,
        "g2p": errors and asdict(errors),
        "bytes": sizes,
    }
    _print_numbers(numbers)
    results = evaluate(LanguageModel.load(args.output), args.evaluate)
    print(json.dumps({"lm": str(args.output), **numbers, "evaluation": results}))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Check all flags before anything long begins."""
    from rivulet.language.build.kenlm_tools import check_order

    check_order(args.order, args.prune)
    if not args.texts and not args.arpa:
        raise ConfigError("there is nothing to build from; give texts, an --arpa file, or both.")
    if not 0.0 < args.mix < 1.0:
        raise ConfigError(f"--mix {args.mix:g} is not between 0 and 1; 0.5 takes half of each.")
    if args.held_out < 0:
        raise ConfigError(f"--held-out {args.held_out} is negative; 0 leaves the measurement out.")
    if not 0.0 <= args.entropy_prune < 1.0:
        raise ConfigError(
            f"--entropy-prune {args.entropy_prune:g} is not between 0 and 1; 1e-8 drops few."
        )
    if args.vocabulary and args.vocabulary.isdigit() and not int(args.vocabulary):
        raise ConfigError("a vocabulary of 0 words says nothing; give a larger number.")


def _dictionaries(names: list[str] | None) -> "dict[str, Pronunciations]":
    """Return the dictionaries by file name, or the lexicon of the shipped model."""
    from rivulet.language.build.lexicon import read_dictionary
    from rivulet.language.model import LEXICON_FILE

    return {Path(n).name: read_dictionary(n) for n in names or [str(_shipped() / LEXICON_FILE)]}


def _shipped() -> Path:
    from rivulet import checkpoint

    return checkpoint.find(checkpoint.DEFAULT_NAME) / checkpoint.LM_FOLDER


def _ngrams(
    args: argparse.Namespace, known: "Pronunciations", tools: "Tools", work: Path
) -> "BackoffModel":
    """Estimate, read or mix the n-grams; write `lm.arpa` to `work`."""
    from rivulet.language.build import arpa, pruning, text

    path = work / "lm.arpa"
    ready = arpa.read(args.arpa) if args.arpa else None
    if args.texts:
        dropped: Counter[str] = Counter()
        sentences = text.read_sentences(args.texts, known, dropped)
        counts = text.write_sentences(sentences, work / "text")
        if dropped:
            print(f"{dropped.total()} words of more than {text.LONGEST_WORD} letters left out")
        words = text.choose_vocabulary(args.vocabulary, counts)
        print(f"{counts.total()} words of text, {len(words)} of {len(counts)} different ones kept")
        tools.estimate(work / "text", path, args.order, args.prune, words)
        estimated = arpa.read(path)
        model = arpa.mix(estimated, ready, args.mix) if ready is not None else estimated
    else:
        assert ready is not None, "_check asks for one of both"
        words = text.choose_vocabulary(args.vocabulary, ready.chances)
        model = pruning.keep_words(ready, words) if args.vocabulary else ready
    if args.entropy_prune:
        model = pruning.entropy_prune(model, args.entropy_prune)
    strange = [word for word in model.words if normalize(word) != word]
    if strange or not model.words:
        raise LanguageModelError(
            f"{len(strange)} of {len(model.words)} words such as {strange[:1]} are not written in "
            "A-Z and apostrophe; make the ARPA file from normalized text."
        )
    arpa.write(model, path)
    if args.write_arpa:
        shutil.copyfile(path, args.write_arpa)
    return model


def _g2p(
    args: argparse.Namespace, dictionaries: "dict[str, Pronunciations]", tools: "Tools", work: Path
) -> "tuple[G2P, SpellingErrors | None]":
    """Train letter-to-sound on the dictionaries and measure it; or take the shipped model's."""
    from rivulet.language.build import g2p_training, lexicon
    from rivulet.language.g2p import G2P

    if not args.dictionary:
        return G2P.load(_shipped()), None
    merged = lexicon.merge(dictionaries.values())
    errors = None
    if args.held_out:
        rest, held_out = g2p_training.hold_out(merged, args.held_out)
        errors = g2p_training.measure(g2p_training.train(rest, work, tools), held_out)
    return g2p_training.train(merged, work, tools), errors


def _print_numbers(numbers: dict[str, Any]) -> None:
    for n, count in enumerate(numbers["ngrams"], 1):
        print(f"{count:9} {n}-grams")
    print(
        f"{numbers['words']:9} words with {numbers['pronunciations']} pronunciations, words from:"
    )
    for source, count in numbers["sources"].items():
        print(f"{count:9}   {source}")
    errors = numbers["g2p"]
    if errors:
        print(
            f"letter-to-sound on {errors['words']} held-out words: "
            f"{100 * errors['phone_error_rate']:.1f} % of the phones wrong, "
            f"{100 * errors['word_error_rate']:.1f} % of the words"
        )
    for name, size in numbers["bytes"].items():
        print(f"{size / 1e6:9.2f} MB {name}")


def evaluate(model: "LanguageModel", paths: list[Path]) -> dict[str, dict[str, float]]:
    """Measure texts and manifests, print a line for each set, and return the numbers by set."""
    from rivulet.language.model import Perplexity

    sets: dict[str, list[str]] = {}
    for path in paths:
        for name, line in _lines(path):
            sets.setdefault(name, []).append(line)
    parts: dict[str, Perplexity] = {n: model.perplexity(lines) for n, lines in sets.items()}
    if len(parts) > 1:
        parts[ALL] = sum(parts.values(), Perplexity())
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
