"""Text as the model writes it."""

import re
import unicodedata

UNDECOMPOSED = str.maketrans(
    {"Æ": "AE", "Œ": "OE", "Ø": "O", "Đ": "D", "Ð": "D", "Þ": "TH", "Ł": "L"}
)
"""Letters that Unicode does not take apart into a plain one and its mark."""


def normalize(text: str) -> str:
    """Return `text` as the model writes it: upper case A-Z, apostrophe and single spaces.

    Letters lose their accents: café is CAFE.
    """
    text = text.upper().replace("’", "'").replace("`", "'")
    if not text.isascii():
        whole = unicodedata.normalize("NFKD", text.translate(UNDECOMPOSED)).upper()
        text = "".join(sign for sign in whole if not unicodedata.combining(sign))
    return " ".join(re.sub(r"[^A-Z' ]+", " ", text).split())
