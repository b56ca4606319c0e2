# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Arrays and buffers, and giving them another size.

Prior art: ``_talloc_array()`` and ``_talloc_realloc()`` in lib/talloc/talloc.c. An array of a one-byte type is a
`bytearray`, any other a `list`; both are chunks. They are resized in place where Python allows it.
Cost: O(elements).
"""

from __future__ import annotations

from ._chunk import (
    CONTENT,
    TALLOC_CTX,
    become,
    caller,
    chunk,
    chunk_of,
    encode,
    make_plain,
    name_of,
    set_header,
    size_of,
    talloc_buffer,
    talloc_list,
    talloc_string,
)
from ._make import new_array, new_buffer, require_int, zero_elements
from ._rare import KEEP, REFUSED, rebook
from ._typing import overload
from .core import pointed_type
from .refs import talloc_unlink
from .types import MAX_TALLOC_SIZE, char, info_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from types import UnionType
    from typing import Any, TypeVar

    from .types import byte_type, type_info

    T = TypeVar("T")

__all__ = [
    "talloc_array",
    "talloc_array_length",
    "talloc_array_ptrtype",
    "talloc_array_size",
    "talloc_buffer",
    "talloc_list",
    "talloc_realloc",
    "talloc_realloc_fn",
    "talloc_realloc_size",
    "talloc_realloc_zero",
    "talloc_zero_array",
]


@overload
def talloc_array(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # first fit
    ctx: TALLOC_CTX | None, type: byte_type, count: int
) -> talloc_buffer | None: ...
@overload
def talloc_array(ctx: TALLOC_CTX | None, type: builtins.type[int], count: int) -> talloc_list[int] | None: ...
@overload
def talloc_array(ctx: TALLOC_CTX | None, type: builtins.type[str], count: int) -> talloc_list[str | None] | None: ...
@overload
def talloc_array(ctx: TALLOC_CTX | None, type: builtins.type[T], count: int) -> talloc_list[T] | None: ...
@overload
def talloc_array(ctx: TALLOC_CTX | None, type: UnionType, count: int) -> talloc_list[Any] | None: ...
def talloc_array(ctx: TALLOC_CTX | None, type: Any, count: int) -> Any:
    """
    Make an array of *count* elements of a type.

    C: ``#define talloc_array(ctx, type, count)``

    Args:
        ctx: The owner.

        type: A class, or ``T | None`` for pointers. One-byte types give a buffer, all others a list.

        count: How many. The elements are zeros; instances, if *type* is any other class that can be called
            without arguments; else None.

    Returns:
        The array, named like the type; None if it is 256 MiB or more, *count* is negative, or a memory limit
        refuses.
    """
    return new_array(ctx, type, count, type)


@overload
def talloc_zero_array(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # first fit
    ctx: TALLOC_CTX | None, type: byte_type, count: int
) -> talloc_buffer | None: ...
@overload
def talloc_zero_array(ctx: TALLOC_CTX | None, type: builtins.type[int], count: int) -> talloc_list[int] | None: ...
@overload
def talloc_zero_array(
    ctx: TALLOC_CTX | None, type: builtins.type[str], count: int
) -> talloc_list[str | None] | None: ...
@overload
def talloc_zero_array(ctx: TALLOC_CTX | None, type: builtins.type[T], count: int) -> talloc_list[T] | None: ...
@overload
def talloc_zero_array(ctx: TALLOC_CTX | None, type: UnionType, count: int) -> talloc_list[Any] | None: ...
def talloc_zero_array(ctx: TALLOC_CTX | None, type: Any, count: int) -> Any:
    """
    Make an array of zeros; the same as `talloc_array` here, where nothing is uninitialised.

    C: ``#define talloc_zero_array(ctx, type, count)``
    """
    return new_array(ctx, type, count, type)


def talloc_array_size(ctx: TALLOC_CTX | None, size: int, count: int) -> talloc_buffer | None:
    """
    Make a buffer of *size* x *count* bytes, named by the place of the call.

    C: ``#define talloc_array_size(ctx, size, count)``

    Returns:
        The buffer; None if it is 256 MiB or more, a number is negative, or a memory limit refuses. A *size* of 0 is
        a ValueError (C divides by it).
    """
    if require_int(size, "size") == 0:
        raise ValueError("size must not be 0")
    if size < 0 or require_int(count, "count") < 0 or count >= MAX_TALLOC_SIZE // size:
        return None
    return new_buffer(ctx, size * count, caller(1))


@overload
def talloc_array_ptrtype(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # first fit
    ctx: TALLOC_CTX | None, ptr: byte_type, count: int
) -> talloc_buffer | None: ...
@overload
def talloc_array_ptrtype(ctx: TALLOC_CTX | None, ptr: builtins.type[int], count: int) -> talloc_list[int] | None: ...
@overload
def talloc_array_ptrtype(
    ctx: TALLOC_CTX | None, ptr: builtins.type[str], count: int
) -> talloc_list[str | None] | None: ...
@overload
def talloc_array_ptrtype(ctx: TALLOC_CTX | None, ptr: builtins.type[T], count: int) -> talloc_list[T] | None: ...
@overload
def talloc_array_ptrtype(ctx: TALLOC_CTX | None, ptr: object, count: int) -> Any: ...
def talloc_array_ptrtype(ctx: TALLOC_CTX | None, ptr: Any, count: int) -> Any:
    """
    Make an array of the type that *ptr* is, or is an instance of, named by the place of the call.

    C: ``#define talloc_array_ptrtype(ctx, ptr, count)``
    """
    return new_array(ctx, pointed_type(ptr), count, caller(1))


def talloc_array_length(ctx: TALLOC_CTX | None) -> int:
    """
    The number of elements of an array; of a string its bytes with the NUL, of a struct 1, of a context and None 0.

    C: ``#define talloc_array_length(ctx)``
    """
    if ctx is None:
        return 0
    c = chunk_of(ctx)
    if c is None:
        return 0
    cls = type(ctx)
    if cls is talloc_list:
        return list.__len__(ctx)  # type: ignore[arg-type]
    if cls is talloc_buffer or cls is talloc_string or cls is TALLOC_CTX:
        return size_of(c)
    return 1


@overload
def talloc_realloc(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # first fit
    ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: byte_type, count: int
) -> talloc_buffer | None: ...
@overload
def talloc_realloc(
    ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: builtins.type[int], count: int
) -> talloc_list[int] | None: ...
@overload
def talloc_realloc(
    ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: builtins.type[str], count: int
) -> talloc_list[str | None] | None: ...
@overload
def talloc_realloc(
    ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: builtins.type[T], count: int
) -> talloc_list[T] | None: ...
@overload
def talloc_realloc(
    ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: UnionType, count: int
) -> talloc_list[Any] | None: ...
def talloc_realloc(ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: Any, count: int) -> Any:
    """
    Give an array another length; use the returned object from then on.

    C: ``#define talloc_realloc(ctx, ptr, type, count)``

    Args:
        ctx: The owner of a new array, if *ptr* is None; who gives *ptr* up, if *count* is 0; else ignored.

        ptr: An array, buffer, string or struct. None makes a new array.

        type: The type of the elements. New ones are zero.

        count: How many there shall be.

    Returns:
        The array: the same object, or a new one that took the chunk over, and the old one is like freed. None if
        *count* is 0 (*ptr* is freed, or a reference to it dropped); None, and *ptr* as it was, if it would be too
        big, has references, is a pool, or a memory limit refuses.

    Ownership: owner, place among the siblings, children and destructor stay.
    """
    return _realloc_array(ctx, ptr, type, count, type, caller(1))


@overload
def talloc_realloc_zero(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # first fit
    ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: byte_type, count: int
) -> talloc_buffer | None: ...
@overload
def talloc_realloc_zero(
    ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: builtins.type[int], count: int
) -> talloc_list[int] | None: ...
@overload
def talloc_realloc_zero(
    ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: builtins.type[str], count: int
) -> talloc_list[str | None] | None: ...
@overload
def talloc_realloc_zero(
    ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: builtins.type[T], count: int
) -> talloc_list[T] | None: ...
@overload
def talloc_realloc_zero(
    ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: UnionType, count: int
) -> talloc_list[Any] | None: ...
def talloc_realloc_zero(ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, type: Any, count: int) -> Any:
    """
    As `talloc_realloc`; new elements are zero there too.

    C: ``#define talloc_realloc_zero(ctx, ptr, type, count)``
    """
    return _realloc_array(ctx, ptr, type, count, type, caller(1))


def talloc_realloc_size(ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None, size: int) -> talloc_buffer | None:
    """
    As `talloc_realloc`, for a buffer of *size* bytes that is named by the place of the call.

    C: ``#define talloc_realloc_size(ctx, ptr, size)``
    """
    where = caller(1)
    return _realloc_array(ctx, ptr, bytearray, require_int(size, "size"), where, where)  # type: ignore[no-any-return]


def talloc_realloc_fn(context: TALLOC_CTX | None, ptr: TALLOC_CTX | None, size: int) -> talloc_buffer | None:
    """
    As `talloc_realloc`, for a buffer of *size* bytes that is left unnamed; in C a function that can be pointed to.

    C: ``void *talloc_realloc_fn(const void *context, void *ptr, size_t size)``
    """
    return _realloc_array(context, ptr, bytearray, require_int(size, "size"), None, caller(1))  # type: ignore[no-any-return]


def _realloc_array(ctx: Any, ptr: Any, type_arg: Any, count: object, name: Any, where: Any) -> Any:
    info = info_of(type_arg)
    number = require_int(count, "count")
    if number < 0 or number >= MAX_TALLOC_SIZE // max(info.size, 1):
        return None
    if number * info.size == 0:
        talloc_unlink(ctx, ptr)
        return None
    if ptr is None:
        return new_array(ctx, type_arg, number, name)
    c = chunk_of(ptr)
    if c is None or (c.extra is not None and (c.extra.refs is not None or c.extra.pool is not None)):
        return None
    verdict = rebook(c, size_of(c), number * info.size)
    if verdict == REFUSED:
        return None
    result = _resized(c, info, number, where)
    if verdict != KEEP:
        c.name = name
    return result


def _resized(c: chunk, info: type_info, count: int, where: Any) -> Any:
    """Let the object of *c* have *count* elements: the same object if it can be, else one that takes its place."""
    obj = c.obj
    cls: type[Any] = type(obj)  # pyright: ignore[reportUnknownVariableType]  # of an Any
    if info.is_bytes:
        if cls is talloc_buffer:
            return _resize_buffer(c, obj, count, where)
        if cls is talloc_string and info.type is char and size_of(c) == count:
            return obj
        raw = _bytes_of(obj)[:count]
        return become(c, talloc_buffer(raw + bytes(count - len(raw))), where)
    if cls is talloc_list:
        return _resize_list(obj, info, count)
    if cls is info.type and count == 1:
        return obj
    items: list[Any]
    if c.name is CONTENT:
        # The name may stay, but numbers have no text.
        c.name = name_of(c)
    if cls is talloc_buffer or cls is talloc_string:
        items = list(_bytes_of(obj)[:count])
    else:
        items = [] if cls is TALLOC_CTX else [obj]
    array: talloc_list[Any] = talloc_list(items)
    array.element = info.type
    _resize_list(array, info, count)
    if items and items[0] is obj:
        # The struct lives on as the first element, an object that is no chunk.
        make_plain(obj)
        set_header(array, c)
        c.obj = array
        return array
    return become(c, array, where)


def _bytes_of(obj: Any) -> bytes:
    """The bytes that C would find in a chunk, as far as that can be said."""
    if isinstance(obj, str):
        return encode(obj) + b"\0"
    if isinstance(obj, bytearray):
        return bytes(obj)
    if isinstance(obj, list):
        items: list[Any] = obj  # pyright: ignore[reportUnknownVariableType]  # of an Any
        return bytes(item & 0xFF if isinstance(item, int) else 0 for item in items)
    return b""


def _resize_buffer(c: chunk, obj: talloc_buffer, count: int, where: Any) -> talloc_buffer:
    missing = count - len(obj)
    try:
        if missing < 0:
            del obj[count:]
        elif missing > 0:
            obj.extend(bytes(missing))
    except BufferError:  # somebody holds a memoryview of it
        raw = bytes(obj[:count])
        return become(c, talloc_buffer(raw + bytes(count - len(raw))), where)  # type: ignore[no-any-return]
    return obj


def _resize_list(obj: talloc_list[Any], info: type_info, count: int) -> talloc_list[Any]:
    del obj[count:]
    obj.extend(zero_elements(info, count - len(obj)))
    obj.element = info.type
    return obj
