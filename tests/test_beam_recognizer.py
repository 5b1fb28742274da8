"""The beam in the whole path: checkpoint, recognizer, stream, settings, command line."""

import dataclasses
import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import small_checkpoint
from support.beams import PHONES, language_model

from rivulet import checkpoint
from rivulet.acoustic.model import AcousticModel
from rivulet.commands.flags import read_hot_words
from rivulet.configs import read_config
from rivulet.decoding.confidence import ConfidenceConfig
from rivulet.decoding.settings import BeamConfig, BeamSettings, DecoderSettings, TimingConfig
from rivulet.endpoint import EndpointConfig
from rivulet.errors import CheckpointError, ConfigError
from rivulet.events import Alternative, Final, Partial, Word
from rivulet.recognizer import Recognizer
from rivulet.writers import event_to_dict

# random weights are sure of phones that no word begins with, so every phone has to be tried
PATIENT = BeamConfig(
    beam_tokens=12,
    beam_threshold=16.0,
    beam_token_threshold=1000.0,
    lm_weight=0.65,
    word_insertion_bonus=0.0,
)


def save_model(folder, seed=3):
    """Random weights that write letters and phones, and the language model of four words."""
    small = small_checkpoint()
    torch.manual_seed(seed)
    config = dataclasses.replace(small.config, phones=len(PHONES))
    model = AcousticModel(config)
    model.load_state_dict(small.torch.model.state_dict(), strict=False)
    with torch.no_grad():
        model.phone_output.weight.mul_(25.0)
        model.phone_output.bias[0] += 2.0
    beam = BeamSettings(PATIENT)
    statistics = small.torch.statistics
    made = checkpoint.Checkpoint.of(
        model.requires_grad_(False),
        small.tokenizer,
        small.features,
        statistics,
        phones=PHONES,
        name="both",
        beam=beam,
    )
    folder.mkdir()
    checkpoint.save(made, folder, bits=32, language_model=language_model(folder.parent))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "both")


@pytest.fixture(scope="module")
def beam(folder):
    return Recognizer.load(folder, endpoint=EndpointConfig(5.0, 0.8, 3.0))


def events_of(recognizer, samples, cuts=()):
    stream = recognizer.stream()
    pieces = np.split(samples, sorted(cuts))
    return [e for piece in pieces for e in stream.accept(piece)] + stream.finish()


@pytest.mark.slow
def test_the_beam_is_the_default_where_the_model_has_one(folder, beam, babble):
    assert beam.settings.name == "beam"
    said = " ".join(e.text for e in events_of(beam, babble) if isinstance(e, Final))
    assert said
    assert set(said.split()) <= {"A", "BAA", "BEE", "BEEBEE"}


def test_greedy_decoding_stays_as_it_was_without_a_language_model(folder, babble):
    greedy = Recognizer.load(folder, decoder="greedy")
    assert greedy.settings == DecoderSettings()
    assert events_of(greedy, babble) == events_of(Recognizer.of(small_checkpoint()), babble)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 96_000), max_size=20))
def test_events_do_not_depend_on_the_cuts(beam, babble, cuts):
    whole, parts = events_of(beam, babble), events_of(beam, babble, cuts)
    assert [e for e in parts if isinstance(e, Final)] == [e for e in whole if isinstance(e, Final)]
    assert parts == whole


def test_settled_words_stay_through_partials_and_finals(beam, babble):
    settled = []
    for event in events_of(beam, np.tile(babble, 3)):
        words = event.text.split()
        assert words[: len(settled)] == settled
        settled = words[: event.stable] if isinstance(event, Partial) else []


def test_settings_say_how_to_decode_again(beam, babble):
    narrow = dataclasses.replace(PATIENT, beam_size=50, beam_tokens=6)
    warm = beam.with_settings(DecoderSettings("beam", narrow, 3)).with_hot_words({"baa": 5.0})
    stored = json.loads(json.dumps(dataclasses.asdict(warm.settings)))
    again = beam.with_settings(read_config(DecoderSettings, stored, "settings"))
    assert again.settings == warm.settings
    assert events_of(again, babble) == events_of(warm, babble)
    assert again.with_settings(DecoderSettings()).settings == DecoderSettings()


