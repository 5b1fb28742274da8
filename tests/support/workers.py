"""A worker of an archive's pool that hears nothing: files' names say what becomes of it."""

import os
import signal
import time
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from rivulet.archive.records import Job, Result, Settings
from rivulet.archive.worker import Beat, Ready

SHARED_S = 0.02  # seconds that a file takes


def serve(pipe: Connection, settings: Settings, _spool: Path) -> None:
    """Answer jobs in their order; one named "deadly" ends the process, "slow" takes a second."""
    if settings.model == "missing":
        pipe.send(Ready("there is no model 'missing'."))
        return
    if settings.model == "mortal":
        os.kill(os.getpid(), signal.SIGKILL)
    pipe.send(Ready())
    given: deque[Job] = deque()
    most = 0
    with suppress(EOFError, OSError):
        while True:
            while pipe.poll(0.0 if given else None):
                given.append(pipe.recv())
                most = max(most, len(given))
            if any("deadly" in job.source for job in given):
                os.kill(os.getpid(), signal.SIGSEGV)
            job = given.popleft()
            time.sleep(1.0 if "slow" in job.source else SHARED_S)
            pipe.send(Result(job, seconds=float(most), warnings=(str(os.getpid()),)))
            pipe.send(Beat({each.source: 1.0 for each in given}))
