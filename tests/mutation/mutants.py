# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The mistakes: what can be changed in a source file, one place at a time.

Changed are comparisons, conditions, ``and`` and ``or``, arithmetic, numbers, truth values, strings, results, and
statements that do something (left out). Not changed are docstrings, annotations, f-strings, imports, names that are
exported, ``__slots__``, and what only type checkers read. The lines of a changed source keep their numbers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
#: A comparison with one of these is its own negation when it is changed.
NEGATED = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
LEFT_OUT = ("__all__", "__slots__", "__match_args__", "TYPE_CHECKING")


class Mutant(NamedTuple):
    """One mistake."""

    #: The file, from the root of the repository.
    path: str
    line: int
    #: The function or method, "" at the level of the module.
    function: str
    old: str
    new: str
    #: The whole source with it.
    source: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.function}: {self.old!r} -> {self.new!r}"


class _Finder:
    def __init__(self, path: str, source: str) -> None:
        self.path = path
        # Columns count bytes.
        self._source = source.encode()
        self._starts = [0]
        for line in self._source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def _mutant(self, node: ast.expr | ast.stmt, function: str, new: str) -> Mutant:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        end = self._starts[node.end_lineno - 1] + node.end_col_offset
        old = self._source[start:end]
        blank = "\n" * (old.count(b"\n") - new.count("\n"))
        text = f"({new}{blank})" if isinstance(node, ast.expr) else f"{new}{blank}"
        source = (self._source[:start] + text.encode() + self._source[end:]).decode()
        return Mutant(self.path, node.lineno, function, " ".join(old.decode().split()), " ".join(new.split()), source)

    def walk(self, nodes: Iterable[ast.AST], function: str) -> Iterator[Mutant]:
        """What can be changed in statements."""
        for node in nodes:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_text or isinstance(node, ast.Import | ast.ImportFrom) or self._is_left_out(node):
                continue
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                yield from self.walk(node.orelse, function)
            elif isinstance(node, Definition):
                yield from self._definition(node, function)
            elif isinstance(node, ast.expr):
                yield from self._expression(node, function)
            elif isinstance(node, ast.stmt):
                yield from self._statement(node, function)
                yield from self.walk(self._parts(node), function)
            elif isinstance(node, ast.ExceptHandler):
                yield from self.walk(node.body, function)

    @staticmethod
    def _is_left_out(node: ast.AST) -> bool:
        """Whether it is a list of names, or only for type checkers."""
        return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in LEFT_OUT

    @staticmethod
    def _parts(node: ast.stmt) -> Iterable[ast.AST]:
        """What a statement is made of, but for annotations and what is assigned to."""
        left_out: list[ast.AST | None] = []
        if isinstance(node, ast.Assign):
            left_out += node.targets
        elif isinstance(node, ast.AnnAssign):
            left_out += [node.target, node.annotation]
        elif isinstance(node, ast.AugAssign | ast.For):
            left_out.append(node.target)
        return [part for part in ast.iter_child_nodes(node) if part not in left_out]

    def _definition(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, function: str
    ) -> Iterator[Mutant]:
        if any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list):
            return
        name = f"{function}.{node.name}" if function else node.name
        if not isinstance(node, ast.ClassDef):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if default is not None:
                    yield from self._expression(default, name)
        yield from self.walk(node.body, name)

    def _statement(self, node: ast.stmt, function: str) -> Iterator[Mutant]:
        match node:
            case ast.Expr(value=ast.Call()) | ast.Delete() | ast.Raise() | ast.AugAssign():
                yield self._mutant(node, function, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
                yield self._mutant(node, function, "pass")
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield self._mutant(node, function, "return None")
            case ast.Break():
                yield self._mutant(node, function, "continue")
            case ast.Continue():
                yield self._mutant(node, function, "break")
            case ast.If(test=test) | ast.While(test=test):
                yield from self._negation(test, function)
            case _:
                pass
        if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
            changed = ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
            yield self._mutant(node, function, ast.unparse(changed))

    def _negation(self, test: ast.expr, function: str) -> Iterator[Mutant]:
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], NEGATED):
            return
        if not isinstance(test, ast.UnaryOp | ast.Constant):
            yield self._mutant(test, function, f"not ({ast.unparse(test)})")

    def _expression(self, node: ast.AST, function: str) -> Iterator[Mutant]:
        if isinstance(node, ast.JoinedStr):
            return
        match node:
            case ast.Compare(ops=ops):
                for at, op in enumerate(ops):
                    changed: list[ast.cmpop] = [*ops[:at], COMPARISONS[type(op)](), *ops[at + 1 :]]
                    yield self._mutant(node, function, ast.unparse(ast.Compare(node.left, changed, node.comparators)))
            case ast.BoolOp(op=ast.And()):
                yield self._mutant(node, function, ast.unparse(ast.BoolOp(ast.Or(), node.values)))
            case ast.BoolOp(op=ast.Or()):
                yield self._mutant(node, function, ast.unparse(ast.BoolOp(ast.And(), node.values)))
            case ast.UnaryOp(op=ast.Not()):
                yield self._mutant(node, function, ast.unparse(node.operand))
            case ast.BinOp(op=op) if type(op) in ARITHMETIC:
                yield self._mutant(
                    node, function, ast.unparse(ast.BinOp(node.left, ARITHMETIC[type(op)](), node.right))
                )
            case ast.IfExp():
                yield from self._negation(node.test, function)
            case ast.Constant(value=bool(value)):
                yield self._mutant(node, function, repr(not value))
            case ast.Constant(value=int(value)):
                yield self._mutant(node, function, repr(value + 1))
            case ast.Constant(value=str(value)):
                yield self._mutant(node, function, repr(f"XX{value}"))
            case _:
                pass
        for child in ast.iter_child_nodes(node):
            yield from self._expression(child, function)


def mutants(path: str, source: str) -> list[Mutant]:
    """Every mistake that can be made in a file."""
    finder = _Finder(path, source)
    return list(finder.walk(ast.parse(source).body, ""))
