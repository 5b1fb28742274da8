"""Build search and tagger in C++ where there is a compiler; all else is in pyproject.toml."""

import sys

from pybind11.setup_helpers import Pybind11Extension
from setuptools import find_namespace_packages, setup

SEARCH = "src/rivulet/decoding/_beam"
HEADERS = ("sections", "ngram", "graph", "subwords", "states", "search", "reading")
# sums in the order and precision that are written, so that every machine finds the same words
FLAGS = ["/O2", "/fp:precise"] if sys.platform == "win32" else ["-O3", "-ffp-contract=off", "-Wall"]
MODELS = ("default", "tiny")  # in the wheel, so that it works from any folder

setup(
    package_dir={"": "src", "rivulet.checkpoints": "checkpoints"},
    packages=[
        *find_namespace_packages(
            "src", exclude=["rivulet.decoding._beam*", "rivulet.text._tagger*"]
        ),
        "rivulet.checkpoints",
    ],
    package_data={
        "rivulet": ["**/*"],
        "rivulet.checkpoints": [f"{m}/{g}" for m in MODELS for g in ("*", "lm/*")],
    },
    exclude_package_data={
        "": ["*.py[cod]", "*.so", "_beam/*", "decoding/_beam/*", "_tagger/*", "text/_tagger/*"]
    },
    ext_modules=[
        Pybind11Extension(
            "rivulet.decoding._beam",
            [f"{SEARCH}/module.cpp"],
            depends=[f"{SEARCH}/{name}.hpp" for name in HEADERS],
            cxx_std=17,
            extra_compile_args=FLAGS,
            optional=True,  # without it flashlight searches, far slower
        ),
        Pybind11Extension(
            "rivulet.text._tagger",
            ["src/rivulet/text/_tagger/module.cpp"],
            cxx_std=17,
            extra_compile_args=FLAGS,
            optional=True,  # without it NumPy steps
        ),
    ],
)
