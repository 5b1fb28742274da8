"""`rivulet archive INPUT... --output DIR`: folders, disks and buckets of sound to text."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.commands.flags import add_recognizer_flags, add_track_flag, load_recognizer
from rivulet.commands.signals import terminable
from rivulet.errors import ConfigError, RivuletError
from rivulet.text.subtitles import SubtitleLayout
from rivulet.writers import FORMATS

if TYPE_CHECKING:
    from rivulet.archive.ledger import Ledger, Plan
    from rivulet.archive.progress import Progress
    from rivulet.archive.records import Found, Job, Result, Settings

INTERRUPTED = 128 + signal.SIGINT  # exit status, as a shell gives it


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "archive", help="folders, disks and buckets of sound to text", description=__doc__
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="sound files, folders, manifests (.tsv), URLs"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the results; the same command goes on where it stopped",
    )
    parser.add_argument("-t", "--format", choices=FORMATS, default="jsonl", help="(%(default)s)")
    parser.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="take these of a folder, such as '*.mp3' or '2024/*' (all kinds of sound)",
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help="but not these"
    )
    add_track_flag(parser)
    _add_how(parser)
    add_recognizer_flags(parser)
    parser.set_defaults(run=run)


def _add_how(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("work")
    group.add_argument("--workers", type=int, metavar="N", help="processes (one for each core)")
    group.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="let a Ray cluster work, the one on this machine or at ADDRESS; long files stay whole",
    )
    group.add_argument(
        "--verify",
        action="store_true",
        help="notice changed inputs by what is in them, not only by size and time",
    )
    group.add_argument("--retry", action="store_true", help="do again what failed before")
    group.add_argument(
        "--restart", action="store_true", help="forget all results in DIR and begin anew"
    )


def run(args: argparse.Namespace) -> int:
    """Do what is not done yet; return 1 if an input failed, the others are done all the same."""
    from rivulet.archive.ledger import Ledger

    if args.threads != 1:
        raise ConfigError(f"--threads {args.threads} gains nothing here; use --workers instead.")
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"{args.workers} workers cannot work; use at least 1.")
    _refuse_unusable(args.output)
    settings = _settings(args)
    if args.restart:
        _check(args)
    with Ledger(args.output) as ledger:
        if args.restart:
            ledger.forget()
        ledger.settle(settings)
        plan = _plan(args, ledger)
        _say(_planned(plan, args.output))
        return _work(args, ledger, settings, plan)


def _refuse_unusable(output: Path) -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ConfigError("the folder that this runs in is gone; cd to another.") from error
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file, and results need a folder; name another --output.")


def _settings(args: argparse.Namespace) -> "Settings":
    """Return what the flags ask for; the model is read to see whether they fit it."""
    from rivulet.archive.records import Settings
    from rivulet.checkpoint.folder import find
    from rivulet.text.formatter import FormatConfig

    recognizer = load_recognizer(args)
    return Settings(
        model=os.path.abspath(find(args.model)),
        digest=recognizer.checkpoint.digest,
        decoder=recognizer.settings,
        format=args.format,
        engine=args.engine,
        block_ms=recognizer.block_ms,
        endpoint=recognizer.endpoint,
        text=None if args.raw else FormatConfig(args.numbers, args.clean),
        language=args.language,
        layout=SubtitleLayout(args.line_width, args.max_lines),
        track=args.track,
    )


def _found(args: argparse.Namespace) -> "Iterator[Found]":
    from rivulet.archive.jobs import Choice, listed
    from rivulet.archive.sources import listed as list_url

    choice = Choice(tuple(args.include), tuple(args.exclude))
    return listed(args.inputs, choice, args.output, list_url)


def _check(args: argparse.Namespace) -> None:
    """See that there is something to do, before what was done is forgotten."""
    from rivulet.archive.ledger import shared

    places: dict[str, str] = {}
    for found in _found(args):
        other = places.setdefault(found.place, found.source)
        if other != found.source:
            raise shared(other, found, args.format)
    if not places:
        raise _nothing(args)


def _plan(args: argparse.Namespace, ledger: "Ledger") -> "Plan":
    plan = ledger.plan(_found(args), args.verify, args.retry)
    if not plan.total:
        raise _nothing(args)
    return plan


def _nothing(args: argparse.Namespace) -> ConfigError:
    return ConfigError(
        f"{len(args.inputs)} inputs hold 0 sound files; check --include and --exclude."
    )


def _planned(plan: "Plan", output: Path) -> str:
    """Say what is to be done."""
    changed = f", {plan.changed} of them changed or to be done again" if plan.changed else ""
    said = f"{plan.waiting} of {plan.total} files to do{changed}"
    if plan.done:
        said += f"; {plan.done} are done already"
    if plan.failed:
        said += f"; {plan.failed} failed before, --retry does them again"
    return f"{said}. Results go to {output}."


def _work(args: argparse.Namespace, ledger: "Ledger", settings: "Settings", plan: "Plan") -> int:
    """Do what is planned, and whatever ends it, say how far it came."""
    from rivulet.archive.index import Index
    from rivulet.archive.progress import Progress
    from rivulet.archive.recording import Recorder
    from rivulet.archive.reindexing import language_model_of
    from rivulet.archive.summary import Summary

    _need_tables()
    index = Index(args.output, language_model_of(settings.model))
    recorder = Recorder(args.output, ledger, settings, [index])
    summary = Summary(args.output)
    status = 0
    try:
        with terminable(), Progress(plan) as progress:
            for result in _results(args, ledger.waiting(), plan, settings, progress):
                noted = recorder.add(result)
                summary.add(noted)
                progress.done(noted)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except SystemExit as end:
        status = int(str(end.code))
    except RivuletError:
        with suppress(RivuletError):  # what is there is written, if it can be
            recorder.close()
        raise
    recorder.close()
    _say(summary.close(plan))
    if status:
        _say(f"stopped; {plan.waiting - summary.files} files are left, the same command goes on.")
    return status or int(bool(summary.errors or plan.failed) or summary.files < plan.waiting)


def _results(
    args: argparse.Namespace,
    jobs: "Iterator[Job]",
    plan: "Plan",
    settings: "Settings",
    progress: "Progress",
) -> "Iterator[Result]":
    """Yield results from the processes of this machine, or from a Ray cluster."""
    if not plan.waiting:
        return
    if args.ray is not None:
        from rivulet.archive import on_ray

        for heard in on_ray.run(jobs, settings, args.ray or None):
            yield heard
            progress.show([])
        return
    from rivulet.archive.pool import Pool
    from rivulet.archive.stored import STATE_FOLDER

    workers = os.cpu_count() or 1 if args.workers is None else args.workers
    with Pool(settings, workers, args.output / STATE_FOLDER / "spool") as pool:
        for result in pool.results(jobs, plan.size):
            if result is not None:
                yield result
            progress.show(pool.views)


def _need_tables() -> None:
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        _say("warning: results.parquet needs pyarrow (pip install 'rivulet[archive]').")


def _say(sentence: str) -> None:
    print(f"rivulet: {sentence}", file=sys.stderr)
