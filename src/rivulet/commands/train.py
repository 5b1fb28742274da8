"""`rivulet train` and `rivulet export`: a model from manifests; resumes where it stopped."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from rivulet.errors import ConfigError

if TYPE_CHECKING:
    from rivulet.training.config import DataConfig


def add_parser(commands: Any) -> None:
    """Declare both commands."""
    _add_train(commands)
    _add_export(commands)


def _add_train(commands: Any) -> None:
    parser = commands.add_parser("train", help="train a model", description=__doc__)
    parser.add_argument(
        "--recipe", type=Path, required=True, metavar="FILE.json", help="see data/recipes"
    )
    parser.add_argument("--train", nargs="+", required=True, metavar="FILE.tsv", help="manifests")
    parser.add_argument("--dev", required=True, metavar="FILE.tsv")
    parser.add_argument("--noise", metavar="FILE.tsv", help="made by `rivulet data noise`")
    parser.add_argument("--dictionary", metavar="FILE", help="CMU-style, for the phone head")
    parser.add_argument(
        "--sentences",
        nargs="+",
        default=[],
        metavar="FILE",
        help="text besides what is spoken, for the phone n-gram of MMI; plain, .gz or .xz",
    )
    parser.add_argument("--cache", metavar="DIR", help="decoded sound (the user's cache)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--start",
        metavar="MODEL|DIR",
        help="begin with the weights of this checkpoint, or of this run with all its heads",
    )
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--max-steps", type=int, help="stop early, for a trial")
    parser.add_argument("--threads", type=int, help="CPU threads (all cores)")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="share each step among N processes of this machine; on a CPU as many as cores are "
        "faster than one with as many threads (%(default)s)",
    )
    parser.set_defaults(run=run_train)


def _add_export(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="make a checkpoint from a training run, or the graphs of a checkpoint anew",
        description=__doc__,
    )
    export.add_argument(
        "training",
        type=Path,
        metavar="DIR",
        help="what `train --output` named; without --output, a checkpoint whose graphs are written",
    )
    export.add_argument("--head", default="characters", help="characters, or for example bpe-256")
    export.add_argument("--phones", metavar="HEAD", help="the head that the beam reads")
    export.add_argument(
        "--language-model",
        type=Path,
        metavar="DIR",
        help="made by `rivulet lm build`; for the beam",
    )
    export.add_argument("--name", default="default")
    export.add_argument(
        "--bits", type=int, default=16, help="of a weight: 5, 6, 8, 16 or 32 (%(default)s)"
    )
    export.add_argument(
        "--rounding-speech",
        nargs="+",
        type=Path,
        default=[],
        metavar="LIST.tsv",
        help="with 8 bits or fewer: round so that the network writes the same for this speech",
    )
    export.add_argument(
        "--average",
        nargs="+",
        default=[],
        metavar="MODEL|DIR",
        help="average its weights with those of these runs or checkpoints",
    )
    export.add_argument(
        "--beam",
        metavar="MODEL|DIR",
        help="set the beam as that of this checkpoint is set: its width and weights",
    )
    export.add_argument("-o", "--output", type=Path, metavar="DIR", help="of the checkpoint")
    export.set_defaults(run=run_export)


def run_train(args: argparse.Namespace) -> int:
    """Train, or go on training."""
    import torch

    if args.processes < 1:
        raise ConfigError(f"{args.processes} processes cannot train; use at least 1.")
    from rivulet.training.config import DataConfig, read_recipe
    from rivulet.training.initial_weights import read_initial_weights
    from rivulet.training.loop import train

    wanted = {"epochs": args.epochs, "max_steps": args.max_steps}
    recipe = read_recipe(args.recipe, **{k: v for k, v in wanted.items() if v is not None})
    data = DataConfig(
        tuple(args.train),
        args.dev,
        args.noise,
        args.dictionary,
        args.cache or str(user_cache_path("rivulet")),
        tuple(args.sentences),
    )
    start = read_initial_weights(args.start) if args.start else None
    if args.processes > 1 and "RANK" not in os.environ:
        _check(data)  # here it is one sentence; in a process among others, the others' end as well
        return _share(args.processes)
    if args.threads:
        torch.set_num_threads(args.threads)
    best = train(recipe, data, args.output, start)
    if os.environ.get("RANK", "0") == "0":
        print(f"best weights: {best}")
    return 0


def _check(data: "DataConfig") -> None:
    """Read what lists the data, so that a mistake in it is said before processes are started."""
    from rivulet.corpora.manifest import read_manifest
    from rivulet.training.targets import read_dictionary

    for manifest in (*data.train, data.dev, data.noise):
        if manifest:
            read_manifest(Path(manifest))
    if data.dictionary:
        read_dictionary(Path(data.dictionary))


def _share(processes: int) -> int:
    """Run this command in several processes that know of each other, as torchrun would."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # or all would use all cores
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="rivulet",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "rivulet", *sys.argv[1:])
    except ChildFailedError:
        return 1  # the process that failed has said why
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Write the checkpoint and say what it is."""
    if args.output is None:
        return _export_graphs(args.training)
    from rivulet import checkpoint
    from rivulet.decoding.settings import BeamConfig
    from rivulet.training.export import ExportConfig, export

    config = ExportConfig(
        args.name,
        args.head,
        args.phones,
        args.language_model,
        args.bits,
        tuple(args.average),
        checkpoint.load(args.beam).beam.config if args.beam else BeamConfig(),
        tuple(args.rounding_speech),
    )
    made = export(args.training, args.output, config)
    count = made.torch.model.num_parameters
    size = sum(path.stat().st_size for path in args.output.rglob("*") if path.is_file())
    print(f"{args.output}: {count} weights, {len(made.tokenizer)} tokens, {size / 1e6:.1f} MB")
    return 0


def _export_graphs(model: Path) -> int:
    """Write the graphs of a checkpoint that is there."""
    from rivulet.checkpoint import export_graphs
    from rivulet.training.initial_weights import SETTINGS_FILE

    if (model / SETTINGS_FILE).is_file():
        raise ConfigError(f"{model} is a training run; name its checkpoint's folder with --output.")
    for path in export_graphs(model):
        print(f"{path}: {path.stat().st_size / 1000:.1f} kB")
    return 0
