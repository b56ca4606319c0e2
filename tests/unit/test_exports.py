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

import tevent.ntstatus
import tsocket
import tsocket._homes

CHECK = runpy.run_path(str(pathlib.Path(__file__).resolve().parents[1] / "check_api.py"))
ENTRIES: list[Any] = list(CHECK["read_tables"]())
PACKAGES = ("talloc_py", "tevent", "tsocket")

# Modules of the standard library whose import costs more than the packages themselves.
SLOW = {"asyncio", "dataclasses", "hashlib", "inspect", "re", "selectors", "socket", "ssl", "threading", "typing"}

# Names that the packages export although the tables do not have them, each with the reason.
STATUSES = {name for name in tevent.ntstatus.__all__ if name.startswith(("NTSTATUS", "NT_STATUS", "STATUS_"))}
BEYOND_THE_TABLES: dict[str, dict[str, str]] = {
    "talloc_py": {},
    "tevent": {},
    "tsocket": dict.fromkeys(
        STATUSES | {"tevent_req_nterror", "map_nt_error_from_unix_common"},
        "what the virtual sockets answer with; exported again, so that one import will do",
    ),
}


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


def test_what_tsocket_exports_again() -> None:
    """Every status that tevent has, and what goes with them, can be had from tsocket too."""
    assert sorted(BEYOND_THE_TABLES["tsocket"].keys() - set(tsocket.__all__)) == []


def test_lazy_names() -> None:
    """A name is exported exactly if the module that is said to have it does have it."""
    homes = tsocket._homes.HOMES
    listed = [name for names in homes.values() for name in names]
    assert len(listed) == len(set(listed))
    assert sorted(set(listed) - set(tsocket.__all__)) == []
    assert set(listed) | set(tsocket.__all__) <= set(dir(tsocket))
    for module, names in homes.items():
        home = importlib.import_module(f"tsocket.{module}")
        assert sorted(set(names) - set(home.__all__)) == []
        assert all(getattr(tsocket, name) is getattr(home, name) for name in names)
    with pytest.raises(AttributeError, match="'tsocket' has no attribute 'nonsense'"):
        tsocket.nonsense  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", ["talloc_py", "tevent"])
def test_names_of_modules_that_are_loaded_late(name: str) -> None:
    """Such a name is exported exactly if the module that is said to have it does have it."""
    package = importlib.import_module(name)
    homes = importlib.import_module(f"{name}._homes").HOMES
    for module, names in homes.items():
        home = importlib.import_module(f"{name}.{module}")
        assert sorted(names) == sorted(set(home.__all__) & set(package.__all__))
        assert all(getattr(package, each) is getattr(home, each) for each in names)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match=f"'{name}' has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


@pytest.mark.parametrize("name", ["talloc_py", "tevent"])
def test_modules_that_are_loaded_late_are_attributes(name: str) -> None:
    """As if they had been loaded with the package."""
    late = [f"{name}.{module}" for module in importlib.import_module(f"{name}._homes").HOMES]
    assert not loaded_by(f"import {name}") & set(late)
    assert loaded_by(f"import {name}; [{', '.join(late)}]") >= set(late)


@pytest.mark.parametrize("name", PACKAGES)
def test_import_alone_is_cheap(name: str) -> None:
    """What every program needs does without the modules behind enumerations and named tuples."""
    assert not loaded_by(f"import {name}") & {"collections", "enum", "functools", "operator", "types"}


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
    assert unwanted & loaded_by(f"import {name}") == set()


def test_import_of_everything_is_cheap() -> None:
    """A star import loads the modules of all names, but not what the virtual sockets need when they are used."""
    loaded = loaded_by("from tsocket import *")
    assert {f"tsocket.{module}" for module in tsocket._homes.HOMES} <= loaded
    assert (SLOW | {"cryptography", "gssapi", "smbprotocol", "spnego"}) & loaded == set()


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after *code*."""
    code = f"{PATH_PREAMBLE}{code}; import sys; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


# -S keeps a site-packages .pth file from importing things of its own; the search path is then handed over.
PATH_PREAMBLE = f"import sys; sys.path[:] = {sys.path!r}; "
