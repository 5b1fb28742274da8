"""The command line: `rivulet` or `python -m rivulet`."""

import argparse
import sys
from collections.abc import Sequence

import rivulet
from rivulet.commands import (
    align,
    bench,
    calibrate,
    data,
    doctor,
    evaluate,
    listen,
    lm,
    replay,
    train,
    transcribe,
)
from rivulet.errors import RivuletError

COMMANDS = (transcribe, listen, doctor, replay, evaluate, bench, align, train, calibrate, lm, data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, or 1 after one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="rivulet", description=rivulet.__doc__)
    parser.add_argument("--version", action="version", version=f"rivulet {rivulet.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    args = parser.parse_args(arguments)
    try:
        return int(args.run(args))
    except RivuletError as error:
        print(f"rivulet: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"rivulet: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
