"""How a word may be pronounced that a dictionary lacks: good enough to find it in sound, no better.

Phones are those of the CMU dictionary, without stress.
"""

from collections.abc import Callable

Lookup = Callable[[str], str | None]
"""word in lower case → phones separated by blanks, or None."""

UNVOICED = frozenset(["P", "T", "K", "F", "TH"])  # after these a suffix S is S, else Z
SIBILANT = frozenset(["S", "Z", "SH", "ZH", "CH", "JH"])  # after these it is IH Z
LETTERS = {
    "tch": "CH",
    "sch": "SH",
    "igh": "AY",
    "eau": "OW",
    "ch": "CH",
    "ck": "K",
    "sh": "SH",
    "th": "TH",
    "ph": "F",
    "gh": "G",
    "wh": "W",
    "qu": "K W",
    "ng": "NG",
    "kn": "N",
    "wr": "R",
    "ee": "IY",
    "ea": "IY",
    "ie": "IY",
    "oo": "UW",
    "ou": "AW",
    "ow": "OW",
    "oa": "OW",
    "oi": "OY",
    "oy": "OY",
    "ai": "EY",
    "ay": "EY",
    "ei": "EY",
    "ey": "IY",
    "au": "AO",
    "aw": "AO",
    "er": "ER",
    "ir": "ER",
    "ur": "ER",
    "ar": "AA R",
    "or": "AO R",
    "a": "AE",
    "b": "B",
    "c": "K",
    "d": "D",
    "e": "EH",
    "f": "F",
    "g": "G",
    "h": "HH",
    "i": "IH",
    "j": "JH",
    "k": "K",
    "l": "L",
    "m": "M",
    "n": "N",
    "o": "AA",
    "p": "P",
    "q": "K",
    "r": "R",
    "s": "S",
    "t": "T",
    "u": "AH",
    "v": "V",
    "w": "W",
    "x": "K S",
    "y": "IY",
    "z": "Z",
}
LONGEST = 3  # letters in the longest key above


def guess(word: str, lookup: Lookup) -> str:
    """Return phones for `word` in lower case: a known stem and a suffix, or letter by letter."""
    for suffix, phones in (
        ("'s", None),
        ("s'", None),
        ("s", None),
        ("ly", "L IY"),
        ("ing", "IH NG"),
    ):
        stem = word.removesuffix(suffix)
        known = lookup(stem) if stem != word and stem else None
        if known:
            return f"{known} {phones or _plural(known.split()[-1])}"
    return spell(word)


def spell(word: str) -> str:
    """Return the usual sound of each group of letters; other signs are silent."""
    phones: list[str] = []
    rest = word
    while rest:
        size = next((n for n in range(LONGEST, 0, -1) if rest[:n] in LETTERS), 0)
        sound = LETTERS.get(rest[:size], "")
        rest = rest[size or 1 :]
        silent_e = sound == "EH" and not rest and len(phones) > 1
        if sound and not silent_e and phones[-1:] != [sound]:  # a doubled letter sounds once
            phones.append(sound)
    return " ".join(phones) or "AH"


def _plural(last: str) -> str:
    if last in SIBILANT:
        return "IH Z"
    return "S" if last in UNVOICED else "Z"
