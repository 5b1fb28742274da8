"""Save, load and verify a model: weights, configs, tokens, feature statistics, model card, hashes.

A checkpoint is a folder:

    model.safetensors        weights, half precision; model.safetensors.xz in 8 bits or fewer
    statistics.safetensors   mean and std (n_mels,) of the log-mel frames
    tokens.txt               one token a line, the blank first
    phones.txt, lm/          for the beam: the phones likewise, language model and lexicon
    config.json              format version, every config, sha256 of the files above
    README.md                the model card
"""

import hashlib
import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import load_file, save_file
from safetensors.torch import save as serialize
from torch import Tensor

from rivulet.acoustic.features import FeatureConfig, FeatureStatistics
from rivulet.acoustic.model import AcousticModel, ModelConfig
from rivulet.acoustic.quantization import dequantize, quantize
from rivulet.decoding.confidence import ConfidenceConfig
from rivulet.decoding.settings import BeamConfig, BeamSettings, TimingConfig
from rivulet.errors import CheckpointError, ConfigError
from rivulet.language.model import LanguageModel
from rivulet.tokenizer import Tokenizer

FORMAT = "rivulet-checkpoint"
VERSION = 1  # raise when an older program would misread the folder
WEIGHTS_FILE = "model.safetensors"
PACKED_FILE = "model.safetensors.xz"  # few bits a weight do not fill their bytes: xz saves the rest
HASHED = ("statistics.safetensors", "tokens.txt")  # every model has these, and one of the above
PRECISIONS = (5, 6, 8, 16, 32)  # bits a weight
PHONES_FILE = "phones.txt"
LM_FOLDER = "lm"
DEFAULT_NAME = "default"


@dataclass(frozen=True)
class Checkpoint:
    """A model and everything needed to run it.

    phones: what the model's second projection writes; None if it has none.
    language_model: the folder of the language model; None if the model ships without.
    """

    model: AcousticModel
    tokenizer: Tokenizer
    features: FeatureConfig
    statistics: FeatureStatistics
    phones: Tokenizer | None = None
    language_model: Path | None = None
    timing: TimingConfig = field(default_factory=TimingConfig)
    beam: BeamSettings = field(default_factory=BeamSettings)
    name: str = "unnamed"
    digest: str = ""  # sha256 over config.json: names weights and settings in one word


