"""Each check speaks when something is wrong, once, with the remedy; good sound is left alone."""

import numpy as np
import pytest
from support.microphone import babble, speech

from rivulet.live.checks import InputMonitor, InputWarning, block_level_db, decibels
from rivulet.live.microphone import Block, SignalFormat

RATE = 16_000


def examine(
    samples: np.ndarray,
    rate: int = RATE,
    true_rate: float | None = None,
    size: int = 320,
) -> list[InputWarning]:
    """Push (n, channels) in blocks that arrive at `true_rate`."""
    doctor = InputMonitor(SignalFormat("test", rate, samples.shape[1]))
    found = []
    for start in range(0, len(samples), size):
        piece = samples[start : start + size]
        found += doctor.push(Block(piece, (start + len(piece)) / (true_rate or rate)))
    return found


def checks(found: list[InputWarning]) -> list[str]:
    return [finding.check for finding in found]


@pytest.mark.parametrize("channels", [1, 2])
def test_good_sound_is_not_criticized(channels: int):
    assert examine(babble(RATE, channels)) == []


def test_real_speech_is_not_criticized():
    assert examine(speech()) == []


@pytest.mark.parametrize(("zeros", "expected"), [(RATE, []), (RATE + 1, ["zeros"])])
def test_exact_zeros_are_told_after_more_than_a_second(zeros: int, expected: list[str]):
    samples = babble(RATE, 1)
    samples[samples == 0] = 1
    samples[RATE : RATE + zeros] = 0
    found = examine(samples, size=100)
    assert checks(found) == expected
    assert all("macOS" in finding.message for finding in found)


def test_nearly_silent_sound_is_no_exact_zero():
    rng = np.random.default_rng(1)
    samples = rng.integers(-1, 2, (5 * RATE, 1)).astype(np.int16)
    assert checks(examine(samples)) == []


def test_the_same_finding_is_repeated_after_a_minute_only():
    pattern = np.zeros((2 * RATE, 1), np.int16)
    pattern[-1] = 9_000
    times = [
        finding.at for finding in examine(np.tile(pattern, (65, 1))) if finding.check == "zeros"
    ]
    assert len(times) == 3
    assert np.diff(times).min() >= 60.0


def test_clipping_is_told():
    loud = np.clip(babble(RATE, 1).astype(np.int32) * 8, -32768, 32767).astype(np.int16)
    found = examine(loud)
    assert "clipping" in checks(found)
    assert "lower the input level" in found[checks(found).index("clipping")].message


def test_a_single_full_scale_sample_is_no_clipping():
    samples = babble(RATE, 1) // 2
    samples[5_000] = 32_767
    assert examine(samples) == []


@pytest.mark.parametrize(
    ("share", "expected"), [(0.05, ["offset"]), (-0.05, ["offset"]), (0.01, [])]
)
def test_a_dc_offset_is_told(share: float, expected: list[str]):
    shifted = (babble(RATE, 1).astype(np.int32) // 2 + int(share * 32768)).astype(np.int16)
    assert checks(examine(shifted)) == expected


def test_a_very_low_level_is_told_once_it_was_low_for_ten_seconds():
    quiet = (babble(RATE, 1, 30.0).astype(np.float64) / 1000).astype(np.int16)
    found = examine(quiet)
    assert checks(found) == ["quiet"]
    assert 10.0 <= found[0].at <= 11.0


def test_a_pause_after_speech_is_not_a_low_level():
    quiet = (babble(RATE, 1, 30.0).astype(np.float64) / 1000).astype(np.int16)
    assert examine(np.concatenate([babble(RATE, 1, 3.0), quiet])) == []


@pytest.mark.parametrize(
    ("true_rate", "expected"),
    [(44_100.0, ["drift"]), (48_000 * 1.0002, []), (48_000 * 0.98, ["drift"])],
)
def test_a_clock_that_drifts_is_told(true_rate: float, expected: list[str]):
    found = examine(babble(48_000, 1, 40.0), 48_000, true_rate, size=960)
    assert checks(found) == expected
    if expected:
        told = float(found[0].message.split("about ")[1].split()[0])
        assert told == pytest.approx(true_rate, rel=0.01)


def test_a_busy_machine_that_makes_blocks_late_is_no_drift():
    doctor = InputMonitor(SignalFormat("test", RATE, 1))
    sound = babble(RATE, 1, 60.0)
    found = []
    for start in range(0, len(sound), 320):
        end_s = (start + 320) / RATE
        late_s = max(0.0, 1.5 - end_s % 7.0)  # every 7 s a hiccup of 1.5 s that is caught up
        found += doctor.push(Block(sound[start : start + 320], end_s + late_s))
    assert found == []


def test_blocks_that_arrive_in_bursts_are_no_drift():
    doctor = InputMonitor(SignalFormat("test", RATE, 1))
    sound = babble(RATE, 1, 60.0)
    found = []
    for start in range(0, len(sound), 320):
        arrived = -(-(start + 320) // 3200) * 0.2  # ten blocks at once, every 0.2 s
        found += doctor.push(Block(sound[start : start + 320], arrived))
    assert found == []


def test_dropped_samples_are_no_drift_and_are_told():
    doctor = InputMonitor(SignalFormat("test", RATE, 1))
    sound = babble(RATE, 1, 60.0)
    found = []
    for index, start in enumerate(range(0, len(sound), 320)):
        if 1000 <= index < 1500:
            continue
        lost = 500 * 320 if index == 1500 else 0
        block = Block(sound[start : start + 320], (start + 320) / RATE, queue_lost=lost)
        found += doctor.push(block)
    assert checks(found) == ["lost"]
    assert "10.00 s" in found[0].message


def test_an_overflow_is_told():
    doctor = InputMonitor(SignalFormat("test", RATE, 1))
    block = Block(babble(RATE, 1, 0.1), 0.1, overflow_lost=123, overflowed=True)
    found = doctor.push(block)
    assert checks(found) == ["overflow"]
    assert "123 samples" in found[0].message


def test_findings_do_not_depend_on_how_the_sound_is_cut():
    shifted = (babble(RATE, 1).astype(np.int32) // 2 + 3_000).astype(np.int16)
    shifted[5 * RATE : 7 * RATE] = 0
    for size in (1_600, 3_200):
        assert checks(examine(shifted, size=size)) == checks(examine(shifted, size=160))


def test_levels_are_in_decibels_of_full_scale():
    assert decibels(32_768) == 0.0
    assert decibels(0) == -200.0
    assert block_level_db(Block(np.full((5, 2), -32_768, np.int16), 0.0)) == 0.0
    assert block_level_db(Block(np.zeros((0, 1), np.int16), 0.0)) == -200.0
    assert decibels(32_768 / 10) == pytest.approx(-20.0)
