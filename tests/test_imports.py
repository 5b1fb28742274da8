"""What runs the shipped model needs neither PyTorch nor the tools of training."""

import subprocess
import sys

import pytest
from support import ROOT, SAMPLES

HIDDEN = """
import sys

for name in ("torch", "torchaudio", "onnx", "matplotlib", "sentencepiece"):
    sys.modules[name] = None  # as if it were not installed

from rivulet.__main__ import main

sys.exit(main(sys.argv[1:]))
"""


def without_torch(*arguments):
    return subprocess.run(
        [sys.executable, "-c", HIDDEN, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT / "src",
        check=False,
    )


@pytest.mark.slow
def test_transcribing_needs_no_pytorch():
    done = without_torch("transcribe", SAMPLES / "slt.flac", "--decoder", "greedy")
    assert done.returncode == 0, done.stderr
    assert "little" in done.stdout


@pytest.mark.slow
def test_without_pytorch_its_engine_is_refused_in_a_sentence():
    done = without_torch("transcribe", SAMPLES / "slt.flac", "--engine", "torch")
    assert done.returncode == 1
    assert "pip install 'rivulet[torch]'" in done.stderr
    assert "Traceback" not in done.stderr
