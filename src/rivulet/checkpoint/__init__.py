"""Save, load and verify a model: weights, configs, tokens, feature statistics, model card, hashes.

A checkpoint is a folder:

    model.safetensors        weights, half precision; model.safetensors.xz in 8 bits or fewer
    network.onnx.xz          what is computed with them, for ONNX Runtime; network8-N.onnx.xz
                             likewise with weights of 8 bits, for blocks of N output frames
    statistics.safetensors   mean and std (n_mels,) of the log-mel frames
    tokens.txt               one token a line, the blank first
    phones.txt, lm/          for the beam: the phones likewise, language model and lexicon
    config.json              format version, every config, sha256 of the files above
    README.md                the model card
"""

from rivulet.checkpoint.contents import Checkpoint
from rivulet.checkpoint.folder import (
    DEFAULT_NAME,
    GRAPHS,
    HASHED,
    LM_FOLDER,
    PACKED_FILE,
    PHONES_FILE,
    WEIGHTS_FILE,
    find,
)
from rivulet.checkpoint.loading import load
from rivulet.checkpoint.saving import (
    export_graphs,
    save,
    store_beam,
    store_language_model,
    store_timing,
)

__all__ = [
    "DEFAULT_NAME",
    "GRAPHS",
    "HASHED",
    "LM_FOLDER",
    "PACKED_FILE",
    "PHONES_FILE",
    "WEIGHTS_FILE",
    "Checkpoint",
    "export_graphs",
    "find",
    "load",
    "save",
    "store_beam",
    "store_language_model",
    "store_timing",
]
