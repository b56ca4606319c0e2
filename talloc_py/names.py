# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Names of chunks, and the type checks that compare them.

Prior art: ``talloc_set_name()``, ``talloc_check_name()`` and ``_talloc_get_type_abort()`` in lib/talloc/talloc.c. A
name that is a type or a place in the code is kept as such and becomes text when somebody reads it.
Cost: O(1); a check against the very class that made the chunk compares identities. Looking for a parent: O(levels).
"""

from __future__ import annotations

from . import _abort
from ._chunk import TALLOC_CTX, bad_chunk, caller, chunk, chunk_of, location_text, name_of
from ._make import require_str, set_name_format
from ._typing import overload
from ._walk import ancestors
from .types import info_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from typing import Any, TypeVar

    from ._chunk import talloc_string

    P = TypeVar("P", bound=TALLOC_CTX)
    T = TypeVar("T", bound=TALLOC_CTX)

__all__ = [
    "check_type",
    "talloc_check_name",
    "talloc_find_parent_byname",
    "talloc_find_parent_bytype",
    "talloc_get_name",
    "talloc_get_type",
    "talloc_get_type_abort",
    "talloc_parent_name",
    "talloc_set_name",
    "talloc_set_name_const",
    "talloc_set_type",
]

_type = type


def talloc_set_name(ptr: TALLOC_CTX, fmt: str, *args: object) -> talloc_string | None:
    """
    Name a chunk by a printf format.

    C: ``const char *talloc_set_name(const void *ptr, const char *fmt, ...)``

    Returns:
        The name; None, and the chunk is unnamed, if a memory limit refuses.

    Ownership: the name is a string chunk called ".name", the newest child of *ptr*. Earlier ones stay.
    """
    c = chunk_of(ptr)
    require_str(fmt, "fmt")
    return None if c is None else set_name_format(c, fmt, args)


def talloc_set_name_const(ptr: TALLOC_CTX, name: str | None) -> None:
    """
    Name a chunk, without allocating anything; None makes it unnamed.

    C: ``void talloc_set_name_const(const void *ptr, const char *name)``
    """
    c = chunk_of(ptr)
    if name is not None:
        require_str(name, "name")
    if c is not None:
        c.name = name


def talloc_set_type(ptr: TALLOC_CTX, type: Any) -> None:
    """
    Give a chunk the name of a type.

    C: ``#define talloc_set_type(ptr, type)``
    """
    c = chunk_of(ptr)
    info_of(type)  # TypeError now where it is no type, not when somebody reads the name
    if c is not None:
        c.name = type


def talloc_get_name(ptr: TALLOC_CTX) -> str:
    """
    The name of a chunk; "UNNAMED" if it has none.

    C: ``const char *talloc_get_name(const void *ptr)``
    """
    c = chunk_of(ptr)
    return "UNNAMED" if c is None else _shown_name(c)


def talloc_check_name(ptr: P | None, name: str) -> P | None:
    """
    *ptr* if it bears that name, else None.

    C: ``void *talloc_check_name(const void *ptr, const char *name)``
    """
    require_str(name, "name")
    if ptr is None:
        return None
    c = chunk_of(ptr)
    return None if c is None or _shown_name(c) != name else ptr


def _shown_name(c: chunk) -> str:
    name = name_of(c)
    return "UNNAMED" if name is None else name


def _has_type(c: chunk, type_arg: Any) -> bool:
    """Whether the name of *c* is that of a type."""
    return _shown_name(c) == info_of(type_arg).name


@overload
def talloc_get_type(ptr: object, type: builtins.type[T]) -> T | None: ...
@overload
def talloc_get_type(ptr: object, type: object) -> Any: ...
def talloc_get_type(ptr: Any, type: Any) -> Any:
    """
    *ptr* if it bears the name of that type, else None.

    C: ``#define talloc_get_type(ptr, type)``

    Only names are compared: a class of the same name matches, a subclass of another name does not.
    """
    if ptr is None:
        return None
    c: chunk | None = None
    try:
        header: chunk = ptr._talloc_chunk
        if header.obj is ptr:
            c = header
    except Exception:  # whatever a user's __getattr__ raises
        pass
    if c is None:
        c = bad_chunk(ptr)
        if c is None:
            return None
    if c.name is type and type is not None:
        return ptr
    return ptr if _has_type(c, type) else None


@overload
def talloc_get_type_abort(  # pyright: ignore[reportInvalidTypeVarUse]
    ptr: object, type: builtins.type[T]
) -> T: ...
@overload
def talloc_get_type_abort(ptr: object, type: object) -> Any: ...
def talloc_get_type_abort(ptr: Any, type: Any) -> Any:
    """
    *ptr*, which must bear the name of that type.

    C: ``#define talloc_get_type_abort(ptr, type)``

    Returns:
        *ptr*. Another name, or None, is a type mismatch: the abort function is called, and None given if it returns.
    """
    try:
        c = ptr._talloc_chunk
        if c.obj is ptr and c.name is type and type is not None:
            return ptr
    except Exception:  # whatever a user's __getattr__ raises
        pass
    return check_type(ptr, type, 2)


def check_type(ptr: Any, type: Any, depth: int = 1) -> Any:
    """talloc_get_type_abort() for a library: *depth* levels up is the caller whom a mismatch is blamed on."""
    c: chunk | None = None
    if ptr is not None:
        c = chunk_of(ptr)
        if c is None:
            return None
        if c.name is type or _has_type(c, type):
            return ptr
    name = "NULL" if c is None else _shown_name(c)
    _abort.abort(
        f"{location_text(caller(depth))}: Type mismatch: name[{name}] expected[{info_of(type).name}]",
        "" if c is None else f"the chunk is a {_type(ptr).__name__} object at {id(ptr):#x}",
    )
    return None


def talloc_parent_name(ptr: TALLOC_CTX | None) -> str | None:
    """
    The name of the owner of a chunk; None at top level and for an unnamed owner.

    C: ``const char *talloc_parent_name(const void *ptr)``
    """
    if ptr is None:
        return None
    c = chunk_of(ptr)
    return None if c is None or c.parent is None else name_of(c.parent)


def talloc_find_parent_byname(ctx: TALLOC_CTX | None, name: str) -> TALLOC_CTX | None:
    """
    The first of *ctx* itself and its owners upwards that bears a name.

    C: ``void *talloc_find_parent_byname(const void *ctx, const char *name)``
    """
    require_str(name, "name")
    if ctx is None:
        return None
    for c in ancestors(chunk_of(ctx)):
        if name_of(c) == name:
            return c.obj  # type: ignore[no-any-return]
    return None


@overload
def talloc_find_parent_bytype(ptr: TALLOC_CTX | None, type: builtins.type[T]) -> T | None: ...
@overload
def talloc_find_parent_bytype(ptr: TALLOC_CTX | None, type: object) -> Any: ...
def talloc_find_parent_bytype(ptr: Any, type: Any) -> Any:
    """
    The first of *ptr* itself and its owners upwards that bears the name of a type.

    C: ``#define talloc_find_parent_bytype(ptr, type)``
    """
    return talloc_find_parent_byname(ptr, info_of(type).name)
