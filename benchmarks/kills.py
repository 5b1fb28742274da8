"""Kill `rivulet transcribe` at random moments and look at what it leaves.

    python benchmarks/kills.py --kills 200 --files 50

A batch of short files is begun, killed after a random time, and begun again on the same folder
until it ends. After every kill each text that is there must be whole: equal to what an undisturbed
run writes. In the end no text may be missing. Every attempt, and its decoder, is a fork of a
process that has read the model, so that kills fall into the work; a copy of the program runs, so
that editing it meanwhile changes nothing. The last line is a JSON object.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rivulet.recognizer import Recognizer

ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FILE_S = 1.0
LATEST_S = 0.5  # of computing before a kill; on a busy machine a clock says little
ENDS = (-signal.SIGPROF, -signal.SIGTERM, 128 + signal.SIGTERM, 128 + signal.SIGINT)  # of killed
PATIENCE = 3  # attempts at a batch that fail without a kill before its texts count as lost


def sounds(folder: Path, count: int) -> list[Path]:
    """Write so many stretches of the sample clips."""
    from rivulet.audio import SAMPLE_RATE, load
    from rivulet.audio.pcm import write_wav

    clips = [load(path) for path in sorted((ROOT / "data" / "samples").glob("*.flac"))]
    made = []
    for number in range(count):
        clip = clips[number % len(clips)]
        size = int(FILE_S * SAMPLE_RATE)
        start = number * 1931 % (len(clip) - size)
        made.append(folder / f"{number:03}.wav")
        write_wav(made[-1], clip[start : start + size], SAMPLE_RATE)
    return made


class ForkedDecoder:
    """What `Worker` needs of a `Popen`: the decoder's process, forked instead of started."""

    def __init__(self) -> None:
        """Begin to decode what is asked."""
        from rivulet.commands.worker import serve

        questions, answers = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            os.close(questions[1])
            os.close(answers[0])
            with suppress(BaseException):
                serve(os.fdopen(questions[0], "rb"), os.fdopen(answers[1], "wb"))
            os._exit(0)
        os.close(questions[0])
        os.close(answers[1])
        self.stdin, self.stdout = os.fdopen(questions[1], "wb"), os.fdopen(answers[0], "rb")

    def poll(self) -> int | None:
        """Return the exit status, if it ended."""
        return wait(self.pid, 0.0)

    def kill(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int | None:
        """Return the exit status when it ended."""
        return wait(self.pid, timeout)


class Batches:
    """Attempts at one batch, each in a process of its own."""

    def __init__(self, files: list[Path]) -> None:
        """Read the model."""
        from rivulet.__main__ import build_parser
        from rivulet.commands import batch, transcribe, worker  # noqa: F401 (imported once for all)

        self._words = ["transcribe", *map(str, files), "--decoder", "greedy", "--model", "tiny"]
        args = build_parser(["transcribe"]).parse_args(self._words)
        recognizer = batch.load_recognizer(args)

        def ready(_: argparse.Namespace) -> "Recognizer":
            return recognizer

        opened = worker.Worker.open

        def open_and_kill(decoder: worker.Worker, *given: object) -> worker.WorkerFile:
            kill, self._kill = self._kill, None
            if kill:  # the first file of the attempt: now the work begins
                kill_later(*kill)
            return opened(decoder, *given)

        batch.load_recognizer = ready
        worker.Worker.open = open_and_kill
        self._kill: tuple[signal.Signals, float] | None = None
        worker.launch = ForkedDecoder

    def attempt(self, folder: Path, kill: tuple[signal.Signals, float] | None = None) -> int:
        """Transcribe in a process that gets a signal after some seconds of computing; its status.

        A process that is killed has the status of SIGPROF, which ends it as SIGKILL would.
        """
        child = os.fork()
        if not child:
            self._run(folder, kill)
        _, status = os.waitpid(child, 0)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(status)

    def _run(self, folder: Path, kill: tuple[signal.Signals, float] | None) -> NoReturn:
        from rivulet.__main__ import main

        code = 1
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup ignores it
            self._kill = kill
            with (folder.parent / "said").open("w") as said:
                os.dup2(said.fileno(), 2)
            code = main([*self._words, "--output", str(folder)])
        except SystemExit as ended:  # a terminate signal's
            code = int(ended.code or 0)
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        finally:
            os._exit(code)


def kill_later(sign: signal.Signals, cpu_s: float) -> None:
    """Let this process get a signal when it has computed so long."""
    if sign == signal.SIGKILL:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
    else:
        signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), sign))
    signal.setitimer(signal.ITIMER_PROF, cpu_s)