def save(
    checkpoint: Checkpoint,
    folder: Path,
    bits: int = 16,
    language_model: LanguageModel | None = None,
) -> None:
    """Write `checkpoint` to `folder`, weights in 32, 16, 8, 6 or 5 `bits`.

    The model card is left alone, and so is a language model that is there already, unless another
    is given.

    Raises:
        ConfigError: weights cannot have so many bits.
    """
    if bits not in PRECISIONS:
        raise ConfigError(f"weights cannot have {bits} bits; use {_listed(PRECISIONS)}.")
    folder.mkdir(parents=True, exist_ok=True)
    _write_weights(folder, checkpoint.model.state_dict(), bits)
    statistics = checkpoint.statistics
    save_file({"mean": statistics.mean, "std": statistics.std}, folder / "statistics.safetensors")
    _write_tokens(folder / "tokens.txt", checkpoint.tokenizer)
    if checkpoint.phones is not None:
        _write_tokens(folder / PHONES_FILE, checkpoint.phones)
    if language_model is not None:
        language_model.save(folder / LM_FOLDER)
    config = {
        "format": FORMAT,
        "version": VERSION,
        "name": checkpoint.name,
        "model": asdict(checkpoint.model.config),
        "features": asdict(checkpoint.features),
        "timing": asdict(checkpoint.timing),
        "beam": asdict(checkpoint.beam),
        "sha256": {name: _sha256(folder / name) for name in _files(folder)},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for path in filter(Path.is_file, folder.rglob("*")):
        path.chmod(0o644)  # safetensors writes for the owner only; a model is there to be read


def store_timing(folder: Path, timing: TimingConfig) -> None:
    """Replace the measured greedy delay of the checkpoint in `folder`; nothing else changes.

    Raises:
        CheckpointError: the folder has no usable config.json.
    """
    _change_config(folder, {"timing": asdict(timing)})


def store_beam(folder: Path, beam: BeamSettings) -> None:
    """Replace what was measured for the beam in `folder`; nothing else changes.

    Raises:
        CheckpointError: the folder has no usable config.json.
    """
    _change_config(folder, {"beam": asdict(beam)})


def _change_config(folder: Path, values: dict[str, Any]) -> None:
    config = _read_config(folder) | values
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(model: str | Path = DEFAULT_NAME) -> Checkpoint:
    """Load a checkpoint by name or folder and verify it.

    Raises:
        CheckpointError: it is missing, incomplete, altered, damaged or of a newer version.
    """
    folder = find(model)
    config = _read_config(folder)
    _verify(folder, config)
    try:
        weights = _read_weights(folder)
        statistics = load_file(folder / "statistics.safetensors")
        network = AcousticModel(ModelConfig(**config["model"]))
        network.load_state_dict(weights)
        phones, language_model = folder / PHONES_FILE, folder / LM_FOLDER
        checkpoint = Checkpoint(
            model=network.eval().requires_grad_(False),
            tokenizer=_read_tokens(folder / "tokens.txt"),
            phones=_read_tokens(phones) if phones.is_file() else None,
            language_model=language_model if language_model.is_dir() else None,
            features=FeatureConfig(**config["features"]),
            statistics=FeatureStatistics(statistics["mean"], statistics["std"]),
            timing=TimingConfig(**config["timing"]),
            beam=_beam_settings(config.get("beam", {})),
            name=str(config["name"]),
            digest=_sha256(folder / "config.json"),
        )
    except (
        KeyError,
        TypeError,
        RuntimeError,
        lzma.LZMAError,
        SafetensorError,
        ConfigError,
    ) as error:
        raise CheckpointError(
            f"the model in {folder} does not fit its config.json ({str(error).splitlines()[0]}); "
            "get it again."
        ) from error
    listed = len(checkpoint.tokenizer), len(checkpoint.phones or ())
    written = network.config.tokens, network.config.phones
    if listed != written:
        raise CheckpointError(
            f"{folder} lists {listed[0]} tokens and {listed[1]} phones and its model writes "
            f"{written[0]} and {written[1]}; get it again."
        )
    return checkpoint


def _write_weights(folder: Path, weights: Mapping[str, Tensor], bits: int) -> None:
    for name in (WEIGHTS_FILE, PACKED_FILE):
        (folder / name).unlink(missing_ok=True)
    if bits <= 8:
        (folder / PACKED_FILE).write_bytes(lzma.compress(serialize(quantize(weights, bits))))
    else:
        kind = torch.float16 if bits == 16 else torch.float32
        stored = {name: tensor.detach().to(kind).contiguous() for name, tensor in weights.items()}
        save_file(stored, folder / WEIGHTS_FILE)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights in float32."""
    packed = folder / PACKED_FILE
    if packed.is_file():
        return dequantize(deserialize(lzma.decompress(packed.read_bytes())))
    return dequantize(load_file(folder / WEIGHTS_FILE))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + f" or {numbers[-1]}"


def _beam_settings(values: dict[str, Any]) -> BeamSettings:
    return BeamSettings(
        BeamConfig(**values.get("config", {})),
        TimingConfig(**values.get("timing", {})),
        ConfidenceConfig(**values.get("confidence", {})),
        tuple(values.get("priors", ())),
        values.get("min_log_prob"),
    )


def _write_tokens(path: Path, tokenizer: Tokenizer) -> None:
    path.write_text("\n".join(tokenizer.tokens) + "\n", encoding="utf-8")


def _read_tokens(path: Path) -> Tokenizer:
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return Tokenizer(tuple(lines))


def _files(folder: Path) -> list[str]:
    """Return the files that are hashed: those every model has, and the beam's if they are there."""
    more = [folder / PHONES_FILE, *sorted((folder / LM_FOLDER).glob("*"))]
    weights = PACKED_FILE if (folder / PACKED_FILE).is_file() else WEIGHTS_FILE
    return [
        weights,
        *HASHED,
        *(path.relative_to(folder).as_posix() for path in more if path.is_file()),
    ]


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
    shelves.append(Path(__file__).parents[2] / "checkpoints")  # a checkout of the project
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


def _read_config(folder: Path) -> dict[str, Any]:
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


def _verify(folder: Path, config: dict[str, Any]) -> None:
    hashes = config.get("sha256", {})
    for name in {*hashes, *_files(folder)}:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks {name}; get the folder again.")
        found = _sha256(folder / name)
        if found != hashes.get(name):
            raise CheckpointError(
                f"{folder / name} was altered: its sha256 begins {found[:12]} "
                f"and config.json says {str(hashes.get(name))[:12]}; get the folder again."
            )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
