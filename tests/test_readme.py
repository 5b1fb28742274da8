"""What README and docs show must run."""

import glob
import re
import shlex

import pytest
from support import ROOT

from rivulet.__main__ import main

README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
COMMANDS = [
    line
    for block in re.findall(r"```(?:sh|bash)\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.startswith("rivulet transcribe")
]


@pytest.mark.parametrize("block", PYTHON)
def test_python_of_the_readme_runs(block, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_readme_run(line, tmp_path, monkeypatch, capsys):
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(line.split("#")[0])[1:]
    expanded = [name for a in arguments for name in (sorted(glob.glob(a)) if "*" in a else [a])]
    assert main(expanded) == 0
    written = list(tmp_path.glob("*/*.srt"))
    assert capsys.readouterr().out or written


def test_the_readme_shows_something_to_run():
    assert PYTHON
    assert COMMANDS


def test_links_lead_somewhere():
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"
