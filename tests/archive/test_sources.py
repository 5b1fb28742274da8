"""Buckets and web folders, through the real clients and real servers on this machine."""

import shutil
import socket
import sys

import numpy as np
import pytest
from support import SAMPLES
from support.web import serving

from rivulet import audio
from rivulet.archive import sources
from rivulet.archive.records import UNKNOWN
from rivulet.errors import AudioError, ConfigError

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(sources, "PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture
def folder(tmp_path):
    """Sound files in folders, one of them with a name that a URL has to quote."""
    for name in ("talks/one.flac", "talks/2024/two words.flac", "talks/2024/three.flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SAMPLES / "slt.flac", tmp_path / name)
    return tmp_path


@pytest.fixture
def web(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="module")
def s3():
    """A bucket of one folder with 1,200 objects and two sounds; yields (client, server's port)."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="sound")
        for key in ("talks/one.flac", "talks/2024/two words.flac"):
            client.upload_file(str(SAMPLES / "slt.flac"), "sound", key)
        yield client
    server.stop()


def test_a_web_folder_is_listed_with_all_below_it(web):
    found = list(sources.listed(f"{web.url}/talks/"))
    size = (SAMPLES / "slt.flac").stat().st_size
    assert {(f.place, f.size) for f in found} == {
        ("talks/one.flac", size),
        ("talks/2024/two words.flac", size),
        ("talks/2024/three.flac", size),
    }
    assert all(f.stamp for f in found)
    assert list(sources.listed(f"{web.url}/talks")) == found  # the server leads to the folder


def test_a_web_page_leads_nowhere_else(web, folder):
    """Links that sort the listing, to the folder above and to other servers are left alone."""
    (folder / "talks" / "index.html").write_text(
        '<a href="?C=N;O=D">Name</a> <a href="../">up</a> <a href="../../etc/x.wav">x</a>'
        '<a href="https://example.org/y.wav">y</a> <a href="one.flac">one</a><a href="./">here</a>'
    )
    assert [f.place for f in sources.listed(f"{web.url}/talks/")] == ["talks/one.flac"]


def test_one_file_is_its_own_listing(web):
    (found,) = sources.listed(f"{web.url}/talks/2024/two%20words.flac")
    assert found.place == "two words.flac"
    assert found.size == (SAMPLES / "slt.flac").stat().st_size


def test_a_web_file_sounds_as_the_local_one(web):
    with sources.opened(f"{web.url}/talks/2024/two%20words.flac") as file:
        heard = audio.load(file)
    np.testing.assert_array_equal(heard, audio.load(SAMPLES / "slt.flac"))


def test_a_large_file_is_read_by_blocks(web, folder):
    (folder / "large.bin").write_bytes(bytes(8 * sources.BLOCK))
    with sources.opened(f"{web.url}/large.bin") as file:
        file.seek(3 * sources.BLOCK)
        assert file.read(1000) == bytes(1000)
    assert web.asked["/large.bin"] == 1


def test_a_connection_that_breaks_is_taken_up_where_it_broke(web):
    web.breaks["/talks/one.flac"] = 3
    with sources.opened(f"{web.url}/talks/one.flac") as file:
        assert file.read() == (SAMPLES / "slt.flac").read_bytes()
    assert web.asked["/talks/one.flac"] == 4


def test_a_connection_that_always_breaks_is_one_sentence(web):
    web.breaks["/talks/one.flac"] = 1000
    with (
        sources.opened(f"{web.url}/talks/one.flac") as file,
        pytest.raises(AudioError, match=r"talks/one.flac broke off at byte 0 of \d+ 4 times \("),
    ):
        audio.load(file)


def test_a_server_that_gives_no_parts_of_files_will_do(folder):
    with serving(folder, ranges=False) as server:
        server.breaks["/talks/one.flac"] = 2
        with sources.opened(f"{server.url}/talks/one.flac") as file:
            heard = audio.load(file)
    np.testing.assert_array_equal(heard, audio.load(SAMPLES / "slt.flac"))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/nothing.wav", "does not exist; check the spelling"),
        ("/talks/one.flac", r"may not be read \(status 403\)"),
    ],
)
def test_a_web_file_that_cannot_be_had_says_why(web, path, sentence):
    web.forbidden.add("/talks/one.flac")
    with pytest.raises(AudioError, match=sentence), sources.opened(web.url + path) as file:
        file.read()


def test_no_server_is_one_sentence():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/talks/"
    with pytest.raises(ConfigError, match=r"broke off 4 times \(.*try again later"):
        list(sources.listed(url))


@pytest.mark.slow
def test_a_bucket_is_listed_and_read(s3):
    found = list(sources.listed("s3://sound/talks"))
    assert [f.place for f in found] == ["talks/one.flac", "talks/2024/two words.flac"]
    assert [f.source for f in found][1] == "s3://sound/talks/2024/two words.flac"
    assert all(f.size == (SAMPLES / "slt.flac").stat().st_size and f.stamp for f in found)
    with sources.opened(found[1].source) as file:
        np.testing.assert_array_equal(audio.load(file), audio.load(SAMPLES / "slt.flac"))
    assert next(f.place for f in sources.listed("s3://sound")) == "sound/talks/one.flac"
    assert [f.place for f in sources.listed("s3://sound/talks/one.flac")] == ["one.flac"]


def test_a_changed_object_has_another_stamp(s3):
    before = [f.stamp for f in sources.listed("s3://sound/talks/one.flac")]
    s3.put_object(Bucket="sound", Key="talks/changed.flac", Body=b"1")
    one = [f.stamp for f in sources.listed("s3://sound/talks/changed.flac")]
    s3.put_object(Bucket="sound", Key="talks/changed.flac", Body=b"2")
    other = [f.stamp for f in sources.listed("s3://sound/talks/changed.flac")]
    s3.delete_object(Bucket="sound", Key="talks/changed.flac")
    assert len({*before, *one, *other}) == 3


def test_names_that_no_folder_takes_are_changed(s3):
    for key in ("odd/../up.wav", "odd//empty.wav", "odd/a:b?.wav"):
        s3.put_object(Bucket="sound", Key=key, Body=b"x")
    places = {f.place for f in sources.listed("s3://sound/odd")}
    assert places <= {"odd/_/up.wav", "odd/_/empty.wav", "odd/a_b_.wav"}
    assert "odd/a_b_.wav" in places


@pytest.mark.parametrize("url", ["s3://sound/nothing/", "s3://nowhere/talks"])
def test_a_bucket_or_prefix_that_is_not_there_says_so(s3, url):
    with pytest.raises(ConfigError, match=r"does not exist; check the spelling|holds 0 files"):
        list(sources.listed(url))
    with pytest.raises(AudioError, match="does not exist"), sources.opened(f"{url}x.wav"):
        pass


def test_missing_credentials_are_one_sentence(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ConfigError, match=r"needs credentials .*set AWS_ACCESS_KEY_ID"):
        list(sources.listed("s3://sound/talks"))
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match="needs the package gcsfs; pip install gcsfs"):
        list(sources.listed("gs://sound/talks"))
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ConfigError, match=r"pip install 'rivulet\[archive\]'"):
        list(sources.listed("https://example.org/talks/"))


def test_an_unknown_protocol_says_what_is_known():
    with pytest.raises(ConfigError, match="use s3://, gs:// or https://"):
        list(sources.listed("carrier-pigeon://talks"))


def test_a_local_path_is_left_alone():
    with sources.opened("talks/one.flac") as path:
        assert path == "talks/one.flac"


def test_an_unnamed_size_is_unknown(folder):
    with serving(folder, ranges=False) as server:
        server.unsized.add("/talks/one.flac")
        (found,) = sources.listed(f"{server.url}/talks/one.flac")
    assert (found.size, found.stamp) == (UNKNOWN, "")
