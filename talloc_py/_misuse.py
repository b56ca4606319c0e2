# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What is said about a chunk that is used after its free: which, where it was made and freed, who asked, what to do.

Loaded when there is something to say.
"""

from __future__ import annotations

from sys import _getframe  # pyright: ignore[reportPrivateUsage]  # documented, and 40 times faster than inspect

from ._chunk import birthplaces, freed_at, location_text, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

    from ._chunk import chunk

__all__ = ["after_free", "asked_by", "made_at"]

_OURS = frozenset(("talloc_py", "tevent", "tsocket"))
#: Calls that free: on a dead chunk they are a double free.
_FREEING = frozenset(("talloc_free", "TALLOC_FREE", "talloc_unlink"))


def made_at(c: chunk, obj: Any) -> str:
    """Where a chunk was made, as ``file:line``; empty if nobody has written it down."""
    cls: type[Any] = type(obj)  # pyright: ignore[reportUnknownVariableType]  # of an Any
    attribute = birthplaces.get(cls)
    place = getattr(obj, attribute, None) if attribute else None
    if place is None:
        place = getattr(c, "made", None)  # in debug mode every chunk knows
    return location_text(place) if place else ""


def asked_by() -> tuple[str, tuple[CodeType, int]]:
    """The function of these packages that a program has called, and where it did so."""
    frame: Any = _getframe(1)
    function = ""
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        function = frame.f_code.co_name
        frame = frame.f_back
    return function, (frame.f_code, frame.f_lasti)


def after_free(c: chunk, obj: Any) -> str:
    """One sentence about the dead chunk *c*, whose object was *obj*."""
    born = made_at(c, obj)
    function, place = asked_by()
    text = f"chunk '{name_of(c) or 'UNNAMED'}' was freed at {location_text(freed_at(c))}"
    text += f", made at {born}," if born else " (TSOCKET_DEBUG=1 tells where it was made),"
    if function in _FREEING:
        text += f" and freed a second time by {function}() at {location_text(place)}"
        return text + "; forget what is freed, as x = TALLOC_FREE(x) does, and free it in one place"
    text += f" and used after that by {function}() at {location_text(place)}" if function else " and used after that"
    return text + "; keep nothing longer than its owner lives, or talloc_steal() it to one that lives longer"
