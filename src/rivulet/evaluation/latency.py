"""How late every word was, and why: pure functions over events and the words truly said."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from rivulet.errors import AlignmentError
from rivulet.evaluation.ctm import SpokenWord
from rivulet.events import Event, Final
from rivulet.metrics import WordAlignment, match_words

MICROSECONDS = 1_000_000  # per second; whole numbers, so that parts add up exactly


@dataclass(frozen=True)
class Observation:
    """An event as it reached the user; times in microseconds from the clip's first sample.

    emitted_us: when it came out.
    delivered_us: when the last sample that was handed over for it had been spoken.
    needed_us: for each word of the event the end of the sound that the model needed to complete it;
        empty where a system does not tell.
    flushed: it came out only because the sound had ended.
    """

    event: Event
    emitted_us: int
    delivered_us: int
    needed_us: tuple[int, ...] = ()
    flushed: bool = False

    @property
    def heard_us(self) -> int:
        """End of the sound that the event rests on."""
        return min(round(self.event.at * MICROSECONDS), self.delivered_us)


@dataclass(frozen=True)
class Parts:
    """Where the time from a word's true end to its first emission went; microseconds.

    chunk_us: from the end of the system's block to the end of the caller's chunk.
    block_us: from the sound that the word needed to the end of the system's block.
    lookahead_us: future sound that the model looks at.
    compute_us: computing, and waiting until earlier computing is done.
    model_us: the model's own emission delay, all that is left; negative where a word is clear
        before it ends. For a system that tells nothing about itself it holds chunk, block and
        lookahead, too.
    """

    chunk_us: int
    block_us: int
    lookahead_us: int
    compute_us: int
    model_us: int

    @property
    def total_us(self) -> int:
        """The whole; exact, as the parts are whole numbers."""
        return self.chunk_us + self.block_us + self.lookahead_us + self.compute_us + self.model_us


@dataclass(frozen=True)
class WordLatency:
    """A hit, and how long after its true end it reached three states; microseconds.

    first_us: it was shown and stayed as it is from then on.
    settled_us: the system promised that it will not change.
    final_us: its segment was finished.
    """

    reference: SpokenWord
    first_us: int
    settled_us: int
    final_us: int
    parts: Parts


@dataclass(frozen=True)
class Stability:
    """How much of what was shown was taken back; what comes out at one instant is one update.

    revised: shown words that the next update replaced or removed.
    grown: last words that the next update only continued (HEL, HELLO); not in `revised`.
    longest: most words revised by one update.
    settled_revised: settled words that changed; 0, or a promise is broken.
    """

    updates: int
    revised: int
    grown: int
    longest: int
    settled_revised: int


@dataclass(frozen=True)
class ClipLatency:
    """All measurements of one clip; times in microseconds.

    words: the hits.
    early: words that count as hits but were shown before anyone began to say them, so the same
        spelling is chance and the time means nothing; not in `words`.
    substitutions, deletions, insertions: the errors that WER counts.
    hypothesis_words: words of the transcript.
    first_partial_us: first word on the screen less the true start of speech; None if nothing came.
    finals_us: for each segment, `Final` less the true end of its last matched word.
    flushed: finals that came only because the sound ended; not in `finals_us`.
    seconds: sound fed.
    """

    clip: str
    words: tuple[WordLatency, ...]
    early: int
    substitutions: int
    deletions: int
    insertions: int
    hypothesis_words: int
    first_partial_us: int | None
    finals_us: tuple[int, ...]
    flushed: int
    stability: Stability
    seconds: float

    @property
    def reference_words(self) -> int:
        """Words of the reference."""
        return len(self.words) + self.early + self.substitutions + self.deletions


@dataclass(frozen=True)
class _Screen:
    """What the user sees after one observation; places are counted from the first word ever shown.

    Only the event's own words are kept: those of finished segments stand before `offset` and never
    change.
    """

    offset: int
    words: tuple[str, ...]
    needed_us: tuple[int, ...]
    settled: int
    final: int
    seen: Observation
    last: bool  # nothing else came out at the same instant


@dataclass(frozen=True)
class _History:
    """All screens of a clip.

    visible: indices of the last screen of each instant; what was replaced at once nobody saw.
    sources: from each visible screen to the next, for every word that stayed: place after → before.
    hypothesis: the words of the transcript.
    """

    screens: list[_Screen]
    visible: list[int]
    sources: list[dict[int, int]]
    hypothesis: list[str]

    def text(self, index: int, place: int) -> str | None:
        """Return the word that stood at `place` of a screen, or None if there was none."""
        screen = self.screens[index]
        if place < screen.offset:
            return self.hypothesis[place]
        inside = place - screen.offset
        return screen.words[inside] if inside < len(screen.words) else None


def measure_clip(
    clip: str,
    reference: Sequence[SpokenWord],
    observations: Sequence[Observation],
    lookahead_us: int,
    seconds: float,
) -> ClipLatency:
    """Measure one clip.

    Args:
        clip: its name.
        reference: the words truly said, n ≥ 1.
        observations: everything that came out, in order.
        lookahead_us: future sound that the system's model looks at.
        seconds: sound fed.

    Raises:
        AlignmentError: no word was said.
    """
    if not reference:
        raise AlignmentError(f"the clip {clip} has 0 words, so no word of it can be late.")
    history = _history(observations)
    match = match_words([word.text for word in reference], history.hypothesis)
    hits = [_word(reference[i], j, history, lookahead_us) for i, j in match.hits]
    words = tuple(
        word for word in hits if word.first_us > _us(word.reference.start - word.reference.end)
    )
    shown = next((s.seen.emitted_us for s in history.screens if s.words), None)
    return ClipLatency(
        clip=clip,
        words=words,
        early=len(hits) - len(words),
        substitutions=len(match.substitutions),
        deletions=len(match.deletions),
        insertions=len(match.insertions),
        hypothesis_words=len(history.hypothesis),
        first_partial_us=None if shown is None else shown - _us(reference[0].start),
        finals_us=_finals(reference, observations, match),
        flushed=sum(o.flushed for o in observations if isinstance(o.event, Final)),
        stability=_stability(history),
        seconds=seconds,
    )


def _screens(observations: Sequence[Observation]) -> list[_Screen]:
    screens: list[_Screen] = []
    done = 0
    for index, seen in enumerate(observations):
        words = tuple(seen.event.text.split())
        needed = seen.needed_us or (seen.heard_us,) * len(words)
        following = observations[index + 1] if index + 1 < len(observations) else None
        last = following is None or following.emitted_us != seen.emitted_us
        finished = len(words) if isinstance(seen.event, Final) else 0
        settled = finished if isinstance(seen.event, Final) else seen.event.stable
        final = done + finished
        screens.append(_Screen(done, words, needed, done + settled, final, seen, last))
        done = final
    return screens


def _history(observations: Sequence[Observation]) -> _History:
    screens = _screens(observations)
    visible = [index for index, screen in enumerate(screens) if screen.last]
    hypothesis = [
        w for o in observations if isinstance(o.event, Final) for w in o.event.text.split()
    ]
    sources = []
    for before, after in pairwise([screens[index] for index in visible]):
        now = (*hypothesis[before.offset : after.offset], *after.words)
        stayed = _sources(before.words, now)
        sources.append({before.offset + j: before.offset + i for j, i in stayed.items()})
    return _History(screens, visible, sources, hypothesis)


def _sources(before: tuple[str, ...], after: tuple[str, ...]) -> dict[int, int]:
    """Return for each word of `after` that stood in `before` already where it stood there.

    The common beginning first, the rest by edit distance: a word that only moved stays the same
    word.
    """
    pairs = zip(before, after, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    rest = match_words(before[same:], after[same:]).hits
    return {i: i for i in range(same)} | {same + j: same + i for i, j in rest}


def _word(reference: SpokenWord, place: int, history: _History, ahead_us: int) -> WordLatency:
    """Follow the word at `place` of the transcript back, from its final to where it began."""
    screens, visible = history.screens, history.visible
    at = bisect_right(visible, place, key=lambda index: screens[index].final)
    final = screens[visible[at]].seen
    states = [(visible[at], place)]  # screens on which it stands, latest first, and where
    while at and place in history.sources[at - 1]:
        at -= 1
        place = history.sources[at][place]
        states.append((visible[at], place))
    settled = next(screens[i].seen for i, j in reversed(states) if screens[i].settled > j)
    first, place = states[-1]
    text = history.text(first, place)
    while first and not screens[first - 1].last and history.text(first - 1, place) == text:
        first -= 1  # of all that came out at that instant the first: it tells when it was known
    end = _us(reference.end)
    parts = _parts(screens[first], place, end, ahead_us)
    return WordLatency(
        reference, parts.total_us, settled.emitted_us - end, final.emitted_us - end, parts
    )


def _parts(screen: _Screen, place: int, end_us: int, lookahead_us: int) -> Parts:
    """Cut the way from `end_us` to the emission at known points: needed ≤ heard ≤ delivered."""
    seen = screen.seen
    needed = min(screen.needed_us[place - screen.offset], seen.heard_us)
    return Parts(
        chunk_us=seen.delivered_us - seen.heard_us,
        block_us=seen.heard_us - needed,
        lookahead_us=lookahead_us,
        compute_us=seen.emitted_us - seen.delivered_us,
        model_us=needed - lookahead_us - end_us,
    )


def _finals(
    reference: Sequence[SpokenWord], observations: Sequence[Observation], match: WordAlignment
) -> tuple[int, ...]:
    answers = {j: i for i, j in (*match.hits, *match.substitutions)}
    late: list[int] = []
    begin = 0
    for seen in observations:
        if isinstance(seen.event, Final):
            end = begin + len(seen.event.text.split())
            matched = [answers[j] for j in range(begin, end) if j in answers]
            if matched and not seen.flushed:
                late.append(seen.emitted_us - _us(reference[max(matched)].end))
            begin = end
    return tuple(late)


def _stability(history: _History) -> Stability:
    revised: list[int] = []
    grown = 0
    for index, (before, after) in enumerate(pairwise(history.visible)):
        screen = history.screens[before]
        end = screen.offset + len(screen.words)
        lost = set(range(screen.offset, end)) - set(history.sources[index].values())
        if end - 1 in lost and (history.text(after, end - 1) or "").startswith(screen.words[-1]):
            lost.remove(end - 1)
            grown += 1
        revised.append(len(lost))
    broken = sum(
        history.text(index, place) != history.text(index + 1, place)
        for index, screen in enumerate(history.screens[:-1])
        for place in range(screen.offset, screen.settled)
    )
    updates = len(history.visible)
    return Stability(updates, sum(revised), grown, max(revised, default=0), broken)


def _us(seconds: float) -> int:
    return round(seconds * MICROSECONDS)
