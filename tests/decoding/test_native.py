"""The search in C++ against flashlight's: every word, time, score and count, after every frame."""

import dataclasses
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import beams
from support.beams import PHONES, graph_of

from rivulet.decoding import beam
from rivulet.decoding.beam import BeamDecoder
from rivulet.decoding.settings import BeamConfig
from rivulet.errors import LanguageModelError
from rivulet.language.packed import PackedFile
from rivulet.language.packing import with_pieces
from rivulet.tokenizer import BLANK, Tokenizer

_beam = pytest.importorskip("rivulet.decoding._beam", reason="no compiler built the search")

PIECES = Tokenizer((BLANK, "▁B", "EE", "▁BEE", "▁A", "AA", "▁O", "BB", "Y"))
HOT = {"bee a": 3.0, "A Bee Baa": 6.0, "obby": 5.0, "baa": 1.5}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return graph_of(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def hot_graph(graph):
    return graph.with_hot_words(HOT)


configs = st.builds(
    BeamConfig,
    beam_size=st.integers(1, 60),
    beam_tokens=st.integers(1, 8),
    beam_threshold=st.floats(2.0, 40.0),
    beam_token_threshold=st.floats(1.0, 20.0),
    lm_weight=st.floats(0.1, 2.0),
    word_insertion_bonus=st.floats(-4.0, 2.0),
    subword_weight=st.sampled_from([0.0, 0.5]),
    subword_bonus=st.sampled_from([0.0, 2.0]),
)


@settings(max_examples=150, deadline=None)
@given(
    config=configs,
    frames=st.integers(1, 260),
    seed=st.integers(0, 10_000),
    sound=st.fixed_dictionaries({"sharpness": st.floats(0.5, 4.0), "blank": st.floats(-1.0, 5.0)}),
    ends=st.sets(st.integers(0, 260), max_size=3),
    hot=st.booleans(),
)
def test_both_searches_say_the_same(graph, hot_graph, config, frames, seed, sound, ends, hot):
    rows = beams.noise(frames, seed, PIECES, PHONES, **sound)
    priors = (-0.5, -2.0, -1.5, -3.0)
    decoders = [
        BeamDecoder(hot_graph if hot else graph, config, PIECES, None, 4, priors, search=search)
        for search in ("native", "flashlight")
    ]
    for frame, row in enumerate(rows):
        for decoder in decoders:
            decoder.push(row[None])
        native, other = decoders
        assert native.silent == other.silent
        assert native.frame == other.frame
        assert native.words() == alike(other.words())
        assert native.settled() == other.settled()
        if frame in ends:
            finish_alike(native, other, keep_open_word=frame % 2 == 0)
    finish_alike(*decoders, keep_open_word=False)


def alike(words):
    """The words, equal but for the last bits of what was averaged."""
    return [
        dataclasses.replace(word, confidence=pytest.approx(word.confidence), evidence=Near(word))
        for word in words
    ]


class Near:
    """Evidence that equals another's to eleven digits."""

    def __init__(self, word):
        self.evidence = word.evidence

    def __eq__(self, other):
        return other.features == pytest.approx(self.evidence.features, rel=1e-11, abs=1e-11)


def finish_alike(native, other, keep_open_word):
    words = native.finish_segment(keep_open_word), other.finish_segment(keep_open_word)
    assert words[0] == alike(words[1])
    texts = [[a.text for a in decoder.alternatives] for decoder in (native, other)]
    assert texts[0] == texts[1]
    for mine, theirs in zip(native.alternatives, other.alternatives, strict=True):
        assert mine.score == pytest.approx(theirs.score, abs=1e-6)


def stream(graph, **changes):
    narrow = dataclasses.replace(beams.BEAM, beam_size=20, beam_threshold=16.0, **changes)
    return BeamDecoder(graph, narrow, search="native")


def rows(frames, seed=0):
    return beams.noise(frames, seed, PHONES, blank=0.5, sharpness=3.0)


def test_only_the_first_word_of_a_segment_is_shown_before_the_beam_has_paid(graph, monkeypatch):
    sooner = 0
    for seed in range(60):
        eager = stream(graph)
        with monkeypatch.context() as patched:
            patched.setattr(beam, "DISPLAY_BONUS", 0.0)
            patient = stream(graph)
        for row in rows(40, seed):
            eager.push(row[None])
            patient.push(row[None])
            if patient.words():
                assert eager.words() == patient.words()
            sooner += bool(eager.words()) and not patient.words()
    assert sooner > 10


def test_streams_share_one_graph_and_run_in_threads(graph):
    alone = [stream(graph) for _ in range(8)]
    for seed, decoder in enumerate(alone):
        decoder.push(rows(400, seed))
    together = [stream(graph) for _ in range(8)]
    work = [
        threading.Thread(target=decoder.push, args=(rows(400, seed),))
        for seed, decoder in enumerate(together)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert [d.words() for d in together] == [d.words() for d in alone]


def test_what_a_stream_holds_does_not_grow(graph):
    decoder = stream(graph)
    sizes = []
    for seed in range(40):
        decoder.push(rows(100, seed))
        sizes.append(decoder.nbytes)
    assert max(sizes[20:]) <= max(sizes[:20])


def test_columns_that_do_not_fit_are_refused(graph):
    with pytest.raises(ValueError, match="at least 4 columns"):
        stream(graph).push(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="hold nan in frame 1"):
        stream(graph).push(np.array([[0.0] * 4, [np.nan] * 4], np.float32))


def test_a_graph_outlives_the_model_it_came_from(tmp_path):
    graph = graph_of(tmp_path)
    decoder = stream(graph)
    del graph
    decoder.push(rows(50))
    assert decoder.finish_segment()


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_but_never_crashes(graph, data):
    raw = bytearray(with_pieces(graph.language_model.packed, PIECES).buffer)
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    model = dataclasses.replace(graph.language_model, read_packed=lambda: PackedFile(raw))
    try:
        damaged = dataclasses.replace(graph, language_model=model, _opened={})
        decoder = BeamDecoder(damaged, beams.BEAM, search="native")
        decoder.push(rows(20))
        decoder.finish_segment()
    except (LanguageModelError, KeyError, UnicodeDecodeError, ValueError):
        pass
