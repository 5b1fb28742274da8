"""`rivulet archive INPUT... --output DIR`: folders, disks and buckets of sound to text."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from rivulet.commands.flags import (
    add_decoder_flags,
    add_endpoint_flags,
    add_model_flags,
    add_text_flags,
    load_recognizer,
)
from rivulet.errors import ConfigError
from rivulet.text.subtitles import SubtitleLayout
from rivulet.writers import FORMATS

if TYPE_CHECKING:
    from rivulet.archive.ledger import Plan
    from rivulet.archive.records import Settings

TERMINATED = 128 + signal.SIGTERM  # exit status, as a shell gives it
