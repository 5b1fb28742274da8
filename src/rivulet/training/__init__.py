"""How a model is made: features, augmentation, the loop, export."""