def wait(child: int, seconds: float | None) -> int | None:
    """Return the exit status, negative for a signal; None if it still runs after so long."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG if deadline is not None else 0)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() > deadline:
            return None
        time.sleep(0.002)


def texts(folder: Path) -> dict[str, bytes]:
    """What is there, by name; hidden parts are no texts."""
    there = folder.glob("*") if folder.is_dir() else ()
    return {p.name: p.read_bytes() for p in there if not p.name.startswith(".")}


def run(kills: int, count: int, seed: int, seconds: float) -> dict[str, object]:
    """Kill so often, or as often as the time allows."""
    rng = random.Random(seed)
    work = Path(tempfile.mkdtemp(prefix="kills-"))
    batches = Batches(sounds(work, count))
    begun = time.monotonic()
    batches.attempt(work / "whole")
    usual_s = time.monotonic() - begun
    expected = texts(work / "whole")
    assert len(expected) == count, f"{len(expected)} of {count} texts"
    found = {"kills": 0, "batches": 0, "half": 0, "lost": 0, "failed": 0}
    begun = time.monotonic()
    while found["kills"] < kills and time.monotonic() - begun < seconds:
        folder = work / "killed"
        kill_until_done(batches, folder, expected, rng, found, kills)
        found["batches"] += 1
        found["lost"] += len(expected.keys() - texts(folder).keys())
        print(json.dumps({**found, "seconds": round(time.monotonic() - begun, 1)}), flush=True)
        shutil.rmtree(folder)
    shutil.rmtree(work)
    times = {"undisturbed_s": round(usual_s, 1), "seconds": round(time.monotonic() - begun, 1)}
    return {**found, "files": count, **times, "machine": f"{os.cpu_count()} CPUs"}


def kill_until_done(
    batches: Batches,
    folder: Path,
    expected: dict[str, bytes],
    rng: random.Random,
    found: dict[str, int],
    kills: int,
) -> None:
    """Begin a batch, kill it, begin it again, until it ends by itself."""
    failed = 0
    while failed < PATIENCE:
        kill = rng.choice(SIGNALS), rng.uniform(0.001, LATEST_S)
        status = batches.attempt(folder, kill if found["kills"] < kills else None)
        here = texts(folder)
        found["half"] += sum(expected[name] != text for name, text in here.items())
        if status == 0:
            return
        if status in ENDS:
            found["kills"] += 1
        else:  # nobody killed it, and it did not end well
            failed += 1
            found["failed"] += 1
            print(f"an attempt ended with status {status}: {(folder.parent / 'said').read_text()}")


def copied(arguments: list[str]) -> int:
    """Run a copy of this program, whose sources nobody edits."""
    with tempfile.TemporaryDirectory(prefix="kills-program-") as name:
        for part in ("src", "data/samples", "checkpoints/tiny", "benchmarks"):
            shutil.copytree(ROOT / part, Path(name) / part)
        environment = {**os.environ, "PYTHONPATH": str(Path(name) / "src")}
        command = [sys.executable, str(Path(name) / "benchmarks" / "kills.py"), "--here"]
        return subprocess.run([*command, *arguments], env=environment, check=False).returncode


def main() -> int:
    """Read the flags and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="at most so long")
    parser.add_argument("--here", action="store_true", help="run this program and no copy of it")
    args = parser.parse_args()
    if not args.here:
        return copied(sys.argv[1:])
    result = run(args.kills, args.files, args.seed, args.seconds)
    print(json.dumps(result))
    return int(bool(result["half"] or result["lost"]))


if __name__ == "__main__":
    sys.exit(main())
