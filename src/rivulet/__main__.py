"""The command line: `rivulet` or `python -m rivulet`."""

import argparse
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import NoReturn

import rivulet
from rivulet.errors import RivuletError, reason

FIRST = ("transcribe", "listen", "doctor", "serve", "lm")  # what most people need
OTHERS = (
    "archive", "search", "replay", "evaluate", "bench", "align", "train", "export", "train-text",
    "calibrate", "data",
)  # fmt: skip
# module of rivulet.commands, where it is not named as the command
HOMES = {
    "export": "train",
    "train-text": "train_text",
}

# package that a command imports where it needs it → the extra that brings it
EXTRAS = dict.fromkeys(
    ("torch", "torchaudio", "onnx", "matplotlib", "num2words", "sentencepiece"), "train"
)

INTERRUPTED = 130  # exit status, as a shell gives it: 128 and the number of the signal
IMPORTLIB = "<frozen importlib._bootstrap>"  # what Python's frames of an import name as their file


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and leave with status 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, or 1 after one sentence on standard error."""
    _open_streams()
    try:
        with quiet_interrupts():
            return _command(sys.argv[1:] if arguments is None else list(arguments))
    except RivuletError as error:
        print(f"rivulet: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        print(f"rivulet: {_lacks(error.name)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        named = f"{error.filename}: " if error.filename else ""
        print(f"rivulet: {named}{reason(error)}{_remedy(error)}.", file=sys.stderr)
        _forget_output()
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _command(given: Sequence[str]) -> int:
    """Run the command that the words name."""
    parser = build_parser(given[:1])
    if not given:  # a newcomer's first call
        parser.exit(2, parser.format_help())
    args = parser.parse_args(given)
    if sys.stdout is None and getattr(args, "output", None) is None:
        print("rivulet: standard output is closed; name a file with --output.", file=sys.stderr)
        return 1
    return int(args.run(args))


def build_parser(wanted: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of the `wanted` command, or of all if that is none of them.

    Importing every command takes longer than most files.
    """
    parser = Parser(
        prog="rivulet",
        description=rivulet.__doc__,
        epilog="The first five are what most people need; the others measure and train.",
    )
    parser.add_argument("--version", action="version", version=f"rivulet {rivulet.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    names = [name for name in (*FIRST, *OTHERS) if name in wanted] or (*FIRST, *OTHERS)
    for home in dict.fromkeys(HOMES.get(name, name) for name in names):
        import_module(f"rivulet.commands.{home}").add_parser(commands)
    return parser


def _lacks(package: str) -> str:
    """Return what to say where an extra is not installed."""
    return f"this needs the package {package}; pip install 'rivulet[{EXTRAS[package]}]'."


def _open_streams() -> None:
    """Let no character or missing stream stop a message: what cannot be encoded is escaped."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (to the end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Close standard output if it takes no more: Python would try again at its end, and complain.

    What it did not take is lost, which the sentence before has said.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            sys.stdout.close()


def _remedy(error: OSError) -> str:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    return "; make room where the command writes, and give it again"


@contextmanager
def quiet_interrupts() -> Iterator[None]:
    """Let Ctrl-C within an import end the program at once, elsewhere raise KeyboardInterrupt."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Within an import an exception would not do.

    Importlib's callbacks print it and go on, extension modules make an ImportError of it.
    """
    while frame is not None:
        if frame.f_code.co_filename == IMPORTLIB:
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
