# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Area "frames": the tree, and on it Samba's stack of contexts, secrets, and reports with texts.

    push X; pushpool X SIZE; tos X; exists; secret X; texts X

The functions are in libsamba-util and in libraries of Samba's own beside it.
"""

from __future__ import annotations

import glob
import io
import sys
from typing import Any, ClassVar

import talloc_py as t
from talloc_py import stack

from .program import Choices, EndOfProgram, Interpreter
from .tree import AREA as TREE
from .tree import POOLS
from .tree_side import Tree
from .tree_world import TEXT, known, raw_of, shown_string


class Frames(Tree):
    """The operations of ``c/frames.c``."""

    LOOPS = False

    def __init__(self) -> None:
        super().__init__()
        self._old_hook = sys.unraisablehook
        # An abort may have to pass the destructor of a frame.
        sys.unraisablehook = self._unraisable

    @staticmethod
    def _unraisable(unraisable: Any, /) -> None:
        if not isinstance(unraisable.exc_value, EndOfProgram):
            sys.__unraisablehook__(unraisable)

    def close(self) -> None:
        """Forget the frames, too."""
        super().close()
        sys.unraisablehook = self._old_hook
        own = stack._own_stack()
        own.frames.clear()
        own.root = None

    def _made_frame(self, name: str, obj: t.TALLOC_CTX) -> None:
        self._made(name, "context", obj)
        self.get(name).frame = True

    def op_push(self, name: str) -> None:
        if self._can_make(name)[0]:
            self._made_frame(name, t.talloc_stackframe())

    def op_pushpool(self, name: str, size: str) -> None:
        if self._can_make(name)[0]:
            self._made_frame(name, t.talloc_stackframe_pool(int(size)))

    def op_tos(self, name: str) -> None:
        if self._can_make(name)[0]:
            obj = t.talloc_tos()
            if self.name_of(obj) != "?":
                self.saw(f"tos is {self.name_of(obj)}")
            else:
                self._made_frame(name, obj)

    def op_exists(self) -> None:
        self.saw(f"exists {int(t.talloc_stackframe_exists())}")

    def op_secret(self, name: str) -> None:
        one: known | None = self._object(name)
        if one is None or one.autofree or one.frame:
            return
        if t.talloc_get_size(one.obj) != 0:
            if one.asked and not one.replaced:
                one.replaced = True
                self._replaced += 1
            t.talloc_keep_secret(one.obj)

    def _texts_end(self) -> bool:
        """Whether everything that is called "char" is a text with an end: C prints it."""
        called = [one for _, _, one in self._objects if t.talloc_get_name(one.obj) == "char"]
        return all(one.type in TEXT and not one.opaque and b"\0" in raw_of(one.obj) for one in called)

    def op_texts(self, name: str) -> None:
        one: known | None = self._object(name)
        if one is not None and self._texts_end():
            f = io.StringIO()
            t.talloc_full_report_printf(one.obj, f)
            for line in f.getvalue().split("\n"):
                if line:
                    self.saw(f"report {shown_string(line)}")


def own_libraries() -> tuple[str, ...]:
    """The compiler's flags for the libraries that are in a folder of Samba's own."""
    flags: list[str] = []
    for name in ("libsamba-debug-samba4", "libgenrand-samba4", "libtalloc-report-printf-samba4"):
        for path in glob.glob(f"/usr/lib/*/samba/{name}.so.*"):
            folder, _, file = path.rpartition("/")
            flags += [f"-L{folder}", f"-l:{file}", f"-Wl,-rpath,{folder}"]
    return tuple(flags)


class AREA(TREE):
    """Programs about frames."""

    name: ClassVar[str] = "frames"
    packages: ClassVar[tuple[str, ...]] = ("samba-util", "talloc")
    flags: ClassVar[tuple[str, ...]] = own_libraries()

    def python(self) -> Interpreter:
        """A fresh Python side."""
        return Frames()

    def _operation(self, choices: Choices, in_script: bool) -> str:
        if not choices.chance(25):
            line = super()._operation(choices, in_script)
            # The stack itself is a chunk in C, of another size, that tracking would show.
            return "exists" if line in ("track", "trackonly") else line
        what = choices.pick(("push", "tos", "pushpool", "exists", "secret", "texts"))
        if what in ("push", "tos"):
            return f"{what} {self._fresh(choices)}"
        if what == "pushpool":
            return f"pushpool {self._fresh(choices)} {choices.pick(POOLS)}"
        return what if what == "exists" else f"{what} {self._some(choices, in_script)}"
