"""The shipped models on speech: a guard against breaking them; the cards have the measurement."""

import numpy as np
import pytest
from support import ROOT

from rivulet.audio import read
from rivulet.corpora.manifest import read_manifest
from rivulet.evaluation.transcripts import evaluate, rate
from rivulet.events import Final, Partial
from rivulet.metrics import character_counts, error_counts
from rivulet.recognizer import Recognizer

EVERY = 12  # of 611 utterances: 51, five minutes
WORST_WER = {  # the cards have those of all of dev
    ("default", "beam"): 0.16,
    ("default", "greedy"): 0.48,
    ("tiny", "beam"): 0.20,
}

WORST_WER_OF_CLIPS = {"default": 0.15, "tiny": 0.15}  # 12.0 and 10.4 % when they were made


@pytest.mark.slow
@pytest.mark.parametrize("model", WORST_WER_OF_CLIPS)
def test_a_clone_alone_sees_a_word_error_rate(model):
    clips = read_manifest(ROOT / "data" / "clips" / "manifest.tsv")
    evaluation = evaluate(Recognizer.load(model), clips)
    assert len(evaluation.results) == 20
    assert 0.0 < evaluation.wer < WORST_WER_OF_CLIPS[model]


@pytest.fixture(scope="module")
def utterances(shared):
    return read_manifest(shared / "speech" / "dev.tsv")[::EVERY]


@pytest.fixture(scope="module", params=WORST_WER, ids="-".join)
def heard(request, utterances):
    """The names of model and decoder, and each utterance with its events."""
    model, decoder = request.param
    recognizer = Recognizer.load(model, decoder=decoder)
    pairs = []
    for utterance in utterances:
        stream = recognizer.stream()
        samples = np.concatenate(list(read(utterance.path)))
        pairs.append((utterance, [*stream.accept(samples), *stream.finish()]))
    return request.param, pairs


def test_a_shipped_model_recognizes_real_speech(heard):
    which, pairs = heard
    texts = [
        (u.text, " ".join(event.text for event in events if isinstance(event, Final)))
        for u, events in pairs
    ]
    wer = rate([error_counts(said.split(), text.split()) for said, text in texts])
    cer = rate([character_counts(said, text) for said, text in texts])
    assert wer < WORST_WER[which]
    assert cer < wer
    assert len({u.set_name for u, _ in pairs}) == 3


def test_settled_words_of_real_speech_are_never_revised(heard):
    for utterance, events in heard[1]:
        settled: dict[int, list[str]] = {}
        for event in events:
            words = event.text.split()
            before = settled.get(event.segment, [])
            assert words[: len(before)] == before, utterance.id
            settled[event.segment] = words[: event.stable] if isinstance(event, Partial) else words
