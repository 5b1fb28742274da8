import pytest

from rivulet.audio.timeline import MAX_GAP_S, Placement, Timeline

RATE = 1000


def placed(*stamps, origin=0.0, samples=100, timeline=None):
    timeline = timeline or Timeline(origin)
    return [timeline.place(stamp, samples, RATE) for stamp in stamps]


def test_blocks_that_follow_each_other_are_left_alone():
    assert placed(0.0, 0.1, 0.2) == [Placement()] * 3


def test_a_late_beginning_is_silence_to_the_sample():
    assert placed(5.25, 5.35) == [Placement(silence=5250), Placement()]


def test_without_an_origin_the_first_stamp_is_the_beginning():
    assert placed(1.4, 1.5, origin=None) == [Placement()] * 2


def test_a_gap_is_silence_and_an_overlap_is_cut():
    assert placed(0.0, 1.0, 0.9, 1.05, 1.1) == [
        Placement(),
        Placement(silence=900),
        Placement(skip=100),
        Placement(skip=50),
        Placement(skip=50),
    ]


def test_stamps_that_jitter_move_nothing_and_never_add_up():
    timeline = Timeline(0.0)
    stamps = [0.1 * i + (0.04 if i % 2 else -0.04) * (i > 0) for i in range(100)]
    assert placed(*stamps, timeline=timeline) == [Placement()] * 100
    assert timeline.position_s == pytest.approx(10.0)


def test_after_damage_the_stamp_decides_to_the_sample():
    timeline = Timeline(0.0)
    placed(0.0, timeline=timeline)
    timeline.distrust()
    assert placed(0.126, timeline=timeline) == [Placement(silence=26)]


def test_a_clock_that_begins_anew_continues_the_sound():
    assert placed(1.4, *(1.5 + i / 10 for i in range(9)), 1.4, 1.5, origin=1.4)[-2:] == [
        Placement(),
        Placement(),
    ]


@pytest.mark.parametrize("jump", [MAX_GAP_S + 10.0, -11.0])
def test_a_clock_that_was_set_makes_no_hour_of_silence(jump):
    timeline = Timeline(100.0)
    assert placed(100.0, 100.1 + jump, 100.2 + jump, timeline=timeline) == [Placement()] * 3
    assert timeline.position_s == pytest.approx(0.3)
