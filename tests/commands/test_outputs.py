import os
from pathlib import Path

import pytest
from support import SAMPLES

from rivulet.commands.outputs import plan, written_whole
from rivulet.errors import ConfigError


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(b"sound")
    return path


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_sound_is_never_its_own_output(tmp_path, sound, overwrite):
    link = tmp_path / "link.txt"
    link.symlink_to(sound)
    hard = tmp_path / "hard.txt"
    os.link(sound, hard)
    for output in (sound, link, hard, tmp_path / "." / "x.wav"):
        with pytest.raises(ConfigError, match=r"is the sound|is there already"):
            plan([str(sound)], output, "txt", overwrite)
    assert sound.read_bytes() == b"sound"


def test_a_text_of_another_name_that_is_a_sound_is_refused(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.txt").symlink_to(SAMPLES / "slt.flac")
    with pytest.raises(ConfigError, match="is the sound"):
        plan(["a.wav", str(SAMPLES / "slt.flac")], folder, "txt", True)


def test_no_existing_file_is_replaced_unasked(tmp_path, sound):
    reference = tmp_path / "x.txt"
    reference.write_text("what was said")
    for output in (tmp_path, reference):
        with pytest.raises(ConfigError, match="is there already"):
            plan([str(sound)], output, "txt", False)
        assert plan([str(sound)], output, "txt", True)[0].output == reference
    with pytest.raises(ConfigError, match="is there already"):
        plan([str(sound), str(tmp_path / "y.wav")], tmp_path, "txt", False)


def test_what_is_done_in_another_folder_is_known(tmp_path, sound):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "x.txt").write_text("done")
    jobs = plan([str(sound), str(tmp_path / "y.wav")], folder, "txt", False)
    assert [job.done for job in jobs] == [True, False]


def test_inputs_that_would_share_an_output_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"would share a\.txt"):
        plan(["1/a.wav", "2/a.flac"], tmp_path, "txt", True)


@pytest.mark.parametrize("name", ["one.json", "all.srt", "text.txt"])
def test_several_inputs_do_not_become_a_folder_with_the_name_of_a_file(tmp_path, name):
    with pytest.raises(ConfigError, match="2 inputs need a folder"):
        plan(["a.wav", "b.wav"], tmp_path / name, "txt", True)
    assert not (tmp_path / name).exists()
    (tmp_path / name).mkdir()  # asked for by whoever made it
    assert len(plan(["a.wav", "b.wav"], tmp_path / name, "txt", True)) == 2


def test_what_cannot_be_written_is_called_as_it_was_asked_for(tmp_path):
    path = tmp_path / "gone" / "x.txt"
    with pytest.raises(ConfigError, match=r"gone/x\.txt cannot be written"), written_whole(path):
        pass


def test_an_output_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.txt"
    with written_whole(path) as out:
        out.write("text")
        assert not path.exists()
    assert path.read_text() == "text"

    def fail(problem):
        with written_whole(path) as out:
            out.write("half")
            raise problem

    for problem in (KeyboardInterrupt, SystemExit, ValueError):
        with pytest.raises(problem):
            fail(problem)
    assert path.read_text() == "text"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path):
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real.txt")
    with written_whole(link) as out:
        out.write("text")
    assert link.is_symlink()
    assert (tmp_path / "real.txt").read_text() == "text"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_is_a_sentence():
    with pytest.raises(ConfigError, match="No space left"), written_whole(Path("/dev/full")) as out:
        out.write("text")


def test_a_folder_that_is_gone_is_a_sentence(tmp_path):
    with (
        pytest.raises(ConfigError, match="cannot be written"),
        written_whole(tmp_path / "gone" / "x.txt") as out,
    ):
        out.write("text")
