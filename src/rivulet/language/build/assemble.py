"""A whole language model: n-grams, a pronunciation for every word, and letter-to-sound."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rivulet.errors import ConfigError, LanguageModelError
from rivulet.language.build import arpa, g2p_training, lexicon, pruning, text
from rivulet.language.build.arpa import BackoffModel
from rivulet.language.build.g2p_training import SpellingErrors
from rivulet.language.build.kenlm_tools import Tools, check_order
from rivulet.language.build.lexicon import Pronunciations
from rivulet.language.build.ready import read as read_ready
from rivulet.language.g2p import G2P
from rivulet.language.model import FILES, LEXICON_FILE, LanguageModel, Perplexity
from rivulet.replacing import UNFINISHED
from rivulet.text.normalize import normalize

ALL = "all"  # the name of the whole beside its sets
ARPA = "lm.arpa"


@dataclass(frozen=True)
class BuildConfig:
    """What a language model is made from, and how.

    texts: files of text; with `arpa` they are mixed, `mix` being their share.
    arpa: a ready model.
    order: words in an n-gram of the texts.
    prune: for each order, n-grams of the texts seen so often or less are dropped.
    vocabulary: so many of the most frequent words, or a file that lists them; None for all.
    entropy_prune: n-grams are dropped without which perplexity grows by less than this share.
    dictionaries: CMU-style, the first with a word wins; none for the lexicon of the shipped model.
    held_out: words of the dictionaries on which letter-to-sound is measured.
    with_g2p: keep letter-to-sound in the model.
    write_arpa: where to keep the n-grams as ARPA.
    """

    texts: tuple[Path, ...] = ()
    arpa: Path | None = None
    mix: float = 0.5
    order: int = 3
    prune: tuple[int, ...] = (0,)
    vocabulary: str | None = None
    entropy_prune: float = 0.0
    dictionaries: tuple[str, ...] = ()
    held_out: int = 1000
    with_g2p: bool = True
    write_arpa: Path | None = None

    def __post_init__(self) -> None:
        """Check everything before anything long begins.

        Raises:
            ConfigError: a number is out of range, or there is nothing to build from.
        """
        check_order(self.order, self.prune)
        if not self.texts and not self.arpa:
            raise ConfigError("there is nothing to build from; give texts, an ARPA file, or both.")
        if not 0.0 < self.mix < 1.0:
            raise ConfigError(f"mix {self.mix:g} is not between 0 and 1; 0.5 takes half of each.")
        if self.held_out < 0:
            raise ConfigError(
                f"{self.held_out} words cannot be held out; 0 leaves the measurement out."
            )
        if not 0.0 <= self.entropy_prune < 1.0:
            raise ConfigError(
                f"entropy pruning by {self.entropy_prune:g} is not between 0 and 1; 1e-8 drops few."
            )
        if self.vocabulary and self.vocabulary.isdigit() and not int(self.vocabulary):
            raise ConfigError("a vocabulary of 0 words says nothing; give a larger number.")


@dataclass(frozen=True)
class TextCounts:
    """What was read of the texts: words in all, different ones, too long ones left out, kept."""

    words: int
    different: int
    too_long: int
    kept: int


@dataclass(frozen=True)
class BuildReport:
    """What was made: n-grams of each order, words, where pronunciations came from, file sizes.

    g2p: how well letter-to-sound does; None if it was not measured.
    text: of the texts; None if there were none.
    """

    ngrams: list[int]
    words: int
    pronunciations: int
    sources: dict[str, int]
    g2p: SpellingErrors | None
    bytes: dict[str, int]
    text: TextCounts | None = None


def build(config: BuildConfig, folder: Path, shipped: Path, tools: Tools | None) -> BuildReport:
    """Build a language model into `folder`; nothing is left there when it fails.

    Args:
        config: what it is made from.
        folder: is made if it does not exist.
        shipped: language model whose lexicon and letter-to-sound stand in for dictionaries.
        tools: KenLM's programs; None where there are neither texts nor dictionaries.

    Raises:
        LanguageModelError: a text, a dictionary or the ARPA file cannot be used.
    """
    names = config.dictionaries or (str(shipped / LEXICON_FILE),)
    dictionaries = {Path(name).name: lexicon.read_dictionary(name) for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(UNFINISHED + "*"):  # of a build that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as name:
        work = Path(name)
        ngrams, counts = _ngrams(config, lexicon.merge(dictionaries.values()), tools, work)
        g2p, errors = _g2p(config, dictionaries, shipped, tools, work)
        found = lexicon.build(ngrams.words, dictionaries, g2p)
        kept = g2p if config.with_g2p else None
        model = LanguageModel.of(ngrams.words, found.pronunciations, work / ARPA, kept)
        model.save(folder)
    return BuildReport(
        ngrams=ngrams.counts,
        words=len(ngrams.words),
        pronunciations=len(found.pronunciations),
        sources=found.sources,
        g2p=errors,
        bytes=file_sizes(folder),
        text=counts,
    )


def file_sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each file of the language model in `folder`."""
    return {n: (folder / n).stat().st_size for n in FILES if (folder / n).is_file()}


