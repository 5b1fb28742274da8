"""Imports point left only: the order of docs/architecture.md, which is the order of the data."""

import ast

import pytest
from conftest import ROOT

ORDER = [
    "errors",
    "textfiles",
    "events",
    "audio",
    "ctm",
    "devices",
    "microphone",
    "doctor",
    "features",
    "tokenizer",
    "pieces",
    "model",
    "quantization",
    "pronunciation",
    "ngram",
    "letters",
    "lm",
    "scoring",
    "search",
    "confidence",
    "decoder",
    "beam",
    "spelled",
    "endpoint",
    "checkpoint",
    "recognizer",
    "writers",
    "live",
    "session",
    "session_replay",
    "listening",
    "console",
    "metrics",
    "latency",
    "latency_report",
    "calibration",
    "synthesis",
    "alignment",
    "plots",
    "benchmark",
    "training",
    "language",
    "engines",
    "replay",
    "comparison",
    "commands",
    "__main__",
]
SOURCE = ROOT / "src" / "rivulet"
TRAINING_ORDER = [
    "manifest",
    "subset",
    "corpora",
    "corpus",
    "augment",
    "targets",
    "config",
    "batches",
    "precision",
    "gru",
    "heads",
    "start",
    "optimizer",
    "resume",
    "log",
    "material",
    "rates",
    "loop",
    "export",
    "evaluation",
]


def imported(path, prefix):
    """Names of the project's modules that `path` imports, one level below `prefix`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith(prefix + "."):
                yield name.removeprefix(prefix + ".").split(".")[0]


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_from_its_left(name):
    path = SOURCE / f"{name}.py"
    files = [path] if path.exists() else sorted((SOURCE / name).glob("*.py"))
    for file in files:
        for other in imported(file, "rivulet"):
            if other in ORDER and other != name:
                assert ORDER.index(other) < ORDER.index(name), f"{file.name} imports {other}"


@pytest.mark.parametrize("name", TRAINING_ORDER)
def test_training_imports_only_from_its_left(name):
    for other in imported(SOURCE / "training" / f"{name}.py", "rivulet.training"):
        if other in TRAINING_ORDER:
            assert TRAINING_ORDER.index(other) < TRAINING_ORDER.index(name), f"imports {other}"


def test_every_module_has_its_place():
    there = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__init__", "__pycache__", "checkpoints"} == set(ORDER)


def test_every_training_module_has_its_place():
    there = {path.stem for path in (SOURCE / "training").glob("*.py")} - {"__init__"}
    assert there == set(TRAINING_ORDER)


def test_the_recognizer_needs_nothing_of_training():
    left = ORDER[: ORDER.index("training")]
    for name in left:
        path = SOURCE / f"{name}.py"
        if path.exists():
            assert "training" not in set(imported(path, "rivulet")), name
