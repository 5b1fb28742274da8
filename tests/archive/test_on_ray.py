"""Archives on a cluster of two nodes on this machine: the same words, and a node that dies."""

import shutil

import pytest
from support import SAMPLES

from rivulet.archive import on_ray
from rivulet.archive.records import Job, Settings
from rivulet.archive.work import Transcriber
from rivulet.checkpoint.folder import find
from rivulet.errors import ConfigError
from rivulet.recognizer import Recognizer

STORE = 80 * 2**20  # bytes of each node's object store; the least that Ray takes is 75 MB
COPIES = 40


@pytest.fixture(scope="module")
def cluster():
    """A head without cores, for the driver, and two nodes with one core each."""
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    from ray.cluster_utils import Cluster

    node = {"object_store_memory": STORE, "node_ip_address": "127.0.0.1"}
    nodes = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 0})
    for _ in range(2):
        nodes.add_node(**node, num_cpus=1)
    nodes.wait_for_nodes()
    with pytest.MonkeyPatch.context() as patch:  # Ray takes a loopback address for the machine's
        patch.setattr("ray._private.services.get_node_ip_address", lambda *_: "127.0.0.1")
        ray.init(nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture(scope="module")
def settings():
    recognizer = Recognizer.load("tiny")
    return Settings(
        model=str(find("tiny")), digest=recognizer.checkpoint.digest, decoder=recognizer.settings
    )


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """The samples several times over, and one file that is no sound."""
    folder = tmp_path_factory.mktemp("sound")
    clips = sorted(SAMPLES.glob("*.flac"))
    made = []
    for number in range(COPIES):
        path = folder / f"{number}.flac"
        shutil.copyfile(clips[number % len(clips)], path)
        made.append(Job(str(path), path.name, path.stat().st_size))
    (folder / "none.wav").write_text("no sound")
    return [*made, Job(str(folder / "none.wav"), "none.wav", 8)]


@pytest.fixture(scope="module")
def expected(jobs, settings):
    return {r.job.place: (r.segments, r.error) for r in Transcriber(settings).run(jobs)}


@pytest.mark.slow
@pytest.mark.minutes  # two raylets and their actors
def test_two_nodes_say_the_same_and_a_node_that_dies_loses_nothing(
    cluster, jobs, settings, expected, monkeypatch
):
    monkeypatch.setattr(on_ray, "BATCH_FILES", 2)
    results = on_ray.run(jobs, settings)
    heard = [next(results)]
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    heard += results
    places = [result.job.place for result in heard]
    assert sorted(places) == sorted(expected)  # nothing lost, nothing twice
    assert {r.job.place: (r.segments, r.error) for r in heard} == expected
    assert sum(error is not None for _, error in expected.values()) == 1
    cluster.add_node(num_cpus=1, object_store_memory=STORE, node_ip_address="127.0.0.1")


@pytest.mark.slow
@pytest.mark.minutes
def test_a_node_with_another_model_is_one_sentence(cluster, jobs, settings):
    from dataclasses import replace

    with pytest.raises(ConfigError, match="a node of the cluster has no model tiny like that"):
        list(on_ray.run(jobs[:2], replace(settings, digest="0" * 64)))


def test_batches_hold_some_bytes_and_some_files(monkeypatch):
    monkeypatch.setattr(on_ray, "BATCH_BYTES", 10)
    monkeypatch.setattr(on_ray, "BATCH_FILES", 3)
    sizes = [30, 9, 4, 4, 4, 1, 1, 1, -1]
    batches = on_ray.batched([Job(str(n), str(n), size) for n, size in enumerate(sizes)])
    assert [[job.size for job in batch] for batch in batches] == [
        [30], [9], [4, 4], [4, 1, 1], [1], [-1],
    ]  # fmt: skip
