import numpy as np
import pytest
from test_beam_recognizer import save_model

from rivulet.decoding.confidence import ConfidenceConfig, WordEvidence
from rivulet.decoding.decoder import DecodedWord
from rivulet.decoding.settings import TimingConfig
from rivulet.endpoint import EndpointConfig
from rivulet.errors import AlignmentError, ConfigError
from rivulet.evaluation.calibration import (
    FLOOR_MARGIN,
    Delay,
    SegmentEvidence,
    collect,
    fit,
    measure_delay,
    reliability,
    speech_floor,
)
from rivulet.evaluation.ctm import SpokenWord
from rivulet.events import Final
from rivulet.recognizer import Recognizer

HELLO = (SpokenWord("HELLO", 0.25, 0.7), SpokenWord("YOU", 0.7, 0.913))
TRUE = ConfidenceConfig(bias=0.5, agreement=2.0, sharpness=1.0, phones=0.2)


def words(count, seed):
    """Evidence drawn at random, right as often as TRUE says."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        evidence = WordEvidence(
            -rng.exponential(1.0), -rng.exponential(0.5), int(rng.integers(1, 9))
        )
        found.append((evidence, bool(rng.random() < evidence.confidence(TRUE))))
    return found


@pytest.mark.slow
def test_the_fit_finds_the_weights_that_made_the_data():
    fitted = fit(words(20_000, 0), "made up")
    assert fitted.bias == pytest.approx(TRUE.bias, abs=0.15)
    assert fitted.agreement == pytest.approx(TRUE.agreement, abs=0.15)
    assert fitted.sharpness == pytest.approx(TRUE.sharpness, abs=0.15)
    assert fitted.phones == pytest.approx(TRUE.phones, abs=0.05)


@pytest.mark.slow
def test_true_confidences_are_reliable_and_boastful_ones_are_not():
    found = words(20_000, 1)
    assert reliability(found, TRUE).error < 0.02
    boast = ConfidenceConfig(bias=5.0, agreement=2.0, sharpness=1.0, phones=0.2)
    assert reliability(found, boast).error > 0.2
    assert reliability(found, boast).separation == pytest.approx(
        reliability(found, TRUE).separation, abs=1e-3
    )


def test_the_table_counts_every_word_once():
    measured = reliability(words(500, 2), TRUE)
    assert sum(group.words for group in measured.bins) == 500
    for place, group in enumerate(measured.bins):
        if group.words:
            assert place / 10 <= group.confidence <= (place + 1) / 10


def test_separation_by_hand():
    low, high = WordEvidence(-3.0, 0.0, 1), WordEvidence(0.0, 0.0, 1)
    assert reliability([(low, False), (high, True)], TRUE).separation == 1.0
    assert reliability([(low, True), (high, False)], TRUE).separation == 0.0
    assert reliability([(low, True), (low, False)], TRUE).separation == 0.5
    assert reliability([(low, True)], TRUE).separation == 0.5


def segment(log_prob, *hits):
    word = DecodedWord("WORD", 0, 10, 0.5, WordEvidence(log_prob, 0.0, 1))
    return SegmentEvidence((word,) * len(hits), hits)


def test_below_the_floor_of_speech_lie_few_hits():
    speech = [segment(-n / 100.0, True, False) for n in range(101)]
    babble = [segment(-5.0, False, False)] * 50
    assert speech_floor(speech + babble, 0.0) == pytest.approx(-1.0 - FLOOR_MARGIN)
    assert speech_floor(speech + babble, 0.25) == pytest.approx(-0.75 - FLOOR_MARGIN)
    with pytest.raises(ConfigError, match="0 words were right"):
        speech_floor(babble)


@pytest.mark.slow
def test_evidence_comes_from_the_stream_itself(tmp_path, babble, small):
    recognizer = Recognizer.load(
        save_model(tmp_path / "both"), endpoint=EndpointConfig(5.0, 0.8, 1.0)
    )
    found = collect(recognizer, [(babble, "A BEE BAA BEEBEE")])
    assert len(found) > 1
    assert 0 < sum(right for _, right in found) <= 4
    with pytest.raises(ConfigError, match="greedy"):
        collect(small, [(babble, "A")])
    with pytest.raises(ConfigError, match="0 words were recognized"):
        collect(recognizer, [(np.zeros(0, np.float32), "A")])


def _words(recognizer: Recognizer, samples: np.ndarray) -> list[SpokenWord]:
    stream = recognizer.stream()
    events = [*stream.accept(samples), *stream.finish()]
    return [
        SpokenWord(w.text, w.start, w.end) for e in events if isinstance(e, Final) for w in e.words
    ]


def test_a_known_delay_is_found_and_becomes_the_checkpoints_timing(
    small: Recognizer, babble: np.ndarray
) -> None:
    spoken = [SpokenWord(w.text, w.start - 0.12, w.end - 0.05) for w in _words(small, babble)]
    assert len(spoken) > 5
    delay = measure_delay(small, [(babble, spoken)])
    assert delay.start_s == pytest.approx(0.12)
    assert delay.end_s == pytest.approx(0.05)
    assert delay.words == len(spoken)
    assert delay.timing("a test") == TimingConfig(0.12, 0.05, "a test")


@pytest.mark.slow
def test_a_delay_already_stored_is_left_out_of_the_measurement(
    small: Recognizer, babble: np.ndarray
) -> None:
    spoken = _words(small, babble)
    timed = small.with_timing(TimingConfig(0.3, 0.2))
    assert measure_delay(timed, [(babble, spoken)]) == measure_delay(small, [(babble, spoken)])


def test_no_matched_word_means_no_delay(small: Recognizer, babble: np.ndarray) -> None:
    with pytest.raises(AlignmentError, match="0 words"):
        measure_delay(small, [(babble, HELLO)])
    assert Delay(0.1, 0.0, 0.0, 0.0, 3).words == 3
