"""`rivulet bench`: accuracy, speed and latency, of rivulet and beside other recognizers."""

from typing import Any

from rivulet.commands.bench import accuracy, latency, speed


def add_parser(commands: Any) -> None:
    """Declare the command and its kinds."""
    parser = commands.add_parser("bench", help="measure accuracy, speed and latency")
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    for kind in (speed, accuracy, latency):
        kind.add_parser(kinds)
