"""`rivulet search DIR "words"`: where words were said in an archive."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.errors import ConfigError

if TYPE_CHECKING:
    from rich.text import Text

    from rivulet.archive.finding import Answer, Hit
    from rivulet.archive.query import Query

MOST_HITS = 10_000
NOT_FOUND = 1  # exit status, as grep's


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "search",
        help="where words were said in an archive",
        description=__doc__,
        epilog='Several words are found within 10 words of each other, a "phrase in quotes" as it '
        "stands, and refor* is reform, reformer and so on. What only sounds like the words comes "
        "after what is exact, and is marked ~: a recognizer misspells names.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="what `rivulet archive` wrote")
    parser.add_argument("words", nargs="+", metavar="WORDS", help="what to find")
    parser.add_argument(
        "-n", "--limit", type=int, default=20, metavar="N", help="hits at most (%(default)s)"
    )
    parser.add_argument(
        "--per-file",
        type=int,
        default=3,
        metavar="N",
        help="of each kind in one file (%(default)s)",
    )
    parser.add_argument("--exact", action="store_true", help="only the words themselves")
    parser.add_argument("--json", action="store_true", help="one JSON object a hit, a line each")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what was found; return 1 if nothing was, as grep does.

    Raises:
        ConfigError: the folder is no archive, or the query holds no word.
    """
    from rivulet.archive.query import Query

    for flag in ("limit", "per_file"):
        if not 1 <= getattr(args, flag) <= MOST_HITS:
            raise ConfigError(
                f"--{flag.replace('_', '-')} {getattr(args, flag)} is outside 1 to {MOST_HITS}."
            )
    query = Query.parse(" ".join(args.words))
    answer = _ask(args, query)
    if args.json:
        for hit in answer.hits:
            print(json.dumps({**asdict(hit), "link": hit.link}))
    else:
        _print(answer, " ".join(args.words))
    return 0 if answer.hits else NOT_FOUND


def _ask(args: argparse.Namespace, query: "Query") -> "Answer":
    """Ask the index; one that is damaged where only this question looks is made again, once."""
    from contextlib import closing
    from sqlite3 import DatabaseError

    from rivulet.archive.finding import find
    from rivulet.archive.index import is_damage
    from rivulet.archive.reindexing import open_index

    asked = (query, args.limit, args.per_file, not args.exact)
    with closing(open_index(args.folder, _say)) as index:
        try:
            return find(index, *asked)
        except DatabaseError as error:
            if not is_damage(error):
                raise
            index.begin_anew()
    with closing(open_index(args.folder, _say)) as index:
        return find(index, *asked)


def _say(sentence: str) -> None:
    print(f"rivulet: {sentence}", file=sys.stderr)


def _print(answer: "Answer", words: str) -> None:
    """Print hits by file; on a terminal the times are links that play there."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, emoji=False)
    place = None
    for hit in answer.hits:
        if hit.place != place:
            console.print(_printable(hit.place), style="bold", markup=False)
            place = hit.place
        line = _line(hit)
        if not console.is_terminal:
            line.append(f"  {hit.link}")
        console.print(line)
    console.print(_counts(answer, words), style="dim", markup=False)


def _printable(name: str) -> str:
    """Return a name without what would move a terminal's cursor or change its colors."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _line(hit: "Hit") -> "Text":
    from rich.style import Style
    from rich.text import Text

    mark = "" if hit.kind == "exact" else f"~{round(100 * hit.likeness)}%"
    line = Text("  ")
    line.append(f"{_clock(hit.start):>8}", Style(color="cyan", link=hit.link))
    line.append(f"  {mark:<4}  ", Style(dim=True))
    line.append(f"{hit.before} " if hit.before else "")
    line.append(hit.match, Style(bold=True, color="yellow"))
    line.append(f" {hit.after}" if hit.after else "")
    return line


def _counts(answer: "Answer", words: str) -> str:
    near = sum(hit.kind == "near" for hit in answer.hits)
    said = f"{words}: {answer.files} {'file has' if answer.files == 1 else 'files have'} it exactly"
    if near:
        said += f", {near} {'place' if near == 1 else 'places'} sound like it (~)"
    return said + ("; --limit shows more." if answer.more else ".")


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
