"""Shim: `python cli.py …` is `rivulet …`, from a checkout that was not installed too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from rivulet.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
