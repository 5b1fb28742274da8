"""A tiny back-off model by absolute discounting, in plain Python: what the real one is held to."""

import math
from collections import Counter

MARKS = ("<s>", "</s>", "<unk>")
DISCOUNT = 0.5


class TinyModel:
    """N-grams of a few sentences; `prob` is the definition of a back-off model."""

    def __init__(self, sentences, order):
        lines = [("<s>", *sentence.split(), "</s>") for sentence in sentences]
        self.words = sorted({word for line in lines for word in line} | set(MARKS))
        seen = Counter(word for line in lines for word in line[1:])
        total = sum(seen.values()) + len(self.words) - 1
        self.table = {(w,): (seen[w] + 1) / total for w in self.words if w != "<s>"}
        self.table["<s>",] = 1e-99
        self.weights = {}
        self.order = order
        for n in range(2, order + 1):
            self._add(Counter(line[i : i + n] for line in lines for i in range(len(line) - n + 1)))

    def _add(self, counts):
        contexts = Counter()
        for gram, count in counts.items():
            contexts[gram[:-1]] += count
        new = {g: (c - DISCOUNT) / contexts[g[:-1]] for g, c in counts.items()}
        for context in contexts:
            listed = [gram for gram in new if gram[:-1] == context]
            left = 1 - sum(new[gram] for gram in listed)
            self.weights[context] = left / (1 - sum(self.prob(gram[1:]) for gram in listed))
        self.table |= new

    def prob(self, gram):
        if gram in self.table:
            return self.table[gram]
        if len(gram) == 1:
            return 0.0
        return self.weights.get(gram[:-1], 1.0) * self.prob(gram[1:])

    def write(self, path):
        sections = [sorted(g for g in self.table if len(g) == n + 1) for n in range(self.order)]
        lines = ["\\data\\", *(f"ngram {n}={len(s)}" for n, s in enumerate(sections, 1))]
        for n, section in enumerate(sections, 1):
            lines += ["", f"\\{n}-grams:"]
            for gram in section:
                weight = f"\t{math.log10(self.weights[gram]):.9f}" if gram in self.weights else ""
                lines.append(f"{math.log10(self.table[gram]):.9f}\t{' '.join(gram)}{weight}")
        path.write_text("\n".join([*lines, "", "\\end\\", ""]))
        return path
