# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Freed chunks that complain when they are touched.

In C whoever reads a field of a freed struct reads garbage.  In Python the object is still there, and nothing is noticed
until a talloc function is called with it.  A sweep gives the chunks that it has freed a class of their own, which tells
of each use of an attribute.  Chunks of the library's own classes are left alone.

Cost: a class for each class of chunks and run.
"""

from __future__ import annotations

from talloc_py._chunk import chunk_of, freed_at, location_text
from talloc_py.core import TALLOC_CTX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["poisoner", "touched_after_free"]

_OURS = ("talloc_py", "tevent", "tsocket")


class touched_after_free(RuntimeError):
    """An attribute of a freed chunk was read, set or deleted."""


class poisoner:
    """
    Remembers what may be freed, and poisons what has been freed.

    Args:
        told: Called with each complaint before it is raised, as it may be caught.
    """

    __slots__ = ("_classes", "_told", "_watched")

    def __init__(self, told: Callable[[touched_after_free], None]) -> None:
        self._told: Callable[[touched_after_free], None] = told
        self._classes: dict[type, type | None] = {}
        self._watched: dict[int, Any] = {}

    def watch(self, root: TALLOC_CTX) -> None:
        """Remember the chunks of *root* and below, before something is done that may free them."""
        top = chunk_of(root)
        todo = [] if top is None else [top]
        while todo:
            c = todo.pop()
            obj = c.obj
            if type(obj).__module__.partition(".")[0] not in _OURS:
                self._watched[id(obj)] = obj
            child = c.child
            while child is not None:
                todo.append(child)
                child = child.next

    def poison(self) -> None:
        """Poison those of them that are freed by now."""
        for key, obj in list(self._watched.items()):
            if object.__getattribute__(obj, "_talloc_chunk").obj is not obj:
                del self._watched[key]
                self._poison(obj)

    def _poison(self, obj: Any) -> None:
        cls: type[Any] = type(obj)  # pyright: ignore[reportUnknownVariableType]  # of an Any
        if cls not in self._classes:
            self._classes[cls] = self._class_for(cls)
        poisoned = self._classes[cls]
        if poisoned is not None:
            # Not `obj.__class__ =`: a frozen dataclass would refuse that.
            object.__setattr__(obj, "__class__", poisoned)

    def _class_for(self, cls: type) -> type | None:
        """A class of the same layout whose instances complain; None where *cls* allows none."""

        def get(obj: Any, name: str) -> Any:
            if name == "_talloc_chunk" or name.startswith("__"):
                return object.__getattribute__(obj, name)
            return self._complain(obj, cls, name)

        def put(obj: Any, name: str, *_value: object) -> None:
            self._complain(obj, cls, name)

        members = {"__slots__": (), "__getattribute__": get, "__setattr__": put, "__delattr__": put}
        try:
            return type(cls)(cls.__name__, (cls,), members)
        except Exception:  # whatever the user's metaclass and __init_subclass__ say against it
            return None

    def _complain(self, obj: Any, cls: type, name: str) -> Any:
        where = location_text(freed_at(object.__getattribute__(obj, "_talloc_chunk")))
        complaint = touched_after_free(f"{name!r} of a {cls.__name__} is used, which was freed at {where}")
        self._told(complaint)
        raise complaint
