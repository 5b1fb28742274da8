"""How late every word was, and why: pure functions over events and the words truly said."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise, takewhile

import jiwer
import numpy as np

from rivulet.ctm import SpokenWord
from rivulet.errors import AlignmentError
from rivulet.events import Event, Final

MICROSECONDS = 1_000_000  # per second; whole numbers, so that parts add up exactly
BIN_MS = 100  # width of a bar of the histogram


@dataclass(frozen=True)
class Match:
    """The cheapest alignment of heard words with said words, the one that WER counts.

    equal, wrong: pairs (index said, index heard) of words heard right and heard as another.
    missed: indices of said words that nothing answers.
    inserted: indices of heard words that nobody said.
    """

    equal: tuple[tuple[int, int], ...]
    wrong: tuple[tuple[int, int], ...]
    missed: tuple[int, ...]
    inserted: tuple[int, ...]


def match_words(said: Sequence[str], heard: Sequence[str]) -> Match:
    """Align two lists of words by edit distance (jiwer)."""
    if not said or not heard:
        return Match((), (), tuple(range(len(said))), tuple(range(len(heard))))
    pairs: dict[str, list[tuple[int, int]]] = {"equal": [], "substitute": []}
    missed: list[int] = []
    inserted: list[int] = []
    for part in jiwer.process_words(" ".join(said), " ".join(heard)).alignments[0]:
        i, j = (
            range(part.ref_start_idx, part.ref_end_idx),
            range(part.hyp_start_idx, part.hyp_end_idx),
        )
        if part.type == "delete":
            missed.extend(i)
        elif part.type == "insert":
            inserted.extend(j)
        else:
            pairs[part.type].extend(zip(i, j, strict=True))
    return Match(tuple(pairs["equal"]), tuple(pairs["substitute"]), tuple(missed), tuple(inserted))


@dataclass(frozen=True)
class Observation:
    """An event as it reached the user; times in microseconds from the clip's first sample.

    emitted_us: when it came out.
    delivered_us: when the last sample that was handed over for it had been spoken.
    needed_us: for each word of the event the end of the sound that the model needed to complete it;
        empty where an engine does not tell.
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

    chunk_us: from the end of the engine's block to the end of the caller's chunk.
    block_us: from the sound that the word needed to the end of the engine's block.
    lookahead_us: future sound that the model looks at.
    compute_us: computing, and waiting until earlier computing is done.
    model_us: the model's own emission delay, all that is left; negative where a word is clear
        before it ends. For an engine that tells nothing about itself it holds chunk, block and
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
    """A word heard right, and how long after its true end it reached three states; microseconds.

    first_us: it was shown and stayed as it is from then on.
    settled_us: the engine promised that it will not change.
    final_us: its segment was finished.
    """

    said: SpokenWord
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

    words: the words heard right.
    early: words that count as right but were shown before anyone began to say them, so the same
        spelling is chance and the time means nothing; not in `words`.
    wrong, missed: said words heard as another, or not at all.
    inserted: heard words that nobody said.
    heard: words of the transcript.
    first_partial_us: first word on the screen less the true start of speech; None if nothing came.
    finals_us: for each segment, `Final` less the true end of its last matched word.
    flushed: finals that came only because the sound ended; not in `finals_us`.
    seconds: sound fed.
    """

    clip: str
    words: tuple[WordLatency, ...]
    early: int
    wrong: int
    missed: int
    inserted: int
    heard: int
    first_partial_us: int | None
    finals_us: tuple[int, ...]
    flushed: int
    stability: Stability
    seconds: float

    @property
    def said(self) -> int:
        """Words of the reference."""
        return len(self.words) + self.early + self.wrong + self.missed


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
    heard: the words of the transcript.
    """

    screens: list[_Screen]
    visible: list[int]
    sources: list[dict[int, int]]
    heard: list[str]

    def text(self, index: int, place: int) -> str | None:
        """Return the word that stood at `place` of a screen, or None if there was none."""
        screen = self.screens[index]
        if place < screen.offset:
            return self.heard[place]
        inside = place - screen.offset
        return screen.words[inside] if inside < len(screen.words) else None


