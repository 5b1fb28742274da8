"""The weights that came home → a checkpoint: `python unpack.py average.pt START RECIPE OUTPUT`.

START is the checkpoint that the training began with; `benchmarks/ship.py OUTPUT` goes on from here.
"""

import sys
from pathlib import Path

import torch

from rivulet import checkpoint
from rivulet.training.config import read_recipe
from rivulet.training.heads import HeadedModel


def main() -> None:
    """Write the checkpoint, without a language model."""
    weights, start, recipe, output = sys.argv[1:]
    begun = checkpoint.load(start, "torch")
    assert begun.phones is not None
    sizes = {"bpe-1000": len(begun.tokenizer), "phones": len(begun.phones)}
    model = HeadedModel(read_recipe(Path(recipe)).model, sizes, {})
    model.load_state_dict({k: v.float() for k, v in torch.load(weights).items()})
    made = checkpoint.Checkpoint.of(
        model.with_output("bpe-1000", "phones"),
        begun.tokenizer,
        begun.features,
        begun.torch.statistics,
        phones=begun.phones,
        timing=begun.timing,
        beam=begun.beam,
        name=begun.name,
    )
    checkpoint.save(made, Path(output), 16)


if __name__ == "__main__":
    main()
