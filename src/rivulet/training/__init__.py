"""How a model is made: manifests, augmentation, the loop, evaluation.

Nothing in rivulet imports it but the shell.
"""
