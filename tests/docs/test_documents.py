# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Every piece of Python in README.md and docs/ runs, and prints what the page says it prints.

The pieces of one page are one program. A piece is a ``python`` block; what it prints stands in the block that follows
it behind the words "It prints".
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import re
import shlex
import textwrap
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.rst")])

RST_BLOCK = re.compile(r"^( *)\.\. code-block:: python\n\n((?:\1   .*\n|\n)+)", re.MULTILINE)
RST_OUTPUT = re.compile(r"\s*It prints::\n\n((?:   .*\n|\n)+)")
MD_BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
MD_OUTPUT = re.compile(r"\s*It prints\n+```text\n(.*?)```\n", re.DOTALL)


class Piece(NamedTuple):
    """One block, where it begins, and what it is to print."""

    line: int
    code: str
    output: str


def pieces_of(page: pathlib.Path) -> list[Piece]:
    """The Python blocks of *page*."""
    text = page.read_text(encoding="utf-8")
    block, output, group = (MD_BLOCK, MD_OUTPUT, 1) if page.suffix == ".md" else (RST_BLOCK, RST_OUTPUT, 2)
    found: list[Piece] = []
    for match in block.finditer(text):
        printed = output.match(text, match.end())
        found.append(
            Piece(
                text.count("\n", 0, match.start(group)),
                textwrap.dedent(match[group]),
                textwrap.dedent(printed[1]).rstrip() if printed else "",
            )
        )
    return found


def with_code() -> list[pathlib.Path]:
    """The pages that have any."""
    return [page for page in PAGES if pieces_of(page)]


@pytest.mark.parametrize("page", with_code(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_code_of_a_page_does_what_it_says(page: pathlib.Path) -> None:
    """The blocks of a page run one after the other and print what stands below them."""
    names: dict[str, object] = {"__name__": "__page__"}
    for piece in pieces_of(page):
        code = compile("\n" * piece.line + piece.code, str(page), "exec", dont_inherit=True)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(code, names)
        assert said.getvalue().rstrip() == piece.output, f"{page.name}, line {piece.line + 1}"


def test_no_block_is_overlooked() -> None:
    """Each block that says it is Python is found, and each printed text belongs to one."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        pieces = pieces_of(page)
        assert len(pieces) == len(re.findall(r"code-block:: python\b|^```python", text, re.MULTILINE)), page
        assert len([piece for piece in pieces if piece.output]) == text.count("It prints"), page
    assert len(with_code()) > 5


def test_the_commands_of_the_readme_are_one_line_each() -> None:
    """Two commands install and run: one an example, one the tests."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    installing = [command for command in commands if "-m venv" in command]
    assert [command.count("\n") for command in installing] == [1, 1]
    example, tests = (shlex.split(command) for command in installing)
    assert (ROOT / example[-2]).name == "pdu_echo.py"
    assert (ROOT / example[-1]).is_file()
    assert tests[-1].endswith("pytest")


def test_three_commands_for_contributors() -> None:
    """Set up, test, and check the rest: one line each, with what pyproject.toml and the checkout have."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    set_up, test, check = re.findall(r"^```sh\n(.*)\n```", text, re.MULTILINE)
    extras = re.search(r"'\.\[(.*)\]'", set_up)
    assert extras is not None
    assert set(extras[1].split(",")) == {"tests", "lint", "docs"}
    assert test == ".venv/bin/pytest"
    tools = [pathlib.PurePath(shlex.split(command)[0]).name for command in check.split("&&")]
    assert tools == ["ruff", "ruff", "mypy", "pyright", "sphinx-build"]
