# SPDX-License-Identifier: LGPL-3.0-or-later
"""The area "tree": chunks and who owns them."""

from __future__ import annotations

from typing import ClassVar

from talloc_py import talloc_free, talloc_named_const

from .program import Choices, Interpreter


class Tree(Interpreter):
    def op_new(self, name: str, ctx: str) -> None:
        self.add(name, "context", talloc_named_const(self.get(ctx), 0, "x"))

    def op_free(self, name: str) -> None:
        ptr = self.get(name)
        if ptr is not None:
            self.saw(f"free {talloc_free(ptr)}")


class AREA:
    name: ClassVar[str] = "tree"
    packages: ClassVar[tuple[str, ...]] = ("talloc",)
    flags: ClassVar[tuple[str, ...]] = ()
    length: ClassVar[int] = 100

    def __init__(self) -> None:
        self._names = [f"c{i}" for i in range(10)]

    def python(self) -> Interpreter:
        return Tree()

    def next_line(self, choices: Choices) -> str:
        if choices.chance(60):
            return f"new {choices.pick(self._names)} {choices.pick(self._names)}"
        return f"free {choices.pick(self._names)}"

    def saw(self, line: str, observations: list[str]) -> None:
        pass
