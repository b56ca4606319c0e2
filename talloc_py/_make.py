# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Making chunks of every kind: contexts, structs, strings, buffers, arrays.

Prior art: ``talloc_named_const()``, ``_talloc_zero()``, ``_talloc_array()`` and ``_talloc_memdup()`` in
lib/talloc/talloc.c. All give None where C gives NULL: for a size of 256 MiB or more, or by a memory limit.
"""

from __future__ import annotations

from ._chunk import (
    CONTENT,
    TALLOC_CTX,
    attach,
    attach_guarded,
    caller,
    chunk,
    header_of,
    link,
    string_size,
    talloc_buffer,
    talloc_list,
    talloc_string,
)
from ._free import drop_handle, free_internal
from ._rare import POOL_BYTES, become_pool, rare
from .types import MAX_TALLOC_SIZE, copy_fields, info_of, needs_no_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .types import type_info

__all__ = [
    "copy_struct",
    "new_array",
    "new_buffer",
    "new_context",
    "new_list",
    "new_plain",
    "new_string",
    "new_struct",
    "require_int",
    "require_str",
    "set_name_format",
]


def require_int(value: object, what: str) -> int:
    """*value*, which must be an int."""
    if not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    return value


def require_str(value: object, what: str) -> str:
    """*value*, which must be a str."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    return value


def new_context(ctx: Any, name: Any) -> TALLOC_CTX | None:
    """A plain context, of size 0."""
    obj = TALLOC_CTX()
    return None if attach(obj, ctx, name) is None else obj


def new_buffer(ctx: Any, content: Any, name: Any) -> talloc_buffer | None:
    """A buffer: *content* is its bytes, or how many zeros."""
    size = content if isinstance(content, int) else memoryview(content).nbytes
    if not 0 <= size < MAX_TALLOC_SIZE:
        return None
    obj = talloc_buffer(content)
    return None if attach(obj, ctx, name) is None else obj


def new_string(ctx: Any, text: str, name: Any = CONTENT) -> talloc_string | None:
    """A string; it may hold NULs."""
    obj = talloc_string(text)
    if string_size(obj) >= MAX_TALLOC_SIZE:
        return None
    return None if attach(obj, ctx, name) is None else obj


def new_list(ctx: Any, items: Any, element: Any, name: Any) -> talloc_list[Any] | None:
    """An array of *items*, which are of the type *element*."""
    obj: talloc_list[Any] = talloc_list(items)
    obj.element = element
    return None if attach(obj, ctx, name) is None else obj


def new_array(ctx: Any, type_arg: Any, count: object, name: Any) -> Any:
    """A buffer or list of *count* zeroed elements."""
    info = info_of(type_arg)
    number = require_int(count, "count")
    # A type may have size 0 by its own declaration; C would divide by it.
    if number < 0 or number >= MAX_TALLOC_SIZE // max(info.size, 1):
        return None
    if info.is_bytes:
        return new_buffer(ctx, number, name)
    return new_list(ctx, zero_elements(info, number), type_arg, name)


def zero_elements(info: type_info, count: int) -> list[Any]:
    """Elements as a new array has them: zeros, or an instance each."""
    if info.zero is not None or info.pointer or info.type in (TALLOC_CTX, str, object):
        return [info.zero] * count
    return [plain_instance(info) for _index in range(count)]


def plain_instance(info: type_info) -> Any:
    """An instance of a class that is no chunk; None if none can be made."""
    cls = info.type
    if info.callable:
        try:
            obj = cls()
        except TypeError:
            if isinstance(cls.__init__, type(plain_instance)) or isinstance(cls.__new__, type(plain_instance)):
                raise
            return None  # C code that wants arguments and does not say so in a signature
    else:
        try:
            obj = object.__new__(cls)
        except TypeError:
            return None
    if info.fill is not None:
        info.fill(obj)
    return obj


