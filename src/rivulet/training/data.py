"""What the training loop feeds on: heads, feature statistics, makers of batches, plans."""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.torch import load_file
from safetensors.torch import save as serialized

from rivulet.acoustic.log_mel import FeatureStatistics
from rivulet.corpora.manifest import read_manifest
from rivulet.errors import ConfigError
from rivulet.language.files import open_packed
from rivulet.replacing import replacing
from rivulet.tokenizer import Tokenizer
from rivulet.training import targets
from rivulet.training.augment import AugmentConfig
from rivulet.training.batches import (
    BatchMaker,
    draw_epoch,
    encode_all,
    measure_statistics,
    plan_epoch,
)
from rivulet.training.config import DataConfig, Recipe
from rivulet.training.corpus import Corpus, in_rows, pack
from rivulet.training.denominator import Denominator, phone_ngram
from rivulet.training.initial_weights import (
    SETTINGS_FILE,
    STATISTICS_FILE,
    InitialWeights,
    tokenizers_of,
)
from rivulet.training.log import say


@dataclass(frozen=True)
class TrainingData:
    """A maker of batches for each epoch and its plan, a maker for dev, the heads, and MMI's rest.

    denominator: what competes with each text, if the recipe trains with MMI.
    """

    makers: list[BatchMaker]
    dev: BatchMaker
    heads: list[targets.Target]
    plans: list[list[list[int]]]
    denominator: Denominator | None = None


def prepare(
    recipe: Recipe, data: DataConfig, folder: Path, start: InitialWeights | None, world_size: int
) -> TrainingData:
    """Decode the sound, settle the heads and the feature statistics, and plan every epoch.

    The batches of an epoch come out even for `world_size` processes. Writes SETTINGS_FILE and
    STATISTICS_FILE to `folder`.

    Raises:
        ConfigError, ManifestError, AudioError: the settings or the data cannot be used.
    """
    cache = Path(data.cache).expanduser()
    corpus, chances = _weighted_corpus(recipe, data.train, cache)
    dev = pack(read_manifest(Path(data.dev)), cache)
    noise = pack(read_manifest(Path(data.noise)), cache) if data.noise else None
    heads = _heads(recipe, data, corpus, _known_tokenizers(folder, start))
    statistics = _statistics(recipe, corpus, folder, start)
    _write_settings(recipe, data, heads, folder)

    def maker(
        of: Corpus, encoded: targets.Encoded, augment: AugmentConfig | None, views: int = 1
    ) -> BatchMaker:
        return BatchMaker(
            of,
            noise,
            augment,
            recipe.features,
            statistics,
            recipe.model,
            encoded,
            recipe.seed,
            views,
        )

    alone = encode_all(corpus, heads)
    rows = in_rows(corpus, recipe.row_share, recipe.seed) if recipe.row_share else corpus
    encoded = encode_all(rows, heads) if recipe.row_share else alone
    distorted = maker(rows, encoded, recipe.augment, views=2 if recipe.cr_ctc_weight else 1)
    clean = replace(distorted, augment=recipe.clean_augment or recipe.augment.gain_only())
    _warn_of_lost_sound(distorted, rows.seconds())
    first_clean = recipe.epochs - recipe.clean_epochs
    makers = [clean if epoch >= first_clean else distorted for epoch in range(recipe.epochs)]
    plans = [_plan(recipe, made, chances, epoch, world_size) for epoch, made in enumerate(makers)]
    return TrainingData(
        makers,
        maker(dev, encode_all(dev, heads), None),
        heads,
        plans,
        _denominator(recipe, data, heads, alone),
    )


def _weighted_corpus(
    recipe: Recipe, manifests: tuple[str, ...], cache: Path
) -> tuple[Corpus, npt.NDArray[np.float64]]:
    """Return the speech, listed as often as it weighs, and each one's chance to be in an epoch.

    A corpus is named by the first folder of its paths and by its manifest. What is listed twice
    is two utterances to an epoch: each has its own speed, noise and masks.
    """
    utterances, chances = [], []
    weights = set()
    for manifest in manifests:
        for item in read_manifest(Path(manifest)):
            weight = recipe.corpus_weight(item.set_name, Path(manifest).stem)
            weights.add(weight)
            copies = range(math.ceil(weight))
            utterances += [item for _ in copies]
            chances += [min(1.0, weight - copy) for copy in copies]
    if recipe.corpus_weights and weights == {1.0}:
        say(
            f"corpus_weights weighs none of {len(utterances)} utterances; a corpus is named by the "
            "first folder of a path in its manifest, which an absolute path hides."
        )
    return pack(utterances, cache), np.array(chances)


