# SPDX-License-Identifier: LGPL-3.0-or-later
"""The picture of the modules in the manual is true: one-way imports, no circles, nothing needs the tools for tests."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
from typing import Any

import pytest

EXTENSIONS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "_ext"


def load() -> Any:
    """The part of the manual's build that reads the imports."""
    spec = importlib.util.spec_from_file_location("import_graph", EXTENSIONS / "import_graph.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["import_graph"] = module
    spec.loader.exec_module(module)
    return module


graph = load()
MODULES = {module.name: module for package in graph.PACKAGES for module in graph.modules_of(package)}
# The tools for tests, and what only they are made of.
OF_TOOLS = ("_check", "_machine", "_sim", "_strategies", "testing")
TOOLS = {name for name in MODULES if name.rpartition(".")[2].startswith(OF_TOOLS)}


@pytest.mark.parametrize("package", graph.PACKAGES)
def test_modules_can_be_put_in_rows(package: str) -> None:
    """No module imports, through however many others, itself."""
    assert graph.circles(graph.modules_of(package)) == set()


@pytest.mark.parametrize("name", MODULES)
def test_no_import_points_to_a_higher_package(name: str) -> None:
    """Neither when the module is imported nor later."""
    allowed = graph.PACKAGES[graph.PACKAGES.index(name.partition(".")[0]) :]
    module = MODULES[name]
    assert {target.partition(".")[0] for target in module.imports | module.late} <= set(allowed)


def test_nothing_needs_the_tools_for_tests() -> None:
    """Only they import one another."""
    users = {name: MODULES[name].imports & TOOLS for name in MODULES.keys() - TOOLS if MODULES[name].imports & TOOLS}
    assert len(TOOLS) > 3
    assert users == {}


def test_what_the_rows_are_made_of() -> None:
    """An import in a function is late, one for type checkers is none, and a circle is seen."""
    module = graph.Module
    loop = [module("a", "", frozenset({"b"}), frozenset()), module("b", "", frozenset({"a"}), frozenset())]
    assert graph.circles(loop) == {"a", "b"}
    assert [
        [each.name for each in row] for row in graph.levels([loop[0], module("b", "", frozenset(), frozenset())])
    ] == [
        ["b"],
        ["a"],
    ]
    # `_request` needs the enumerations when somebody is given a state; checkers see them from the start.
    request = MODULES["tevent._request"]
    assert "tevent.enumerations" in request.late
    assert "tevent.queue" not in request.imports
    assert "talloc_py.core" in request.imports
