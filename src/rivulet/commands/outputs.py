"""Where transcripts go: checked before the work, written beside and renamed, never over a sound."""

import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TextIO, cast

from rivulet.errors import ConfigError
from rivulet.writers import FORMATS

STANDARD_INPUT = "-"
SPOOL_BYTES = 1 << 20  # of a text that waits for its turn in memory; the rest waits on the disk


@dataclass(frozen=True)
class Job:
    """A file to transcribe and the file that takes its text; None for standard output."""

    name: str
    output: Path | None

    @property
    def done(self) -> bool:
        """Whether the text is there; a device or a pipe never is."""
        return self.output is not None and self.output.is_file()


class InTurn:
    """Texts that several write at once to one output: the first directly, the others wait."""

    def __init__(self, out: TextIO) -> None:
        """Write to `out`."""
        self._out = out
        self._turns: deque[_Turn] = deque()  # the first writes to `out`

    @contextmanager
    def turn(self) -> Iterator[TextIO]:
        """Yield where the next text goes; a text that is broken off before its turn is dropped."""
        turn = _Turn()
        self._turns.append(turn)
        self._go_on()
        try:
            yield cast(TextIO, turn)
            turn.ended = True
        finally:
            if not turn.ended:
                self._turns.remove(turn)
            self._go_on()

    def _go_on(self) -> None:
        while self._turns:
            self._turns[0].begin(self._out)
            if not self._turns[0].ended:
                return
            self._turns.popleft()


class _Turn:
    """A text that waits, or that goes where it belongs."""

    def __init__(self) -> None:
        self.ended = False
        self._spool: IO[str] | None = None  # made when something waits
        self._out: TextIO | None = None

    def write(self, text: str) -> int:
        """Write a piece of it."""
        if self._out is not None:
            return self._out.write(text)
        if self._spool is None:
            self._spool = SpooledTemporaryFile(  # noqa: SIM115 (closed by `begin`)
                SPOOL_BYTES, "w+", encoding="utf-8", errors="surrogatepass", newline=""
            )
        return self._spool.write(text)

    def flush(self) -> None:
        """Let it be seen, if it is its turn."""
        if self._out is not None:
            self._out.flush()

    def begin(self, out: TextIO) -> None:
        """Write what waits, and from now on go to `out`."""
        if self._spool is not None:
            self._spool.seek(0)
            shutil.copyfileobj(self._spool, out)
            self._spool.close()
            self._spool = None
            out.flush()
        self._out = out


def plan(
    names: Sequence[str], output: Path | None, suffix: str, overwrite: bool
) -> tuple[Job, ...]:
    """Decide where the text of every file goes; make the folder if there are several.

    Args:
        names: the files, or "-" for standard input.
        output: a file, a folder, or None for standard output.
        suffix: of the files in a folder, without its dot.
        overwrite: whether a file that is there may be replaced.

    Raises:
        ConfigError: two inputs share an output, an output is an input, or is there and may not be
            replaced, or its folder is missing.
    """
    if output is None:
        return tuple(Job(name, None) for name in names)
    if len(names) == 1 and not output.is_dir():
        if not output.parent.is_dir():
            raise ConfigError(f"the folder {output.parent} does not exist; make it first.")
        jobs: tuple[Job, ...] = (Job(names[0], output),)
    else:
        jobs = _in_folder(names, output, suffix)
    for job in jobs:
        if not overwrite and (len(jobs) == 1 or _beside(job)):
            _refuse_replacing(job)
    _refuse_inputs(jobs)
    if len(names) > 1:
        output.mkdir(parents=True, exist_ok=True)
    return jobs


def _in_folder(names: Sequence[str], folder: Path, suffix: str) -> tuple[Job, ...]:
    if folder.is_file():
        raise ConfigError(f"{folder} is a file and {len(names)} inputs need a folder.")
    if len(names) > 1 and not folder.exists() and folder.suffix.removeprefix(".") in FORMATS:
        raise ConfigError(
            f"{len(names)} inputs need a folder and {folder} is named like one file; name a folder "
            "with --output, or run them apart."
        )
    stems = [_stem(name) for name in names]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ConfigError(
            f"{len(stems)} inputs would share {twice[0]}.{suffix}; rename one or run them apart."
        )
    return tuple(
        Job(name, folder / f"{stem}.{suffix}") for name, stem in zip(names, stems, strict=True)
    )


def _refuse_replacing(job: Job) -> None:
    if job.done:
        raise ConfigError(
            f"{job.output} is there already; name another with --output, or replace it with "
            "--overwrite."
        )


def _refuse_inputs(jobs: Sequence[Job]) -> None:
    inputs = {os.path.realpath(job.name): job.name for job in jobs if job.name != STANDARD_INPUT}
    for job in jobs:
        if job.output is None:
            continue
        same = inputs.get(os.path.realpath(job.output))
        if same is None:
            same = next((name for name in inputs.values() if _same(name, job.output)), None)
        if same is not None:
            raise ConfigError(f"{job.output} is the sound {same} itself; name another --output.")


def _same(name: str, output: Path) -> bool:
    with suppress(OSError, ValueError):
        return os.path.samefile(name, output)
    return False


def _beside(job: Job) -> bool:
    """Whether the text would lie in the folder of its sound, where another's text may lie."""
    if job.output is None or job.name == STANDARD_INPUT:
        return False
    return os.path.realpath(Path(job.name).parent) == os.path.realpath(job.output.parent)


def _stem(name: str) -> str:
    return "stdin" if name == STANDARD_INPUT else Path(name).stem


@contextmanager
def written_whole(path: Path) -> Iterator[TextIO]:
    """Yield a file that takes the place of `path` when the block ends well, and is gone if not.

    A device or a pipe is written to as it is.

    Raises:
        ConfigError: it cannot be written: no such folder, no permission, no space.
    """
    whole = Path(os.path.realpath(path))
    if whole.exists() and not whole.is_file():
        with _opened(path, path) as out:
            yield out
        return
    part = whole.with_name(f".{whole.name}.part")
    try:
        with _opened(part, path) as out:
            yield out
        _put(part, whole)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def _opened(path: Path, asked: Path) -> Iterator[TextIO]:
    """Open `path`, which the user knows as `asked`."""
    try:
        out = path.open("w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise _unwritable(asked, error) from error
    try:
        yield out
        out.flush()
        with suppress(OSError):  # a pipe has nothing to sync
            os.fsync(out.fileno())
    except OSError as error:
        raise _unwritable(asked, error) from error
    finally:
        with suppress(OSError):  # what a full disk did not take is tried again, and fails again
            out.close()


def _put(part: Path, whole: Path) -> None:
    try:
        part.replace(whole)
    except OSError as error:
        raise _unwritable(whole, error) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be written ({error.strerror}); name another --output.")
