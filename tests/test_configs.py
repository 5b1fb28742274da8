"""The one reader of configs: what fits becomes a dataclass, what does not a sentence."""

from dataclasses import asdict, dataclass, field
from typing import Literal

import pytest

from rivulet.configs import read_config
from rivulet.decoding.settings import BeamConfig, DecoderSettings
from rivulet.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    size: int = 3
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    inner: Inner = field(default_factory=Inner)
    rate: float | None = None


def test_what_is_left_out_has_its_default_and_lists_become_tuples():
    read = read_config(Outer, {"kind": "b", "inner": {"names": ["x", "y"]}, "rate": 1}, "it")
    assert read == Outer("b", Inner(3, ("x", "y")), 1.0)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"kind": "c"}, "it does not fit: kind: invalid enum value 'c'; use a or b."),
        (
            {"kind": "a", "inner": {"size": "3"}},
            "it does not fit: inner.size: expected int, got str.",
        ),
        ({"kind": "a", "rte": 1}, "it has no field 'rte'; its fields are kind, inner, rate."),
        (
            {"kind": "a", "inner": {"sze": 1}},
            "inner of it has no field 'sze'; its fields are size, names.",
        ),
        ({}, "it does not fit: object missing required field kind."),
        ([], "it does not fit: expected object, got array."),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(values, sentence):
    with pytest.raises(ConfigError) as caught:
        read_config(Outer, values, "it")
    assert str(caught.value) == sentence


def test_a_refusal_of_the_dataclass_itself_stays_as_it_is():
    with pytest.raises(ConfigError, match="beam_size is 0; use 1 to 5000"):
        read_config(DecoderSettings, {"beam": {"beam_size": 0}}, "it")


def test_names_of_other_versions_can_be_let_be():
    old = asdict(BeamConfig(beam_size=7)) | {"open_vocabulary": None}
    assert read_config(BeamConfig, old, "it", strict=False) == BeamConfig(beam_size=7)
