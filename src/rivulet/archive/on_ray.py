"""Archives on many machines: Ray Data over the function that a pool's processes run.

Ray starts as many actors as the cluster has free cores, each loads the model once from its node's
disk, and hands out batches of files as there is room; its autoscaler adds machines and takes them
away. What a node that died had under way or not handed over, Ray does again elsewhere.
"""

import logging
import pickle  # nosec B403
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.archive.records import Job, Result, Settings
from rivulet.checkpoint.folder import find
from rivulet.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_BYTES = 64 * 2**20  # of files handed out together: some minutes of work
BATCH_FILES = 32
UNKNOWN_BYTES = 4 * 2**20  # what a file counts for whose size is not known
TRIES = 3  # of a batch whose actor or node dies; then each of its files alone
AHEAD = 2  # batches an actor has, so that it never waits for the driver


def run(jobs: Iterable[Job], settings: Settings, address: str | None = None) -> Iterator[Result]:
    """Yield one result for every job, in any order, as batches end.

    Args:
        jobs: paths must be the same on every node, as on a shared disk; URLs always are.
        settings: what workers load a recognizer by.
        address: of the cluster; None: the one that RAY_ADDRESS names or that runs on this machine.

    Raises:
        ConfigError: Ray is missing, no cluster answers, or a node lacks the model.
    """
    _connect(address)
    pending = {job.place: job for job in jobs}
    batches = batched(pending.values())
    while pending and batches:
        for result in _results(batches, settings):
            if pending.pop(result.job.place, None):  # else: a node that died had it done before
                yield result
        alone = all(len(batch) == 1 for batch in batches)
        batches = [] if alone else [[job] for job in pending.values()]
    for job in pending.values():
        error = f"{job.source} ended {TRIES} workers on Ray; make a fresh copy of the file."
        yield Result(job, error=error)


class Attempts:
    """Counts how often each batch was begun; Ray itself would begin it for ever."""

    def __init__(self) -> None:
        """Begin with none."""
        self._counts: Counter[bytes] = Counter()

    def begin(self, batch: bytes) -> int:
        """Count another."""
        self._counts[batch] += 1
        return self._counts[batch]


class Actor:
    """A recognizer on some node of the cluster."""

    def __init__(self, settings: Settings, attempts: Any) -> None:
        """Load the model; `attempts` is the handle of an `Attempts`.

        Raises:
            ConfigError: this node has another one.
        """
        from rivulet.archive.work import Transcriber

        self._attempts = attempts
        self._transcriber = Transcriber(replace(settings, model=_on_this_node(settings)))

    def __call__(self, batch: "pa.Table") -> "pa.Table":
        """Turn a table of jobs into one of pickled results, in the order of the jobs.

        The order is always the same, so that a batch that is done again after a death gives rows
        that Ray can take for those that were lost. What ended `TRIES` actors gives none.
        """
        import pyarrow as pa
        import ray

        pickled = batch["job"].to_pylist()
        jobs: list[Job] = [_loaded(job) for job in pickled]
        if ray.get(self._attempts.begin.remote(b"".join(pickled))) > TRIES:
            jobs = []
        done = {result.job.place: result for result in self._transcriber.run(jobs)}
        results = [pickle.dumps(done[job.place]) for job in jobs]
        return pa.table({"result": pa.array(results, pa.binary())})


def _on_this_node(settings: Settings) -> str:
    """Return where this node has the model: at the same path, or installed under the same name.

    Raises:
        ConfigError: it has none with the same files.
    """
    from rivulet.checkpoint.digests import sha256

    path = Path(settings.model)
    for model in (path, path.name):
        try:
            folder = find(model)
        except CheckpointError:
            continue
        if sha256(folder / "config.json") == settings.digest:
            return str(folder)
    raise ConfigError(
        f"a node of the cluster has no model {path.name} like that of {path}; put the same rivulet "
        "and the same model on every node."
    )


def _connect(address: str | None) -> None:
    """Connect to the cluster, unless this process is connected already.

    Raises:
        ConfigError: Ray is missing, or no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray needs Ray; pip install 'rivulet[ray]'.") from error
    if ray.is_initialized():
        return
    try:
        ray.init(address or "auto", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"no Ray cluster answers at {address or 'this machine'} ({why}); start one with `ray "
            "start --head`, or name its address after --ray."
        ) from error


def batched(jobs: Iterable[Job]) -> list[list[Job]]:
    """Group jobs, the large ones first, into batches of some bytes."""
    batches: list[list[Job]] = []
    size = 0
    for job in jobs:
        count = job.size if job.size >= 0 else UNKNOWN_BYTES
        if not batches or size + count > BATCH_BYTES or len(batches[-1]) == BATCH_FILES:
            batches.append([])
            size = 0
        batches[-1].append(job)
        size += count
    return batches


def _results(batches: Sequence[Sequence[Job]], settings: Settings) -> Iterator[Result]:
    """Yield what the cluster makes of batches; what ended `TRIES` actors lacks.

    Raises:
        ConfigError: an actor cannot start, as where a node lacks the model.
    """
    import pyarrow as pa
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.data.DataContext.get_current().enable_progress_bars = False
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    attempts = ray.remote(Attempts).options(num_cpus=0, scheduling_strategy=here).remote()
    tables = [pa.table({"job": [pickle.dumps(job) for job in batch]}) for batch in batches]
    results = ray.data.from_arrow(tables).map_batches(
        Actor,
        fn_constructor_args=(settings, attempts),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_tasks_in_flight_per_actor=AHEAD),
        num_cpus=1,
    )
    try:
        for row in results.iter_rows():
            yield _loaded(row["result"])
    except ray.exceptions.RayError as error:
        raise ConfigError(_reason(error)) from error


def _loaded(content: bytes) -> Any:
    """Return what this module pickled on another node; names of files need not be text."""
    return pickle.loads(content)  # nosec B301


def _reason(error: Exception) -> str:
    """Return the sentence of the error behind Ray's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    own = [line for line in lines if "rivulet.errors." in line]
    return (own or lines)[-1].partition("Error: ")[2] or (own or lines)[-1]
