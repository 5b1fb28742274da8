"""A few spoiled inputs of every kind, and every input that failed once; fuzz.py runs many."""

import random
from contextlib import suppress
from pathlib import Path

import pytest
from fuzz.targets import TARGETS

from rivulet.errors import RivuletError

CRASHES = sorted(p for p in (Path(__file__).parent / "crashes").rglob("*") if p.is_file())


@pytest.mark.parametrize("target", TARGETS)
def test_spoiled_inputs_are_read_or_refused_with_a_sentence(target):
    for number in range(40):
        content = TARGETS[target].make(random.Random(f"test-{number}"))
        with suppress(RivuletError):
            TARGETS[target].run(content)


@pytest.mark.parametrize("path", CRASHES, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_no_input_that_failed_once_fails_again(path):
    with suppress(RivuletError):
        TARGETS[path.parent.name].run(path.read_bytes())
