"""The tagger's step in C++ beside NumPy's, and what it refuses."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rivulet.errors import CheckpointError
from rivulet.text.labels import Case, Mark
from rivulet.text.language import WrittenLanguage
from rivulet.text.tagger import FILE, Tagger, save

pytest.importorskip("rivulet.text._tagger", reason="no compiler built the tagger")
SHIPPED = WrittenLanguage.load()
TEXT = """well is the engineer in london i think so but he left for new york at nineteen eighty four
when the rain stopped we walked to the market it was closed do you know why um no"""


def weights(width=8, hidden=6, size=5, words=4):
    """Return random weights that fit together: `words` in the head's window."""
    rng = np.random.default_rng(1)
    shapes = {f"table{i}": (9, width) for i in range(5)} | {
        "gru0.wx": (3 * hidden, width),
        "gru0.wh": (3 * hidden, hidden),
        "gru1.wx": (3 * hidden, hidden),
        "gru1.wh": (3 * hidden, hidden),
        "window": (size, words * width),
        "memory": (size, hidden),
        "out": (len(Mark) + len(Case), hidden + size),
    }
    made = {
        name: rng.normal(scale=0.4, size=shape).astype(np.float32) for name, shape in shapes.items()
    }
    for name, count in (("gru0", 3 * hidden), ("gru1", 3 * hidden)):
        made |= {f"{name}.{b}": rng.normal(size=count).astype(np.float32) for b in ("bx", "bh")}
    made["headbias"] = rng.normal(size=size).astype(np.float32)
    made["bias"] = rng.normal(size=len(Mark) + len(Case)).astype(np.float32)
    return made


def run(tagger, rows):
    state, scores = tagger.initial_state(), []
    for *features, pause in rows:
        found, state = tagger.scores(tuple(features), pause, state)
        scores.append(found)
    return np.array(scores), state


def agree(tagger, rows):
    found, state = run(tagger, rows)
    expected, theirs = run(replace(tagger, native=None), rows)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)
    for ours, other in zip(state.hidden, theirs.hidden, strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-3)
    np.testing.assert_array_equal(state.recent, theirs.recent)


def test_the_shipped_tagger_says_in_whole_numbers_what_numpy_says():
    assert SHIPPED.tagger.native is not None
    rng = np.random.default_rng(2)
    pauses = rng.integers(0, len(SHIPPED.tagger.tables[4]), len(TEXT.split())).tolist()
    features = [SHIPPED.vocabulary.features(word) for word in TEXT.split()]
    agree(SHIPPED.tagger, [(*row, pause) for row, pause in zip(features, pauses, strict=True)])


def test_a_tagger_of_any_shape_does_too(tmp_path):
    rng = np.random.default_rng(3)
    for shape in (
        {},
        {"width": 2, "hidden": 1, "size": 1, "words": 3},
        {"hidden": 33, "width": 10},
    ):
        save(weights(**shape), 2, tmp_path)
        agree(Tagger.load(tmp_path), rng.integers(0, 9, (50, 5)).tolist())


def test_words_of_zeros_are_words(tmp_path):
    empty = {name: 0.0 * weight for name, weight in weights().items()}
    save(empty, 2, tmp_path)
    scores, _ = run(Tagger.load(tmp_path), [(0, 0, 0, 0, 0)] * 3)
    assert not scores.any()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("table3", (9, 6)),
        ("gru0.wx", (18, 7)),
        ("gru1.wh", (17, 6)),
        ("gru1.bh", (15,)),
        ("window", (5, 33)),
        ("memory", (4, 6)),
        ("out", (9, 12)),
        ("headbias", (6,)),
        ("bias", (2,)),
    ],
)
def test_weights_that_do_not_fit_are_refused_when_they_are_read(tmp_path, name, shape):
    save(weights() | {name: np.ones(shape, np.float32)}, 2, tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        Tagger.load(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    save(weights(), 2, tmp_path)
    stored = load_file(tmp_path / FILE)
    stored["memory.scale"][1] = np.inf
    save_file(stored, tmp_path / FILE)
    with pytest.raises(CheckpointError, match="not finite"):
        Tagger.load(tmp_path)


def test_a_row_that_no_table_has_is_an_error_and_no_crash():
    tagger = SHIPPED.tagger
    with pytest.raises(IndexError):
        tagger.scores((10**6, 0, 0, 0), 0, tagger.initial_state())


def test_a_tagger_can_be_sent_to_another_process():
    there = pickle.loads(pickle.dumps(SHIPPED.tagger))
    assert there.native is None
    row = SHIPPED.vocabulary.features("london")
    ours, _ = SHIPPED.tagger.step(row, 0, SHIPPED.tagger.initial_state())
    assert there.step(row, 0, there.initial_state())[0] == ours


def test_the_state_of_another_tagger_is_refused(tmp_path):
    save(weights(), 2, tmp_path)
    other = Tagger.load(tmp_path).initial_state()
    with pytest.raises(ValueError, match="not a state"):
        SHIPPED.tagger.scores((0, 0, 0, 0), 0, other)
