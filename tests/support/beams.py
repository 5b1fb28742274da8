"""A lexicon of four words over three phones, with a bigram: small enough to enumerate."""

import numpy as np

from rivulet.decoding.graph import DecodingGraph
from rivulet.decoding.settings import BeamConfig
from rivulet.language.model import LanguageModel
from rivulet.tokenizer import BLANK, Tokenizer

BEAM = BeamConfig(  # wide enough that nothing is lost
    beam_size=50,
    beam_tokens=8,
    beam_threshold=100.0,
    beam_token_threshold=1000.0,
    lm_weight=0.7,
    word_insertion_bonus=0.0,
)
PHONES = Tokenizer((BLANK, "AA", "B", "IY"))
LEXICON = (("A", ("AA",)), ("BAA", ("B", "AA")), ("BEE", ("B", "IY")), ("BEEBEE", ("B", "IY") * 2))
ARPA = """\\data\\
ngram 1=7
ngram 2=3

\\1-grams:
-3.0\t<unk>\t0.0
-99\t<s>\t-0.2
-0.8\t</s>\t0.0
-0.9\tA\t-0.1
-1.1\tBAA\t-0.2
-0.7\tBEE\t0.0
-1.3\tBEEBEE\t-0.3

\\2-grams:
-0.3\t<s> BEE
-0.2\tBEE A
-1.5\tA BAA

\\end\\
"""


def language_model(folder):
    path = folder / "lm.arpa"
    path.write_text(ARPA)
    words = tuple(word for word, _ in LEXICON)
    return LanguageModel.of(words, tuple((i, sound) for i, (_, sound) in enumerate(LEXICON)), path)


def graph_of(folder):
    return DecodingGraph.build(language_model(folder), PHONES)


def sure(tokenizer, names, by=6.0):
    """Log-probabilities (frames, tokens) that favor the named tokens, None being the blank."""
    ids = [0 if name is None else tokenizer.tokens.index(name) for name in names]
    logits = np.zeros((len(ids), len(tokenizer)), np.float32)
    logits[np.arange(len(ids)), ids] = by
    return log_softmax(logits)


def log_softmax(logits):
    """Logits (T, columns) as log-probabilities, float32."""
    return (logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)).astype(np.float32)


def noise(frames, seed, *tokenizers, blank, sharpness):
    """Random log-probabilities (frames, columns of all tokenizers); sharper ones are clearer."""
    rng = np.random.default_rng(seed)
    parts = []
    for tokenizer in tokenizers:
        logits = rng.standard_normal((frames, len(tokenizer))).astype(np.float32)
        logits[:, 0] += blank
        parts.append(log_softmax(sharpness * logits))
    return np.concatenate(parts, axis=1)


def settle(decoder, log_probs):
    """Decode frame by frame, check that no settled word is revised, return those settled last."""
    settled = []
    for row in log_probs:
        decoder.push(row[None])
        words = [word.text for word in decoder.words()]
        assert words[: len(settled)] == settled
        assert decoder.settled() >= len(settled)
        settled = words[: decoder.settled()]
    return settled
