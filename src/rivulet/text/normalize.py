"""Text as the model writes it."""

import re


def normalize(text: str) -> str:
    """Return `text` as the model writes it: upper case A-Z, apostrophe and single spaces."""
    text = text.upper().replace("’", "'").replace("`", "'")
    return " ".join(re.sub(r"[^A-Z' ]+", " ", text).split())