def _plan(
    recipe: Recipe,
    maker: BatchMaker,
    chances: npt.NDArray[np.float64],
    epoch: int,
    world_size: int,
) -> list[list[int]]:
    """Draw what an epoch hears and cut it into batches."""
    drawn = draw_epoch(chances, recipe.seed, epoch)
    seconds = maker.augmented_seconds(epoch)[drawn]
    shortest_first = epoch < recipe.sortagrad_epochs
    plan = plan_epoch(seconds, recipe.batch_s, recipe.seed, epoch, shortest_first, world_size)
    return [drawn[batch].tolist() for batch in plan]


def _denominator(
    recipe: Recipe, data: DataConfig, heads: list[targets.Target], encoded: targets.Encoded
) -> Denominator | None:
    """Count the phone n-gram on each text of training once, and on the sentences given."""
    if recipe.mmi_head is None:
        return None
    (head,) = (head for head in heads if head.name == recipe.mmi_head)
    spoken = {tuple(ids) for ids in encoded[head.name] if ids}  # a text read by many counts once
    written = (head.encode(line) for path in data.sentences for line in open_packed(Path(path)))
    sequences = [*sorted(spoken), *(tuple(ids) for ids in written if ids)]
    ngram = phone_ngram(sequences, len(head.tokenizer), recipe.phone_lm_order)
    return Denominator.of(ngram)


def _warn_of_lost_sound(maker: BatchMaker, seconds: npt.NDArray[np.float64]) -> None:
    """Say how much of the sound teaches a head nothing, for want of a pronunciation."""
    for head, texts in maker.encoded.items():
        lost = seconds[[ids is None for ids in texts]].sum()
        if lost:
            why = (
                "words are not in the dictionary; complete it with `rivulet data dictionary`."
                if targets.is_phones(head)
                else "they have letters that no piece has; begin without `--start`."
            )
            say(
                f"head {head} has no target for {lost / 3600:.2f} of {seconds.sum() / 3600:.2f} h: "
                f"{why}"
            )


def _known_tokenizers(folder: Path, start: InitialWeights | None) -> list[Tokenizer]:
    """Those of this run if it goes on, or of what it begins with."""
    if (folder / SETTINGS_FILE).is_file():
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        return list(tokenizers_of(settings).values())
    return [tokenizer for tokenizer, _, _ in start.heads] if start is not None else []


def _heads(
    recipe: Recipe, data: DataConfig, corpus: Corpus, known: list[Tokenizer]
) -> list[targets.Target]:
    """The recipe's targets; BPE pieces that are `known` stay, or a head would begin anew."""
    heads = []
    for name in recipe.head_weights:
        if name == "characters":
            heads.append(targets.characters())
        elif name.removeprefix("bpe-").isdigit():
            size = int(name.removeprefix("bpe-"))
            kept = [t for t in known if len(t) == size and targets.is_bpe(t)]
            texts = (u.text for u in corpus.utterances)
            heads.append(targets.bpe(kept[0] if kept else targets.learn_bpe(texts, size)))
        elif targets.is_phones(name):
            if data.dictionary is None:
                raise ConfigError("a phone head needs a pronouncing dictionary; give --dictionary.")
            heads.append(targets.phones(Path(data.dictionary), name))
        else:
            raise ConfigError(
                f"a head {name!r} is unknown; use characters, phones, or for example bpe-256."
            )
    if len(heads[0].tokenizer) != recipe.model.tokens:
        raise ConfigError(
            f"the first head has {len(heads[0].tokenizer)} tokens and the model "
            f"{recipe.model.tokens}; make them equal."
        )
    return heads


def _statistics(
    recipe: Recipe, corpus: Corpus, folder: Path, start: InitialWeights | None
) -> FeatureStatistics:
    """Those of `start`, of this run if it goes on, or measured; they are kept in `folder`."""
    path = folder / STATISTICS_FILE
    if start is not None:
        _store_statistics(start.statistics, path)
    elif not path.exists():
        _store_statistics(measure_statistics(corpus, recipe.features, recipe.seed), path)
    stored = load_file(path)
    return FeatureStatistics(stored["mean"], stored["std"])


def _store_statistics(statistics: FeatureStatistics, path: Path) -> None:
    with replacing(path) as part:
        part.write_bytes(serialized({"mean": statistics.mean, "std": statistics.std}))


def _write_settings(
    recipe: Recipe, data: DataConfig, heads: list[targets.Target], folder: Path
) -> None:
    tokens = {head.name: list(head.tokenizer.tokens) for head in heads}
    settings = {"recipe": asdict(recipe), "data": asdict(data), "tokens": tokens}
    with replacing(folder / SETTINGS_FILE) as part:
        part.write_text(json.dumps(settings, indent=1) + "\n")
