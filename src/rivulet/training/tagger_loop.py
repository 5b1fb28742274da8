"""The tagger's training: texts spoiled anew each time, a rate that falls at the end, resume points.

Every stretch of text, its errors and its pauses follow from the seed and the number of the stretch
alone, and the rate from the words seen: a run that was cut off goes on as if it had not been, and
the same words make the same weights.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rivulet.errors import ConfigError
from rivulet.replacing import replacing
from rivulet.text.labels import Mark
from rivulet.text.words import Vocabulary
from rivulet.training.tagger import TaggerConfig, TaggerNetwork
from rivulet.training.tagger_data import IGNORED, Array, Corpus, feature_table, spoiled_streams

ROUNDS = 16  # updates before new pieces of text begin
RISE = 300_000  # words during which the rate rises,
FALL = 0.3  # and share of the words, the last ones, during which it falls to zero
SHOWN = 0.98  # of the loss shown, what was shown before


@dataclass(frozen=True)
class Material:
    """What a run trains on: a text, its vocabulary, and what each type may be mistaken for."""

    corpus: Corpus
    vocabulary: Vocabulary
    similar: Array


@dataclass
class Run:
    """Where a run stands."""

    network: TaggerNetwork
    optimizer: torch.optim.AdamW
    stretch: int = 0
    seen: int = 0
    loss: float = 0.0


def train(
    material: Material,
    config: TaggerConfig,
    report: Callable[[str], None],
    seed: int = 1,
    resume: Path | None = None,
) -> TaggerNetwork:
    """Train on a text and return the network.

    Args:
        material: the text.
        config: sizes.
        report: told the loss after every stretch.
        seed: of weights and errors.
        resume: a file to go on from, written after every stretch.

    Raises:
        ConfigError: the file to go on from is of another run.
    """
    run = _begin(config, seed)
    if resume and resume.is_file():
        _restore(resume, run, config, seed)
        report(f"going on behind {run.seen / 1e6:.2f} M words")
    spellings = material.corpus.spellings
    features = torch.from_numpy(feature_table(spellings, material.vocabulary)).long()
    run.network.train()
    while run.seen < config.words:
        _one_stretch(run, material, config, features, seed)
        report(f"{run.seen / 1e6:.2f} M words, loss {run.loss:.4f}")
        if resume:
            _save(resume, run, config, seed)
    return run.network.eval()


def _begin(config: TaggerConfig, seed: int) -> Run:
    torch.manual_seed(seed)
    network = TaggerNetwork(config)
    return Run(network, torch.optim.AdamW(network.parameters(), config.peak_lr, weight_decay=1e-3))


def _one_stretch(
    run: Run, material: Material, config: TaggerConfig, features: Tensor, seed: int
) -> None:
    """Take the next stretch of the text, in updates of `steps` words of each of its streams."""
    rng = np.random.default_rng([seed, run.stretch])
    torch.manual_seed(seed * 1_000_003 + run.stretch)
    length = config.steps * ROUNDS
    pieces = _pieces(material.corpus, config.batch, length, run.stretch, seed)
    streams, befores = spoiled_streams(pieces, length, config.lookahead, material.similar, rng)
    late = _late(streams, config.lookahead)
    state, earlier = None, run.network.begin(config.batch)
    for begin in range(0, streams.types.shape[1], config.steps):
        part = slice(begin, begin + config.steps)
        for group in run.optimizer.param_groups:
            group["lr"] = config.peak_lr * rate(run.seen, config.words)
        rows = features[torch.from_numpy(streams.types[:, part]).long()]
        pauses = torch.from_numpy(befores[:, part]).long().unsqueeze(-1)
        logits, state, earlier = run.network(torch.cat([rows, pauses], -1), state, earlier)
        state, earlier = state.detach(), earlier.detach()
        loss = _loss(logits, late[0][:, part], late[1][:, part])
        run.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)
        run.optimizer.step()
        run.seen += rows.shape[0] * rows.shape[1]
        run.loss = SHOWN * run.loss + (1 - SHOWN) * loss.item() if run.loss else loss.item()
    run.stretch += 1


def _pieces(corpus: Corpus, batch: int, length: int, stretch: int, seed: int) -> list[Corpus]:
    """Return a stretch's pieces, `batch` of `length` words.

    They come from all over the text; all come in an order of their own before any comes again.
    """
    count = len(corpus.types) // length
    places = stretch * batch + np.arange(batch)
    orders = {
        int(again): np.random.default_rng([seed, 0, int(again)]).permutation(count)
        for again in np.unique(places // count)
    }
    begins = [int(orders[int(at // count)][at % count]) * length for at in places]
    return [corpus.part(slice(begin, begin + length)) for begin in begins]


def rate(seen: int, words: int) -> float:
    """Return the share of the peak rate after `seen` of `words` words: it rises, stays, falls.

    Until it falls it does not depend on `words`, if they are many.
    """
    rise = (seen + 1) / min(RISE, 0.03 * words)
    return min(rise, 1.0, max((1.0 - seen / words) / FALL, 0.005))


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


def _sign(config: TaggerConfig, seed: int) -> str:
    """Return what tells runs apart: all but the number of words, which may be chosen late."""
    sizes = [value for name, value in vars(config).items() if name != "words"]
    return hashlib.sha256(repr((sizes, seed)).encode()).hexdigest()[:16]


def _save(path: Path, run: Run, config: TaggerConfig, seed: int) -> None:
    """Write where a run stands, in one move."""
    tensors = {f"network.{name}": weight for name, weight in run.network.state_dict().items()}
    for index, moments in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    standing = {"sign": _sign(config, seed), "words": str(config.words), "loss": repr(run.loss)}
    standing |= {"stretch": str(run.stretch), "seen": str(run.seen)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(serialized(tensors, standing))


def _restore(path: Path, run: Run, config: TaggerConfig, seed: int) -> None:
    """Take over where a run stood.

    Raises:
        ConfigError: it is damaged, of another run, or of one whose rate was another.
    """
    try:
        with safe_open(path, "pt") as file:
            standing = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        seen, planned = int(standing["seen"]), int(standing["words"])
        ours = standing["sign"] == _sign(config, seed)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be gone on from ({error}); delete it.") from error
    if not ours:
        raise ConfigError(f"{path} is of a run with other sizes or another seed; delete it.")
    if planned != config.words and rate(seen, planned) != rate(seen, config.words):
        raise ConfigError(
            f"{path} has seen {seen} words and was to see {planned}: its rate is not that of a run "
            f"of {config.words}. Give --words {planned}, or delete it."
        )
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, moment = rest.partition(".")
            moments.setdefault(int(index), {})[moment] = value
    network = {n.removeprefix("network."): v for n, v in tensors.items() if n[0] == "n"}
    run.network.load_state_dict(network)
    groups = run.optimizer.state_dict()["param_groups"]
    run.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    run.stretch, run.seen, run.loss = int(standing["stretch"]), seen, float(standing["loss"])
