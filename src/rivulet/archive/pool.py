"""One machine: processes that share the model, each advancing several files at a time.

The processes are forked from one that has read the model, where the system can do that, so its
memory is there once. A process that dies is replaced and its files are done again: at first
together with others, then each in a process for itself, so that only the file that does it fails.
"""

import multiprocessing as mp
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import rivulet
from rivulet.archive.assembly import Assembly
from rivulet.archive.members import Outcome, Part, Spooled, Task
from rivulet.archive.preload import SETTINGS_VARIABLE
from rivulet.archive.records import Job, Result, Settings
from rivulet.archive.work import AT_ONCE
from rivulet.archive.worker import BEAT_S, Beat, Ready, serve
from rivulet.errors import ConfigError

STALLED_S = 600.0  # without a report: the decoder hangs
CUT_SHARE = 0.25  # of a worker's share of the bytes that are left: a file as large is cut
PARTS_A_WORKER = 2  # of a file that is cut
GRACE_S = 5.0  # for a process whose pipe has ended
TOGETHER = 2  # deaths of a process that a file may see among others; then it is done alone
DEATHS = 5  # in all: with the last of them it has failed
DYING_S = 0.1  # what workers are forked from may take so long to end once it was killed
STARTS = 20  # processes in a row that end before they are ready: something else is wrong


@dataclass(frozen=True)
class WorkerView:
    """What can be shown of a worker: name, process, and the seconds heard of its files."""

    name: str
    pid: int
    heard: dict[str, float]
    deaths: int


@dataclass(frozen=True)
class _Given:
    """A task, how many a worker that has it may have in all, and how many died that had it."""

    task: Task
    company: int = AT_ONCE
    deaths: int = 0

    def after_death(self) -> "_Given":
        deaths = self.deaths + 1
        return replace(self, deaths=deaths, company=1 if deaths >= TOGETHER else self.company)

    @property
    def job(self) -> Job:
        return self.task.job if isinstance(self.task, Part) else self.task


class _Worker:
    """A process and what it was given."""

    def __init__(self, number: int, settings: Settings, spool: Path) -> None:
        self.number = number
        self._settings = settings
        self._spool = spool
        self.deaths = 0
        self._starts = 0
        self.start()

    def start(self) -> None:
        """Start a process."""
        self.given: dict[tuple[str, int], _Given] = {}
        self.heard: dict[str, float] = {}
        self.reported = time.monotonic()
        self.is_ready = False
        while not self._has_started():
            self._starts += 1
            if self._starts >= STARTS:
                raise ConfigError(f"{self._starts} processes in a row could not be started.")
            time.sleep(DYING_S)
        self._starts += 1

    def _has_started(self) -> bool:
        """Try to start a process; the one that workers are forked from may be dead and is new then.

        Nothing that it was forking is left: it sees that nobody listens.
        """
        context = _context(self._settings)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, self._settings, self._spool), daemon=True
        )
        try:
            self.process.start()
        except (EOFError, OSError):
            self.pipe.close()
            return False
        finally:
            theirs.close()
        return True

    def ready(self, message: Ready) -> None:
        """Note that it has its recognizer.

        Raises:
            ConfigError: it can have none.
        """
        if message.error:
            raise ConfigError(message.error)
        self.is_ready = True
        self._starts = 0

    @property
    def company(self) -> int:
        """How many tasks it may have, by those that it has."""
        return min((given.company for given in self.given.values()), default=AT_ONCE)

    def give(self, given: _Given) -> None:
        """Send a task; a process that is dead is noticed elsewhere."""
        self.given[_key(given.task)] = given
        with suppress(OSError):
            self.pipe.send(given.task)

    def end(self) -> str:
        """Kill the process and say how it had ended, if it had."""
        if self.process.pid is None:
            return "it did not start"
        status = self.process.exitcode
        if status is None:
            self.process.kill()
        self.process.join()
        self.pipe.close()
        if status is not None and status < 0:
            with suppress(ValueError):
                return signal.Signals(-status).name
        return f"status {status}"

    def died(self) -> tuple[str, list[_Given]]:
        """Start another process; return how this one ended and what it had been given.

        Raises:
            ConfigError: no process lives long enough to be ready.
        """
        self.process.join(GRACE_S)  # its pipe ends a moment before it does
        how, given = self.end(), list(self.given.values())
        self.deaths += 1
        if self._starts >= STARTS:
            raise ConfigError(
                f"{self._starts} worker processes in a row ended before they were ready ({how}); "
                "see whether there is memory for so many --workers."
            )
        self.start()
        return how, given

    @property
    def stalled(self) -> bool:
        """Whether it has not reported for long, though it has something to do."""
        return bool(self.given) and time.monotonic() - self.reported > STALLED_S


