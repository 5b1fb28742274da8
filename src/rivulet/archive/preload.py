"""Read by the process that workers are forked from: it loads the model before, once for all.

What is loaded here lies in memory that the workers share until they write to it, and they do not.
"""

import os
from contextlib import suppress
from functools import cache

from rivulet.archive.records import Settings
from rivulet.archive.work import recognizer_of
from rivulet.errors import RivuletError
from rivulet.recognizer import Recognizer

SETTINGS_VARIABLE = "RIVULET_ARCHIVE_SETTINGS"  # names the settings, as JSON, to this process


@cache
def loaded(settings: str) -> Recognizer:
    """Return the recognizer of settings in JSON, loading it where that was not done before.

    Raises:
        CheckpointError: the model is missing or altered.
        ConfigError: the settings do not fit it.
    """
    return recognizer_of(Settings.from_json(settings))


if SETTINGS_VARIABLE in os.environ and __name__ == "rivulet.archive.preload":
    with suppress(RivuletError, ValueError):  # each worker says it in its own words
        loaded(os.environ[SETTINGS_VARIABLE])
