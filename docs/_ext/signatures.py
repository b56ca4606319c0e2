# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The signatures of functions as type checkers see them, read from the sources.

At run time an overloaded function has only its last signature, which says Any.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pathlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Signature", "names_for_checkers", "signatures_of"]


class Signature(NamedTuple):
    """One way to call a function."""

    #: With parentheses: ``(ctx: TALLOC_CTX | None, name: str)``.
    parameters: str
    returns: str

    def __str__(self) -> str:
        return f"{self.parameters} -> {self.returns}"


def _overloads(definition: ast.FunctionDef) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "overload" for each in definition.decorator_list)


def _annotation(node: ast.expr | None) -> str:
    """An annotation as it is written, without the quotes that some need."""
    return "Any" if node is None else ast.unparse(node).replace("'", "").replace("builtins.type", "type")


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    text = argument.arg
    if argument.annotation is not None:
        text += f": {_annotation(argument.annotation)}"
    return text if default is None else f"{text} = {ast.unparse(default)}"


def _parameters(arguments: ast.arguments) -> str:
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    parts = [_parameter(*pair) for pair in zip(positional, missing + arguments.defaults, strict=True)]
    if arguments.posonlyargs:
        parts.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg is not None:
        parts.append("*" + _parameter(arguments.vararg, None))
    elif arguments.kwonlyargs:
        parts.append("*")
    parts += [_parameter(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg is not None:
        parts.append("**" + _parameter(arguments.kwarg, None))
    return f"({', '.join(parts)})"


@functools.cache
def _tree(module_name: str) -> ast.Module:
    path = inspect.getsourcefile(importlib.import_module(module_name))
    assert path is not None
    return ast.parse(pathlib.Path(path).read_text(encoding="utf-8"))


def signatures_of(module_name: str, name: str) -> list[Signature]:
    """Every way to call *name* of a module; nothing if it is no function that is written there."""
    found = [node for node in ast.walk(_tree(module_name)) if isinstance(node, ast.FunctionDef) and node.name == name]
    wanted = [node for node in found if _overloads(node)] or found[:1]
    signatures = [Signature(_parameters(node.args), _annotation(node.returns)) for node in wanted]
    # What can never be called says nothing to a reader.
    return [each for each in signatures if "Never" not in each.parameters]


def _bound(node: ast.AST) -> Iterator[str]:
    for child in ast.walk(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.Assign):
            yield from (target.id for target in child.targets if isinstance(target, ast.Name))
        elif isinstance(child, ast.ClassDef):
            yield child.name


def names_for_checkers(module_name: str) -> set[str]:
    """The names that a module has for annotations only."""
    return {
        name
        for node in ast.walk(_tree(module_name))
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for name in _bound(node)
    }
