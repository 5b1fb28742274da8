"""From samples to log-probabilities: features and the network."""
