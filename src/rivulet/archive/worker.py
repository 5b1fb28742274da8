"""A worker process of the pool: tasks in, outcomes out."""

import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rivulet.archive.preload import loaded
from rivulet.archive.records import Settings
from rivulet.archive.work import AT_ONCE, Company
from rivulet.errors import RivuletError

BEAT_S = 0.5  # between two reports
MAX_BYTES = 2 << 30  # memory beyond what it begins with


@dataclass(frozen=True)
class Ready:
    """The worker has its recognizer; `error` if it can have none."""

    error: str | None = None


@dataclass(frozen=True)
class Beat:
    """A report: seconds heard of each source."""

    heard: dict[str, float]


def serve(pipe: "Connection[Any, Any]", settings: Settings, spool: Path) -> None:
    """Work until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends this
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(EOFError, OSError):
        try:
            recognizer = loaded(settings.to_json())
            company = Company(recognizer, settings, spool)
        except RivuletError as error:
            pipe.send(Ready(str(error)))
            return
        _limit_memory()
        pipe.send(Ready())
        _work(pipe, company)


def _work(pipe: "Connection[Any, Any]", company: Company) -> None:
    reported = time.monotonic()
    while True:
        while len(company) < AT_ONCE and pipe.poll(0.0 if len(company) else None):
            company.add(pipe.recv())
        for outcome in company.step():
            pipe.send(outcome)
        if time.monotonic() - reported >= BEAT_S or not len(company):
            reported = time.monotonic()
            pipe.send(Beat(company.heard()))


def _limit_memory() -> None:
    """Let files that ask for gigabytes end this process alone."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + MAX_BYTES, resource.RLIM_INFINITY))
