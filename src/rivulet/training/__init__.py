"""How a model is made: manifests, augmentation, the loop, evaluation."""
