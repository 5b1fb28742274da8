"""`rivulet transcribe FILE...`: sound files to text."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rivulet.commands.flags import (
    add_decoder_flags,
    add_endpoint_flags,
    add_model_flags,
    load_recognizer,
)
from rivulet.errors import ConfigError, RivuletError
from rivulet.writers import FORMATS, JsonWriter, Writer, open_writer

if TYPE_CHECKING:
    from rich.progress import Progress

    from rivulet.audio import AudioFile
    from rivulet.recognizer import Recognizer

STANDARD_INPUT = "-"


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("transcribe", help="sound files to text", description=__doc__)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="sound files; - is WAV on standard input"
    )
    parser.add_argument("-t", "--format", choices=FORMATS, default="txt", help="(%(default)s)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH|DIR", help="a file; for several inputs a folder"
    )
    add_model_flags(parser)
    add_decoder_flags(parser)
    add_endpoint_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Transcribe every file; return 1 if one failed, the others are done all the same."""
    from rich.console import Console
    from rich.progress import Progress

    from rivulet.audio import AudioFile

    several = len(args.files) > 1
    to_folder = args.output is not None and (several or args.output.is_dir())
    if several and args.output is None and args.format in ("srt", "vtt"):
        raise ConfigError(
            f"{len(args.files)} files make {len(args.files)} {args.format} files; name a folder "
            "with --output."
        )
    _check_outputs(args, to_folder)
    recognizer = load_recognizer(args)
    failures = 0
    documents: list[dict[str, Any]] = []
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        for name in args.files:
            try:
                with (
                    AudioFile(
                        sys.stdin.buffer if name == STANDARD_INPUT else name, warn=_warn
                    ) as audio,
                    _writer(args, name, to_folder, several, documents) as writer,
                ):
                    _transcribe(recognizer, audio, writer, progress)
            except RivuletError as error:  # noqa: PERF203 (a file takes seconds, a try nothing)
                failures += 1
                print(f"rivulet: {error}", file=sys.stderr)
    if several and args.format == "json" and not to_folder:
        json.dump(documents, sys.stdout, indent=2)
        sys.stdout.write("\n")
    return 1 if failures else 0


def _check_outputs(args: argparse.Namespace, to_folder: bool) -> None:
    if args.output is None:
        return
    if to_folder:
        if args.output.is_file():
            raise ConfigError(
                f"{args.output} is a file and {len(args.files)} inputs need a folder."
            )
        stems = [_stem(name) for name in args.files]
        twice = sorted({stem for stem in stems if stems.count(stem) > 1})
        if twice:
            raise ConfigError(
                f"{len(stems)} inputs would share {twice[0]}.{args.format}; rename one or run "
                "them apart."
            )
        args.output.mkdir(parents=True, exist_ok=True)
    elif not args.output.parent.is_dir():
        raise ConfigError(f"the folder {args.output.parent} does not exist; make it first.")


def _transcribe(
    recognizer: "Recognizer", audio: "AudioFile", writer: Writer, progress: "Progress"
) -> None:
    """Run one file through a stream; what was decoded before an error reaches the writer."""
    task = progress.add_task(Path(audio.name).name, total=audio.declared_s)
    stream = recognizer.stream(audio.sample_rate)
    heard = 0
    try:
        for samples in audio:
            for event in stream.accept(samples):
                writer.write(event)
            heard += len(samples)
            progress.update(task, completed=heard / audio.sample_rate)
    finally:
        for event in stream.finish():
            writer.write(event)
        writer.close(heard / audio.sample_rate)
        progress.remove_task(task)


@contextmanager
def _writer(
    args: argparse.Namespace,
    name: str,
    to_folder: bool,
    several: bool,
    documents: list[dict[str, Any]],
) -> Iterator[Writer]:
    """Yield where the events of `name` go: its own file, the common one, or standard output."""
    with ExitStack() as stack:
        out: TextIO = sys.stdout
        if args.output is not None:
            path = args.output / f"{_stem(name)}.{args.format}" if to_folder else args.output
            out = stack.enter_context(_open(path))
        if several and args.format == "json" and not to_folder:
            yield JsonWriter(documents.append, name)
        else:
            yield open_writer(args.format, out, name, several and not to_folder)


def _open(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); name another.") from error


def _warn(sentence: str) -> None:
    print(f"rivulet: warning: {sentence}", file=sys.stderr)


def _stem(name: str) -> str:
    return "stdin" if name == STANDARD_INPUT else Path(name).stem
