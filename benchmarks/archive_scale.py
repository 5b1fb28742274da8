"""What an archive of many files costs besides recognition: `python benchmarks/archive_scale.py`.

    books    lists so many files of a second of silence, made here, and does the bookkeeping of a
             whole run (texts, index, ledger, tables) with a stand-in for recognition, and of a
             second run that finds all done
    search   fills an index with so many files of 5 minutes, words drawn by the shipped language
             model's frequencies, and searches in it, each time from opening the index on

Prints a line a step and, as the last line, one JSON object with every number.
"""

import argparse
import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from rivulet.archive.finding import find
from rivulet.archive.index import INDEX_FILE, Index
from rivulet.archive.jobs import Choice, listed
from rivulet.archive.ledger import Ledger, Plan
from rivulet.archive.query import Query
from rivulet.archive.recording import Recorder
from rivulet.archive.records import Job, Result, Settings
from rivulet.checkpoint.folder import LM_FOLDER
from rivulet.checkpoint.folder import find as find_model
from rivulet.decoding.settings import DecoderSettings
from rivulet.events import Final, Word
from rivulet.language.model import LanguageModel
from rivulet.language.tables import NGramTables

A_FOLDER = 1000  # files
WORDS = 750  # in a file of 5 minutes at 150 words a minute
WORD_S = 0.4
QUERIES = (
    "government", "the", '"of the"', "government house", "govern*", "merkel", "kowalczyk",
    '"angela merkel"', "zelensky spoke",
)  # fmt: skip
REPEATS = 5


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("books", "search"))
    parser.add_argument("--files", type=int, default=0, help="(100,000 or 10,000)")
    parser.add_argument("--folder", type=Path, help="where files are made (a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        measure = {"books": _books, "search": _search}[args.what]
        print(json.dumps(measure(Path(folder), args.files)))


def _books(folder: Path, count: int) -> dict[str, Any]:
    count = count or 100_000
    _timed("make", count, lambda: _make(folder / "sound", count))
    out = folder / "results"
    out.mkdir()
    settings = Settings("default", "", DecoderSettings())
    figures: dict[str, Any] = {"files": count}
    for run in ("first", "second"):
        with Ledger(out) as ledger:
            ledger.settle(settings)
            figures[f"{run} list"], plan = _timed(
                f"{run} run: list and plan", count, partial(_plan, folder / "sound", out, ledger)
            )
            assert plan.waiting == (count if run == "first" else 0), plan
            figures[f"{run} record"], _ = _timed(
                f"{run} run: texts, index, ledger, tables",
                count,
                partial(_record, ledger, Recorder(out, ledger, settings, [Index(out)])),
            )
    figures["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(f"peak memory {figures['peak_mb']} MB")
    return figures


def _make(folder: Path, count: int) -> None:
    """Write one second of silence, and copies of it."""
    folder.mkdir()
    one = folder.parent / "second.flac"
    with av.open(str(one), "w") as out:
        stream = out.add_stream("flac", rate=16_000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), "s16", "mono")
        silence.sample_rate = 16_000
        for packet in [*stream.encode(silence), *stream.encode(None)]:
            out.mux(packet)
    for number in range(count):
        inner = folder / f"{number // A_FOLDER:03}"
        inner.mkdir(exist_ok=True)
        shutil.copyfile(one, inner / f"{number:06}.flac")


def _plan(sound: Path, out: Path, ledger: Ledger) -> Plan:
    return ledger.plan(listed([str(sound)], Choice(), out, lambda url: []))


def _record(ledger: Ledger, recorder: Recorder) -> None:
    for job in ledger.waiting():
        recorder.add(Result(job, seconds=1.0, elapsed_s=0.01))
    recorder.close()


def _search(folder: Path, count: int) -> dict[str, Any]:
    count = count or 10_000
    language = find_model("default") / LM_FOLDER
    index = Index(folder, language)
    figures: dict[str, Any] = {"files": count}
    figures["add"], _ = _timed("add to the index", count, lambda: _fill(index, language, count))
    index.close()
    figures["index_mb"] = round((folder / INDEX_FILE).stat().st_size / 1e6)
    print(f"index {figures['index_mb']} MB for {count * WORDS / 1e6:.1f} million words")
    for text in QUERIES:
        took = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            again = Index(folder, language)
            answer = find(again, Query.parse(text))
            again.close()
            took.append(time.perf_counter() - began)
        near = sum(hit.kind == "near" for hit in answer.hits)
        figures[text] = round(statistics.median(took), 3)
        print(f"{figures[text]:.3f} s  {text}: {answer.files} files, {near} near hits shown")
    return figures


def _fill(index: Index, language: Path, count: int) -> None:
    model = LanguageModel.load(language)
    words = np.array(model.words)
    scores = NGramTables.of_sections(model.packed).levels[0].probs[: len(words)]
    shares = 10.0 ** scores.astype(float)
    rng = np.random.default_rng(0)
    for number in range(count):
        texts = rng.choice(words, WORDS, p=shares / shares.sum())
        index.add(_result(number, texts.tolist()))
        if number % 100 == 99:
            index.commit()


def _result(number: int, texts: list[str]) -> Result:
    timed = tuple(
        Word(text, round(i * WORD_S, 2), round((i + 0.9) * WORD_S, 2), 0.9)
        for i, text in enumerate(texts)
    )
    final = Final(0, " ".join(texts), timed, 0.0, timed[-1].end, timed[-1].end)
    name = f"sound/{number:05}.flac"
    return Result(Job(f"/{name}", name, 1), (final,), WORDS * WORD_S)


def _timed(what: str, count: int, call: Callable[[], Any]) -> tuple[float, Any]:
    """Return milliseconds a file and what `call` returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    returned = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    ms = 1000 * wall / count
    print(f"{ms:.3f} ms a file ({1000 * cpu / count:.3f} of CPU): {what}", flush=True)
    return round(ms, 3), returned


if __name__ == "__main__":
    main()
