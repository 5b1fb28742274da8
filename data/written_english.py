"""Cased, punctuated English from public repositories for `rivulet train-text`, a paragraph a line.

usage: python data/written_english.py OUT.txt REPOSITORY... [--words N] [--under FOLDER...]
           [--keep-out PROGRAM]

A repository is a git folder or an address to clone. thechangelog/transcripts (CC BY-SA 4.0, talk)
and LuEE-C/FewShotAuthorClassificationMetaLearning (books in the public domain) made the shipped
tagger. Of Markdown the speakers' names, links and time stamps are taken off; books come as plain
text or TEI. With --keep-out every text goes through a program that drops lines; a book of which it
drops four or more is left out whole.
"""

import argparse
import html
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SKIPPED = re.compile(  # lines of Markdown that nobody says; a name alone says who speaks next
    r"[#|>!-]|https?:|[^:.?!]{1,60}:$"
)
STAMP = re.compile(r"\\?\[\d+:\d+(:\d+)?\\?\]|\((\d+:)?\d+:\d+\)|\b\d\d:\d\d:\d\d\b")
SPEAKER = re.compile(r"\*\*[^*]{1,60}\*\*:?\s*|(?:[^\W\d_a-z][\w.'-]*\s?){1,4}:\s+")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
NOISE = re.compile(r"https?://\S+|\\?\[[^\]]*\\?\]|[*_`#<>]")
TOO_MANY = 4  # lines dropped of one book


def markdown(text: str) -> Iterator[str]:
    """Yield what is said in a transcript."""
    for line in re.sub(r"^---\n.*?\n---\n", "", text, flags=re.S).split("\n"):
        said = STAMP.sub("", line.strip())
        if not said or SKIPPED.match(said):
            continue
        said = LINK.sub(r"\1", said[found.end() :] if (found := SPEAKER.match(said)) else said)
        if cleaned := NOISE.sub("", said).strip():
            yield cleaned


def book(text: str) -> Iterator[str]:
    """Yield the paragraphs of a plain text."""
    for paragraph in re.split(r"\n\s*\n", text):
        joined = re.sub(r"\[[^\]]*\]|[_*]", "", re.sub(r"\s+", " ", paragraph)).strip()
        if len(joined.split()) > 3 and (joined[0].isalnum() or joined[0] in "\"'“‘"):
            yield joined


def tei(text: str) -> Iterator[str]:
    """Yield the paragraphs of a TEI document."""
    for paragraph in re.findall(r"<p[ >].*?</p>", text.split("<body", 1)[-1], flags=re.S):
        bare = re.sub(r"<note.*?</note>", "", paragraph, flags=re.S)
        yield html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", bare))).strip()


def chat(text: str) -> Iterator[str]:
    """Yield what ends in a mark of Topical-Chat's conversations; nothing of any other JSON."""
    conversations = json.loads(text)
    for conversation in conversations.values() if isinstance(conversations, dict) else ():
        if isinstance(conversation, dict) and isinstance(conversation.get("content"), list):
            said = (turn["message"].strip() for turn in conversation["content"])
            yield from (message for message in said if message.endswith((".", "?", "!")))


READERS = {".md": markdown, ".txt": book, ".xml": tei, ".json": chat}


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it prints."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


def texts(folder: Path, under: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Yield name and paragraphs of every text in a repository, always in the same order.

    Args:
        folder: the repository.
        under: beginnings of the names that are wanted.
    """
    names = [n for n in git(folder, "ls-tree", "-r", "-z", "--name-only", "HEAD").split("\0") if n]
    wanted = [n for n in names if Path(n).suffix in READERS and "/" in n and n.startswith(under)]
    random.Random(1).shuffle(wanted)
    for name in wanted:
        try:
            text = git(folder, "show", f"HEAD:{name}")
        except subprocess.CalledProcessError:  # a partial clone lacks its largest files
            print(f"{name} is not in this copy of the repository; left out", file=sys.stderr)
            continue
        yield name, list(READERS[Path(name).suffix](text))


def kept(program: str, name: str, paragraphs: list[str]) -> list[str]:
    """Return the paragraphs that a program lets through; none of a book that loses too many."""
    given = "".join(f"{paragraph}\n" for paragraph in paragraphs)
    done = subprocess.run(
        ["python3", program], input=given, capture_output=True, text=True, check=True
    )
    left = done.stdout.splitlines()
    lost = len(paragraphs) - len(left)
    return [] if lost >= TOO_MANY and not name.endswith(".md") else left


def main() -> None:
    """Write the text."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("repositories", nargs="+")
    parser.add_argument("--words", type=float, default=10e6, help="of each repository")
    parser.add_argument("--under", nargs="+", default=[""], metavar="FOLDER", help="only these")
    parser.add_argument("--keep-out", metavar="PROGRAM")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, args.output.open("w", encoding="utf-8") as out:
        for number, repository in enumerate(args.repositories):
            folder = Path(repository)
            if not folder.is_dir():
                folder = Path(scratch) / str(number)
                subprocess.run(
                    ["git", "clone", "--depth", "1", repository, str(folder)], check=True
                )
            words = 0
            for name, paragraphs in texts(folder, tuple(args.under)):
                left = kept(args.keep_out, name, paragraphs) if args.keep_out else paragraphs
                words += sum(len(paragraph.split()) for paragraph in left)
                out.writelines(f"{paragraph}\n" for paragraph in left)
                if words >= args.words:
                    break
            print(f"{repository}: {words} words")


if __name__ == "__main__":
    main()
