"""Latency metrics on hand-made events whose delays are known."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivulet.errors import AlignmentError
from rivulet.evaluation.ctm import SpokenWord
from rivulet.evaluation.latency import (
    ClipLatency,
    Observation,
    Parts,
    measure_clip,
)
from rivulet.evaluation.latency_report import Distribution, summarize
from rivulet.events import Final, Partial, Word
from rivulet.metrics import match_words

MS = 1000  # microseconds
SAID = (SpokenWord("THE", 0.1, 0.2), SpokenWord("OLD", 0.2, 0.5), SpokenWord("MAN", 0.5, 0.9))


def partial(
    text: str, at_ms: int, stable: int = 0, segment: int = 0, **clock: object
) -> Observation:
    """A partial that comes out when its sound ends."""
    event = Partial(segment, text, stable, at_ms / 1000)
    return Observation(event, at_ms * MS, at_ms * MS, **clock)  # type: ignore[arg-type]


def final(text: str, at_ms: int, segment: int = 0, **clock: object) -> Observation:
    words = tuple(Word(word, 0.0, 0.0, 1.0) for word in text.split())
    event = Final(segment, text, words, 0.0, 0.0, at_ms / 1000)
    return Observation(event, at_ms * MS, at_ms * MS, **clock)  # type: ignore[arg-type]


def measure(
    *seen: Observation, reference: tuple[SpokenWord, ...] = SAID, ahead_us: int = 0
) -> ClipLatency:
    return measure_clip("clip", reference, seen, ahead_us, 2.0)


def firsts(clip: ClipLatency) -> dict[str, int]:
    return {word.reference.text: word.first_us // MS for word in clip.words}


PLAIN = (
    partial("THE", 300),
    partial("THE OLD", 600, stable=1),
    partial("THE OLD MAN", 1000, stable=2),
    final("THE OLD MAN", 1800),
)


def test_known_delays_come_out_exactly() -> None:
    clip = measure(*PLAIN)
    assert [(w.first_us, w.settled_us, w.final_us) for w in clip.words] == [
        (100 * MS, 400 * MS, 1600 * MS),  # THE ends at 200: shown 300, settled 600, final 1800
        (100 * MS, 500 * MS, 1300 * MS),
        (100 * MS, 900 * MS, 900 * MS),
    ]
    assert clip.first_partial_us == 200 * MS  # speech begins at 100
    assert clip.finals_us == (900 * MS,)
    assert (clip.substitutions, clip.deletions, clip.insertions, clip.flushed) == (0, 0, 0, 0)


def test_a_plain_transcript_revises_nothing() -> None:
    stability = measure(*PLAIN).stability
    assert (stability.updates, stability.revised, stability.grown) == (4, 0, 0)
    assert (stability.longest, stability.settled_revised) == (0, 0)


def test_a_word_counts_from_when_it_stays() -> None:
    clip = measure(
        partial("THE", 300),
        partial("A", 400),
        partial("THE OLD", 700),
        partial("THE OLD MAN", 1000),
        final("THE OLD MAN", 1800),
    )
    assert firsts(clip) == {"THE": 500, "OLD": 200, "MAN": 100}
    assert clip.stability.revised == 2  # THE by A, A by THE
    assert clip.stability.longest == 1


def test_a_word_that_only_moves_is_not_new() -> None:
    clip = measure(
        partial("THEY'LL", 300),
        partial("THEY'LL MAN", 1000),
        partial("THE OLD MAN", 1200),
        final("THE OLD MAN", 1800),
    )
    assert firsts(clip) == {"THE": 1000, "OLD": 700, "MAN": 100}
    assert clip.stability.revised == 1


def test_a_growing_last_word_is_no_revision() -> None:
    clip = measure(
        partial("T", 250), partial("THE", 300), partial("THE OLD", 600), final("THE OLD MAN", 1800)
    )
    assert firsts(clip) == {"THE": 100, "OLD": 100, "MAN": 900}
    assert (clip.stability.grown, clip.stability.revised) == (1, 0)


def test_the_longest_revision_counts_words_of_one_update() -> None:
    clip = measure(
        partial("A B C D", 300), partial("A X Y D", 400), partial("A X Z D", 500), final("A", 900)
    )
    assert clip.stability.longest == 3  # X, Z and D go at the end
    assert clip.stability.revised == 2 + 1 + 3


def test_insertions_deletions_and_substitutions_are_counted() -> None:
    clip = measure(partial("UH THE COLD", 600), final("UH THE COLD", 900))
    assert (clip.insertions, clip.substitutions, clip.deletions) == (1, 1, 1)
    assert firsts(clip) == {"THE": 400}
    assert clip.reference_words == 3
    assert summarize([clip]).wer == 1.0


def test_repeated_words_are_told_apart() -> None:
    said = (SpokenWord("NO", 0.1, 0.2), SpokenWord("NO", 0.4, 0.5), SpokenWord("NO", 0.7, 0.8))
    shown = (partial("NO", 300), partial("NO NO", 550), partial("NO NO NO", 1000))
    clip = measure(*shown, final("NO NO NO", 1500), reference=said)
    assert [word.first_us // MS for word in clip.words] == [100, 50, 200]


def test_nothing_heard_is_all_missed() -> None:
    clip = measure()
    assert (clip.deletions, clip.words, clip.first_partial_us) == (3, (), None)
    report = summarize([clip])
    assert report.wer == 1.0
    assert report.first == Distribution(0, 0.0, 0.0, 0.0, 0.0)


def test_a_clip_without_words_is_refused() -> None:
    with pytest.raises(AlignmentError, match="0 words"):
        measure(*PLAIN, reference=())


def test_a_broken_promise_is_seen() -> None:
    clip = measure(
        partial("THE OLD", 600, stable=2), partial("THE BOLD", 700), final("THE BOLD MAN", 900)
    )
    assert clip.stability.settled_revised == 1


def test_segments_follow_each_other_on_the_screen() -> None:
    clip = measure(
        partial("THE", 300, segment=0),
        final("THE", 700, segment=0),
        partial("OLD MAN", 1000, segment=1),
        final("OLD MAN", 1800, segment=1),
    )
    assert firsts(clip) == {"THE": 100, "OLD": 500, "MAN": 100}
    assert clip.finals_us == (500 * MS, 900 * MS)
    assert clip.stability.revised == 0


def test_a_word_carried_into_the_next_segment_at_once_was_not_taken_back() -> None:
    clip = measure(
        partial("THE OLD", 600),
        final("THE", 900),
        partial("OLD", 900, segment=1),
        final("OLD MAN", 1800, segment=1),
    )
    assert firsts(clip) == {"THE": 400, "OLD": 100, "MAN": 900}
    assert clip.stability.revised == 0


def test_a_flushed_final_does_not_tell_of_endpoints() -> None:
    clip = measure(*PLAIN[:-1], final("THE OLD MAN", 1000, flushed=True))
    assert (clip.finals_us, clip.flushed) == ((), 1)


def test_the_parts_are_cut_where_they_belong() -> None:
    seen = Observation(Partial(0, "THE", 0, 0.415), 500 * MS, 440 * MS, (375 * MS,))
    clip = measure(seen, final("THE", 900), ahead_us=80 * MS)
    parts = clip.words[0].parts
    assert parts == Parts(
        chunk_us=25 * MS,  # 440 - 415
        block_us=40 * MS,  # 415 - 375
        lookahead_us=80 * MS,
        compute_us=60 * MS,  # 500 - 440
        model_us=95 * MS,  # 375 - 80 - 200
    )
    assert parts.total_us == clip.words[0].first_us == 300 * MS


def test_each_word_of_one_event_has_its_own_parts() -> None:
    seen = partial("THE OLD", 620, needed_us=(300 * MS, 580 * MS))
    clip = measure(seen, final("THE OLD", 900))
    assert [word.parts.block_us // MS for word in clip.words] == [320, 40]
    assert [word.parts.model_us // MS for word in clip.words] == [100, 80]


def test_a_word_is_charged_to_the_block_that_first_had_it() -> None:
    early = replace(partial("THE", 300), emitted_us=700 * MS, delivered_us=640 * MS)
    late = replace(partial("THE OLD", 600), emitted_us=700 * MS, delivered_us=640 * MS)
    clip = measure(early, late, final("THE OLD", 900))
    assert [word.parts.chunk_us // MS for word in clip.words] == [340, 40]
    assert clip.stability.updates == 2  # what comes out together is one update


@st.composite
def sessions(draw: st.DrawFn) -> list[Observation]:
    """Events in order, cut and revised at random; needed ≤ heard ≤ delivered ≤ emitted."""
    letters = st.lists(st.sampled_from(["THE", "OLD", "MAN", "UH"]), max_size=5)
    seen: list[Observation] = []
    heard = emitted = segment = 0
    for _ in range(draw(st.integers(1, 6))):
        heard += draw(st.integers(0, 500))
        delivered = heard + draw(st.integers(0, 300))
        emitted = max(emitted, delivered + draw(st.integers(0, 200)))
        text = " ".join(draw(letters))
        needed = tuple(draw(st.integers(0, 5000)) * MS for _ in text.split())
        if text and draw(st.booleans()):
            made = final(text, heard, segment, needed_us=needed)
            segment += 1
        else:
            made = partial(text, heard, 0, segment, needed_us=needed)
        seen.append(replace(made, delivered_us=delivered * MS, emitted_us=emitted * MS))
    return seen


@pytest.mark.slow
@given(sessions(), st.integers(0, 300_000))
def test_parts_always_sum_to_the_whole(seen: list[Observation], ahead_us: int) -> None:
    clip = measure(*seen, ahead_us=ahead_us)
    emissions = {o.emitted_us for o in seen}
    for word in clip.words:
        assert word.parts.total_us == word.first_us
        assert word.first_us + round(word.reference.end * 1e6) in emissions
        assert word.first_us <= word.settled_us <= word.final_us
        assert min(word.parts.chunk_us, word.parts.block_us, word.parts.compute_us) >= 0
        assert word.first_us > (word.reference.start - word.reference.end) * 1e6
    assert clip.reference_words == len(SAID)


@pytest.mark.slow
@given(sessions())
def test_every_said_and_heard_word_is_counted_once(seen: list[Observation]) -> None:
    clip = measure(*seen)
    right = len(clip.words) + clip.early
    assert right + clip.substitutions + clip.deletions == len(SAID)
    assert right + clip.substitutions + clip.insertions == clip.hypothesis_words


@given(st.lists(st.sampled_from("ABC"), max_size=7), st.lists(st.sampled_from("ABC"), max_size=7))
def test_matching_costs_what_the_edit_distance_says(said: list[str], heard: list[str]) -> None:
    match = match_words(said, heard)
    costs = np.add.outer(np.arange(len(said) + 1), np.arange(len(heard) + 1))
    for i, a in enumerate(said, 1):
        for j, b in enumerate(heard, 1):
            costs[i, j] = min(
                costs[i - 1, j] + 1, costs[i, j - 1] + 1, costs[i - 1, j - 1] + (a != b)
            )
    assert len(match.substitutions) + len(match.deletions) + len(match.insertions) == costs[-1, -1]
    assert all(said[i] == heard[j] for i, j in match.hits)
    assert all(said[i] != heard[j] for i, j in match.substitutions)


def test_a_word_shown_before_it_was_said_is_chance_and_has_no_latency() -> None:
    clip = measure(partial("MAN", 400), partial("THE OLD MAN", 600), final("THE OLD MAN", 900))
    assert firsts(clip) == {"THE": 400, "OLD": 100}  # MAN begins at 500 and stood there at 400
    assert (clip.early, clip.reference_words) == (1, 3)
    report = summarize([clip])
    assert (report.hits, report.early, report.first.count, report.wer) == (3, 1, 2, 0.0)


def test_a_summary_adds_clips_up() -> None:
    report = summarize([measure(*PLAIN), measure(partial("UH", 300), final("UH", 900))])
    assert (report.reference_words, report.hits, report.substitutions, report.deletions) == (
        6,
        3,
        1,
        2,
    )
    assert report.wer == 0.5
    assert report.first == Distribution(3, 100.0, 100.0, 100.0, 100.0)
    assert report.histogram == ((100, 3),)
    assert sum(report.parts_mean_ms.values()) == pytest.approx(report.first.mean_ms)
    assert report.seconds == 4.0


def test_percentiles_interpolate() -> None:
    made = Distribution.of([MS * n for n in range(101)])
    assert (made.mean_ms, made.p50_ms, made.p90_ms, made.p99_ms) == (50.0, 50.0, 90.0, 99.0)


def test_early_words_have_bins_below_zero() -> None:
    clip = measure(partial("THE", 190), final("THE OLD MAN", 901))
    assert summarize([clip]).histogram == ((-100, 1), (0, 1), (400, 1))


@pytest.mark.slow
def test_an_hour_of_speech_is_measured_in_seconds_and_little_memory() -> None:
    said: list[SpokenWord] = []
    seen: list[Observation] = []
    for segment in range(600):
        start = 6000 * segment
        names = [f"W{segment}X{place}" for place in range(10)]
        for place, name in enumerate(names):
            end = start + 500 * (place + 1)
            said.append(SpokenWord(name, (end - 500) / 1000, end / 1000))
            seen.append(partial(" ".join(names[: place + 1]), end + 200, place, segment))
        seen.append(final(" ".join(names), start + 5900, segment))
    began = time.process_time()
    clip = measure(*seen, reference=tuple(said))
    assert time.process_time() - began < 20
    assert {word.first_us for word in clip.words} == {200 * MS}
    assert {word.settled_us for word in clip.words} == {700 * MS, 900 * MS}
    assert set(clip.finals_us) == {900 * MS}
    assert clip.stability.revised == 0