def new_plain(ctx: Any, info: type_info) -> Any:
    """What new_struct() comes to for most classes of chunks, in half the time."""
    cls = info.type
    obj = cls() if info.quick else object.__new__(cls)
    c = link(obj, ctx, cls)
    if c is None:
        return None
    obj._talloc_chunk = c
    if info.runs_init:
        try:
            cls.__init__(obj)
        except BaseException:
            _discard(c, caller(2))
            raise
    fill = info.fill
    if fill is not None:
        fill(obj)
    return obj


def new_struct(ctx: Any, type_arg: Any, name: Any, pool_size: int = -1) -> Any:
    """
    A chunk that is an instance of a subclass of TALLOC_CTX, or, for another type, an array of one.

    With a *pool_size* it is a pool as well.
    """
    info = info_of(type_arg)
    if not info.is_chunk:
        if pool_size < 0:
            return new_array(ctx, type_arg, 1, name)
        obj = _one_element(info, type_arg)
    elif info.size >= MAX_TALLOC_SIZE:
        return None
    else:
        obj = TALLOC_CTX() if info.type is TALLOC_CTX else _bare_instance(info)
    if pool_size < 0:
        c = attach_guarded(obj, ctx, name, info.size)
    else:
        c = attach_guarded(obj, ctx, name, pool_size, POOL_BYTES)
    if c is None:
        return None
    if pool_size >= 0:
        become_pool(c, pool_size, info.size)
    if info.type is TALLOC_CTX:
        # A context of one byte: what C's sizeof(void) makes of talloc(ctx, TALLOC_CTX).
        if c.extra is None:
            c.extra = rare()
        c.extra.body = 1
    elif info.is_chunk:
        _initialise(c, obj, info)
    return obj


def copy_struct(ctx: Any, p: Any, name: Any) -> Any:
    """A chunk of the class of *p* with the same values in its dictionary and slots; no method of it is called."""
    cls: type[Any] = type(p)  # pyright: ignore[reportUnknownVariableType]  # of an Any
    if cls is TALLOC_CTX:
        return new_context(ctx, name)
    obj: Any = object.__new__(cls)
    copy_fields(p, obj)
    return None if attach_guarded(obj, ctx, name) is None else obj


def _one_element(info: type_info, type_arg: Any) -> Any:
    """An array of one element that is no chunk yet."""
    if info.is_bytes:
        return talloc_buffer(1)
    obj: talloc_list[Any] = talloc_list(zero_elements(info, 1))
    obj.element = type_arg
    return obj


def _initialise(c: chunk, obj: Any, info: type_info) -> None:
    """Run ``__init__`` on a chunk that is complete by now, so that it may allocate on it, and zero what is left."""
    if info.runs_init:
        try:
            type(obj).__init__(obj)
        except BaseException:
            _discard(c, caller(3))
            raise
    if info.fill is not None:
        info.fill(obj)


def _bare_instance(info: type_info) -> Any:
    """An object of a chunk class before its ``__init__``."""
    cls = info.type
    if type(cls).__call__ is not type.__call__:
        obj = cls()
        info.runs_init = False
    elif cls.__new__ is object.__new__ or not needs_no_arguments(cls.__new__):
        return object.__new__(cls)
    else:
        obj = cls.__new__(cls)
    if not isinstance(obj, cls):
        raise TypeError(f"{cls.__name__}() gave a {type(obj).__name__}")
    c = header_of(obj)
    if c is not None and c.obj is obj:
        raise TypeError(f"{cls.__name__}() gave an object that is a talloc chunk already")
    return obj


def _discard(c: chunk, where: Any) -> None:
    """Take back a chunk whose ``__init__`` has failed; its children are freed in the ordinary way."""
    c.destructor = None
    while c.extra is not None and c.extra.refs is not None:
        drop_handle(c.extra.refs, where, [])
    if c.obj is not None:
        free_internal(c, where)


def set_name_format(c: chunk, fmt: str, args: tuple[object, ...]) -> talloc_string | None:
    """Name *c* by a format: the name is a child of it. None, and unnamed, where a memory limit refuses."""
    text = fmt
    if "%" in fmt:
        from ._format import vformat

        text = vformat(fmt, args)
    name = new_string(c.obj, text, ".name")
    c.name = name
    return name
