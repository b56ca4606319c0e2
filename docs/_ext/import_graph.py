# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Which module imports which, read from the sources.

What counts is what runs when a module is imported. An import inside a function is *late*: it waits until somebody calls
that function, so it cannot make a circle; and what stands under ``if TYPE_CHECKING`` never runs.
"""

from __future__ import annotations

import ast
import importlib.util
import pathlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PACKAGES", "Module", "circles", "levels", "modules_of"]

#: The upper ones import the lower ones, never the other way round.
PACKAGES = ("tsocket", "tevent", "talloc_py")


class Module(NamedTuple):
    """One source file."""

    name: str
    summary: str
    #: The modules of ours that it imports when it is imported.
    imports: frozenset[str]
    #: ... and those that its functions import.
    late: frozenset[str]


def _for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imports(node: ast.AST, late: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Each import below *node*, and whether it is in a function."""
    for child in ast.iter_child_nodes(node):
        if _for_checkers(child):
            assert isinstance(child, ast.If)
            for otherwise in child.orelse:
                yield from _imports(ast.Module([otherwise], []), late)
        elif isinstance(child, ast.Import | ast.ImportFrom):
            yield child, late
        else:
            yield from _imports(child, late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def _targets(node: ast.Import | ast.ImportFrom, package: str, known: frozenset[str]) -> Iterator[str]:
    """The modules of ours that an import statement loads."""
    if isinstance(node, ast.Import):
        wanted = [alias.name for alias in node.names]
    else:
        base = package if node.level else ""
        home = ".".join(part for part in (base, node.module) if part)
        # ``from package import x`` loads the module x if there is one.
        wanted = [f"{home}.{alias.name}" for alias in node.names if f"{home}.{alias.name}" in known] or [home]
    yield from (name for name in wanted if name in known)


def _first_sentence(tree: ast.Module) -> str:
    text = (ast.get_docstring(tree) or "").split("\n\n")[0]
    return " ".join(text.split())


def modules_of(package: str) -> list[Module]:
    """The modules of *package*, wherever it is installed; ``package.__init__`` is called ``package``."""
    paths: dict[str, pathlib.Path] = {}
    for each in PACKAGES:
        spec = importlib.util.find_spec(each)
        assert spec is not None
        assert spec.origin is not None
        for path in sorted(pathlib.Path(spec.origin).parent.glob("*.py")):
            paths[each if path.stem == "__init__" else f"{each}.{path.stem}"] = path
    known = frozenset(paths)
    found: list[Module] = []
    for name, path in paths.items():
        if name.partition(".")[0] != package:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        loaded = [(target, late) for node, late in _imports(tree) for target in _targets(node, package, known)]
        now = {target for target, late in loaded if not late} - {name}
        later = {target for target, late in loaded if late} - now - {name}
        found.append(Module(name, _first_sentence(tree), frozenset(now), frozenset(later)))
    return found


def levels(modules: list[Module]) -> list[list[Module]]:
    """
    The modules in rows: each imports only from the rows before its own.

    What is in a circle, or imports what is in one, is in no row.
    """
    left = {module.name: module for module in modules}
    rows: list[list[Module]] = []
    while True:
        row = [module for module in left.values() if not module.imports & left.keys()]
        if not row:
            return rows
        rows.append(row)
        for module in row:
            del left[module.name]


def circles(modules: list[Module]) -> set[str]:
    """The names of modules that cannot be put in rows."""
    return {module.name for module in modules} - {module.name for row in levels(modules) for module in row}
