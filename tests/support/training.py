"""A tiny recipe and its data: what tests of training share."""

from safetensors.torch import load_file

from rivulet.acoustic.config import ModelConfig
from rivulet.training.config import Recipe
from rivulet.training.loop import RESUME_FILE

TINY = Recipe(
    epochs=2,
    clean_epochs=1,
    batch_s=9.0,
    learning_rate=3e-3,
    warmup_steps=5,
    head_weights={"characters": 1.0, "phones": 0.5},
    head_layers={"phones": 1},
    model=ModelConfig(channels=4, hidden=48, layers=2, dropout=0.1),
)
DICTIONARY = "THE 1 DH AH0\nBOAT 1 B OW1 T\nBREAD 1 B R EH1 D\nWATER(2) W AO1 T ER0\n"


def weights(folder):
    return {k: v for k, v in load_file(folder / RESUME_FILE).items() if k.startswith("model.")}
