"""What words score one after another: the n-gram with merged histories, and hot phrases.

Equal histories get one state; without that, a beam of 100 fills with copies of the same words: on
dev it cost 3 points of WER, and words were settled after 2.6 s instead of 1.4 s
(docs/lab). This is flashlight's way to ask; `rivulet.decoding._beam` has its own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flashlight.lib.text.decoder import LM, LMState

from rivulet.decoding.hotwords import ContextGraph, Hotword
from rivulet.language.tables import TableScorer
from rivulet.language.tree import LN_10

History = tuple[tuple[int, ...], tuple[int, ...]]  # last words, and the node in a hot phrase


class LMScorer(LM):  # type: ignore[misc]  # flashlight has no types
    """The n-gram of one stream; word ids at and above `words` count as unknown words.

    flashlight asks some hundred times a frame, so an answer is remembered until `keep` or `start`.
    """

    def __init__(
        self,
        scorer: TableScorer,
        phrases: tuple[Hotword, ...] = (),
        bonus: Callable[[int], float] | None = None,
    ) -> None:
        """Share `scorer`; scores are log10 inside and natural outside.

        Args:
            scorer: of the n-gram.
            phrases: hot ones.
            bonus: what a word gains besides if it ends now, in nats; asked every time.
        """
        super().__init__()
        self._ngram = scorer
        self._context = scorer.order - 1
        self._phrases = ContextGraph(phrases)
        self._bonus = bonus
        self.start(False)

    def start(self, start_with_nothing: bool) -> Any:
        """Begin a sentence; all that was remembered is dropped."""
        root = LMState()
        self._remember({root: ((), ())})
        return root

    def keep(self, texts: Iterable[Sequence[int]]) -> None:
        """Drop what was remembered but the states in which one of `texts`, in word ids, ends."""
        ends = {tuple(text[-self._context :]) for text in texts}
        self._remember({s: h for s, h in self._histories.items() if h[0] in ends})

    def _remember(self, histories: dict[Any, History]) -> None:
        self._histories = histories
        self._states = {history: state for state, history in histories.items()}
        self._known: defaultdict[Any, dict[int, tuple[Any, float]]] = defaultdict(dict)

    @property
    def remembered(self) -> int:
        """Number of states and scores held."""
        return len(self._histories) + sum(map(len, self._known.values()))

    def score(self, state: Any, word: int) -> tuple[Any, float]:
        """Return the state after `word` and its score; equal histories give the same state."""
        known = self._known[state]
        found = known.get(word)
        if found is None:
            found = known[word] = self._find(state, word)
        if self._bonus is None:
            return found
        return found[0], found[1] + self._bonus(word)

    def _find(self, state: Any, word: int) -> tuple[Any, float]:
        words, node = self._histories[state]
        bonus = _tie_break(word)
        if self._phrases.phrases:
            node, paid = self._phrases.step(node, word)
            bonus += paid
        log10_prob = self._ngram.log10_prob(words, word)
        history = ((*words, word)[-self._context :], node)
        merged = self._states.get(history)
        if merged is None:
            merged = self._states[history] = LMState()
            self._histories[merged] = history
        return merged, log10_prob * LN_10 + bonus

    def finish(self, state: Any) -> tuple[Any, float]:
        """End the sentence."""
        words, node = self._histories[state]
        log10_prob = self._ngram.log10_prob(words, self._ngram.end)
        return state, log10_prob * LN_10 - self._phrases.penalty(node)


def _tie_break(word: int) -> float:
    """Return up to a thousandth of a nat, and for no word nothing.

    A quantized model scores many words alike, and a word's chance to begin a sentence is also what
    the tree promised before it ended; flashlight breaks ties by addresses in memory, and the same
    sound would give one word today and another tomorrow.
    """
    return -1e-3 * (1000 + word * 7919 % 10007) / 11007.0
