import math

import pytest

from rivulet.endpoint import EndpointConfig, Endpointer
from rivulet.errors import ConfigError


def first_endpoint(config, pattern):
    """Frame, counted from 1, at which a pattern of . (silence) and x (speech) ends a segment."""
    endpointer = Endpointer(config, 0.04)
    for frame, sign in enumerate(pattern, 1):
        if endpointer.push(sign == "."):
            return frame
    return None


DEFAULT = EndpointConfig()


def test_rule_1_ends_silence_after_five_seconds():
    assert first_endpoint(DEFAULT, "." * 200) == 125


def test_rule_2_ends_speech_after_point_eight_seconds_of_silence():
    assert first_endpoint(DEFAULT, "x" + "." * 200) == 1 + 20
    assert first_endpoint(DEFAULT, "x" + "." * 19 + "x" + "." * 200) == 21 + 20


def test_rule_3_ends_speech_without_pause_after_twenty_seconds():
    assert first_endpoint(DEFAULT, "x." * 600) == 500


def test_every_rule_can_be_moved_or_switched_off():
    assert first_endpoint(EndpointConfig(1.0, 0.8, 20.0), "." * 200) == 25
    assert first_endpoint(EndpointConfig(5.0, 0.2, 20.0), "x....." * 9) == 6
    assert first_endpoint(EndpointConfig(5.0, 0.8, 2.0), "x." * 99) == 50
    assert first_endpoint(EndpointConfig(math.inf, math.inf, 20.0), "x" + "." * 600) == 500


def test_a_new_segment_counts_anew():
    endpointer = Endpointer(DEFAULT, 0.04)
    for sign in "x" + "." * 20:
        rule = endpointer.push(sign == ".")
    assert rule is not None
    assert rule.after_speech
    endpointer.reset()
    assert all(endpointer.push(True) is None for _ in range(124))
    assert endpointer.push(True) is not None


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_rule_must_be_positive(value):
    with pytest.raises(ConfigError, match="trailing_silence_s"):
        EndpointConfig(trailing_silence_s=value)


def test_a_segment_must_have_a_bound():
    with pytest.raises(ConfigError, match="at most 3600"):
        EndpointConfig(max_segment_s=math.inf)
