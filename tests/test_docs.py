"""The pages in docs/: their code runs, and their tables name what there is."""

import re
from pathlib import Path
from typing import get_args

import pytest

from fastapi_memsession import commands, errors, routes

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
LIFE = (ROOT / "docs" / "life-of-a-session.md").read_text()


BLOCKS = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("code", BLOCKS)
def test_the_code_runs_as_printed(code):
    """Each block by itself."""
    exec(compile(code, "a page", "exec"), {"__name__": "page"})


def test_links_lead_somewhere():
    """From page to page, and from the README."""
    for page in [*PAGES, ROOT / "README.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_reason_and_route_is_told():
    """Of an end, as a client may know it and as events tell it; of the ready-made routes."""
    for name in (*get_args(errors.ToldReason), *get_args(errors.EndReason)):
        assert f"`{name}`" in LIFE
    for name in get_args(routes.RouteName):
        assert f"| `{name}` |" in LIFE


def test_every_command_is_told(capsys):
    """In the table of the page about the command line, and no other."""
    page = (ROOT / "docs" / "command-line.md").read_text()
    table = page.partition("| prints |")[2].partition("\n\n")[0]
    with pytest.raises(SystemExit):
        commands.main(["--help"])
    known = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert list(dict.fromkeys(re.findall(r"^\| `(\w+)", table, re.MULTILINE))) == known
