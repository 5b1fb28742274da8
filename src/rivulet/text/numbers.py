"""Numbers as a person writes them: text2num finds them, rules as data say what else they are.

Cardinals, ordinals and decimals come from `text2num`; years, dates, times, money, fractions, digits
one by one and units from rules in a file (`english/numbers.txt` says how they are written). Where
the words could mean two amounts, they stay words: a wrong amount is worse.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from text_to_num import Token, find_numbers

from rivulet.errors import ConfigError
from rivulet.text.patterns import Atom, Place, Rule, read_places

KEPT = "kept"  # an atom that keeps its words
_PLACE = re.compile(r"\{(\d+)(?:(,|:[a-z0-9]+|@[a-z]+))?\}")


@dataclass(frozen=True)
class Spoken:
    """A word as it was recognized, in lower case, and whether a mark stands behind it."""

    text: str
    comma: bool = False
    sentence_end: bool = False


@dataclass(frozen=True)
class Span:
    """Words [first, last) and how they are written; None if word by word, as they are."""

    text: str | None
    first: int
    last: int


@dataclass(frozen=True)
class NumberRules:
    """A language's rules: classes and tables of words, and the patterns in their order."""

    language: str
    classes: Mapping[str, frozenset[str]]
    tables: Mapping[str, Mapping[str, str]]
    rules: tuple[Rule, ...]

    @classmethod
    def parse(cls, text: str, language: str = "en") -> "NumberRules":
        """Read the rules of a language.

        Raises:
            ConfigError: a line is none of class, table and rule.
        """
        classes: dict[str, frozenset[str]] = {}
        tables: dict[str, dict[str, str]] = {}
        rules = []
        for number, line in enumerate(text.splitlines(), 1):
            kind, _, rest = line.partition(": ")
            pattern, arrow, written = rest.partition(" => ")
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("@"):
                name, *words = line[1:].split()
                classes[name] = frozenset(word.replace("_", " ") for word in words)
            elif line.startswith("="):
                name, *pairs = line[1:].split()
                tables[name] = dict(pair.split("=", 1) for pair in pairs)
            elif arrow or kind == KEPT:
                rules.append(
                    Rule(kind, tuple(read_places(pattern or rest, classes)), written.strip())
                )
            else:
                raise ConfigError(
                    f"line {number} of the number rules is {line!r}; write a class (@), a table "
                    "(=) or `kind: pattern => text`."
                )
        return cls(language, classes, tables, tuple(rules))

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every word that can belong to a number; any other word ends one."""
        words = set(self._figures | self.classes["glue"])
        for rule in self.rules:
            inside = False
            for place in rule.places:
                inside = inside or not place.context
                if inside and not place.negative:
                    words |= {word for phrase in place.words for word in phrase.split()}
        return frozenset(words)

    @cached_property
    def _figures(self) -> frozenset[str]:
        return self.classes["number"] | self.classes["ordinal"]

    def write(self, words: Sequence[Spoken]) -> list[Span]:
        """Return the words in spans, numbers written with digits where that is certain.

        Give a whole run of words of the `vocabulary`, with what stands before and after it.
        """
        if not any(word.text in self._figures for word in words):
            return [Span(None, index, index + 1) for index in range(len(words))]
        atoms = self._atoms(words)
        for rule in self.rules:
            atoms = list(self._apply(rule, atoms, words))
        return list(self._spans(atoms, words))

    def _atoms(self, words: Sequence[Spoken]) -> list[Atom]:
        """Return numbers as text2num finds them, and the words between."""
        found = find_numbers(self._tokens(words), self.language, threshold=0)
        atoms: list[Atom] = []
        at = 0
        for number in found:
            atoms += (self._word(words, index) for index in range(at, number.start))
            spoken = tuple(word.text for word in words[number.start : number.end])
            atoms.append(
                self._number(number.text, number.value, number.is_ordinal, spoken, number.start)
            )
            at = number.end
        return atoms + [self._word(words, index) for index in range(at, len(words))]

    def _word(self, words: Sequence[Spoken], index: int) -> Atom:
        text = words[index].text
        value = 0.0 if text in self.classes["zero"] else None
        return Atom("word", text, index, index + 1, (text,), value)

    def _number(
        self, text: str, value: float, ordinal: bool, spoken: tuple[str, ...], first: int
    ) -> Atom:
        """Return a number as an atom of the kind that the rules know."""
        last = first + len(spoken)
        scale = self.classes["scale"]
        if ordinal:
            ambiguous = len(spoken) > 1 and spoken[-1] == "second"
            return Atom("seconds" if ambiguous else "ordinal", text, first, last, spoken, value)
        if "." in text:
            return Atom("decimal", text, first, last, spoken, value)
        if spoken[0] in scale:
            kind = "scale" if len(spoken) == 1 else "bare"
            return Atom(kind, text, first, last, spoken, value)
        if spoken[-1] in self.classes["large"] and value >= 1e6:
            unit = self._size(spoken[-1])
            if value % unit == 0 and value < 1000 * unit:
                short = f"{value / unit:.0f} {spoken[-1]}"
                return Atom("amount", short, first, last, spoken, value)
        return Atom("cardinal", text, first, last, spoken, value)

    def _tokens(self, words: Sequence[Spoken]) -> "list[Token]":
        tokens: list[Token] = []
        decimals = False  # whether figures behind a point go on
        for index, word in enumerate(words):
            number = word.text in self._figures
            glue = word.text in self.classes["glue"] and self._glues(words, index)
            before = words[index - 1] if index else Spoken("")
            decimals = (decimals and number) or (glue and word.text in self.classes["point"])
            after_zero = before.text in self.classes["zero"] and not glue and not decimals
            apart = before.comma or before.sentence_end or after_zero
            tokens.append(_Token(word, not number and not glue, apart))
        return tokens

    def _glues(self, words: Sequence[Spoken], index: int) -> bool:
        """Whether "and" or "point" joins two parts of one number.

        Only behind hundred, thousand …, and if what follows is smaller: a hundred and two, but not
        a hundred and two hundred.
        """
        texts = [word.text for word in words]
        before, after = texts[index - 1] if index else "", texts[index + 1 : index + 2]
        if texts[index] in self.classes["point"]:
            digit = after and after[0] in self.classes["number"] - self.classes["scale"]
            return bool(digit) and before in self.classes["number"]
        if not after or after[0] not in self._figures or before not in self.classes["scale"]:
            return False
        sizes = list(map(self._size, texts[index + 1 : self._run_end(texts, index + 1)]))
        first = next(filter(None, sizes), 0)
        size = self._size(before)
        hundred_of = before in self.classes["hundred"] and first > size  # … thousand
        between = self.classes["between"] & set(texts[:index])
        ranged = bool(between) and texts.count(texts[index]) == 1
        return (max(sizes) < size or hundred_of) and not ranged

    def _run_end(self, texts: Sequence[str], at: int) -> int:
        """Return where the figures from `at` on end."""
        while at < len(texts) and texts[at] in self._figures:
            at += 1
        return at

    def _size(self, word: str) -> int:
        """Return what hundred, thousand … multiply by; 0 for any other word."""
        return int(self.tables["scale"].get(word, 0))

    def _apply(self, rule: Rule, atoms: list[Atom], words: Sequence[Spoken]) -> Iterator[Atom]:
        """Rewrite what fits a rule, from left to right."""
        at = 0
        while at < len(atoms):
            fitting = self._match(rule, atoms, at, words) if rule.may_begin(atoms[at]) else None
            written = self._fill(rule, fitting) if fitting else None
            if not fitting or written is None:
                yield atoms[at]
                at += 1
                continue
            consumed = [atom for atom, place in fitting if not place.context]
            if rule.kind == KEPT:
                yield from (replace(atom, kind=KEPT) for atom in consumed)
            else:
                spoken = tuple(word for atom in consumed for word in atom.spoken)
                value = next((a.value for a in consumed if a.value is not None), None)
                first, last = consumed[0].first, consumed[-1].last
                yield Atom(rule.kind, written, first, last, spoken, value)
            at += len(consumed)

    def _match(
        self, rule: Rule, atoms: list[Atom], at: int, words: Sequence[Spoken]
    ) -> list[tuple[Atom, Place]] | None:
        """Return what stands in each place if the rule's first consumed place is at `at`."""
        lead = rule.lead
        before = at - lead
        for place, index in zip(rule.places[:lead], range(before, at), strict=True):
            near = atoms[index] if index >= 0 else None
            if not place.fits(near) or (
                near and _closed(words, near.last, place) and not place.negative
            ):
                return None
        found: list[tuple[Atom, Place]] = []
        for place in rule.places[lead:]:
            taken = 0
            while True:
                atom = atoms[at] if at < len(atoms) else None
                apart = bool(found) and atom is not None and _closed(words, atom.first, place)
                if not place.fits(None if apart else atom) or (taken and not place.repeated):
                    break
                if atom is None or apart:
                    taken = 1
                    break
                found.append((atom, place))
                taken, at = taken + 1, at + 1
            if not taken and not place.optional:
                return None
        return found

    def _fill(self, rule: Rule, fitting: list[tuple[Atom, Place]]) -> str | None:
        """Return the text of a rule with its places filled; None if one cannot be."""
        groups = [
            [atom for atom, where in fitting if where is place]
            for place in rule.places
            if not place.context
        ]
        everything = [atom for group in groups for atom in group]
        parts = [
            self._form(groups[int(n) - 1] if int(n) else everything, how)
            for n, how in _PLACE.findall(rule.text)
        ]
        if None in parts:
            return None
        filled = iter(part or "" for part in parts)
        return _PLACE.sub(lambda _: next(filled), rule.text)

    def _form(self, atoms: list[Atom], how: str) -> str | None:
        """Return what stands in a place in one of its forms."""
        if not atoms:
            return ""
        atom = atoms[0]
        if how.startswith("@"):
            return self.tables[how[1:]].get(atom.words)
        if how == ":w":
            return " ".join(a.words for a in atoms)
        if how == ":t":
            return atom.words.capitalize()
        if how == ":2":
            return f"{atom.value:02.0f}"
        if how == ":v":
            return f"{atom.value:.0f}"
        if how == ":m" and atom.kind == "decimal":
            return f"{float(atom.text):,.2f}"
        if how in (",", ":m"):
            return _grouped(atom)
        digits = "".join(map(_digits, atoms))
        if how == ":tollfree" and len(digits) not in (10, 11):
            return None
        return _phone(digits) if how in (":phone", ":tollfree") else digits

    def _spans(self, atoms: list[Atom], words: Sequence[Spoken]) -> Iterator[Span]:
        crowded = {
            index
            for index in range(len(atoms) - 1)
            if _number_like(atoms[index])
            and _number_like(atoms[index + 1])
            and not words[atoms[index].last - 1].comma
            and not words[atoms[index].last - 1].sentence_end
        }
        for index, atom in enumerate(atoms):
            text = None if index in crowded or index - 1 in crowded else _written(atom)
            if text is None:
                yield from (Span(None, i, i + 1) for i in range(atom.first, atom.last))
            else:
                yield Span(text, atom.first, atom.last)


