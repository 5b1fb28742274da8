"""The tagger as a PyTorch network, and how it is written as a language's files."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from numpy import float32
from numpy.typing import NDArray
from torch import Tensor, nn

from rivulet.text import language
from rivulet.text import tagger as runtime
from rivulet.text.labels import Case, Mark
from rivulet.text.words import AFFIX_ROWS, CASE_ROWS, PAUSE_ROWS, SPECIAL, Vocabulary


@dataclass(frozen=True)
class TaggerConfig:
    """What a user would change.

    vocabulary: words with a row of their own.
    width: of a word's embedding; hidden: of each GRU layer; head: of the layer behind them.
    past, lookahead: words before and after the labeled one that the head sees.
    words: to train on, counted with repetitions.
    batch, steps: texts side by side, words at a time. peak_lr: of AdamW.
    """

    vocabulary: int = 12_000
    width: int = 64
    hidden: int = 192
    head: int = 128
    past: int = 2
    lookahead: int = 5
    words: int = 24_000_000
    batch: int = 64
    steps: int = 64
    peak_lr: float = 3e-3


class TaggerNetwork(nn.Module):
    """Embeddings, two GRU layers, a head that also sees the words around, one linear layer."""

    def __init__(self, config: TaggerConfig) -> None:
        """Begin with random weights."""
        super().__init__()
        self.lookahead, self.reach = config.lookahead, config.past + config.lookahead
        rows = (config.vocabulary + SPECIAL, AFFIX_ROWS, AFFIX_ROWS, CASE_ROWS, PAUSE_ROWS)
        self.embeddings = nn.ModuleList(
            nn.Embedding(n, config.width, _weight=0.3 * torch.randn(n, config.width)) for n in rows
        )
        self.gru = nn.GRU(config.width, config.hidden, num_layers=runtime.LAYERS, batch_first=True)
        self.window = nn.Linear(config.width * (self.reach + 1), config.head)
        self.memory = nn.Linear(config.hidden, config.head, bias=False)
        self.out = nn.Linear(config.hidden + config.head, len(Mark) + len(Case))
        self.drop = nn.Dropout(0.1)

    def begin(self, batch: int) -> Tensor:
        """Return the embeddings before the first words, (batch, past + lookahead, width)."""
        return torch.zeros(batch, self.reach, self.gru.input_size)

    def forward(
        self, features: Tensor, state: Tensor | None, earlier: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Step through (batch, steps, 5) rows.

        Args:
            features: rows of the five tables.
            state: what the GRU remembers, (2, batch, hidden).
            earlier: the last embeddings, (batch, past + lookahead, width).

        Returns:
            logits of the words `lookahead` earlier, (batch, steps, labels), the state, and the
            last embeddings.
        """
        embedded = sum(table(features[..., i]) for i, table in enumerate(self.embeddings))
        hidden, state = self.gru(self.drop(embedded), state)
        hidden = self.drop(hidden)
        words = torch.cat([earlier, embedded], 1)
        steps = embedded.shape[1]
        around = torch.cat([words[:, at : at + steps] for at in range(self.reach + 1)], -1)
        beside = torch.relu(self.window(around) + self.memory(hidden))
        return self.out(torch.cat([hidden, beside], -1)), state, words[:, -self.reach :]


def weights_of(network: TaggerNetwork) -> dict[str, NDArray[float32]]:
    """Return the weights by the names that the tagger at run time knows."""
    state = {name: weight.numpy() for name, weight in network.state_dict().items()}
    weights = {"out": state["out.weight"], "bias": state["out.bias"]}
    weights |= {"window": state["window.weight"], "headbias": state["window.bias"]}
    weights["memory"] = state["memory.weight"]
    weights |= {f"table{i}": state[f"embeddings.{i}.weight"] for i in range(runtime.TABLES)}
    for layer in range(runtime.LAYERS):
        weights[f"gru{layer}.wx"] = state[f"gru.weight_ih_l{layer}"]
        weights[f"gru{layer}.wh"] = state[f"gru.weight_hh_l{layer}"]
        weights[f"gru{layer}.bx"] = state[f"gru.bias_ih_l{layer}"]
        weights[f"gru{layer}.bh"] = state[f"gru.bias_hh_l{layer}"]
    return weights


def export(
    network: TaggerNetwork,
    vocabulary: Vocabulary,
    base: str,
    folder: Path,
    bias: Sequence[float] = (0.0,) * len(Mark),
) -> None:
    """Write a written language: this tagger and its words, numbers and style of another.

    Args:
        network: trained.
        vocabulary: its words.
        base: name or folder of the language whose other files are copied.
        folder: where to.
        bias: added to the logit of every mark.
    """
    weights = weights_of(network)
    weights["bias"] = weights["bias"].copy()
    weights["bias"][: len(Mark)] += bias
    runtime.save(weights, network.lookahead, folder)
    (folder / language.WORDS_FILE).write_text("\n".join(vocabulary.words) + "\n", "utf-8")
    written = sorted(vocabulary.written.values())
    (folder / language.WRITTEN_FILE).write_text("\n".join(written) + "\n", "utf-8")
    for name in (language.NUMBERS_FILE, language.STYLE_FILE):
        source = language.find(base) / name
        if source != folder / name:
            shutil.copy(source, folder / name)
