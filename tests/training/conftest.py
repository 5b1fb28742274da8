"""The data that tests of training share."""

import dataclasses

import pytest
from support import SAMPLES
from support.training import DICTIONARY

from rivulet.corpora.manifest import write_manifest
from rivulet.corpora.sources import sound_folder
from rivulet.training.config import DataConfig


@pytest.fixture
def data(tmp_path):
    """Every sample clip, as a manifest with a dictionary of a few of their words."""
    items = [dataclasses.replace(item, text="THE BOAT") for item in sound_folder(SAMPLES)]
    write_manifest(tmp_path / "list.tsv", items)
    (tmp_path / "dictionary.txt").write_text(DICTIONARY)
    listed = str(tmp_path / "list.tsv")
    return DataConfig(
        (listed,), listed, None, str(tmp_path / "dictionary.txt"), str(tmp_path / "cache")
    )