def _number_like(atom: Atom) -> bool:
    return atom.kind not in ("word", KEPT)


def _closed(words: Sequence[Spoken], at: int, place: Place) -> bool:
    """Whether a mark before word `at` keeps a place from being filled."""
    if not 0 < at <= len(words):
        return False
    mark = words[at - 1]
    return mark.sentence_end or (mark.comma and not place.comma)


class _Token(Token):  # type: ignore[misc]
    """A word as text2num takes it."""

    def __init__(self, word: Spoken, foreign: bool, apart: bool) -> None:
        self._word, self._foreign, self._apart = word, foreign, apart

    def text(self) -> str:
        return self._word.text

    def nt_separated(self, previous: Token) -> bool:
        return self._apart

    def not_a_number_part(self) -> bool:
        return self._foreign


def _written(atom: Atom) -> str | None:
    """Return how an atom is written at the end; None keeps its words."""
    if atom.kind in ("word", KEPT, "bare", "scale", "seconds"):
        return None
    if atom.kind in ("cardinal", "ordinal") and (atom.value or 0) < 10:
        return None
    return _grouped(atom) if atom.kind == "cardinal" else atom.text


def _grouped(atom: Atom) -> str:
    return f"{atom.value:,.0f}" if atom.kind in ("cardinal", "bare") else atom.text


def _digits(atom: Atom) -> str:
    """Return an atom as figures one by one; eight hundred five is 800 and 5."""
    if atom.kind == "word":
        return "0"
    spelled = len(atom.spoken) > 1 and not atom.text.endswith(("st", "nd", "rd", "th"))
    if spelled and atom.value is not None and 100 <= atom.value < 1000:
        hundreds, rest = divmod(int(atom.value), 100)
        return f"{hundreds}00" + (str(rest) if rest else "")
    return atom.text


def _phone(digits: str) -> str | None:
    """Return digits as telephone numbers are written; None if too few or if somebody counts."""
    if len(digits) < 3:
        return None
    steps = {int(b) - int(a) for a, b in pairwise(digits)}
    if len(steps) == 1 and steps != {0}:
        return None
    if len(digits) == 11 and digits[0] == "1":
        return f"1-{digits[1:4]}-{digits[4:7]}-{digits[7:]}"
    if len(digits) == 10:
        return f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"
    return f"{digits[:3]}-{digits[3:]}" if len(digits) == 7 else digits
