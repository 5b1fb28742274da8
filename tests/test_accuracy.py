"""The shipped model on real speech: a guard against breaking it; the card has the measurement."""

import numpy as np
import pytest

from rivulet.audio import read
from rivulet.events import Partial
from rivulet.training.evaluation import evaluate
from rivulet.training.manifest import read_manifest

EVERY = 12  # of 611 utterances: 51, five minutes
WORST_WER = 0.68  # the card says 0.622 for all of dev


@pytest.fixture(scope="module")
def utterances(shared):
    return read_manifest(shared / "speech" / "dev.tsv")[::EVERY]


def test_the_shipped_model_recognizes_real_speech(recognizer, utterances):
    evaluation = evaluate(recognizer, utterances)
    assert evaluation.wer < WORST_WER
    assert evaluation.cer < evaluation.wer
    assert set(evaluation.sets()) == {
        "librispeech-dev-clean",
        "speechocean762",
        "common-voice-delta",
    }


def test_settled_words_of_real_speech_are_never_revised(recognizer, utterances):
    for utterance in utterances:
        settled: dict[int, list[str]] = {}
        stream = recognizer.stream()
        samples = np.concatenate(list(read(utterance.path)))
        for event in [*stream.accept(samples), *stream.finish()]:
            words = event.text.split()
            before = settled.get(event.segment, [])
            assert words[: len(before)] == before, utterance.id
            settled[event.segment] = words[: event.stable] if isinstance(event, Partial) else words
