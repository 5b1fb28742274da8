"""Cues of subtitles: few characters a line, breaks where a reader breathes, time enough to read.

The numbers are those broadcasters use (BBC subtitle guidelines, Netflix timed text style guide).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rivulet.errors import ConfigError
from rivulet.events import Final

PAUSE_S = 0.3  # between two words, as good a place to break as a comma
NEXT_WORD_S = 0.3  # a word may begin so much before the moment that showed the silence before it
SENTENCE, CLAUSE, ANYWHERE = (
    0.0,
    1.0,
    4.0,
)  # what a break costs behind . ? !, behind a comma, elsewhere
CUE, SHORT, TOO_FAST = (
    1.5,
    2.0,
    0.3,
)  # what a cue costs, one too short, each character a second over


@dataclass(frozen=True)
class SubtitleLayout:
    """How subtitles are set.

    line_width: characters a line. max_lines: a cue. min_s, max_s: a cue's time on the screen.
    reading_speed: characters a second, where the sound leaves the time.
    """

    line_width: int = 42
    max_lines: int = 2
    min_s: float = 1.0
    max_s: float = 7.0
    reading_speed: float = 17.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: a line is shorter than 10 characters or there is none.
        """
        if self.line_width < 10 or self.max_lines < 1:
            raise ConfigError(
                f"subtitles of {self.max_lines} lines with {self.line_width} characters cannot be "
                "set; give at least 1 line and 10 characters."
            )


@dataclass(frozen=True)
class Cue:
    """Lines on the screen from `start` to `end`, in seconds."""

    start: float
    end: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Piece:
    """A token and its time."""

    text: str
    start: float
    end: float


def cues(final: Final, layout: SubtitleLayout) -> list[Cue]:
    """Return the cues of a segment, one behind the other; none if nothing is shown."""
    pieces = _pieces(final)
    if not pieces:
        return []
    limit = max(final.end, final.at - NEXT_WORD_S)
    found = []
    ends = _best_ends(pieces, layout)
    for begin, end in zip([0, *ends], ends, strict=False):
        after = pieces[end].start if end < len(pieces) else limit
        found.append(_cue(pieces[begin:end], after, layout))
    return found


def _pieces(final: Final) -> list[_Piece]:
    """Return what is shown with its times; a text without words as one piece."""
    if not final.words:
        return [_Piece(final.display, final.start, final.end)] if final.display else []
    if final.tokens is None:
        return [_Piece(word.text, word.start, word.end) for word in final.words]
    return [
        _Piece(token.text, final.words[token.first].start, final.words[token.last - 1].end)
        for token in final.tokens
    ]


def _cue(pieces: Sequence[_Piece], after: float, layout: SubtitleLayout) -> Cue:
    """Return a cue that stays as long as a reader needs, but not into what comes after."""
    text = " ".join(piece.text for piece in pieces)
    start, end = pieces[0].start, pieces[-1].end
    wanted = max(layout.min_s, len(text) / layout.reading_speed)
    end = max(end, min(start + min(wanted, layout.max_s), after))
    return Cue(start, round(end, 3), wrap(text, layout))


def _best_ends(pieces: Sequence[_Piece], layout: SubtitleLayout) -> list[int]:
    """Return where cues end so that breaks cost least; dynamic programming over the tokens."""
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(pieces) + 1):
        options = []
        for begin in range(end - 1, -1, -1):
            alone = begin == end - 1
            if not alone and not _fits(pieces[begin:end], layout):
                break
            cost = best[begin][0] + _cost(pieces, begin, end, layout)
            options.append((cost, begin))
        best.append(min(options))
    ends = [len(pieces)]
    while best[ends[0]][1]:
        ends.insert(0, best[ends[0]][1])
    return ends


def _fits(pieces: Sequence[_Piece], layout: SubtitleLayout) -> bool:
    """Whether the pieces fit on the screen at once."""
    if pieces[-1].end - pieces[0].start > layout.max_s:
        return False
    lines = wrap(" ".join(piece.text for piece in pieces), layout)
    return len(lines) <= layout.max_lines and max(map(len, lines)) <= layout.line_width


def _cost(pieces: Sequence[_Piece], begin: int, end: int, layout: SubtitleLayout) -> float:
    """Return what a cue of the pieces [begin, end) costs: its break, its shortness, its haste."""
    last = end == len(pieces)
    after = pieces[end - 1].end + layout.min_s if last else pieces[end].start
    seconds = max(after - pieces[begin].start, 0.1)
    characters = sum(len(piece.text) + 1 for piece in pieces[begin:end]) - 1
    haste = max(characters / seconds - layout.reading_speed, 0.0)
    pause = not last and after - pieces[end - 1].end >= PAUSE_S
    cost = 0.0 if last else min(_break(pieces[end - 1].text), CLAUSE if pause else ANYWHERE)
    return CUE + cost + (SHORT if seconds < layout.min_s else 0.0) + TOO_FAST * haste


def _break(text: str) -> float:
    """Return what a break behind a token costs."""
    if text.endswith((".", "?", "!")):
        return SENTENCE
    return CLAUSE if text.endswith((",", ";", ":")) else ANYWHERE


def wrap(text: str, layout: SubtitleLayout) -> tuple[str, ...]:
    """Break a text into as few lines as it needs, of like length, rather behind a mark.

    A word longer than a line stands alone on one.
    """
    words = text.split()
    best: list[tuple[float, float, int]] = [(0.0, 0.0, 0)]  # lines, cost, where the last begins
    for end in range(1, len(words) + 1):
        options = []
        for begin in range(end - 1, -1, -1):
            length = len(" ".join(words[begin:end]))
            if length > layout.line_width and begin < end - 1:
                break
            lines, cost, _ = best[begin]
            uneven = (layout.line_width - length) ** 2 / layout.line_width
            here = 0.0 if end == len(words) else 2.0 * _break(words[end - 1])
            options.append((lines + 1, cost + uneven + here, begin))
        best.append(min(options))
    lines_of: list[str] = []
    end = len(words)
    while end:
        begin = best[end][2]
        lines_of.insert(0, " ".join(words[begin:end]))
        end = begin
    return tuple(lines_of)
