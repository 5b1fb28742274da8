"""What each head of the network is asked to write: characters, BPE pieces or phones."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rivulet.errors import ConfigError, ManifestError
from rivulet.language.files import DAMAGED, read_pronunciations
from rivulet.tokenizer import BLANK, BOUNDARY, Tokenizer

Encode = Callable[
    [str], list[int] | None
]  # text → ids, or None where this head has no target for it
Encoded = dict[str, list[list[int] | None]]  # by each head's name what it makes of every text


@dataclass(frozen=True)
class Target:
    """A head's name, its tokens (the blank first) and how a text is written in them."""

    name: str
    tokenizer: Tokenizer
    encode: Encode

    @property
    def writes_words(self) -> bool:
        """False for phones, whose errors are counted in phones."""
        return not is_phones(self.name)


def is_phones(name: str) -> bool:
    """Whether a head writes phones: `phones`, or one of several such as `phones-2`."""
    return name.split("-")[0] == "phones"


def is_bpe(tokenizer: Tokenizer) -> bool:
    """Whether its tokens are byte-pair pieces: some begin a word and have letters."""
    return any(token.startswith(BOUNDARY) and token != BOUNDARY for token in tokenizer.tokens)


def characters() -> Target:
    """Return the target that spells words in letters."""
    tokenizer = Tokenizer.characters()
    return Target("characters", tokenizer, tokenizer.encode)


def learn_bpe(texts: Iterable[str], size: int) -> Tokenizer:
    """Return the blank and the byte-pair pieces that SentencePiece learns from `texts`: `size`.

    Raises:
        ConfigError: SentencePiece is not installed, or the texts do not carry `size` pieces.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise ConfigError(
            "BPE units need SentencePiece; install it with `pip install rivulet[train]`."
        ) from error
    buffer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=buffer,
            model_type="bpe",
            vocab_size=size,
            character_coverage=1.0,
            unk_id=0,  # its place is taken by CTC's blank; no text of letters ever needs it
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigError(
            f"{size} BPE units cannot be learned from these texts ({error})."
        ) from error
    pieces = sentencepiece.SentencePieceProcessor(model_proto=buffer.getvalue())
    tokens = [pieces.id_to_piece(index) for index in range(1, pieces.get_piece_size())]
    return Tokenizer((BLANK, *tokens))


def bpe(tokenizer: Tokenizer) -> Target:
    """Return the target of byte-pair pieces that stand in the order in which they were learned.

    A checkpoint keeps the pieces and not SentencePiece's file. A text with a letter that no piece
    has gets no target.
    """

    def encode(text: str) -> list[int] | None:
        words = [tokenizer.pieces(word) for word in text.split()]
        if any(word is None for word in words):
            return None
        return [piece for word in words if word for piece in word]

    return Target(f"bpe-{len(tokenizer)}", tokenizer, encode)


def phones(dictionary: Path, name: str = "phones") -> Target:
    """Return the target of phones without stress, each word's first in a CMU-style dictionary.

    Raises:
        ManifestError: the dictionary does not exist or holds no pronunciation.
    """
    pronunciations = read_dictionary(dictionary)
    inventory = sorted({phone for word in pronunciations.values() for phone in word})
    tokenizer = Tokenizer((BLANK, *inventory))
    ids = {phone: index for index, phone in enumerate(tokenizer.tokens)}

    def encode(text: str) -> list[int] | None:
        words = [pronunciations.get(word) for word in text.split()]
        if not words or any(word is None for word in words):
            return None
        return [ids[phone] for word in words if word for phone in word]

    return Target(name, tokenizer, encode)


def read_dictionary(path: Path) -> dict[str, list[str]]:
    """Read the first pronunciation of every word, without stress.

    Raises:
        ManifestError: the dictionary does not exist, is damaged, or holds no pronunciation.
    """
    if not path.is_file():
        raise ManifestError(f"the pronouncing dictionary {path} does not exist.")
    words: dict[str, list[str]] = {}
    try:
        for word, phone_list in read_pronunciations(path):
            words.setdefault(word, list(phone_list))
    except DAMAGED as error:
        raise ManifestError(f"{path} is damaged ({error}); get it again.") from error
    if not words:
        raise ManifestError(f"{path} holds 0 pronunciations; give lines of WORD PHONE PHONE ….")
    return words


def complete_dictionary(
    known: Path, texts: Iterable[str], pronounce: Callable[[str], Sequence[str]]
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the dictionary with every word of the texts in it, and the words that it lacked.

    A phone head learns nothing of an utterance with a single word that has no pronunciation; of
    long utterances that is every second.

    Raises:
        ManifestError: the dictionary does not exist, is damaged, or holds no pronunciation.
    """
    dictionary = read_dictionary(known)
    missing = sorted({word for text in texts for word in text.split()} - dictionary.keys())
    guessed = {word: list(pronounce(word)) for word in missing}
    return dictionary | {word: phones for word, phones in guessed.items() if phones}, missing
