"""When words were truly spoken: `SpokenWord`, and the CTM files that keep them.

A CTM line is `clip channel start duration word [confidence]`, seconds, a word a line (NIST sclite).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rivulet.errors import AlignmentError

FIELDS = (5, 6)  # with or without a confidence
COMMENT = ";;"  # opens a comment line (NIST)


@dataclass(frozen=True)
class SpokenWord:
    """A word of the reference; `start` and `end` in seconds from the clip's first sample."""

    text: str
    start: float
    end: float


def read_ctm(path: Path) -> dict[str, tuple[SpokenWord, ...]]:
    """Read a CTM file: clip → its words in order of time.

    Raises:
        AlignmentError: the file is missing or empty, a line does not have 5 or 6 fields, or a time
            is no number or negative.
    """
    if not path.is_file():
        raise AlignmentError(f"the CTM {path} does not exist; make one with `rivulet align`.")
    clips: dict[str, list[SpokenWord]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith(COMMENT):
            clip, word = _parse(line, path, number)
            clips.setdefault(clip, []).append(word)
    if not clips:
        raise AlignmentError(f"the CTM {path} holds 0 words; make it again with `rivulet align`.")
    return {clip: tuple(sorted(words, key=lambda w: w.start)) for clip, words in clips.items()}


def write_ctm(path: Path, clips: Mapping[str, Iterable[SpokenWord]], note: str = "") -> int:
    """Write words to the millisecond; return how many.

    Args:
        path: the file.
        clips: clip → its words; a clip's name has no blanks.
        note: where the times come from; a comment at the top.

    Raises:
        AlignmentError: the folder does not exist, or a clip's name has a blank.
    """
    if not path.parent.is_dir():
        raise AlignmentError(f"the folder {path.parent} does not exist; make it first.")
    lines = [f"{COMMENT} {note}"] if note else []
    count = 0
    for clip, words in clips.items():
        if len(clip.split()) != 1:
            raise AlignmentError(f"the clip {clip!r} has a blank in its name; rename it.")
        for word in words:
            lines.append(f"{clip} 1 {word.start:.3f} {word.end - word.start:.3f} {word.text}")
            count += 1
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return count


def check_text(clip: str, words: Sequence[SpokenWord], text: str) -> None:
    """Make sure that the timed words of a clip are those of its text.

    Raises:
        AlignmentError: they differ; the sentence names the first difference.
    """
    timed, wanted = [word.text for word in words], text.split()
    if timed == wanted:
        return
    at = next(
        (i for i, (a, b) in enumerate(zip(timed, wanted, strict=False)) if a != b),
        min(len(timed), len(wanted)),
    )
    named = [repr(side[at]) if at < len(side) else "nothing" for side in (timed, wanted)]
    raise AlignmentError(
        f"the CTM does not match the text of {clip}: it times {len(timed)} words and the text has "
        f"{len(wanted)}, and word {at + 1} is {named[0]} against {named[1]}; make the CTM "
        "again with `rivulet align`."
    )


def _parse(line: str, path: Path, number: int) -> tuple[str, SpokenWord]:
    fields = line.split()
    try:
        if len(fields) not in FIELDS:
            raise ValueError(f"{len(fields)} fields")
        start, duration = float(fields[2]), float(fields[3])
        if not (0.0 <= start < float("inf") and 0.0 <= duration < float("inf")):
            raise ValueError(f"start {start} s, duration {duration} s")
    except ValueError as error:
        raise AlignmentError(
            f"{path} line {number} cannot be read ({error}); "
            "give `clip channel start duration word`, times in seconds."
        ) from error
    return fields[0], SpokenWord(fields[4], start, round(start + duration, 6))
