"""Cased and punctuated text as the tagger's examples: words as recognized, and what was lost."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from num2words import num2words

from rivulet.text.labels import Case, Mark
from rivulet.text.words import case_of

ABBREVIATIONS = {
    "Mr.": "Mister",
    "Mrs.": "Missus",
    "Dr.": "Doctor",
    "St.": "Saint",
    "vs.": "versus",
    "etc.": "etcetera",
    "e.g.": "for example",
    "i.e.": "that is",
    "a.m.": "AM",
    "p.m.": "PM",
    "Jr.": "Junior",
    "Sr.": "Senior",
    "Prof.": "Professor",
    "Capt.": "Captain",
    "Col.": "Colonel",
    "Gen.": "General",
    "No.": "No",
}
_ABBREVIATION = re.compile(
    r"(?<!\w)(" + "|".join(re.escape(short) for short in ABBREVIATIONS) + ")(?!\\w)"
)
_INITIALS = re.compile(r"\b(?:[A-Z]\.){2,}|\b[A-Z]\.(?= [A-Z])")
_HOST = re.compile(r"(?<=\w)\.(?=(?:com|org|net|io|dev|fm|js|ai|me)\b)", re.IGNORECASE)
_TOKEN = re.compile(
    r"[\"“]|[A-Za-z][A-Za-z']*|\$?\d[\d,.:]*\w*%?|\.{2,}|…|--+|[—–]|(?<=\s)-(?=\s)|[.,;:?!]"
)
_MARKS = {
    ",": Mark.COMMA,
    ":": Mark.COMMA,
    "—": Mark.COMMA,
    "–": Mark.COMMA,
    "-": Mark.COMMA,
    ".": Mark.PERIOD,
    ";": Mark.PERIOD,
    "…": Mark.COMMA,
    "?": Mark.QUESTION,
    "!": Mark.EXCLAMATION,
}
_STRENGTH = (Mark.NONE, Mark.COMMA, Mark.PERIOD, Mark.EXCLAMATION, Mark.QUESTION)
MAX_UPPER = 0.5  # a paragraph with a larger share of capitals is a heading


@dataclass
class Example:
    """A paragraph: words in lower case, the mark after each, and the case of each.

    `case` is None where the text does not tell: after a sentence's end every word is capitalized.
    """

    words: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    cases: list[Case | None] = field(default_factory=list)
    mixed: Counter[str] = field(default_factory=Counter)
    _opens: bool = True  # whether a capital would be the place's, not the word's
    _trails: bool = False  # whether the last mark were dots

    def _add(self, written: str) -> None:
        case = case_of(written)
        if case is Case.MIXED:
            self.mixed[written.removesuffix("'s")] += 1
        if self._trails and case is Case.TITLE and not written.startswith("I'") and written != "I":
            self.marks[-1], self._opens = max(self.marks[-1], Mark.PERIOD), True
        opens, self._opens, self._trails = self._opens, False, False
        self.words.append(written.lower())
        self.marks.append(Mark.NONE)
        self.cases.append(None if opens and case is Case.TITLE else case)

    def _mark(self, sign: str) -> None:
        if self.marks:
            self._trails = self._trails or sign == "…" or sign[:2] == ".."
            mark = Mark.COMMA if self._trails else _MARKS[sign[0]]
            self.marks[-1] = max(self.marks[-1], mark, key=_STRENGTH.index)
            self._opens = self._opens or sign == ":" or self.marks[-1].ends_sentence


def parse(paragraph: str) -> Example | None:
    """Return the example that a paragraph holds, or None if it is a heading or has no word."""
    text = paragraph.replace("’", "'").replace("‘", "'").replace("\u00a0", " ")
    text = _ABBREVIATION.sub(lambda found: ABBREVIATIONS[found[0]], text)
    text = _INITIALS.sub(lambda found: found[0].replace(".", " "), text)
    text = _HOST.sub(" dot ", text).replace("&", " and ")
    example = Example()
    for token in _TOKEN.findall(text):
        if token in ('"', "“"):
            example._opens = True
        elif token[0].isalpha():
            stripped = token.strip("'")
            if stripped:
                example._add(stripped)
        elif token[0] == "$" or token[0].isdigit():
            spoken, sign = spell(token)
            for word in spoken:
                example._add(word)
            if sign:
                example._mark(sign)
        else:
            example._mark(token)
    capitals = sum(case is Case.UPPER for case in example.cases)
    if not example.words or capitals > MAX_UPPER * len(example.words):
        return None
    return example


def spell(token: str) -> tuple[list[str], str]:
    """Return how a token with digits is spoken, and the mark that stood at its end."""
    sign = token[-1] if token[-1] in ",.:" else ""
    body = token.rstrip(",.:").replace(",", "")
    money, percent = body.startswith("$"), body.endswith("%")
    body = body.strip("$%")
    found = re.fullmatch(r"(\d+)(?:([.:])(\d+))?(st|nd|rd|th|s|k|am|pm)?", body, re.IGNORECASE)
    if not found or len(found[1]) > 9:
        return ["number"], sign
    whole, point, rest, suffix = found.groups()
    suffix = (suffix or "").lower()
    if suffix in ("st", "nd", "rd", "th"):
        said = num2words(int(whole), to="ordinal")
    elif len(whole) == 4 and 1100 <= int(whole) < 2100 and not money and "," not in token:
        said = num2words(int(whole), to="year") + ("s" if suffix == "s" else "")
    else:
        said = num2words(int(whole)) + ("s" if suffix == "s" else "")
    if point == ":" and rest:
        said += " " + ("o'clock" if int(rest) == 0 else num2words(int(rest[:2])))
    elif point and rest:
        said += " point " + " ".join(num2words(int(digit)) for digit in rest)
    words = re.findall(r"[a-z']+", said)
    words += {"k": ["thousand"], "am": ["am"], "pm": ["pm"]}.get(suffix, [])
    return words + ["percent"] * percent + ["dollars"] * money, sign


def examples(lines: Iterable[str]) -> Iterator[Example]:
    """Yield what the paragraphs of a text hold, a paragraph a line."""
    yield from filter(None, map(parse, lines))
