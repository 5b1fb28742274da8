"""Whole programs side by side: the CPU and the memory of fresh processes, run in turns."""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rivulet.acoustic.choices import ENGINES
from rivulet.errors import ConfigError

HERE = Path(__file__).parents[3]  # a checkout, if git knows it
WHISPER = """
import sys
from faster_whisper import WhisperModel

model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=1)
for name in sys.argv[2:]:
    for segment in model.transcribe(name, language="en", beam_size=1)[0]:
        print(segment.text)
"""
# A small process starts the program and waits for it: the peak that the system tells of a process
# is at least what its parent held.
LAUNCH = """
import os, subprocess, sys

process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(process.returncode)
"""


@dataclass(frozen=True)
class Program:
    """What is started: its name, the words before the files, and where Python finds modules."""

    name: str
    command: tuple[str, ...]
    python_path: Path | None = None


@dataclass(frozen=True)
class Cost:
    """Medians over the rounds: seconds of CPU, bytes at the most."""

    cpu_s: float
    peak_bytes: float


@contextlib.contextmanager
def rival(against: str, flags: Sequence[str]) -> Iterator[Program]:
    """Yield the program that `against` names: an engine, whisper=DIR, or a revision of the code.

    Raises:
        ConfigError: it is none of these, or cannot be made ready.
    """
    if against in ENGINES:
        yield _rivulet(against, [*flags, "--engine", against], HERE / "src")
    elif against.startswith("whisper="):
        folder = against.partition("=")[2]
        yield Program(against, (sys.executable, "-c", WHISPER, folder))
    else:
        with _checkout(against) as checkout:
            yield _rivulet(against, flags, checkout / "src")


def measure(programs: Sequence[Program], files: Sequence[Path], rounds: int) -> list[Cost]:
    """Run every program over `files`, in turns, `rounds` times; return what each cost.

    Raises:
        ConfigError: a program fails, or this system does not say what a process took.
    """
    if not hasattr(os, "wait4"):
        raise ConfigError(
            "this system does not tell what a process took; compare on Linux or macOS."
        )
    if rounds < 1:
        raise ConfigError(f"{rounds} rounds measure nothing; ask for 1 or more.")
    costs: list[list[Cost]] = [[] for _ in programs]
    for _ in range(rounds):
        for program, found in zip(programs, costs, strict=True):
            found.append(_run(program, files))
    return [_median(found) for found in costs]


def this_program(flags: Sequence[str]) -> Program:
    """Return the code that runs now, as a program."""
    return _rivulet("this", flags, Path(__file__).parents[2])


def _rivulet(name: str, flags: Sequence[str], source: Path) -> Program:
    command = (sys.executable, "-m", "rivulet", "transcribe", *flags)
    return Program(name, command, source)


def _run(program: Program, files: Sequence[Path]) -> Cost:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled once
    if program.python_path is not None:
        environment["PYTHONPATH"] = str(program.python_path)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCH, *program.command, *map(str, files)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        told = done.stderr.strip().splitlines() or ["no message"]
        raise ConfigError(f"{program.name} ended with {done.returncode}: {told[-1]}")
    cpu_s, peak = map(float, done.stdout.split())
    unit = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss
    return Cost(cpu_s, peak * unit)


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.cpu_s for cost in costs),
        statistics.median(cost.peak_bytes for cost in costs),
    )


@contextlib.contextmanager
def _checkout(revision: str) -> Iterator[Path]:
    """Yield a folder with the code of `revision`, its extension built if it has one."""
    folder = Path(tempfile.mkdtemp(prefix="rivulet-against-"))
    git = ["git", "-C", str(HERE), "worktree"]
    try:
        added = subprocess.run(
            [*git, "add", "--detach", "--force", str(folder), revision],
            capture_output=True,
            text=True,
            check=False,
        )
        if added.returncode:
            raise ConfigError(
                f"{revision!r} is no engine ({', '.join(ENGINES)}), not whisper=DIR, and no "
                f"revision of {HERE}."
            )
        if (folder / "setup.py").is_file():
            build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
            subprocess.run(build, cwd=folder, capture_output=True, check=False)
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
