"""Every kind of input that failed once: cases.py says what each is."""

import pytest
from formats.cases import CASES, Kind


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number}-{case.run.__name__}")
def test_no_kind_of_input_that_failed_fails_again(case: Kind, tmp_path):
    case.run(tmp_path)


def test_every_number_of_the_list_is_there():
    assert [case.number for case in CASES] == list(range(1, 27))
