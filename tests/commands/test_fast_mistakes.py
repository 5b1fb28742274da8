"""What is wrong is told before anything heavy is imported or loaded."""

import os
import subprocess
import sys

import pytest
from support import ROOT, SAMPLES

CPU_S = 0.5  # of a quiet machine
PROGRAM = """
import resource, sys

sys.argv[0] = "rivulet"
from rivulet.__main__ import main

try:
    code = main(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
used = resource.getrusage(resource.RUSAGE_SELF)
heavy = sorted({"torch", "onnxruntime"} & set(sys.modules))
print(code, used.ru_utime + used.ru_stime, *heavy)
"""


def run(arguments, tmp_path):
    """Exit status, seconds of CPU, heavy modules and what was printed."""
    (tmp_path / "talk.wav").write_text("this is no sound\n" * 100)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    code, seconds, *heavy = done.stdout.splitlines()[-1].split()
    return int(code), float(seconds), heavy, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="seconds of CPU are counted by POSIX")
@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--help"], 0, ""),
        (["transcribe", "nowhere.wav"], 1, "nowhere.wav does not exist"),
        (["transcribe", "https://a.b/c.mp3"], 1, "https://a.b/c.mp3 is an address and no file"),
        (["transcribe", "talk.wav"], 1, "talk.wav"),
        (["transcribe", "talk.wav", "--nonsense"], 2, "unrecognized arguments: --nonsense"),
        (["transcribe", str(SAMPLES / "slt.flac"), "--block-ms", "33"], 1, "--block-ms 33"),
        (["transcribe", str(SAMPLES / "slt.flac"), "-m", "nowhere"], 1, "no model 'nowhere'"),
        (["listen", "--device", "no such microphone"], 1, "rivulet: "),
        (["evaluate", "--manifest", "nowhere.tsv"], 1, "nowhere.tsv does not exist"),
    ],
    ids=lambda value: value[-1][:20] if isinstance(value, list) else None,
)
def test_a_mistake_is_said_at_once(arguments, status, sentence, tmp_path):
    code, seconds, heavy, printed = run(arguments, tmp_path)
    assert code == status
    assert sentence in printed
    assert "Traceback" not in printed
    assert heavy == []
    assert seconds < 2 * CPU_S  # twice, for machines as slow as a crowded runner
