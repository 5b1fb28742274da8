"""The tagger: a small GRU that says, word by word, which mark follows and how a word is written.

Two GRU layers over words (Cho et al. 2014), as the recognizer's over frames: the state is a value
and is carried on across segments. A word's labels come `lookahead` words later. A step is seven
products of a matrix and a vector: in C++ with the 8 bits of the file (`_tagger`), in NumPy where
there was no compiler, at three times the cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialized

from rivulet.errors import CheckpointError
from rivulet.text.labels import Case, Mark
from rivulet.text.words import END

if TYPE_CHECKING:
    from rivulet.text import _tagger

Array = npt.NDArray[np.float32]
FILE = "tagger.safetensors"
LAYERS = 2
TABLES = 5  # embeddings: word, its beginning, its end, its usual case, the pause before it
SEGMENT_END = (END, 0, 0, len(Case))  # the features of a segment's end
NIBBLE = 7  # largest magnitude of 4 bits with a sign


@dataclass(frozen=True)
class Labels:
    """The mark after a word and its case."""

    mark: Mark
    case: Case


@dataclass(frozen=True)
class TaggerState:
    """What the tagger remembers.

    hidden: of each GRU layer, (hidden,). recent: the last embeddings, (past + lookahead, width).
    """

    hidden: tuple[Array, Array]
    recent: Array


@dataclass(frozen=True)
class Head:
    """A hidden layer that sees words as they are, beside the GRU that remembers them.

    window: (size, words * width), from the embeddings of the `past` words before the labeled one,
    of itself and of those after it. memory: (size, hidden), from the second GRU. bias: (size,).
    """

    window: Array
    memory: Array
    bias: Array
    past: int

    def __call__(self, words: Array, hidden: Array) -> Array:
        """Return the layer's output (size,) for embeddings (words, width) and a GRU's state."""
        return np.maximum(self.window @ words.ravel() + self.memory @ hidden + self.bias, 0.0)


@dataclass(frozen=True)
class Tagger:
    """The weights: tables of embeddings (rows, width), GRU matrices as PyTorch's, the output.

    head: between GRU and output. The first taggers had none: their output sees GRU and word.
    native: the same weights for the step in C++, if there are such.
    """

    tables: tuple[Array, ...]
    gru: tuple[tuple[Array, Array, Array, Array], ...]
    out: Array
    bias: Array
    lookahead: int
    head: Head | None = None
    native: "_tagger.Tagger | None" = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs; there NumPy steps."""
        return {**self.__dict__, "native": None}

    def initial_state(self) -> TaggerState:
        """Return the state before the first word."""
        size = self.gru[0][1].shape[1]
        zero = np.zeros(size, np.float32)
        words = self.lookahead + (self.head.past if self.head else 0)
        return TaggerState((zero, zero), np.zeros((words, self.tables[0].shape[1]), np.float32))

    def step(
        self, features: tuple[int, int, int, int], pause: int, state: TaggerState
    ) -> tuple[Labels, TaggerState]:
        """Take a word; return the labels of the word `lookahead` earlier, and the next state.

        Args:
            features: the word's rows of the first four tables.
            pause: the row of the pause before it.
            state: what the tagger remembers.
        """
        scores, state = self.scores(features, pause, state)
        mark, case = scores[: len(Mark)].argmax(), scores[len(Mark) :].argmax()
        return Labels(Mark(int(mark)), Case(int(case))), state

    def scores(
        self, features: tuple[int, int, int, int], pause: int, state: TaggerState
    ) -> tuple[Array, TaggerState]:
        """Return the logits, marks before cases, that `step` decides by."""
        rows = (*features, pause)
        if self.native is not None:
            scores, *hidden, recent = self.native.step(rows, *state.hidden, state.recent)
            return scores, TaggerState((hidden[0], hidden[1]), recent)
        word = np.sum([t[row] for t, row in zip(self.tables, rows, strict=True)], axis=0)
        first = _gru_step(word, state.hidden[0], *self.gru[0])
        second = _gru_step(first, state.hidden[1], *self.gru[1])
        words = np.concatenate([state.recent, word[None]])
        beside = self.head(words, second) if self.head else words[0]
        scores = self.out @ np.concatenate([second, beside]) + self.bias
        return scores, TaggerState((first, second), words[1:])

    @classmethod
    def of(
        cls,
        weights: Mapping[str, Array],
        lookahead: int,
        native: "_tagger.Tagger | None" = None,
    ) -> "Tagger":
        """Return the tagger that weights by name make: table0 …, gru0.wx …, head…, out, bias."""
        layers = tuple(
            (
                weights[f"gru{i}.wx"],
                weights[f"gru{i}.wh"],
                weights[f"gru{i}.bx"],
                weights[f"gru{i}.bh"],
            )
            for i in range(LAYERS)
        )
        tables = tuple(weights[f"table{i}"] for i in range(TABLES))
        head = None
        if "window" in weights:
            window = weights["window"]
            past = window.shape[1] // tables[0].shape[1] - 1 - lookahead
            head = Head(window, weights["memory"], weights["headbias"], past)
        return cls(tables, layers, weights["out"], weights["bias"], lookahead, head, native)

    @classmethod
    def load(cls, folder: Path) -> "Tagger":
        """Read the weights in `folder`.

        Raises:
            CheckpointError: they are missing or damaged.
        """
        try:
            stored = load_file(folder / FILE)
            packed = {name.removesuffix(".scale") for name in stored if name.endswith(".scale")}
            weights = {name: _unpacked(stored, name) for name in packed}
            weights |= {
                n: np.asarray(w, np.float32)
                for n, w in stored.items()
                if "." not in n or n[-2:] in ("bx", "bh")
            }
            if not all(np.isfinite(weight).all() for weight in weights.values()):
                raise ValueError("a weight is not finite")
            return cls.of(weights, int(stored["lookahead"][0]), _native(stored, weights))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"the tagger in {folder} cannot be read ({error}); get it again, or switch it off "
                "with --raw."
            ) from error


