"""Train the tagger: two GRU layers over words, marks and case said a few words later."""

import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rivulet.text import language
from rivulet.text import tagger as runtime
from rivulet.text.labels import Case, Mark
from rivulet.text.words import AFFIX_ROWS, CASE_ROWS, PAUSE_ROWS, SPECIAL, Vocabulary
from rivulet.training.tagger_data import (
    IGNORED,
    Array,
    Corpus,
    Noise,
    draw_pauses,
    feature_table,
    spoil,
    with_segments,
)


@dataclass(frozen=True)
class TaggerConfig:
    """What a user would change.

    vocabulary: words with a row of their own.
    width: of a word's embedding; hidden: of each GRU layer.
    lookahead: words heard before a word is labeled.
    words: to train on, counted with repetitions. minutes: the longest it may take.
    batch, steps: texts side by side, words at a time. peak_lr: of AdamW.
    """

    vocabulary: int = 8000
    width: int = 64
    hidden: int = 128
    lookahead: int = 3
    words: int = 12_000_000
    minutes: float = 60.0
    batch: int = 96
    steps: int = 64
    peak_lr: float = 4e-3


class TaggerNetwork(nn.Module):
    """Embeddings, two GRU layers, one linear layer that sees the second GRU and the word itself."""

    def __init__(self, config: TaggerConfig) -> None:
        """Begin with random weights."""
        super().__init__()
        self.lookahead = config.lookahead
        rows = (config.vocabulary + SPECIAL, AFFIX_ROWS, AFFIX_ROWS, CASE_ROWS, PAUSE_ROWS)
        self.embeddings = nn.ModuleList(
            nn.Embedding(n, config.width, _weight=0.3 * torch.randn(n, config.width)) for n in rows
        )
        self.gru = nn.GRU(config.width, config.hidden, num_layers=runtime.LAYERS, batch_first=True)
        self.out = nn.Linear(config.hidden + config.width, len(Mark) + len(Case))
        self.drop = nn.Dropout(0.1)

    def forward(
        self, features: Tensor, state: Tensor | None, earlier: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Step through (batch, steps, 5) rows.

        Args:
            features: rows of the five tables.
            state: what the GRU remembers, (2, batch, hidden).
            earlier: the last `lookahead` embeddings, (batch, lookahead, width).

        Returns:
            logits of the words `lookahead` earlier, (batch, steps, labels), the state, and the
            last embeddings.
        """
        embedded = sum(table(features[..., i]) for i, table in enumerate(self.embeddings))
        hidden, state = self.gru(self.drop(embedded), state)
        joined = torch.cat([earlier, embedded], 1)
        delayed = joined[:, : embedded.shape[1]]
        return (
            self.out(torch.cat([self.drop(hidden), delayed], -1)),
            state,
            joined[:, -self.lookahead :],
        )


def passes(
    corpus: Corpus, config: TaggerConfig, similar: Array, rng: np.random.Generator
) -> Iterator[tuple[Corpus, Array]]:
    """Yield stretches of the text, each spoiled anew: some clean, some with pauses and segments."""
    length = config.batch * config.steps * 16
    while True:
        for begin in rng.permutation(np.arange(0, max(len(corpus.types) - length, 1), length)):
            part = slice(begin, begin + length)
            piece = Corpus(
                corpus.spellings, corpus.types[part], corpus.marks[part], corpus.cases[part]
            )
            streams = np.array_split(np.arange(len(piece.types)), config.batch)
            yield _spoiled(piece, streams, config, similar, rng)


def _spoiled(
    piece: Corpus,
    streams: list[np.ndarray],
    config: TaggerConfig,
    similar: Array,
    rng: np.random.Generator,
) -> tuple[Corpus, Array]:
    """Return `batch` streams behind each other, each with an error rate and pauses or none."""
    done, befores = [], []
    size = config.steps * 16
    for stream in streams:
        part = Corpus(
            piece.spellings, piece.types[stream], piece.marks[stream], piece.cases[stream]
        )
        rate = rng.choice([0.0, 0.0, 0.05, 0.15, 0.25])
        if rate:
            part = spoil(part, Noise.of(rate), similar, rng)
        before = np.zeros(len(part.types), np.int32)
        if rng.random() < 0.65:
            part, before = with_segments(part, draw_pauses(part.marks, rng), config.lookahead)
        short = max(size - len(part.types), 0)
        done.append(
            Corpus(
                piece.spellings,
                np.pad(part.types, (0, short))[:size],
                np.pad(part.marks, (0, short), constant_values=IGNORED)[:size],
                np.pad(part.cases, (0, short), constant_values=IGNORED)[:size],
            )
        )
        befores.append(np.pad(before, (0, short))[:size])
    stacked = (np.stack([getattr(d, n) for d in done]) for n in ("types", "marks", "cases"))
    return Corpus(piece.spellings, *stacked), np.stack(befores)


def train(
    corpus: Corpus,
    vocabulary: Vocabulary,
    similar: Array,
    config: TaggerConfig,
    report: Callable[[str], None],
    seed: int = 1,
) -> TaggerNetwork:
    """Train on a text and return the network.

    Args:
        corpus: the text in numbers.
        vocabulary: the words with a row of their own.
        similar: types that sound like each type.
        config: sizes.
        report: told the loss every now and then.
        seed: of weights and noise.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = TaggerNetwork(config)
    optimizer = torch.optim.AdamW(network.parameters(), config.peak_lr, weight_decay=1e-3)
    features = torch.from_numpy(feature_table(corpus.spellings, vocabulary)).long()
    seen, begun, shown = 0, time.monotonic(), 0.0
    for streams, befores in passes(corpus, config, similar, rng):
        state, earlier = None, torch.zeros(config.batch, config.lookahead, config.width)
        late = _late(streams, config.lookahead)
        for begin in range(0, streams.types.shape[1], config.steps):
            part = slice(begin, begin + config.steps)
            minutes = (time.monotonic() - begun) / 60
            done = max(seen / config.words, minutes / config.minutes)
            lr = config.peak_lr * _rate(done)
            for group in optimizer.param_groups:
                group["lr"] = lr
            rows = features[torch.from_numpy(streams.types[:, part]).long()]
            pauses = torch.from_numpy(befores[:, part]).long().unsqueeze(-1)
            logits, state, earlier = network(torch.cat([rows, pauses], -1), state, earlier)
            state, earlier = state.detach(), earlier.detach()
            loss = _loss(logits, late[0][:, part], late[1][:, part])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            seen += rows.shape[0] * rows.shape[1]
            shown = 0.98 * shown + 0.02 * loss.item() if shown else loss.item()
        report(f"{seen / 1e6:.2f} M words in {minutes:.1f} min, loss {shown:.4f}, lr {lr:.1e}")
        if done >= 1.0:
            return network.eval()
    raise AssertionError("passes never end")


def _rate(done: float) -> float:
    """Rise for the first 3 %, then fall as a cosine."""
    return min(done / 0.03 + 0.02, 0.5 * (1 + math.cos(math.pi * min(done, 1.0))) + 0.005)


def _late(streams: Corpus, lookahead: int) -> tuple[Tensor, Tensor]:
    """Move labels to where they are said: `lookahead` words later."""

    def moved(labels: Array) -> Tensor:
        pad = np.pad(labels, ((0, 0), (lookahead, 0)), constant_values=IGNORED)
        return torch.from_numpy(pad[:, : labels.shape[1]]).long()

    return moved(streams.marks), moved(streams.cases)


def _loss(logits: Tensor, marks: Tensor, cases: Tensor) -> Tensor:
    flat = logits.flatten(0, 1)
    mark = cross_entropy(flat[:, : len(Mark)], marks.flatten(), ignore_index=IGNORED)
    case = cross_entropy(flat[:, len(Mark) :], cases.flatten(), ignore_index=IGNORED)
    return mark + 0.5 * case


def weights_of(network: TaggerNetwork) -> dict[str, NDArray[np.float32]]:
    """Return the weights by the names that the tagger at run time knows."""
    state = {name: weight.numpy() for name, weight in network.state_dict().items()}
    weights = {"out": state["out.weight"], "bias": state["out.bias"]}
    weights |= {f"table{i}": state[f"embeddings.{i}.weight"] for i in range(runtime.TABLES)}
    for layer in range(runtime.LAYERS):
        weights[f"gru{layer}.wx"] = state[f"gru.weight_ih_l{layer}"]
        weights[f"gru{layer}.wh"] = state[f"gru.weight_hh_l{layer}"]
        weights[f"gru{layer}.bx"] = state[f"gru.bias_ih_l{layer}"]
        weights[f"gru{layer}.bh"] = state[f"gru.bias_hh_l{layer}"]
    return weights


def export(network: TaggerNetwork, vocabulary: Vocabulary, base: str, folder: Path) -> None:
    """Write a written language: this tagger and its words, numbers and style of another.

    Args:
        network: trained.
        vocabulary: its words.
        base: name or folder of the language whose other files are copied.
        folder: where to.
    """
    runtime.save(weights_of(network), network.lookahead, folder)
    (folder / language.WORDS_FILE).write_text("\n".join(vocabulary.words) + "\n", "utf-8")
    written = sorted(vocabulary.written.values())
    (folder / language.WRITTEN_FILE).write_text("\n".join(written) + "\n", "utf-8")
    for name in (language.NUMBERS_FILE, language.STYLE_FILE):
        source = language.find(base) / name
        if source != folder / name:
            shutil.copy(source, folder / name)
