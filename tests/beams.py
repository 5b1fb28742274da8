"""A lexicon of four words over three phones, with a bigram: small enough to enumerate."""

from rivulet.lm import LanguageModel
from rivulet.search import SearchGraph
from rivulet.tokenizer import BLANK, Tokenizer

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
    return LanguageModel(words, tuple((i, sound) for i, (_, sound) in enumerate(LEXICON)), path)


def graph_of(folder):
    return SearchGraph.build(language_model(folder), PHONES)
