"""What README and docs show must run."""

import glob
import re
import runpy
import shlex

import pytest
from support import ROOT

from rivulet.__main__ import build_parser, main

PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial.md")
TEXTS = [page.read_text(encoding="utf-8") for page in PAGES]
PYTHON = [block for text in TEXTS for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
COMMANDS = [
    line.split("#")[0].strip()
    for text in TEXTS
    for block in re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("rivulet")
]
RUN = [
    line
    for line in dict.fromkeys(COMMANDS)
    if line.startswith(("rivulet transcribe", "rivulet evaluate"))
]


def arguments_of(line):
    """A command's arguments, names with * looked up in the current folder."""
    words = shlex.split(line)[1:]
    return [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON)
def test_python_of_the_pages_runs(block, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(block, "page.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("line", RUN)
def test_commands_of_the_pages_run(line, tmp_path, monkeypatch, capsys):
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    assert main(arguments_of(line)) == 0
    written = [*tmp_path.glob("*/*.srt"), *tmp_path.glob("*/*.vtt")]
    assert capsys.readouterr().out or written


@pytest.mark.parametrize("line", sorted(set(COMMANDS) - set(RUN)))
def test_commands_that_need_a_microphone_or_hours_are_at_least_understood(line):
    build_parser().parse_args(arguments_of(line))


def test_the_pages_show_something_to_run():
    assert len(PYTHON) >= 4
    assert len(RUN) >= 6


def test_the_two_commands_of_the_readme_stand_as_they_are():
    for command in (
        "python3 -m venv .venv && .venv/bin/pip install . && "
        ".venv/bin/rivulet transcribe data/samples/awb.flac",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest",
    ):
        assert f"```sh\n{command}\n```" in TEXTS[0]


@pytest.mark.slow
def test_the_picture_is_drawn_from_what_the_model_says():
    script = runpy.run_path(str(ROOT / "docs" / "record_terminal.py"))
    shown = list(script["frames"]())
    assert shown[-1].finals[0][1] == "Please bring me a glass of water and a piece of bread."
    picture = script["draw"](shown)
    assert picture.count("<g ") == len(shown)
    assert "Please bring" in (ROOT / "docs" / "images" / "listen.svg").read_text(encoding="utf-8")


def test_links_lead_somewhere():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("checkpoints/*/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"
