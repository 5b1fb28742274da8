"""Sound files decoded in a process of their own: a crash of FFmpeg costs one file, not the batch.

`python -m rivulet.commands.worker` reads a JSON object a line on standard input. Every line names a
"file" by number; the first of a file its "path" and "track", and the blocks to "skip" if it is read
anew after a crash. Every further line asks for a block, or says "close". Answers are JSON lines of
the same "file"; after one that says `{"samples": n}` come n float32.
"""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import IO, Any

import numpy as np

import rivulet
from rivulet.audio import SAMPLE_RATE, AudioFile, Samples
from rivulet.errors import AudioError

MAX_BYTES = 1 << 30  # memory of the process beyond what it begins with

Answer = dict[str, Any]


def launch() -> subprocess.Popen[bytes]:
    """Start a process that decodes, with pipes to and from it."""
    home = str(Path(rivulet.__file__).parents[1])
    path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(  # fixed words, no shell
        [sys.executable, "-m", "rivulet.commands.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for the parent, which ends this process
    )


class Worker:
    """Starts the process when it is first needed, and anew after a crash.

    Several files may be open; their blocks are decoded as they are asked for.
    """

    def __init__(self) -> None:
        """Start nothing."""
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()
        self._files: dict[int, WorkerFile] = {}  # that are open
        self._asked: deque[int] = deque()  # whose answers are on their way

    def start(self) -> None:
        """Start the process now, so that it is ready when it is needed."""
        self._process = self._process or launch()

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

    def add(self, file: "WorkerFile") -> int:
        """Return the number of a file that opens."""
        number = next(self._numbers)
        self._files[number] = file
        return number

    def remove(self, number: int) -> None:
        """Forget a file; what is still on its way is thrown away."""
        self._files.pop(number, None)

    def holds(self, number: int) -> bool:
        """Say whether a file is open."""
        return number in self._files

    def ask(self, question: dict[str, Any], answered: bool = True) -> None:
        """Send one line, which is `answered` or not."""
        if answered:
            self._asked.append(question["file"])
        with suppress(BrokenPipeError):  # the answer says what happened
            _pipe(self._process, "stdin").write(json.dumps(question).encode() + b"\n")
            _pipe(self._process, "stdin").flush()

    def read(self) -> None:
        """Hand the next answer to its file; after a crash, go on in a new process."""
        answer = self._next()
        if answer is None:
            self._begin_anew()
            return
        if "warning" not in answer:
            self._asked.popleft()
        if (file := self._files.get(answer["file"])) is not None:
            file.take(answer)

    def _next(self) -> Answer | None:
        """Return the next answer, its samples (n,) in place; None if the process ended."""
        line = _pipe(self._process, "stdout").readline()
        if not line.endswith(b"\n"):
            return None
        answer: Answer = json.loads(line)
        if (length := answer.get("samples")) is not None:
            content = _pipe(self._process, "stdout").read(length * 4)
            if len(content) < length * 4:
                return None
            answer["samples"] = np.frombuffer(content, np.float32)
        return answer

    def _begin_anew(self) -> None:
        """Tell the file that was being decoded of the crash; the others go on where they were."""
        why = self._crashed()
        asked, self._asked = list(self._asked), deque()
        crashed = self._files.get(asked[0]) if asked else None
        if crashed is not None:
            crashed.crashes += 1
            # another file may have spoiled the memory, so that it gets a second try
            if len(self._files) == 1 or crashed.crashes > 1:
                self.remove(asked[0])
                crashed.take({"error": crashed.ended_by(why)})
        for number, file in list(self._files.items()):
            self.start()
            file.resume(number in asked)

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

    def _crashed(self) -> str:
        """Say how the process ended."""
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
        self.crashes = 0
        self._worker, self._track, self._warn = worker, track, warn
        self._answers: deque[Answer] = deque()
        self._opened = False
        self._blocks = 0  # that came
        self._number = worker.add(self)
        worker.ask(self._opening())
        self.declared_s: float | None = self._next().get("opened")

    def _opening(self) -> dict[str, Any]:
        return {"file": self._number, "path": self.name, "track": self._track}

    def take(self, answer: Answer) -> None:
        """Keep an answer until it is asked for."""
        if self._opened and "opened" in answer:
            return  # anew, after a crash
        self._opened = self._opened or "opened" in answer
        self._blocks += "samples" in answer
        self._answers.append(answer)

    def resume(self, asked: bool) -> None:
        """Be opened in a new process; `asked` if an answer was on its way."""
        if not self._opened:
            self._worker.ask(self._opening())
            return
        self._worker.ask(self._opening() | {"skip": self._blocks})
        if asked:
            self._worker.ask({"file": self._number})

    def ended_by(self, why: str) -> str:
        """Say that decoding this file ended the process."""
        return (
            f"{self.name} ended the decoder ({why}); "
            "make a fresh copy of the file, or convert it to wav or flac."
        )

    def _next(self) -> Answer:
        """Return the next answer that is neither a warning nor an error."""
        while True:
            while not self._answers:
                self._worker.read()
            answer = self._answers.popleft()
            if "error" in answer:
                self._worker.remove(self._number)
                raise AudioError(answer["error"])
            if "warning" not in answer:
                return answer
            if self._warn:
                self._warn(answer["warning"])

    def __iter__(self) -> Iterator[Samples]:
        """Yield mono float32 blocks (n,) at 16 kHz.

        Raises:
            AudioError: see `AudioFile`, or the process ended.
        """
        self._worker.ask({"file": self._number})
        while "samples" in (answer := self._next()):
            self._worker.ask({"file": self._number})  # is decoded while this one is heard
            yield answer["samples"]
        self._worker.remove(self._number)

    def close(self) -> None:
        """Be done, wherever the file was."""
        if self._worker.holds(self._number):
            self._worker.remove(self._number)
            self._worker.ask({"file": self._number, "close": True}, answered=False)

    def __enter__(self) -> "WorkerFile":
        """Enter a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def _pipe(process: subprocess.Popen[bytes] | None, name: str) -> IO[bytes]:
    pipe: IO[bytes] | None = getattr(process, name, None)
    if pipe is None:
        raise AudioError("the decoder is not running; open the file again.")
    return pipe


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Decode the files that are asked for until the questions end."""
    opened: dict[int, Decoded] = {}
    for line in questions:
        question = json.loads(line)
        file = opened.setdefault(question["file"], Decoded(question, answers))
        try:
            file.answer(question)
        except AudioError as error:
            file.say(error=str(error))
        except (MemoryError, OSError, ValueError) as error:  # of a file that is not as it seems
            file.say(error=f"{file.name} cannot be decoded ({error}); make a fresh copy of it.")
        if file.ended:
            file.close()
            del opened[question["file"]]
        answers.flush()


class Decoded:
    """A file in the process that decodes it."""

    def __init__(self, question: dict[str, Any], answers: IO[bytes]) -> None:
        """Answer the questions that begin with `question`; open nothing yet."""
        self.name = str(question.get("path", "a file that is not open"))
        self.ended = False
        self._number = question["file"]
        self._answers = answers
        self._audio: AudioFile | None = None
        self._blocks: Iterator[Samples] = iter(())
        self._quiet = False  # while what was said before is said again

    def say(self, **answer: Any) -> None:
        """Answer one line."""
        self.ended = "error" in answer or "end" in answer
        self._answers.write(json.dumps({"file": self._number, **answer}).encode() + b"\n")

    def answer(self, question: dict[str, Any]) -> None:
        """Open, give a block, or be closed.

        Raises:
            AudioError: see `AudioFile`.
        """
        if "path" in question:
            self._open(question)
        elif "close" in question:
            self.ended = True
        elif (block := next(self._blocks, None)) is None:
            self.say(end=True)
        else:
            self.say(samples=len(block))
            self._answers.write(np.ascontiguousarray(block, np.float32).tobytes())

    def _open(self, question: dict[str, Any]) -> None:
        skipped = question.get("skip", 0)
        self._quiet = skipped > 0
        self._audio = AudioFile(self.name, question["track"], self._warn)
        self._blocks = iter(self._audio)
        for _ in islice(self._blocks, skipped):
            pass
        self._quiet = False
        self.say(opened=self._audio.declared_s)

    def _warn(self, sentence: str) -> None:
        if not self._quiet:
            self.say(warning=sentence)

    def close(self) -> None:
        """Close the file."""
        if self._audio is not None:
            self._audio.close()


def _limit_memory() -> None:
    """Let a file that asks for gigabytes fail alone."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + MAX_BYTES, resource.RLIM_INFINITY))


if __name__ == "__main__":
    import av  # noqa: F401 (now, while the parent reads the model)

    _limit_memory()
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer)
