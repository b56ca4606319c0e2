# SPDX-License-Identifier: LGPL-3.0-or-later
"""What holds for every source file: its head, the direction of its imports, and where system calls come from."""

from __future__ import annotations

import ast
import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BELOW = {"talloc_py": set[str](), "tevent": {"talloc_py"}, "tsocket": {"tevent", "talloc_py"}}
SPDX = "# SPDX-License-Identifier: LGPL-3.0-or-later"


def package_files() -> list[pathlib.Path]:
    """The modules of the three packages, wherever they are installed."""
    found: list[pathlib.Path] = []
    for name in BELOW:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        found += sorted(pathlib.Path(spec.origin).parent.glob("*.py"))
    return found


def other_files() -> list[pathlib.Path]:
    """Everything else that is Python of ours."""
    found = [path for folder in ("tests", "examples", "docs") for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "_build" not in path.parts]


def named(path: pathlib.Path) -> str:
    """A short name for a file."""
    return "/".join(path.parts[-2:])


def only_text(node: ast.ImportFrom) -> bool:
    """Whether *node* takes nothing from the system but how it writes names."""
    return node.module == "os" and {alias.name for alias in node.names} <= {"fsdecode", "fsencode"}


def imports_of(node: ast.AST) -> set[str]:
    """The top-level packages that *node* imports at run time, not under ``if TYPE_CHECKING``."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in child.names}
        elif isinstance(child, ast.ImportFrom) and child.level == 0 and not only_text(child):
            found.add((child.module or "").partition(".")[0])
        found |= imports_of(child)
    return found


@pytest.mark.parametrize("path", [*package_files(), *other_files()], ids=named)
def test_head(path: pathlib.Path) -> None:
    """A file says its licence first, then what it is."""
    text = path.read_text(encoding="utf-8")
    head = text.removeprefix("#!/usr/bin/env python3\n").split("\n", 1)[0]
    assert head == SPDX
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", package_files(), ids=named)
def test_imports_point_down(path: pathlib.Path) -> None:
    """A package imports only those below it: tsocket, then tevent, then talloc_py, which imports neither."""
    package = path.parent.name
    foreign = imports_of(ast.parse(path.read_text(encoding="utf-8"))) & BELOW.keys()
    assert foreign <= BELOW[package] | {package}


@pytest.mark.parametrize("path", [path for path in package_files() if path.name != "_sys.py"], ids=named)
def test_system_calls_have_one_door(path: pathlib.Path) -> None:
    """Only a package's `_sys` module imports what talks to the system, so a simulated world can replace it whole."""
    outside = {"os", "select", "socket", "signal", "fcntl", "termios"}
    assert imports_of(ast.parse(path.read_text(encoding="utf-8"))) & outside == set()