def test_finals_say_which_hot_phrases_they_hold(beam, babble):
    hot = beam.with_hot_words({"A!": 12.0})
    finals = [e for e in events_of(hot, babble) if isinstance(e, Final)]
    assert any("A" in e.text.split() for e in finals)
    for final in finals:
        assert final.hot_words == (("A!",) if "A" in final.text.split() else ())


def test_hot_words_can_belong_to_one_stream(beam, babble):
    stream = beam.stream(hot_words={"baa": 12.0})
    hot = [*stream.accept(babble), *stream.finish()]
    assert hot != events_of(beam, babble)
    assert hot == events_of(beam.with_hot_words({"baa": 12.0}), babble)


def test_what_was_not_asked_for_is_not_written():
    word = Word("A", 0.0, 1.0, 0.5)
    final = Final(0, "A", (word,), 0.0, 1.0, 1.5)
    assert "alternatives" not in event_to_dict(final)
    rich = dataclasses.replace(final, alternatives=(Alternative("A", -1.0),), hot_words=("a",))
    assert event_to_dict(rich)["alternatives"] == ({"text": "A", "score": -1.0},)
    assert event_to_dict(rich)["hot_words"] == ("a",)


@pytest.mark.slow
def test_a_checkpoint_keeps_what_was_measured_for_the_beam(tmp_path):
    folder = save_model(tmp_path / "both")
    wanted = BeamSettings(
        BeamConfig(beam_size=77),
        TimingConfig(0.1, 0.2, "here"),
        ConfidenceConfig(bias=0.25, measured_on="here"),
    )
    checkpoint.store_beam(folder, wanted)
    config = json.loads((folder / "config.json").read_text())
    config["beam"]["open_vocabulary"] = None  # older programs wrote it
    (folder / "config.json").write_text(json.dumps(config))
    loaded = checkpoint.load(folder)
    assert loaded.beam == wanted
    assert loaded.phones == PHONES
    recognizer = Recognizer.load(folder)
    assert recognizer.settings.beam.beam_size == 77
    assert recognizer.decoding.timing.measured_on == "here"


@pytest.mark.slow
@pytest.mark.parametrize("change", ["alter", "remove", "add"])
def test_a_changed_language_model_is_refused(tmp_path, change):
    folder = save_model(tmp_path / "both")
    if change == "alter":
        (folder / "lm" / "graph.bin").write_bytes(b"else")
    elif change == "remove":
        (folder / "lm" / "lexicon.txt.xz").unlink()
    else:
        (folder / "lm" / "letters.txt").write_text("A:\n")
    with pytest.raises(CheckpointError, match=r"altered|lacks"):
        checkpoint.load(folder)


@pytest.mark.slow
def test_a_model_without_a_beam_says_so(tmp_path, small):
    checkpoint.save(small_checkpoint(), tmp_path / "small")
    with pytest.raises(ConfigError, match="0 phones and 0 language models"):
        Recognizer.load(tmp_path / "small", decoder="beam")
    with pytest.raises(ConfigError, match="1 hot phrases need the beam"):
        small.with_hot_words({"a": 1.0})


def test_hot_words_are_read_from_flags_and_files(tmp_path):
    path = tmp_path / "hot.txt"
    path.write_text("# names\nKing Alfred = 6\nrivulet  # ours\n\n")
    assert read_hot_words(["E=3.5"], path) == {"King Alfred": 6.0, "rivulet": 4.0, "E": 3.5}
    with pytest.raises(ConfigError, match="is no number"):
        read_hot_words(["rivulet=much"], None)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_hot_words([], tmp_path / "none.txt")


def test_beam_flags_need_the_beam(small):
    from rivulet.commands.flags import with_decoder_flags

    flags = Namespace(
        beam_size=None,
        lm_weight=1.0,
        word_insertion_bonus=None,
        prior_weight=None,
        subword_weight=None,
        subword_bonus=None,
        hot_word=[],
        hot_words=None,
        alternatives=0,
    )
    with pytest.raises(ConfigError, match="need the beam"):
        with_decoder_flags(small, flags)
