import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivulet.metrics import ErrorCounts, character_counts, error_counts

WORDS = st.lists(st.sampled_from("ABC"), max_size=6)


def distance(a, b):
    """Levenshtein distance by its definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(
        distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0])
    )


@given(WORDS, WORDS)
def test_errors_are_the_edit_distance(reference, hypothesis):
    counts = error_counts(reference, hypothesis)
    assert counts.errors == distance(reference, hypothesis)
    assert counts.reference == len(reference)
    assert len(hypothesis) == len(reference) - counts.deletions + counts.insertions


def test_rates():
    assert error_counts(["A", "B", "C", "D"], ["A", "X", "C"]) == ErrorCounts(1, 1, 0, 4)
    assert error_counts(["A", "B", "C", "D"], ["A", "X", "C"]).rate == 0.5
    assert error_counts([], ["A"]).rate == 1.0
    assert error_counts([], []).rate == 0.0


@pytest.mark.parametrize(
    ("said", "heard", "errors"), [("AB C", "AB C", 0), ("AB C", "ABC", 1), ("", "XY", 2)]
)
def test_characters_count_spaces(said, heard, errors):
    assert character_counts(said, heard).errors == errors