def measure_clip(
    clip: str,
    said: Sequence[SpokenWord],
    observations: Sequence[Observation],
    lookahead_us: int,
    seconds: float,
) -> ClipLatency:
    """Measure one clip.

    Args:
        clip: its name.
        said: the words truly said, n ≥ 1.
        observations: everything that came out, in order.
        lookahead_us: future sound that the engine's model looks at.
        seconds: sound fed.

    Raises:
        AlignmentError: no word was said.
    """
    if not said:
        raise AlignmentError(f"the clip {clip} has 0 words, so no word of it can be late.")
    history = _history(observations)
    match = match_words([word.text for word in said], history.heard)
    right = [_word(said[i], j, history, lookahead_us) for i, j in match.equal]
    words = tuple(word for word in right if word.first_us > _us(word.said.start - word.said.end))
    shown = next((s.seen.emitted_us for s in history.screens if s.words), None)
    return ClipLatency(
        clip=clip,
        words=words,
        early=len(right) - len(words),
        wrong=len(match.wrong),
        missed=len(match.missed),
        inserted=len(match.inserted),
        heard=len(history.heard),
        first_partial_us=None if shown is None else shown - _us(said[0].start),
        finals_us=_finals(said, observations, match),
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
    heard = [w for o in observations if isinstance(o.event, Final) for w in o.event.text.split()]
    sources = []
    for before, after in pairwise([screens[index] for index in visible]):
        now = (*heard[before.offset : after.offset], *after.words)
        stayed = _sources(before.words, now)
        sources.append({before.offset + j: before.offset + i for j, i in stayed.items()})
    return _History(screens, visible, sources, heard)


def _sources(before: tuple[str, ...], after: tuple[str, ...]) -> dict[int, int]:
    """Return for each word of `after` that stood in `before` already where it stood there.

    The common beginning first, the rest by edit distance: a word that only moved stays the same
    word.
    """
    pairs = zip(before, after, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    rest = match_words(before[same:], after[same:]).equal
    return {i: i for i in range(same)} | {same + j: same + i for i, j in rest}


def _word(said: SpokenWord, place: int, history: _History, ahead_us: int) -> WordLatency:
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
    end = _us(said.end)
    parts = _parts(screens[first], place, end, ahead_us)
    return WordLatency(
        said, parts.total_us, settled.emitted_us - end, final.emitted_us - end, parts
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
    said: Sequence[SpokenWord], observations: Sequence[Observation], match: Match
) -> tuple[int, ...]:
    answers = {j: i for i, j in (*match.equal, *match.wrong)}
    late: list[int] = []
    begin = 0
    for seen in observations:
        if isinstance(seen.event, Final):
            end = begin + len(seen.event.text.split())
            matched = [answers[j] for j in range(begin, end) if j in answers]
            if matched and not seen.flushed:
                late.append(seen.emitted_us - _us(said[max(matched)].end))
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


@dataclass(frozen=True)
class Distribution:
    """A set of times in milliseconds; all 0 where `count` is 0."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float

    @classmethod
    def of(cls, times_us: Sequence[int]) -> "Distribution":
        """Summarize microseconds (n,), percentiles interpolated linearly."""
        if not times_us:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        p50, p90, p99 = np.percentile(times_us, [50, 90, 99])
        numbers = (float(np.mean(times_us)), float(p50), float(p90), float(p99))
        return cls(len(times_us), *(round(number / 1000, 3) for number in numbers))


@dataclass(frozen=True)
class LatencyReport:
    """All clips of one engine at one chunk size; times in milliseconds.

    wer: word errors per reference word, 0 to 1 and above.
    early: those of the right words that were shown before they were said: chance, not in any time.
    histogram: words by first emission, (lower edge in ms, count), bins of 100 ms.
    parts_mean_ms: mean of each part of the first emission; their sum is `first.mean_ms`.
    revised_per_s: per second of sound; `revised_per_word` per word of the transcripts.
    finals_flushed: finals that came only because the sound ended; not in `end_of_speech`.
    """

    clips: int
    seconds: float
    said: int
    right: int
    early: int
    wrong: int
    missed: int
    inserted: int
    wer: float
    first: Distribution
    settled: Distribution
    final: Distribution
    histogram: tuple[tuple[int, int], ...]
    parts_mean_ms: dict[str, float]
    first_partial: Distribution
    end_of_speech: Distribution
    finals_flushed: int
    updates: int
    revised: int
    grown: int
    revised_per_s: float
    revised_per_word: float
    longest_revision: int
    settled_revised: int


def summarize(clips: Sequence[ClipLatency]) -> LatencyReport:
    """Put clips together, n ≥ 1; every word counts once."""
    words = [word for clip in clips for word in clip.words]
    said, heard = sum(c.said for c in clips), sum(c.heard for c in clips)
    errors = sum(c.wrong + c.missed + c.inserted for c in clips)
    seconds = sum(c.seconds for c in clips)
    revised = sum(c.stability.revised for c in clips)
    return LatencyReport(
        clips=len(clips),
        seconds=round(seconds, 3),
        said=said,
        right=len(words) + sum(c.early for c in clips),
        early=sum(c.early for c in clips),
        wrong=sum(c.wrong for c in clips),
        missed=sum(c.missed for c in clips),
        inserted=sum(c.inserted for c in clips),
        wer=round(errors / said, 5),
        first=Distribution.of([w.first_us for w in words]),
        settled=Distribution.of([w.settled_us for w in words]),
        final=Distribution.of([w.final_us for w in words]),
        histogram=_histogram([w.first_us for w in words]),
        parts_mean_ms=_mean_parts(words),
        first_partial=Distribution.of(
            [c.first_partial_us for c in clips if c.first_partial_us is not None]
        ),
        end_of_speech=Distribution.of([late for c in clips for late in c.finals_us]),
        finals_flushed=sum(c.flushed for c in clips),
        updates=sum(c.stability.updates for c in clips),
        revised=revised,
        grown=sum(c.stability.grown for c in clips),
        revised_per_s=round(revised / seconds, 4),
        revised_per_word=round(revised / max(1, heard), 4),
        longest_revision=max(c.stability.longest for c in clips),
        settled_revised=sum(c.stability.settled_revised for c in clips),
    )


def _histogram(times_us: Sequence[int]) -> tuple[tuple[int, int], ...]:
    counts = Counter(time // 1000 // BIN_MS * BIN_MS for time in times_us)
    return tuple(sorted(counts.items()))


def _mean_parts(words: Sequence[WordLatency]) -> dict[str, float]:
    names = [field.name for field in fields(Parts)]
    return {
        name.removesuffix("_us"): round(
            sum(getattr(w.parts, name) for w in words) / max(1, len(words)) / 1000, 3
        )
        for name in names
    }
