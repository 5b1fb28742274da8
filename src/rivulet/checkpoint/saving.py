"""A checkpoint → a folder, and what may change there later."""

import lzma
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save as serialize
from safetensors.numpy import save as serialized

from rivulet.acoustic.arrays import Weights
from rivulet.acoustic.engine import FloatArray
from rivulet.acoustic.quantization import quantize
from rivulet.checkpoint.contents import Checkpoint
from rivulet.checkpoint.digests import sha256
from rivulet.checkpoint.folder import (
    FORMAT,
    GRAPHS,
    LM_FOLDER,
    PACKED_FILE,
    PHONES_FILE,
    PRECISIONS,
    STATISTICS_FILE,
    VERSION,
    WEIGHTS_FILE,
    change_config,
    find,
    hashed_files,
    listed,
    write_config,
)
from rivulet.checkpoint.loading import load, read_tokens
from rivulet.decoding.settings import BeamSettings, TimingConfig
from rivulet.errors import ConfigError
from rivulet.language.model import LanguageModel
from rivulet.replacing import UNFINISHED, replacing
from rivulet.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rivulet.acoustic.network import TorchEngine


def save(
    checkpoint: Checkpoint,
    folder: Path,
    bits: int = 16,
    language_model: LanguageModel | None = None,
    moments: Weights | None = None,
) -> None:
    """Write `checkpoint` to `folder`, weights in 32, 16, 8, 6 or 5 `bits`.

    The model card is left alone, and so is a language model that is there already, unless another
    is given. `moments`, what the inputs of the matrices are like (`acoustic.moments`), makes a
    model of 8 bits or fewer a better one.

    Raises:
        ConfigError: weights cannot have so many bits.
    """
    if bits not in PRECISIONS:
        raise ConfigError(f"weights cannot have {bits} bits; use {listed(PRECISIONS)}.")
    folder.mkdir(parents=True, exist_ok=True)
    if language_model is not None:
        language_model.save(folder / LM_FOLDER, checkpoint.tokenizer, compress=bits <= 8)
    with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as name:
        _write_files(checkpoint, Path(name), bits, moments)
        for weights in (WEIGHTS_FILE, PACKED_FILE):  # in another precision
            (folder / weights).unlink(missing_ok=True)
        for path in Path(name).iterdir():
            path.replace(folder / path.name)
    config = {
        "format": FORMAT,
        "version": VERSION,
        "name": checkpoint.name,
        "model": asdict(checkpoint.config),
        "features": asdict(checkpoint.features),
        "timing": asdict(checkpoint.timing),
        "beam": asdict(checkpoint.beam),
        "sha256": {name: sha256(folder / name) for name in hashed_files(folder)},
    }
    write_config(folder, config)
    for path in filter(Path.is_file, folder.rglob("*")):
        path.chmod(0o644)  # safetensors writes for the owner only; a model is there to be read


def _write_files(checkpoint: Checkpoint, folder: Path, bits: int, moments: Weights | None) -> None:
    """Write all that config.json lists but the language model."""
    network = checkpoint.torch.network
    weights = network.model.state_dict()
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    _write_weights(folder, arrays, bits, moments)
    statistics = {"mean": network.statistics.mean, "std": network.statistics.std}
    numbers = {k: v.numpy() for k, v in statistics.items()}
    (folder / STATISTICS_FILE).write_bytes(serialized(numbers))
    _write_graphs(folder, checkpoint.torch)
    _write_tokens(folder / "tokens.txt", checkpoint.tokenizer)
    if checkpoint.phones is not None:
        _write_tokens(folder / PHONES_FILE, checkpoint.phones)


def store_timing(folder: Path, timing: TimingConfig) -> None:
    """Replace the measured greedy delay of the checkpoint in `folder`; nothing else changes.

    Raises:
        CheckpointError: the folder has no usable config.json.
    """
    change_config(folder, {"timing": asdict(timing)})


def store_beam(folder: Path, beam: BeamSettings) -> None:
    """Replace what was measured for the beam in `folder`; nothing else changes.

    Raises:
        CheckpointError: the folder has no usable config.json.
    """
    change_config(folder, {"beam": asdict(beam)})


def store_language_model(model: str | Path, language_model: LanguageModel) -> None:
    """Replace the language model of a checkpoint, its words cut into the model's pieces.

    Raises:
        CheckpointError: it is missing, or has no usable config.json.
    """
    folder = find(model)
    tokenizer = read_tokens(folder / "tokens.txt")
    compress = (folder / PACKED_FILE).is_file()
    language_model.save(folder / LM_FOLDER, tokenizer, compress)
    change_config(
        folder, {"sha256": {name: sha256(folder / name) for name in hashed_files(folder)}}
    )


def export_graphs(model: str | Path) -> list[Path]:
    """Write the graphs of a checkpoint anew, as its weights or the exporter have changed.

    Raises:
        CheckpointError: it is missing, altered or damaged.
        ConfigError: PyTorch is not installed.
    """
    folder = find(model)
    written = _write_graphs(folder, load(folder, "torch").torch)
    hashes = {name: sha256(folder / name) for name in hashed_files(folder)}
    change_config(folder, {"sha256": hashes})
    return written


def _write_graphs(folder: Path, engine: "TorchEngine") -> list[Path]:
    """Write the graphs that the network has: those of 8 bits if it is a GRU."""
    from rivulet.acoustic.export import export_8bit_graph, export_graph

    graphs = {name: export_graph(engine.network) for name in GRAPHS["onnx"].values()}
    if engine.network.model.config.cell == "gru":
        for frames, name in GRAPHS["onnx8"].items():
            graphs[name] = export_8bit_graph(engine.network, frames)
    for name, graph in graphs.items():
        with replacing(folder / name) as part:
            part.write_bytes(lzma.compress(graph))
    return [folder / name for name in graphs]


def _write_weights(
    folder: Path, weights: Mapping[str, FloatArray], bits: int, moments: Weights | None
) -> None:
    if bits <= 8:
        (folder / PACKED_FILE).write_bytes(
            lzma.compress(serialize(quantize(weights, bits, moments)))
        )
    else:
        kind = np.float16 if bits == 16 else np.float32
        stored = {name: array.astype(kind) for name, array in weights.items()}
        (folder / WEIGHTS_FILE).write_bytes(serialized(stored))


def _write_tokens(path: Path, tokenizer: Tokenizer) -> None:
    path.write_text("\n".join(tokenizer.tokens) + "\n", encoding="utf-8")
