"""Sound files decoded in a process of their own: a crash of FFmpeg costs one file, not the batch.

`python -m rivulet.commands.worker` reads a JSON object a line on standard input, with "path" and
"track", and answers with JSON lines; after one that says `{"samples": n}` come n float32.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

import rivulet
from rivulet.audio import SAMPLE_RATE, AudioFile, Samples
from rivulet.errors import AudioError

MAX_BYTES = 1 << 30  # memory of the process beyond what it begins with


class Worker:
    """Starts the process when it is first needed, and anew after a crash."""

    def __init__(self) -> None:
        """Start nothing."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process now, so that it is ready when it is needed."""
        if self._process is None:
            home = str(Path(rivulet.__file__).parents[1])
            path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
            self._process = subprocess.Popen(  # fixed words, no shell
                [sys.executable, "-m", "rivulet.commands.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the parent, which ends this process
            )

    @property
    def pid(self) -> int | None:
        """The process's number, if it runs."""
        return self._process.pid if self._process else None

    def open(
        self, name: str, track: int | None = None, warn: Callable[[str], None] | None = None
    ) -> "WorkerFile":
        """Open a sound file as `AudioFile` does.

        Raises:
            AudioError: see `AudioFile`, or the process ended.
        """
        self.start()
        return WorkerFile(self, name, track, warn)

    def ask(self, question: dict[str, Any]) -> None:
        """Send one line."""
        with suppress(BrokenPipeError):  # the answer says what happened
            _pipe(self._process, "stdin").write(json.dumps(question).encode() + b"\n")
            _pipe(self._process, "stdin").flush()

    def answer(self) -> dict[str, Any]:
        """Return the next line; empty if the process ended."""
        line = _pipe(self._process, "stdout").readline()
        return dict(json.loads(line)) if line.endswith(b"\n") else {}

    def samples(self, count: int) -> Samples:
        """Return the samples (count,) that follow a line."""
        content = _pipe(self._process, "stdout").read(count * 4)
        return np.frombuffer(content[: len(content) // 4 * 4], np.float32)

    def stop(self) -> int:
        """End the process, whatever it is doing; return its status, negative for a signal."""
        process, self._process = self._process, None
        if process is None:
            return 0
        status = process.poll()
        if status is None:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        return process.wait() if status is None else status

    def crashed(self) -> str:
        """Say how the process ended; the next file gets a new one."""
        with suppress(subprocess.TimeoutExpired):
            if self._process is not None:
                self._process.wait(timeout=5.0)
        status = self.stop()
        if status < 0:
            with suppress(ValueError):
                return f"signal {signal.Signals(-status).name}"
        return f"status {status}"


class WorkerFile:
    """A sound file that a `Worker` decodes; iterating yields what `AudioFile` yields."""

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        worker: Worker,
        name: str,
        track: int | None,
        warn: Callable[[str], None] | None,
    ) -> None:
        """Open `name`; use `Worker.open`."""
        self.name = name
        self._worker = worker
        self._warn = warn
        self._ended = False
        worker.ask({"path": name, "track": track})
        self.declared_s: float | None = self._next().get("opened")

    def _next(self) -> dict[str, Any]:
        """Return the next answer that is neither a warning nor an error."""
        answer = self._worker.answer()
        while "warning" in answer:
            if self._warn:
                self._warn(answer["warning"])
            answer = self._worker.answer()
        self._ended = not answer or "error" in answer or "end" in answer
        if not answer:
            raise AudioError(
                f"{self.name} ended the decoder ({self._worker.crashed()}); "
                "make a fresh copy of the file, or convert it to wav or flac."
            )
        if "error" in answer:
            raise AudioError(answer["error"])
        return answer

    def __iter__(self) -> Iterator[Samples]:
        """Yield mono float32 blocks (n,) at 16 kHz.

        Raises:
            AudioError: see `AudioFile`, or the process ended.
        """
        while "samples" in (answer := self._next()):
            yield self._worker.samples(answer["samples"])

    def close(self) -> None:
        """Be done; a file that was not read to its end costs the process."""
        if not self._ended:
            self._worker.stop()
            self._ended = True

    def __enter__(self) -> "WorkerFile":
        """Enter a `with` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


def _pipe(process: subprocess.Popen[bytes] | None, name: str) -> IO[bytes]:
    pipe: IO[bytes] | None = getattr(process, name, None)
    if pipe is None:
        raise AudioError("the decoder is not running; open the file again.")
    return pipe


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Decode file after file until the questions end."""

    def say(**answer: Any) -> None:
        answers.write(json.dumps(answer).encode() + b"\n")

    for line in questions:
        question = json.loads(line)
        try:
            warn = lambda sentence: say(warning=sentence)  # noqa: E731 (a function of one line)
            with AudioFile(question["path"], question["track"], warn) as audio:
                say(opened=audio.declared_s)
                answers.flush()
                for block in audio:
                    say(samples=len(block))
                    answers.write(np.ascontiguousarray(block, np.float32).tobytes())
            say(end=True)
        except AudioError as error:
            say(error=str(error))
        except (MemoryError, OSError, ValueError) as error:  # of a file that is not as it seems
            say(error=f"{question['path']} cannot be decoded ({error}); make a fresh copy of it.")
        answers.flush()


def _limit_memory() -> None:
    """Let a file that asks for gigabytes fail alone."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + MAX_BYTES, resource.RLIM_INFINITY))


if __name__ == "__main__":
    _limit_memory()
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer)
