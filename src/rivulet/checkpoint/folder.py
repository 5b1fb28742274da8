"""The folder of a checkpoint: names of its files, where it lies, whether it is whole."""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rivulet.acoustic.choices import BLOCK_MS, EngineName
from rivulet.acoustic.frames import output_frames
from rivulet.checkpoint.digests import sha256, verified
from rivulet.errors import CheckpointError
from rivulet.replacing import replacing

FORMAT = "rivulet-checkpoint"
VERSION = 1  # raise when an older program would misread the folder
WEIGHTS_FILE = "model.safetensors"
PACKED_FILE = "model.safetensors.xz"  # few bits a weight do not fill their bytes: xz saves the rest
STATISTICS_FILE = "statistics.safetensors"
HASHED = (STATISTICS_FILE, "tokens.txt")  # every model has these, and one of the above
GRAPHS: dict[EngineName, dict[int, str]] = {  # by the output frames of a block; 0 is any block
    "onnx": {0: "network.onnx.xz"},
    "onnx8": {frames: f"network8-{frames}.onnx.xz" for frames in map(output_frames, BLOCK_MS)},
}
PRECISIONS = (5, 6, 8, 16, 32)  # bits a weight
PHONES_FILE = "phones.txt"
LM_FOLDER = "lm"
DEFAULT_NAME = "default"


def find(model: str | Path) -> Path:
    """Return the folder of a model given by path or by name.

    Raises:
        CheckpointError: there is none; the sentence lists the names there are.
    """
    path = Path(model)
    is_path = isinstance(model, Path) or len(path.parts) > 1 or model.startswith(".")
    if is_path and path.is_dir():
        return path
    shelves = [Path(str(resources.files("rivulet"))) / "checkpoints"]
    shelves.append(Path(__file__).parents[3] / "checkpoints")  # a checkout of the project
    if len(path.parts) == 1:  # a folder of the same name in the working directory is no model
        for shelf in shelves:
            if (shelf / path / "config.json").is_file():
                return shelf / path
        if path.is_dir():
            return path
    names = sorted({p.parent.name for shelf in shelves for p in shelf.glob("*/config.json")})
    raise CheckpointError(
        f"there is no model {str(model)!r}; give a folder, or one of: "
        f"{', '.join(names) or '(none installed)'}."
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Return what config.json says.

    Raises:
        CheckpointError: it is missing, no JSON, of something else or of a newer version.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no config.json, so it is no model; get the folder again."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} is not valid JSON ({error}); get the folder again."
        ) from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{path} does not describe a {FORMAT}; give a rivulet model.")
    version = config.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise CheckpointError(
            f"{folder} has format version {version} and this program reads up to {VERSION}; "
            "upgrade rivulet."
        )
    return config


def change_config(folder: Path, values: dict[str, Any]) -> None:
    """Replace `values` in config.json; nothing else changes."""
    config = read_config(folder) | values
    write_config(folder, config)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.json, the last file of a model: it lists the others."""
    with replacing(folder / "config.json") as part:
        part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def verify(folder: Path, config: dict[str, Any]) -> None:
    """Check that every file is there and is the one that the config was written for.

    Raises:
        CheckpointError: one is missing or altered.
    """
    hashes = config.get("sha256", {})
    if not isinstance(hashes, dict):
        raise CheckpointError(f"{folder} lists 0 digests of its files; get the folder again.")
    for name in {*hashes, *hashed_files(folder)}:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks {name}; get the folder again.")
        if not verified(folder / name, str(hashes.get(name))):
            raise CheckpointError(
                f"{folder / name} was altered: its sha256 begins {sha256(folder / name)[:12]} "
                f"and config.json says {str(hashes.get(name))[:12]}; get the folder again."
            )


def hashed_files(folder: Path) -> list[str]:
    """Return the files that are hashed: those every model has, and the beam's if they are there."""
    graphs = [folder / name for names in GRAPHS.values() for name in names.values()]
    more = [folder / PHONES_FILE, *graphs, *sorted((folder / LM_FOLDER).glob("*"))]
    weights = PACKED_FILE if (folder / PACKED_FILE).is_file() else WEIGHTS_FILE
    return [
        weights,
        *HASHED,
        *(path.relative_to(folder).as_posix() for path in more if path.is_file()),
    ]


def listed(choices: Sequence[object]) -> str:
    """Return choices as a sentence has them."""
    return ", ".join(map(str, choices[:-1])) + f" or {choices[-1]}"