class Pool:
    """Processes for one archive; `results` is the loop that feeds them."""

    def __init__(self, settings: Settings, workers: int, spool: Path) -> None:
        """Start the processes.

        Args:
            settings: what is to be written.
            workers: processes.
            spool: folder for the sound of long files; emptied here and at the end.

        Raises:
            ConfigError: there is to be less than one worker.
        """
        if workers < 1:
            raise ConfigError(f"{workers} workers cannot work; use at least 1.")
        self._spool = spool
        self._empty_spool()
        self._assembly = Assembly(settings)
        self._workers = [_Worker(n, settings, spool) for n in range(workers)]
        self._again: deque[_Given] = deque()
        self._results: deque[Result] = deque()
        self._left = 0  # bytes of jobs that were not given yet

    def __enter__(self) -> "Pool":
        """Enter a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes, whatever they are doing."""
        for worker in self._workers:
            worker.end()
        self._empty_spool()

    def _empty_spool(self) -> None:
        self._spool.mkdir(parents=True, exist_ok=True)
        for path in self._spool.iterdir():
            path.unlink(missing_ok=True)

    @property
    def views(self) -> list[WorkerView]:
        """What the workers are doing."""
        return [
            WorkerView(str(w.number + 1), w.process.pid or 0, w.heard, w.deaths)
            for w in self._workers
        ]

    def results(self, jobs: Iterable[Job], size: int) -> Iterator[Result | None]:
        """Yield results as they come, and None now and then when there is none.

        Args:
            jobs: the largest first; asked for when a worker has room, so that no queue grows.
            size: bytes of them all.
        """
        waiting = iter(jobs)
        self._left = size
        more = True
        while True:
            self._give_again()
            while more and (room := self._room(AT_ONCE, bool(self._again))):
                job = next(waiting, None)
                more = job is not None
                if job is not None:
                    room.give(_Given(replace(job, parts=self._parts(job))))
                    self._left -= max(0, job.size)
            if not (more or self._again or any(worker.given for worker in self._workers)):
                return
            self._hear()
            while self._results:
                yield self._results.popleft()
            yield None

    def _parts(self, job: Job) -> int:
        """Return into how many parts a job may be cut.

        A part hears some seconds twice. So a file is only cut where it would keep one worker busy
        when the others have nothing left: where it is much of a worker's share of what is left.
        """
        workers = len(self._workers)
        share = self._left / workers
        return PARTS_A_WORKER * workers if workers > 1 and job.size > CUT_SHARE * share else 1

    def _give_again(self) -> None:
        """Give what waits to be done once more, or in parts, as long as there is room."""
        for _ in range(len(self._again)):
            given = self._again.popleft()
            worker = self._room(given.company)
            if worker is None:
                self._again.append(given)
            else:
                worker.give(given)

    def _room(self, company: int, spare: bool = False) -> _Worker | None:
        """Return the worker with the least to do, if it has room for a task in such company.

        With `spare` one worker is left to become free for what waits.
        """
        fit = sorted(self._workers, key=lambda worker: (len(worker.given), worker.number))
        able = [w for w in fit[spare:] if len(w.given) < min(company, w.company)]
        return able[0] if able else None

    # ---- what comes from the workers ---------------------------------------------------------

    def _hear(self) -> None:
        """Wait for reports and take them."""
        sources: dict[Any, _Worker] = {}
        for worker in self._workers:
            sources[worker.pipe] = sources[worker.process.sentinel] = worker
        heard = {id(sources[s]): sources[s] for s in wait(list(sources), timeout=BEAT_S)}
        for worker in heard.values():
            self._hear_from(worker)
        for worker in self._workers:
            if worker.stalled:
                worker.process.kill()

    def _hear_from(self, worker: _Worker) -> None:
        try:
            while worker.pipe.poll():
                self._take(worker, worker.pipe.recv())
        except (EOFError, OSError):
            self._bury(worker)
            return
        if worker.process.exitcode is not None:
            self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        """Replace a process that died; what it was given is done again, or has failed."""
        how, left = worker.died()
        for given in left:
            again = given.after_death()
            if again.deaths < DEATHS:
                self._again.append(again)
            else:
                self._fail(again, how)

    def _fail(self, given: _Given, how: str) -> None:
        error = (
            f"{given.job.source} ended {given.deaths} worker processes ({how}); make a fresh "
            "copy of the file, or convert it to wav or flac."
        )
        self._assembly.drop(given.job)
        self._again = deque(other for other in self._again if other.job != given.job)
        self._results.append(Result(given.job, error=error))

    def _take(self, worker: _Worker, message: "Ready | Beat | Outcome") -> None:
        worker.reported = time.monotonic()
        if isinstance(message, Ready):
            worker.ready(message)
        elif isinstance(message, Beat):
            worker.heard = message.heard
        elif isinstance(message, Result):
            worker.given.pop(_key(message.job), None)
            self._results.append(message)
        elif isinstance(message, Spooled):
            worker.given.pop(_key(message.whole.job), None)
            self._queue(self._assembly.begin(message))
        else:
            worker.given.pop(_key(message.part), None)
            came = self._assembly.add(message)
            if isinstance(came, Result):
                self._results.append(came)
            else:
                self._queue(came)

    def _queue(self, parts: Iterable[Part]) -> None:
        """Let parts of a long file be done, before everything that has not begun.

        The more of a worker's share of what is left a part is, the fewer others hold it up.
        """
        for part in parts:
            of_file = (part.span.stop - part.span.start) / max(1, part.samples)
            share = self._left / len(self._workers)
            company = int(share / max(1.0, part.job.size * of_file))
            self._again.append(_Given(part, min(AT_ONCE, max(1, company))))


def _key(task: Task) -> tuple[str, int]:
    return (task.job.place, task.span.start) if isinstance(task, Part) else (task.place, -1)


def _context(settings: Settings) -> Any:
    """Return how processes are made: forked from one that has the model, where that is possible."""
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    home = str(Path(rivulet.__file__).parents[1])  # that process knows no other sys.path
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([home, *(p for p in known if p and p != home)])
    os.environ[SETTINGS_VARIABLE] = settings.to_json()
    context.set_forkserver_preload(["rivulet.archive.preload"])
    return context
