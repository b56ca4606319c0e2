# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Packages that import the modules behind some of their names only when somebody asks for one.

A package calls `find` from its ``__getattr__`` (PEP 562).
Cost: the first access to such a name imports its module; later ones are those of any other name.
"""

from __future__ import annotations

import sys

__all__ = ["find"]


def find(package: str, homes: dict[str, tuple[str, ...]], name: str) -> object:
    """
    The attribute *name* of a package: what one of its modules has, or such a module itself.

    Args:
        package: Its name.

        homes: The names that it has from modules that are imported late, by module.

        name: What was asked for.

    Raises:
        AttributeError: There is no such name.
    """
    for module, names in homes.items():
        if name == module or name in names:
            path = f"{package}.{module}"
            __import__(path)
            thing = sys.modules[path]
            if name != module:
                thing = getattr(thing, name)
                setattr(sys.modules[package], name, thing)
            return thing
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
