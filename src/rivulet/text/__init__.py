"""Text as the model writes it."""