def _native(
    stored: Mapping[str, npt.NDArray[np.generic]], weights: Mapping[str, Array]
) -> "_tagger.Tagger | None":
    """Return the step in C++; None where it was not compiled, and for a tagger without a head.

    Raises:
        ValueError: the weights do not fit together.
    """
    try:
        from rivulet.text import _tagger
    except ImportError:
        return None
    if "window" not in weights:
        return None

    def matrix(name: str) -> "_tagger.Matrix":
        scale = stored[f"{name}.scale"].astype(np.float32)
        return np.asarray(stored[f"{name}.bytes"], np.int8), scale

    layers = [f"gru{i}" for i in range(LAYERS)]
    return _tagger.Tagger(
        [weights[f"table{i}"] for i in range(TABLES)],
        [(matrix(f"{layer}.wx"), matrix(f"{layer}.wh")) for layer in layers],
        [(weights[f"{layer}.bx"], weights[f"{layer}.bh"]) for layer in layers],
        (matrix("window"), matrix("memory"), matrix("out")),
        (weights["headbias"], weights["bias"]),
    )


def _gru_step(x: Array, h: Array, wx: Array, wh: Array, bx: Array, bh: Array) -> Array:
    """Return the next hidden state (torch.nn.GRU's equations and order of gates: r, z, n)."""
    size = len(h)
    from_x, from_h = wx @ x + bx, wh @ h + bh
    gates = 1.0 / (1.0 + np.exp(-(from_x[: 2 * size] + from_h[: 2 * size])))
    reset, update = gates[:size], gates[size:]
    new = np.tanh(from_x[2 * size :] + reset * from_h[2 * size :])
    return np.asarray(new + update * (h - new), np.float32)


def save(weights: Mapping[str, Array], lookahead: int, folder: Path) -> None:
    """Write weights: embeddings in 4 bits, matrices in 8, each row with its scale; biases in 16."""
    stored: dict[str, npt.NDArray[np.generic]] = {"lookahead": np.array([lookahead], np.int32)}
    for name, weight in weights.items():
        if weight.ndim == 1:
            stored[name] = weight.astype(np.float16)
        else:
            stored |= _packed(name, weight, 4 if name.startswith("table") else 8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(serialized(stored))


def _packed(name: str, weight: Array, bits: int) -> dict[str, npt.NDArray[np.generic]]:
    largest = NIBBLE if bits == 4 else 127
    scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True) / largest, 1e-8)
    whole = np.rint(weight / scale).clip(-largest, largest).astype(np.int8)
    if bits == 4:
        shifted = (whole + NIBBLE + 1).astype(np.uint8)
        packed = shifted[:, 0::2] | (shifted[:, 1::2] << 4)
        return {f"{name}.nibbles": packed, f"{name}.scale": scale.astype(np.float16)}
    return {f"{name}.bytes": whole, f"{name}.scale": scale.astype(np.float16)}


def _unpacked(stored: Mapping[str, npt.NDArray[np.generic]], name: str) -> Array:
    scale = stored[f"{name}.scale"].astype(np.float32)
    if f"{name}.bytes" in stored:
        return np.asarray(stored[f"{name}.bytes"].astype(np.float32) * scale, np.float32)
    packed = np.asarray(stored[f"{name}.nibbles"], np.uint8)
    whole = np.empty((packed.shape[0], packed.shape[1] * 2), np.float32)
    whole[:, 0::2], whole[:, 1::2] = packed & 15, packed >> 4
    return np.asarray((whole - (NIBBLE + 1)) * scale, np.float32)
