"""A folder → a checkpoint whose network can run."""

import lzma
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as deserialize

from rivulet.acoustic.choices import DEFAULT_BLOCK_MS, DEFAULT_ENGINE, ENGINES, EngineName
from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.engine import Engine, FloatArray
from rivulet.acoustic.features import FeatureConfig
from rivulet.acoustic.frames import output_frames
from rivulet.acoustic.quantization import StoredWeights
from rivulet.checkpoint.contents import Checkpoint
from rivulet.checkpoint.digests import sha256
from rivulet.checkpoint.folder import (
    DEFAULT_NAME,
    GRAPHS,
    LM_FOLDER,
    PACKED_FILE,
    PHONES_FILE,
    STATISTICS_FILE,
    WEIGHTS_FILE,
    find,
    listed,
    read_config,
    verify,
)
from rivulet.checkpoint.tensors import TensorFile
from rivulet.decoding.confidence import ConfidenceConfig
from rivulet.decoding.settings import BeamConfig, BeamSettings, TimingConfig
from rivulet.errors import CheckpointError, ConfigError
from rivulet.tokenizer import Tokenizer

UNFIT = (  # what parts raise that do not fit one another
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    RuntimeError,
    lzma.LZMAError,
    SafetensorError,
    ConfigError,
)


def load(
    model: str | Path = DEFAULT_NAME,
    engine: EngineName = DEFAULT_ENGINE,
    threads: int = 1,
    block_ms: int = DEFAULT_BLOCK_MS,
) -> Checkpoint:
    """Load a checkpoint by name or folder and verify it.

    Args:
        model: a name such as "default", or a folder.
        engine: what runs the network: "onnx", "onnx8" or "torch".
        threads: CPU threads of the network; PyTorch has one number for the whole process.
        block_ms: the block that will be asked for; others take a moment at first.

    Raises:
        CheckpointError: it is missing, incomplete, altered, damaged or of a newer version.
        ConfigError: the engine is unknown or not installed.
    """
    if engine not in ENGINES:
        raise ConfigError(f"the engine {engine!r} is unknown; use {listed(ENGINES)}.")
    if engine == "torch":
        _need_torch()
    folder = find(model)
    config = read_config(folder)
    verify(folder, config)
    try:
        checkpoint = _assembled(folder, config, engine, threads, block_ms)
    except UNFIT as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"the model in {folder} does not fit its config.json ({why}); get it again."
        ) from error
    shape = checkpoint.config
    counts = len(checkpoint.tokenizer), len(checkpoint.phones or ())
    if counts != (shape.tokens, shape.phones):
        raise CheckpointError(
            f"{folder} lists {counts[0]} tokens and {counts[1]} phones and its model writes "
            f"{shape.tokens} and {shape.phones}; get it again."
        )
    return checkpoint


def _assembled(
    folder: Path, config: Mapping[str, Any], engine: EngineName, threads: int, block_ms: int
) -> Checkpoint:
    """Read what the verified `folder` holds; raises one of `UNFIT` where parts do not fit."""
    phones, language_model = folder / PHONES_FILE, folder / LM_FOLDER
    shape, features = ModelConfig(**config["model"]), FeatureConfig(**config["features"])
    weights = _read_weights(folder)
    _check_shape(shape, weights)
    return Checkpoint(
        engine=_load_torch(folder, threads, features, shape, weights)
        if engine == "torch"
        else _load_onnx(folder, engine, threads, block_ms, weights),
        config=shape,
        tokenizer=read_tokens(folder / "tokens.txt"),
        phones=read_tokens(phones) if phones.is_file() else None,
        language_model=language_model if language_model.is_dir() else None,
        features=features,
        timing=TimingConfig(**config["timing"]),
        beam=_beam_settings(config.get("beam", {})),
        name=str(config["name"]),
        digest=sha256(folder / "config.json"),
    )


def _check_shape(shape: ModelConfig, weights: Mapping[str, FloatArray]) -> None:
    """Compare what the config says with what the weights are.

    Raises:
        ConfigError: they differ.
    """
    layers = sum(name.startswith("layers.") and name.endswith(".norm.weight") for name in weights)
    wanted = {"output.weight": (shape.tokens, shape.hidden), "row.bias": (shape.hidden,)}
    if shape.phones:
        wanted["phone_output.weight"] = (shape.phones, shape.hidden)
    for name, sizes in wanted.items():
        if weights[name].shape != sizes or layers != shape.layers:
            raise ConfigError(
                f"{name} is {weights[name].shape} of {layers} layers and the config says {sizes} "
                f"of {shape.layers}"
            )


def _load_onnx(
    folder: Path, name: EngineName, threads: int, block_ms: int, weights: Mapping[str, FloatArray]
) -> Engine:
    from rivulet.acoustic.onnx import OnnxEngine

    graphs: dict[int, bytes] = {}
    frames = output_frames(block_ms)
    for size, file in GRAPHS[name].items():
        if not (folder / file).is_file():
            raise CheckpointError(
                f"{folder} has no {file}, which the engine {name} runs; write it with "
                f"`rivulet export {folder}`."
            )
        graphs[size] = lzma.decompress((folder / file).read_bytes())
    return OnnxEngine.load(graphs, weights, name, threads, frames)


def _load_torch(
    folder: Path,
    threads: int,
    features: FeatureConfig,
    shape: ModelConfig,
    weights: Mapping[str, FloatArray],
) -> Engine:
    from rivulet.acoustic.network import TorchEngine

    statistics = TensorFile(folder / STATISTICS_FILE)
    frames = statistics["mean"], statistics["std"]
    return TorchEngine.load(features, frames, shape, weights, threads)


def _need_torch() -> None:
    missing = [name for name in ("torch", "torchaudio") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the engine torch lacks {' and '.join(missing)}; pip install 'rivulet[torch]', or "
            "choose another --engine."
        )


def _read_weights(folder: Path) -> StoredWeights:
    """Return the weights in float32."""
    packed = folder / PACKED_FILE
    if packed.is_file():
        return StoredWeights(deserialize(lzma.decompress(packed.read_bytes())))
    return StoredWeights(TensorFile(folder / WEIGHTS_FILE))


def _beam_settings(values: dict[str, Any]) -> BeamSettings:
    return BeamSettings(
        BeamConfig(**values.get("config", {})),
        TimingConfig(**values.get("timing", {})),
        ConfidenceConfig(**values.get("confidence", {})),
        tuple(values.get("priors", ())),
        values.get("min_log_prob"),
    )


def read_tokens(path: Path) -> Tokenizer:
    """Read a list of tokens, one a line."""
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return Tokenizer(tuple(lines))
