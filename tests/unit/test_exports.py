# SPDX-License-Identifier: LGPL-3.0-or-later
"""Every public C name is there, with C's parameters, and nothing else is exported."""

from __future__ import annotations

import importlib
import pathlib
import runpy
import subprocess
import sys
from typing import Any

import pytest

CHECK = runpy.run_path(str(pathlib.Path(__file__).resolve().parents[1] / "check_api.py"))
ENTRIES: list[Any] = list(CHECK["read_tables"]())
PACKAGES = ("talloc_py", "tevent", "tsocket")

# Modules of the standard library whose import costs more than the packages themselves.
SLOW = {"asyncio", "dataclasses", "inspect", "re", "selectors", "socket", "threading", "typing"}

# Names that the packages export although the tables do not have them, each with the reason.
BEYOND_THE_TABLES: dict[str, dict[str, str]] = {"talloc_py": {}, "tevent": {}, "tsocket": {}}


@pytest.mark.parametrize("table", sorted({entry.table for entry in ENTRIES}))
def test_every_name_of_the_table_is_exported(table: str) -> None:
    """Each name of the table is exported by its package, with the table's parameters and values."""
    assert CHECK["faults"]([entry for entry in ENTRIES if entry.table == table]) == []


@pytest.mark.parametrize("name", PACKAGES)
def test_nothing_else_is_exported(name: str) -> None:
    """What a package exports beyond the tables is listed here, with a reason."""
    package = importlib.import_module(name)
    known = {entry.name for entry in ENTRIES if entry.package == name} | BEYOND_THE_TABLES[name].keys()
    assert sorted(set(package.__all__) - known) == []


@pytest.mark.parametrize("name", PACKAGES)
def test_a_name_is_exported_once(name: str) -> None:
    """No name stands twice in `__all__`, and each can be had."""
    package = importlib.import_module(name)
    assert len(package.__all__) == len(set(package.__all__))
    assert [each for each in package.__all__ if not hasattr(package, each)] == []


def test_star_imports_do_not_collide() -> None:
    """A name exported by two packages is one object, so the order of star imports does not matter."""
    seen: dict[str, object] = {}
    for name in PACKAGES:
        package = importlib.import_module(name)
        for each in package.__all__:
            assert seen.setdefault(each, getattr(package, each)) is getattr(package, each), each


@pytest.mark.parametrize(
    ("name", "unwanted"),
    [
        ("talloc_py", {"tevent", "tsocket"} | SLOW),
        ("tevent", {"tsocket"} | SLOW),
        ("tsocket", SLOW),
    ],
)
def test_import_is_cheap(name: str, unwanted: set[str]) -> None:
    """Importing a package loads neither a package above it nor the slow modules of the standard library."""
    code = f"import sys, {name}; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-S", "-c", PATH_PREAMBLE + code], capture_output=True, text=True, check=True)
    assert unwanted & set(run.stdout.split()) == set()


# -S keeps a site-packages .pth file from importing things of its own; the search path is then handed over.
PATH_PREAMBLE = f"import sys; sys.path[:] = {sys.path!r}; "
