"""How a word may be pronounced that a dictionary lacks: good enough to find it in sound, no better.

Phones are those of the CMU dictionary, without stress.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

Lookup = Callable[[str], str | None]
"""word in lower case → phones separated by blanks, or None."""

Sound = Callable[[str], str]
"""word in lower case → phones separated by blanks."""

PHONES = (  # the 39 of the CMU dictionary
    *("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"),
    *("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH"),
    *("T", "TH", "V", "W", "Y", "Z", "ZH"),
)
UNVOICED = frozenset(["P", "T", "K", "F", "TH"])  # after these a suffix S is S, else Z
SIBILANT = frozenset(
    ["S", "Z", "SH", "ZH", "CH", "JH"]
)  # after these it is AH Z, nearly always so in CMU 0.6
VOWELS = "aeiouy"
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


def looked_up_in(known: Mapping[str, Sequence[Sequence[str]]]) -> Lookup:
    """Return the look-up of first pronunciations in `known`: word in upper case → its sounds."""

    def lookup(word: str) -> str | None:
        sounds = known.get(word.upper())
        return " ".join(sounds[0]) if sounds else None

    return lookup


def guess(word: str, lookup: Lookup, sound: Sound | None = None) -> str:
    """Return phones for `word` in lower case: a known stem and its ending, or by its letters.

    Args:
        word: letters and apostrophes.
        lookup: the pronunciations that are known.
        sound: how letters sound where no rule helps; the usual sound of each group by default.
    """
    sound = sound or spell
    known = derive(word, lookup)
    if known is None and word.endswith("'s") and len(word) > len("'s"):
        stem = sound(word.removesuffix("'s"))
        known = f"{stem} {_plural(stem.split()[-1])}"
    return known or sound(word)


def derive(word: str, lookup: Lookup) -> str | None:
    """Return phones for `word` in lower case if it is a known word with a regular ending."""
    for ending, phones in ENDINGS.items():
        base = word.removesuffix(ending)
        if base == word or len(base) < MIN_STEM:
            continue
        for stem in _stems(base, ending):
            known = lookup(stem)
            if known:
                last = known.split()[-1]
                return f"{known} {phones(last) if callable(phones) else phones}".strip()
    return None


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


def _stems(base: str, ending: str) -> Iterator[str]:
    """Yield what `base` may be without its ending: hop → hope, hopp → hop, cri → cry."""
    bare = base + "e"
    if ending[0] not in VOWELS and ending != "'d":
        yield base
    elif base[-1] not in VOWELS and base[-2] in VOWELS and base[-3:-2] not in tuple(VOWELS):
        yield from (bare, base)
    else:
        yield from (base, bare)
    if ending[0] in VOWELS and base[-1] == base[-2]:
        yield base[:-1]
    if base[-1] == "i":
        yield base[:-1] + "y"


def _plural(last: str) -> str:
    if last in SIBILANT:
        return "AH Z"
    return "S" if last in UNVOICED else "Z"


def _past(last: str) -> str:
    if last in ("T", "D"):
        return "AH D"
    return "T" if last in UNVOICED | {"S", "SH", "CH"} else "D"


MIN_STEM = 2  # letters
ENDINGS: dict[str, str | Sound] = {
    "'s": _plural,
    "s'": _plural,
    "'": "",
    "'d": _past,
    "'ll": "AH L",
    "s": _plural,
    "es": _plural,
    "ed": _past,
    "ing": "IH NG",
    "in'": "IH N",
    "ings": "IH NG Z",
    "ly": "L IY",
    "ness": "N AH S",
    "less": "L AH S",
    "er": "ER",
    "ers": "ER Z",
    "est": "AH S T",
}
"""What a regular ending adds, in the order in which endings are tried."""
