"""What the commands that set systems side by side share: the flag, its reading, the table."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.acoustic.choices import BLOCK_MS
from rivulet.commands.flags import fill_model_flags
from rivulet.endpoint import EndpointConfig
from rivulet.errors import ConfigError

if TYPE_CHECKING:
    from rivulet.evaluation.systems import SystemConfig


def add_system_flags(parser: argparse.ArgumentParser) -> None:
    """Declare which systems run, and how many at a time."""
    parser.add_argument(
        "--system",
        action="append",
        metavar="NAME[=MODEL],NAME",
        help="rivulet, rivulet@40 (block of 40 ms), pocketsphinx, vosk=DIR, sherpa-onnx=DIR, "
        "whisper=NAME; may be repeated (rivulet)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="systems at a time; more than 1 disturbs all times (%(default)s)",
    )
    parser.add_argument(
        "--decoder", choices=("beam", "greedy"), help="rivulet's (the model's own default)"
    )


def read_systems(args: argparse.Namespace, watched: bool) -> "list[SystemConfig]":
    """Return the systems that the flags name, each installed and known before anything runs.

    Raises:
        ConfigError: one is named twice, or has a block that cannot be chosen.
        EngineError: one is unknown or not installed.
    """
    from rivulet.evaluation.systems import SystemConfig, check_system

    fill_model_flags(args)
    endpoint = EndpointConfig(args.no_speech_timeout, args.trailing_silence, args.max_segment)
    configs = []
    for item in ",".join(args.system or ["rivulet"]).split(","):
        label, _, model = item.strip().partition("=")
        name, _, block = label.partition("@")
        configs.append(
            SystemConfig(
                name,
                model or (args.model if name == "rivulet" else ""),
                args.threads,
                _block(block, label) if block else args.block_ms,
                endpoint,
                label,
                args.decoder,
                watched,
            )
        )
    names = [config.label for config in configs]
    if len(set(names)) < len(names):
        raise ConfigError(f"{len(names)} systems are named and one of them twice; name each once.")
    for config in configs:
        check_system(config)
    return configs


def _block(text: str, label: str) -> int:
    """Return the block of `rivulet@40`."""
    if not label.startswith("rivulet@") or not text.isdigit() or int(text) not in BLOCK_MS:
        raise ConfigError(
            f"{label} is no system; only rivulet has blocks, and @ names one of {BLOCK_MS} ms."
        )
    return int(text)


def check_folder(path: Path | None) -> None:
    """Make sure that a file can be put at `path` before minutes are spent on its content."""
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist; make it first.")


def print_markdown(cells: list[list[str]]) -> None:
    """Print a table, the first row its head."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for index, row in enumerate(cells):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {' | '.join(padded)} |")
        if index == 0:
            print(f"|{'|'.join('-' * (width + 2) for width in widths)}|")


def dump(document: dict[str, Any]) -> str:
    """Return a document in one line."""
    return json.dumps(document, separators=(",", ":"))
