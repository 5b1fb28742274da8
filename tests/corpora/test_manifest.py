import shutil
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import SAMPLES

from rivulet.corpora.manifest import read_manifest, write_manifest
from rivulet.corpora.sources import common_voice, librispeech, sound_folder
from rivulet.errors import AudioError, ManifestError
from rivulet.text.normalize import normalize
from rivulet.training.corpus import pack

HEADER = "id\tpath\tseconds\tspeaker\ttext\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    shutil.copy(SAMPLES / "slt.flac", tmp_path / "set" / "a.flac")
    shutil.copy(SAMPLES / "rms.flac", tmp_path / "set" / "b.flac")
    return tmp_path


def manifest(folder, text):
    path = folder / "list.tsv"
    path.write_text(text)
    return path


def test_a_manifest_is_read(folder):
    path = manifest(folder, HEADER + 'a\tset/a.flac\t4.0\tme\thello "you"\n')
    (item,) = read_manifest(path)
    assert (item.id, item.seconds, item.speaker) == ("a", 4.0, "me")
    assert (item.text, item.set_name, item.path) == ("HELLO YOU", "set", folder / "set" / "a.flac")


def test_what_is_written_is_read_again(folder):
    items = read_manifest(manifest(folder, HEADER + "a\tset/a.flac\t4.00\tme\tHELLO\n"))
    assert write_manifest(folder / "again.tsv", items) == 1
    assert read_manifest(folder / "again.tsv") == items


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id\tpath\tseconds\ttext\n", "lacks the column speaker"),
        ("id path text\n", "lacks the columns id, path, seconds, speaker, text"),
        (HEADER, "lists 0 utterances"),
        (HEADER + "a\tset/none.flac\t4.0\tme\tX\n", r"line 2 names .*none\.flac, which does not"),
        (HEADER + "a\tset/a.flac\tlong\tme\tX\n", "line 2 cannot be read"),
        (HEADER + "a\tset/a.flac\n", "line 2 cannot be read"),
    ],
)
def test_a_bad_manifest_says_what_is_wrong(folder, text, says):
    with pytest.raises(ManifestError, match=says):
        read_manifest(manifest(folder, text))


def test_a_manifest_that_is_no_text_says_so(tmp_path):
    (tmp_path / "list.tsv").write_bytes(b"id\tpath\xff\xfe\n")
    with pytest.raises(ManifestError, match="not UTF-8 text"):
        read_manifest(tmp_path / "list.tsv")


def test_a_missing_manifest_says_so(tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        read_manifest(tmp_path / "none.tsv")


@given(st.text())
def test_normalized_text_holds_letters_apostrophes_and_single_spaces(text):
    normal = normalize(text)
    assert set(normal) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    assert normal == " ".join(normal.split())
    assert normalize(normal) == normal


def test_typographic_apostrophes_are_apostrophes():
    assert normalize("Don’t—stop!") == "DON'T STOP"


def test_a_folder_of_sound_and_text_becomes_utterances():
    items = list(sound_folder(SAMPLES))
    assert len(items) >= 3
    slt = next(item for item in items if item.id == "slt")
    assert slt.text == normalize((SAMPLES / "slt.txt").read_text())
    assert slt.seconds == pytest.approx(4.2, abs=1.0)


def test_noise_needs_no_text(folder):
    assert [item.text for item in sound_folder(folder, with_text=False)] == ["", ""]
    with pytest.raises(ManifestError, match=r"no sound file with a \.txt"):
        list(sound_folder(folder))


def test_librispeech_is_read_from_a_local_copy(tmp_path):
    chapter = tmp_path / "LibriSpeech" / "dev-clean" / "84" / "121123"
    chapter.mkdir(parents=True)
    shutil.copy(SAMPLES / "slt.flac", chapter / "84-121123-0000.flac")
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO DO YOU HEAR\n")
    (item,) = librispeech(tmp_path, "dev-clean")
    assert (item.id, item.speaker, item.text) == ("84-121123-0000", "ls-84", "GO DO YOU HEAR")
    with pytest.raises(ManifestError, match="no part 'dev'"):
        list(librispeech(tmp_path, "dev"))
    with pytest.raises(ManifestError, match="add --download"):
        list(librispeech(tmp_path, "test-clean"))


def test_common_voice_is_read_from_its_list(tmp_path):
    (tmp_path / "clips").mkdir()
    shutil.copy(SAMPLES / "slt.flac", tmp_path / "clips" / "one.mp3")
    (tmp_path / "validated.tsv").write_text(
        "client_id\tpath\tsentence\nabc\tone.mp3\tHello, you!\nabc\ttwo.mp3\tIn 1999.\n"
    )
    (item,) = common_voice(tmp_path / "validated.tsv")
    assert (item.id, item.speaker, item.text) == ("one", "cv-abc", "HELLO YOU")


def test_sound_is_decoded_once(folder, tmp_path):
    items = list(sound_folder(folder, with_text=False))
    corpus = pack(items, tmp_path / "cache", workers=1)
    assert len(corpus) == 2
    assert corpus.seconds() == pytest.approx([item.seconds for item in items], abs=1e-3)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    pack(items, tmp_path / "cache", workers=1)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == stamps


def test_sound_that_cannot_be_decoded_leaves_nothing_in_the_cache(folder, tmp_path):
    good = next(iter(sound_folder(folder, with_text=False)))
    (folder / "broken.flac").write_bytes(b"fLaC and no more")
    items = [good, replace(good, path=folder / "broken.flac")]
    with pytest.raises(AudioError, match=r"broken\.flac"):
        pack(items, tmp_path / "cache", workers=1)
    assert list((tmp_path / "cache").iterdir()) == []
