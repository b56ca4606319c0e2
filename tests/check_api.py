#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Compare what the packages export with the tables of C names in ``tests/api``.

    python tests/check_api.py [--all] [TABLE ...]

Each line of a table is one public name of the C libraries: its kind, the package it belongs to, and its parameters as
Python has them. A name is there when its package has it and lists it in ``__all__``. A function agrees when its leading
parameters are the table's, by name and in order, and can be given by position and by keyword; what it takes beyond them
must be optional. Types must be classes, members of an enumeration must have the value the table gives.

The packages come from wherever Python finds them, so the same script checks a checkout (``PYTHONPATH=.``) and an
installed wheel. The exit status is 1 if anything is missing or differs.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import inspect
import pathlib
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

TABLES = pathlib.Path(__file__).resolve().parent / "api"

# The groups of names (the tables' column "module") that are still to be built. Who builds one takes it off here: that a
# name is there although its group is listed is a fault, too.
NOT_YET: set[str] = set()
# ... but for these names, which were built with another group.
BUILT_ELSEWHERE = {"tstream_u32_read_recv", "tstream_u32_read_send"}


class Entry(NamedTuple):
    """One line of a table."""

    table: str
    name: str
    kind: str
    module: str
    parameters: tuple[str, ...]
    returns: str

    @property
    def package(self) -> str:
        """The package that exports the name."""
        return self.module.partition(".")[0]

    @property
    def awaited(self) -> bool:
        """It is not built yet."""
        return self.module in NOT_YET and self.name not in BUILT_ELSEWHERE


def read_tables(wanted: list[str] | None = None) -> Iterator[Entry]:
    """Every line of the tables named in *wanted*, or of all."""
    for path in sorted(TABLES.glob("*.tsv")):
        if wanted and path.stem not in wanted:
            continue
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                parameters = tuple(p.strip() for p in row["parameters"].split(",") if p.strip())
                yield Entry(path.stem, row["name"], row["kind"], row["module"], parameters, row["returns"])


def _differing_parameters(entry: Entry, thing: object) -> str | None:
    """What is wrong with the parameters of *thing*, or None."""
    if not callable(thing):
        return "cannot be called"
    have = list(inspect.signature(thing).parameters.values())
    listed = f"({', '.join(entry.parameters)})"
    named = [p for p in entry.parameters if not p.startswith("*")]
    positional = [p for p in have if p.kind is p.POSITIONAL_OR_KEYWORD]
    if [p.name for p in positional[: len(named)]] != named:
        return f"takes ({', '.join(str(p) for p in have)}), the table has {listed}"
    if any(p.default is p.empty for p in positional[len(named) :]):
        return f"demands more than {listed}"
    if len(named) < len(entry.parameters) and not any(p.kind is p.VAR_POSITIONAL for p in have):
        return f"takes no further arguments, the table has {listed}"
    return None


def _differing_value(entry: Entry, thing: object) -> str | None:
    """What is wrong with a constant, or None; only a plain number in the table can be compared."""
    try:
        wanted = int(entry.returns, 0)
    except ValueError:
        return None
    return None if thing == wanted else f"is {thing!r}, the table has {entry.returns}"


def fault(entry: Entry, package: ModuleType) -> str | None:
    """What keeps *package* from having *entry* as the table has it, or None."""
    if entry.kind == "callback":
        return None  # the type of a function that users write: nothing to export
    if entry.awaited:
        return f"is there, but {entry.module} is listed as not yet built" if hasattr(package, entry.name) else None
    if entry.name not in package.__all__:
        return "not in __all__" if hasattr(package, entry.name) else "missing"
    thing = getattr(package, entry.name)
    if entry.kind in ("type", "enum"):
        if not inspect.isclass(thing):
            return "is not a class"
        return None if thing.__module__.split(".")[0] in ("talloc_py", "tevent", "tsocket") else "is not our own"
    if entry.kind == "constant":
        return _differing_value(entry, thing)
    return _differing_parameters(entry, thing)


def faults(entries: list[Entry]) -> list[str]:
    """A sentence for each of *entries* that is missing or differs."""
    found: list[str] = []
    for entry in entries:
        try:
            why = fault(entry, importlib.import_module(entry.package))
        except ImportError as error:
            why = f"{entry.package} cannot be imported: {error}"
        if why:
            found.append(f"{entry.name}: {why}")
    return found


def main() -> int:
    """Print one line a table and what is wrong; 1 if anything is."""
    parser = argparse.ArgumentParser(description="Compare the exported names with the tables of C names.")
    parser.add_argument("--all", action="store_true", help="print every fault, not only the first ten of a table")
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help="talloc_py, tevent_loop, tevent_req, tsocket, virtual"
    )
    options = parser.parse_args()
    entries = list(read_tables(options.tables))
    anything = False
    for table in dict.fromkeys(entry.table for entry in entries):
        mine = [entry for entry in entries if entry.table == table]
        wrong = faults(mine)
        anything |= bool(wrong)
        awaited = sum(entry.awaited for entry in mine)
        note = f", {awaited} are not built yet" if awaited else ""
        print(f"{table}: {len(mine) - awaited - len(wrong)} of {len(mine)} names agree{note}")
        for line in wrong if options.all else wrong[:10]:
            print(f"  {line}")
    return int(anything)


if __name__ == "__main__":
    sys.exit(main())