def _ngrams(
    config: BuildConfig, known: Pronunciations, tools: Tools | None, work: Path
) -> tuple[BackoffModel, TextCounts | None]:
    """Estimate, read or mix the n-grams; write them to `work` as ARPA."""
    counts = None
    ready = _ready(config)
    if config.texts:
        model, counts = _estimate(config, known, tools, work)
        if ready is not None:
            model = arpa.mix(model, ready, config.mix)
    else:
        assert ready is not None, "BuildConfig asks for one of both"
        words = text.choose_vocabulary(config.vocabulary, ready.chances)
        model = pruning.keep_words(ready, words) if config.vocabulary else ready
    if config.entropy_prune:
        model = pruning.shrink(model, config.entropy_prune)
    strange = [word for word in model.words if normalize(word) != word]
    if strange or not model.words:
        raise LanguageModelError(
            f"{len(strange)} of {len(model.words)} words such as {strange[:1]} are not written in "
            "A-Z and apostrophe; make the ARPA file from normalized text."
        )
    arpa.write(model, work / ARPA)
    if config.write_arpa:
        shutil.copyfile(work / ARPA, config.write_arpa)
    return model, counts


def _ready(config: BuildConfig) -> BackoffModel | None:
    """Read the ready model, if there is one; as it is, unless it is to be changed."""
    if config.arpa is None:
        return None
    changed = config.texts or config.vocabulary or config.entropy_prune
    return arpa.normalized(read_ready(config.arpa)) if changed else read_ready(config.arpa)


def _estimate(
    config: BuildConfig, known: Pronunciations, tools: Tools | None, work: Path
) -> tuple[BackoffModel, TextCounts]:
    dropped: Counter[str] = Counter()
    sentences = text.read_sentences(config.texts, known, dropped)
    counts = text.write_sentences(sentences, work / "text")
    words = text.choose_vocabulary(config.vocabulary, counts)
    assert tools is not None, "texts need them"
    tools.estimate(work / "text", work / ARPA, config.order, config.prune, words)
    read = TextCounts(counts.total(), len(counts), dropped.total(), len(words))
    return arpa.read(work / ARPA), read


def _g2p(
    config: BuildConfig,
    dictionaries: Mapping[str, Pronunciations],
    shipped: Path,
    tools: Tools | None,
    work: Path,
) -> tuple[G2P, SpellingErrors | None]:
    """Train letter-to-sound on the dictionaries and measure it; or take the shipped model's."""
    if not config.dictionaries:
        return G2P.load(shipped), None
    assert tools is not None, "dictionaries need them"
    merged = lexicon.merge(dictionaries.values())
    errors = None
    if config.held_out:
        rest, held_out = g2p_training.hold_out(merged, config.held_out)
        errors = g2p_training.measure(g2p_training.train(rest, work, tools), held_out)
    return g2p_training.train(merged, work, tools), errors


def perplexities(model: LanguageModel, sets: Mapping[str, Sequence[str]]) -> dict[str, Perplexity]:
    """Measure each set of normalized lines, and ALL of them where there are several."""
    parts = {name: model.perplexity(lines) for name, lines in sets.items()}
    if len(parts) > 1:
        parts[ALL] = sum(parts.values(), Perplexity())
    return parts
