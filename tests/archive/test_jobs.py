"""What inputs name: folders, files, manifests, and where their texts go."""

import os
import sys

import pytest

from rivulet.archive.jobs import Choice, listed
from rivulet.archive.records import Found
from rivulet.corpora.manifest import COLUMNS
from rivulet.errors import ConfigError


def places(tmp_path, *inputs, choice=None, output="out", list_url=lambda url: ()):
    names = [name if "://" in name else str(tmp_path / name) for name in inputs]
    found = listed(names, choice or Choice(), tmp_path / output, list_url)
    return [one.place for one in found]


@pytest.fixture
def tree(tmp_path):
    for name in ("b.wav", "a/one.FLAC", "a/notes.txt", "a/.hidden.wav", "a/b/two.mp3", "z/two.mp3"):
        path = tmp_path / "talks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def test_a_folder_is_mirrored_below_its_own_name(tree):
    wanted = ["talks/b.wav", "talks/a/one.FLAC", "talks/a/b/two.mp3", "talks/z/two.mp3"]
    assert places(tree, "talks") == wanted


def test_size_and_time_are_those_of_the_file(tree):
    about = os.stat(tree / "talks" / "b.wav")
    (found,) = listed([str(tree / "talks" / "b.wav")], Choice(), tree / "out", lambda url: ())
    assert (found.size, found.stamp) == (about.st_size, str(about.st_mtime_ns))
    assert found.source == str(tree / "talks" / "b.wav")


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (Choice(include=("*.MP3",)), ["talks/a/b/two.mp3", "talks/z/two.mp3"]),
        (Choice(include=("a/*.mp3",)), ["talks/a/b/two.mp3"]),
        (Choice(exclude=("two*", "one*")), ["talks/b.wav"]),
        (Choice(exclude=("b",)), ["talks/b.wav", "talks/a/one.FLAC", "talks/z/two.mp3"]),
        (Choice(include=("notes.*",)), ["talks/a/notes.txt"]),
    ],
)
def test_patterns_choose(tree, choice, wanted):
    assert places(tree, "talks", choice=choice) == wanted


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tree):
    assert places(tree, "talks/a/notes.txt") == ["notes.txt"]


def test_the_output_within_an_input_is_no_input(tree):
    (tree / "talks" / "out").mkdir()
    (tree / "talks" / "out" / "x.wav").write_bytes(b"x")
    assert "talks/out/x.wav" not in places(tree, "talks", output="talks/out")
    assert "talks/out/x.wav" in places(tree, "talks")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_links_that_lead_to_themselves_end(tree):
    os.symlink(tree / "talks", tree / "talks" / "a" / "again")
    assert places(tree, "talks").count("talks/b.wav") == 1


def test_a_manifest_names_files_by_where_they_lie_below_it(tree):
    rows = ["\t".join(COLUMNS), "1\ttalks/b.wav\t1\ts\tA", "2\ttalks/z/two.mp3\t1\ts\tB"]
    (tree / "set.tsv").write_text("\n".join(rows) + "\n")
    assert places(tree, "set.tsv") == ["set/talks/b.wav", "set/talks/z/two.mp3"]


def test_a_url_is_listed_by_who_knows_it_and_chosen_from_alike(tmp_path):
    def list_url(url):
        return [Found(f"{url}/{n}", f"talks/{n}", 3, "etag") for n in ("a.mp3", "cover.jpg")]

    assert places(tmp_path, "s3://x/talks", list_url=list_url) == ["talks/a.mp3"]


def test_what_does_not_exist_is_said_at_once(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        places(tmp_path, "talk")


def test_a_name_that_is_no_text_gets_a_place_that_is(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        (tmp_path / name).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system wants names to be text")
    (place,) = places(tmp_path, ".")
    assert place.endswith("/caf\\xe9.wav")


def test_a_named_url_is_taken_whatever_it_is_called(tmp_path):
    def list_url(url):
        return [
            Found(url, "get_id=5", 3, ""),
            Found(url, "pod/ep.mp3", 3, ""),
            Found(url, "pod/x.html", 3, ""),
        ]

    assert places(tmp_path, "https://host/get?id=5", list_url=list_url) == [
        "get_id=5",
        "pod/ep.mp3",
    ]


def test_a_protocol_that_fails_is_a_sentence(tmp_path):
    def list_url(url):
        raise IsADirectoryError(21, "Is a directory")
        yield

    with pytest.raises(ConfigError, match=r"zip://a.wav::b.zip cannot be listed .*directory"):
        places(tmp_path, "zip://a.wav::b.zip", list_url=list_url)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_to_itself_is_passed_over(tree):
    (tree / "talks" / "self.wav").symlink_to(tree / "talks" / "self.wav")
    assert len(places(tree, "talks")) == 4


def test_names_that_cannot_be_are_sentences(tree):
    for name, said in (("y" * 300 + ".wav", "cannot be read|does not exist"), ("", "empty name")):
        with pytest.raises(ConfigError, match=said):
            list(listed([name], Choice(), tree / "out", lambda url: ()))


def test_an_input_is_not_the_folder_of_results(tree):
    with pytest.raises(ConfigError, match="name another --output"):
        places(tree, "talks", output="talks")


def test_a_relative_name_is_the_file_wherever_one_looks_from(tree, monkeypatch):
    monkeypatch.chdir(tree / "talks")
    (found,) = listed(["b.wav"], Choice(), tree / "out", lambda url: ())
    assert found.source == str(tree / "talks" / "b.wav")
