"""What `import rivulet` promises: every name that the pages use, at no cost until it is used."""

import re
import subprocess
import sys
from importlib.resources import files

import pytest
from support import ROOT

import rivulet

PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")]


def test_every_promised_name_is_there() -> None:
    assert set(rivulet.__all__) <= set(dir(rivulet))
    for name in rivulet.__all__:
        assert getattr(rivulet, name) is not None
    assert rivulet.Recognizer.__module__ == "rivulet.recognizer"
    assert rivulet.listen.__module__ == "rivulet.live.listening"


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="'rivulet' has no attribute 'nonsense'"):
        rivulet.nonsense  # noqa: B018


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_takes_from_the_package_is_promised(page) -> None:
    code = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        code = "\n".join(re.findall(r"```python\n(.*?)```", code, flags=re.DOTALL))
    used = set(
        re.findall(r"\brivulet\.([A-Za-z_]\w*)", re.sub(r"(from|import) rivulet\S*", "", code))
    )
    assert used <= set(rivulet.__all__)


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = "import sys, rivulet; print({'torch', 'numpy', 'av', 'rich'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


def test_type_checkers_are_told_that_types_are_here() -> None:
    assert files("rivulet").joinpath("py.typed").is_file()
