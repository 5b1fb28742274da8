"""What the beam saw of a word, and the chance that it is right."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ConfidenceConfig:
    """A logistic regression from what the search saw of a word to the chance that it is right.

    agreement: weight of the mean log-ratio, over its frames, of the path to the likeliest phone:
        how far lexicon and language model pulled it from the sound; at most 0.
    sharpness: weight of the mean log-probability of the likeliest phone; at most 0.
    phones: weight of the frames in which it has a phone, up to 8.
    measured_on: the data, in words.
    """

    bias: float = 1.0
    agreement: float = 3.0
    sharpness: float = 3.0
    phones: float = 0.1
    measured_on: str = "not measured"


@dataclass(frozen=True)
class WordEvidence:
    """What the search saw of a word; the fields are those of `ConfidenceConfig`."""

    agreement: float
    sharpness: float
    phones: int

    @property
    def features(self) -> tuple[float, ...]:
        """What the weights of `ConfidenceConfig` multiply, in its order."""
        return (1.0, self.agreement, self.sharpness, float(min(self.phones, 8)))

    def confidence(self, config: ConfidenceConfig) -> float:
        """Return the chance that the word is right, 0 to 1."""
        weights = (config.bias, config.agreement, config.sharpness, config.phones)
        logit = sum(w * x for w, x in zip(weights, self.features, strict=True))
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))
