"""Recipes are read and checked."""

import pytest
from support import ROOT

from rivulet.errors import ConfigError
from rivulet.training.config import read_recipe


@pytest.mark.parametrize("folder", ["data/recipes", "benchmarks/recipes", "docs/lab/recipes"])
def test_shipped_recipes_are_readable(folder):
    recipes = sorted((ROOT / folder).glob("*.json"))
    assert recipes
    for path in recipes:
        assert read_recipe(path, epochs=3).epochs == 3


def test_a_bad_recipe_names_the_field(tmp_path):
    path = tmp_path / "recipe.json"
    for text, says in [
        ('{"epoch": 3}', "has no field 'epoch'; its fields are epochs"),
        ("{", "cannot be read"),
        ('{"epochs": 0}', "epochs is 0"),
        ('{"augment": {"lead_probability": 2.0}}', "lead_probability is 2.0; use 0 to 1"),
        ('{"augment": {"noise_snr_db": [30, 5]}}', "noise_snr_db is 30.0 to 5.0; give the smaller"),
        ('{"augment": {"speeds": []}}', "speeds is nothing; list one or more numbers above 0"),
        ('{"augment": {"speeds": [1.0, 0]}}', "speeds is 1.0, 0.0; list one or more numbers"),
        ('{"augment": {"vtlp_range": [0, 1]}}', "vtlp_range begins at 0.0; use more than 0."),
        ('{"augment": {"lead_s": [0, 1000]}}', "lead_s is 0.0 to 1000.0; use 0 to 30.0 s"),
        ('{"model": {"cell": "cnn"}}', "model.cell: invalid enum value 'cnn'; use gru"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=says):
            read_recipe(path)
