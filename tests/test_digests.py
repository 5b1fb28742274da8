import os

import pytest

from rivulet.checkpoint import digests
from rivulet.checkpoint.digests import sha256, verified


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """A file, its sha256, and how often it was computed with a cache of its own."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(digests.platformdirs, "user_cache_path", lambda *_, **__: cache)
    path = tmp_path / "weights"
    path.write_bytes(b"abc" * 1000)
    expected, count = sha256(path), []

    def counted(file):
        count.append(file)
        return sha256(file)

    monkeypatch.setattr(digests, "sha256", counted)
    return path, expected, count, cache


def test_a_file_is_hashed_once(hashed):
    path, expected, count, _ = hashed
    assert [verified(path, expected) for _ in range(3)] == [True] * 3
    assert len(count) == 1


def test_what_was_altered_is_hashed_again_though_as_long_as_before(hashed):
    path, expected, count, _ = hashed
    assert verified(path, expected)
    path.write_bytes(b"abd" * 1000)
    os.utime(path, ns=(0, 0))
    assert not verified(path, expected)
    assert len(count) == 2


def test_another_expected_hash_is_not_taken_for_verified(hashed):
    path, expected, _, _ = hashed
    assert verified(path, expected)
    assert not verified(path, "0" * 64)


@pytest.mark.parametrize("damage", ["{", "[]", '{"weights": 3}'])
def test_a_damaged_or_foreign_cache_only_costs_time(hashed, damage):
    path, expected, count, cache = hashed
    cache.mkdir()
    (cache / "verified.json").write_text(damage)
    assert verified(path, expected)
    assert len(count) == 1


def test_where_nothing_can_be_remembered_every_start_hashes(hashed):
    path, expected, count, cache = hashed
    cache.write_text("a file where the folder should be")
    assert verified(path, expected)
    assert verified(path, expected)
    assert len(count) == 2
