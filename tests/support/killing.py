"""A command that is killed at every file it writes, and begun again until it ends.

`python -m support.killing FOLDER LIMIT rivulet-command…` forks a process for every attempt: the
n-th is killed when it opens for writing, moves or removes its n-th file in FOLDER, or a few
milliseconds later. Each attempt that was killed, and the last, is a line of JSON.
"""

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOVED = ("os.rename", "os.remove", "os.mkdir", "shutil.rmtree")
LATEST_S = 0.03  # after the n-th file was touched: within what is written, or beyond


def watch(folder: Path, number: int, rng: random.Random) -> None:
    """Kill this process at its `number`-th change to `folder`."""
    own, seen = os.getpid(), 0
    inside = str(folder) + os.sep

    def notice(event: str, given: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open":
            writes = isinstance(given[1], str) and set(given[1]) & set("wax+")
            flags = given[2] or 0
            if not (writes or flags & (os.O_WRONLY | os.O_RDWR)):
                return
        elif event not in MOVED:
            return
        touched = any(isinstance(g, (str, Path)) and str(g).startswith(inside) for g in given)
        if not touched or os.getpid() != own:
            return
        seen += 1
        if seen == number:
            sign = rng.choice(SIGNALS)
            if sign == signal.SIGKILL and rng.random() < 0.5:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends it as a kill does
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0, LATEST_S))
            else:
                os.kill(own, sign)

    sys.addaudithook(notice)


def attempt(folder: Path, number: int, words: list[str]) -> int:
    """Run the command in a process of its own that is killed at its `number`-th file."""
    child = os.fork()
    if not child:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from rivulet.__main__ import main

        watch(folder, number, random.Random(number))
        code = 1
        try:
            code = main(words)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it had started
    return os.waitstatus_to_exitcode(status)


def run(folder: Path, limit: int, words: list[str]) -> None:
    """Kill attempt after attempt; the last one nobody kills."""
    for number in [*range(1, limit), 10**9]:
        began = time.monotonic()
        status = attempt(folder, number, words)
        left = sorted(p.name for p in folder.rglob("*") if p.is_file())
        told = {"number": number, "status": status, "files": left}
        told["seconds"] = round(time.monotonic() - began, 2)
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        if status == 0:
            return


if __name__ == "__main__":
    if sys.argv[3] == "train":  # imported once for all attempts
        import rivulet.training.loop
    else:
        import rivulet.language.build.pruning
        import rivulet.language.model  # noqa: F401
    run(Path(sys.argv[1]).resolve(), int(sys.argv[2]), sys.argv[3:])
