"""What the command line does before PyTorch is there: help, version, mistakes, Ctrl-C."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, SAMPLES

from rivulet.__main__ import FIRST, OTHERS, main

HEAVY = ("torch", "torchaudio", "numpy", "av", "rich", "flashlight", "jiwer", "matplotlib")

ASK = """
import contextlib, io, json, sys
from rivulet.__main__ import main
told = {}
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as end:
            told[" ".join(arguments)] = end.code
heavy = sorted(set(json.loads(sys.argv[2])) & set(sys.modules))
print(json.dumps([told, heavy]))
"""


def names() -> list[str]:
    return [*FIRST, *OTHERS]


def test_a_command_imports_no_other_but_the_flags_that_many_share() -> None:
    code = (
        "import sys; from rivulet.__main__ import build_parser; build_parser(['replay']); "
        "print([m for m in sys.modules if m.startswith('rivulet.commands.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['rivulet.commands.flags', 'rivulet.commands.replay']"


def test_rivulet_alone_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(command in shown.err for command in FIRST)


@pytest.mark.slow
def test_help_version_and_mistakes_import_nothing_heavy() -> None:
    fine = [["--help"], ["--version"], *([name, "--help"] for name in names())]
    fine += [["bench", kind, "--help"] for kind in ("speed", "accuracy", "latency", "plot")]
    wrong = [[], ["nonsense"], ["transcribe"], ["evaluate"], ["bench"], ["listen", "-t", "doc"]]
    wrong += [["transcribe", "a.wav", "--decoder", "none"], ["bench", "latency", "--limit", "x"]]
    asked = [json.dumps([*fine, *wrong]), json.dumps(HEAVY)]
    done = subprocess.run(
        [sys.executable, "-c", ASK, *asked],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    told, heavy = json.loads(done.stdout)
    assert told == {" ".join(a): 0 for a in fine} | {" ".join(a): 2 for a in wrong}
    assert heavy == []


def test_the_help_names_the_defaults_of_modules_it_does_not_import(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rivulet.acoustic.choices import BLOCK_MS, DEFAULT_BLOCK_MS
    from rivulet.checkpoint import DEFAULT_NAME
    from rivulet.live.microphone import QUEUE_S

    with pytest.raises(SystemExit):
        main(["listen", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    *blocks, last = BLOCK_MS
    assert f"{', '.join(map(str, blocks))} or {last} ({DEFAULT_BLOCK_MS})" in told
    assert f"model name or folder ({DEFAULT_NAME})" in told
    assert f"wait for the recognizer ({QUEUE_S:g})" in told


def test_a_block_that_cannot_be_chosen_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for block in ("0", "50"):
        assert main(["transcribe", str(SAMPLES / "slt.flac"), "--block-ms", block]) == 1
        error = capsys.readouterr().err
        assert error == f"rivulet: --block-ms {block} cannot be used; choose one of " + (
            "(40, 80, 120, 160, 320).\n"
        )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    "line",
    [
        "train --recipe r.json --train a.tsv --dev b.tsv -o run",
        "export run -o made",
        "train-text talk.txt -o english",
    ],
)
def test_without_the_tools_of_training_one_sentence_names_their_extra(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("rivulet.training")]:
        monkeypatch.delitem(sys.modules, name)  # which keep the torch that other tests imported
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    assert main(line.split()) == 1
    told = capsys.readouterr().err
    assert told == "rivulet: this needs the package torch; pip install 'rivulet[train]'.\n"


@pytest.mark.slow
@pytest.mark.parametrize("swallowed", ["pass", "raise ImportError('it failed to import')", "raise"])
def test_ctrl_c_while_the_engine_is_importing_is_quiet(tmp_path: Path, swallowed: str) -> None:
    """Extension modules make an ImportError of an interrupt, importlib's callbacks swallow it."""
    (tmp_path / "onnxruntime.py").write_text(
        "import time\nprint('importing', flush=True)\n"
        f"try:\n    time.sleep(60)\nexcept BaseException:\n    {swallowed}\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "rivulet", "transcribe", str(SAMPLES / "slt.flac")],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == "importing\n"
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 130
        assert program.stderr.read() == ""


def test_ctrl_c_outside_an_import_is_an_exception_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        from rivulet.commands import data

        seen = []

        def interrupted(_args: object) -> int:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                seen.append("cleaned up")
                raise
            return 0

        monkeypatch.setattr(data, "run", interrupted)
        assert main(["data", "folder", "x", "-o", "y.tsv"]) == 130
        assert seen == ["cleaned up"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_full_disk_is_a_sentence_with_what_to_do(monkeypatch, capsys) -> None:
    from rivulet.commands import data

    def full(_args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(data, "run", full)
    assert main(["data", "folder", "x", "-o", "y.tsv"]) == 1
    assert capsys.readouterr().err == (
        "rivulet: No space left on device; make room where the command writes, and give it again.\n"
    )


def test_ctrl_c_before_the_command_is_known_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(
            "rivulet.__main__.build_parser", lambda _: signal.raise_signal(signal.SIGINT)
        )
        assert main(["data"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
