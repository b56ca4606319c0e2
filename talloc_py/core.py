# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Create, free, steal, move, and who owns whom.

Prior art: lib/talloc/talloc.c and the macros of talloc.h. What the other modules and the libraries above need of the
inside is in `talloc_py._chunk` and `talloc_py._free`, and can be imported from here.
Cost: O(1) each, but free (O(chunks that die)) and talloc_is_parent (O(levels)).
"""

from __future__ import annotations

from sys import _getframe  # pyright: ignore[reportPrivateUsage]  # documented, and 40 times faster than inspect

from ._chunk import (
    LEFT,
    RUNNING,
    TALLOC_CTX,
    attach,
    attach_oldest,
    bad_chunk,
    being_freed,
    caller,
    chunk,
    chunk_of,
    destructor_guards,
    guarded_by,
    lazy_children,
    link,
    location_text,
    name_of,
    talloc_buffer,
    talloc_list,
    talloc_string,
    world,
)
from ._free import (
    AGREED,
    TALLOC_MAX_DEPTH,
    abort_errors,
    destructor_raised,
    free_agreed,
    free_children,
    free_chunk,
    free_internal,
    is_ancestor,
    library_destructors,
    log_references,
    reference_of,
    refuses,
    steal_internal,
)
from ._make import (
    copy_struct,
    new_buffer,
    new_context,
    new_list,
    new_plain,
    new_struct,
    require_int,
    require_str,
    set_name_format,
)
from ._typing import overload
from .names import check_type, talloc_get_name, talloc_get_type, talloc_get_type_abort
from .types import char, info_of, is_pointer_type, quick_fills

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable
    from types import UnionType
    from typing import Any, Never, TypeVar

    from ._chunk import talloc_destructor_t as talloc_destructor_t
    from .types import byte_type

    C = TypeVar("C", bound=TALLOC_CTX)
    P = TypeVar("P", bound="TALLOC_CTX | None")
    T = TypeVar("T")

__all__ = [
    "TALLOC_CTX",
    "TALLOC_FREE",
    "TALLOC_MAX_DEPTH",
    "TALLOC_VERSION_MAJOR",
    "TALLOC_VERSION_MINOR",
    "abort_errors",
    "attach",
    "attach_oldest",
    "bad_chunk",
    "being_freed",
    "caller",
    "check_type",
    "chunk",
    "chunk_of",
    "free_chunk",
    "destructor_guards",
    "guarded_by",
    "lazy_children",
    "library_destructors",
    "link",
    "location_text",
    "name_of",
    "owner_of",
    "pointed_type",
    "talloc",
    "talloc_free",
    "talloc_free_children",
    "talloc_get_name",
    "talloc_get_type",
    "talloc_get_type_abort",
    "talloc_init",
    "talloc_is_parent",
    "talloc_memdup",
    "talloc_move",
    "talloc_named",
    "talloc_named_const",
    "talloc_new",
    "talloc_parent",
    "talloc_ptrtype",
    "talloc_reparent",
    "talloc_set_destructor",
    "talloc_size",
    "talloc_steal",
    "talloc_string",
    "talloc_test_get_magic",
    "talloc_version_major",
    "talloc_version_minor",
    "talloc_zero",
    "talloc_zero_size",
]

TALLOC_VERSION_MAJOR = 2
TALLOC_VERSION_MINOR = 5

_type = type


def talloc_version_major() -> int:
    """
    The major version of the talloc that this is a port of.

    C: ``int talloc_version_major(void)``
    """
    return TALLOC_VERSION_MAJOR


def talloc_version_minor() -> int:
    """
    The minor version of the talloc that this is a port of.

    C: ``int talloc_version_minor(void)``
    """
    return TALLOC_VERSION_MINOR


def talloc_test_get_magic() -> int:
    """
    A number that is the same for the life of the process.

    C: ``int talloc_test_get_magic(void)``
    """
    return id(chunk) & 0x7FFFFFF0


@overload
def talloc(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # first fit
    ctx: TALLOC_CTX | None, type: builtins.type[C]
) -> C | None: ...
@overload
def talloc(  # type: ignore[overload-overlap]
    ctx: TALLOC_CTX | None, type: byte_type
) -> talloc_buffer | None: ...
@overload
def talloc(ctx: TALLOC_CTX | None, type: builtins.type[int]) -> talloc_list[int] | None: ...
@overload
def talloc(ctx: TALLOC_CTX | None, type: builtins.type[T]) -> talloc_list[T] | None: ...
@overload
def talloc(ctx: TALLOC_CTX | None, type: UnionType) -> talloc_list[Any] | None: ...
def talloc(ctx: TALLOC_CTX | None, type: Any) -> Any:
    """
    Make a chunk of a struct: an instance of the class *type*, owned by *ctx*.

    C: ``#define talloc(ctx, type)``

    Args:
        ctx: The owner; None for a chunk at top level.

        type: A subclass of `TALLOC_CTX`. It is called without arguments if it can be; declared fields (annotations
            and slots) that then have no value get 0, False, 0.0 or None. Any other type gives an array of one
            element: ``p = talloc(ctx, int); p[0] = 42``.

    Returns:
        The chunk, named like the type; None if a memory limit refuses.
    """
    parent: Any
    try:
        fill = quick_fills[type]
        parent = ctx._talloc_chunk  # type: ignore[union-attr]  # None has none: below
        if parent.obj is not ctx or parent.extra is not None:
            parent = None
    except Exception:  # whatever a user's __getattr__ raises
        parent = fill = None
    if parent is None:
        return _talloc_unusual(ctx, type)
    # new_plain() and link() in one piece for the ordinary case: a third less time.
    obj = type()
    c = chunk()
    obj._talloc_chunk = c
    c.obj = obj
    c.name = type
    c.destructor = None
    c.child = None
    c.prev = None
    c.extra = None
    c.parent = parent
    first = parent.child
    c.next = first
    if first is not None:
        first.prev = c
    parent.child = c
    if fill is not None:
        fill(obj)
    return obj


@overload
def talloc_zero(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # first fit
    ctx: TALLOC_CTX | None, type: builtins.type[C]
) -> C | None: ...
@overload
def talloc_zero(  # type: ignore[overload-overlap]
    ctx: TALLOC_CTX | None, type: byte_type
) -> talloc_buffer | None: ...
@overload
def talloc_zero(ctx: TALLOC_CTX | None, type: builtins.type[int]) -> talloc_list[int] | None: ...
@overload
def talloc_zero(ctx: TALLOC_CTX | None, type: builtins.type[T]) -> talloc_list[T] | None: ...
@overload
def talloc_zero(ctx: TALLOC_CTX | None, type: UnionType) -> talloc_list[Any] | None: ...
def talloc_zero(ctx: TALLOC_CTX | None, type: Any) -> Any:
    """
    Make a chunk of a struct whose fields are zero; the same as `talloc` here, where nothing is uninitialised.

    C: ``#define talloc_zero(ctx, type)``
    """
    # The body of talloc() once more: 8 % less time than with a call of it.
    parent: Any
    try:
        fill = quick_fills[type]
        parent = ctx._talloc_chunk  # type: ignore[union-attr]  # None has none: below
        if parent.obj is not ctx or parent.extra is not None:
            parent = None
    except Exception:  # whatever a user's __getattr__ raises
        parent = fill = None
    if parent is None:
        return _talloc_unusual(ctx, type)
    obj = type()
    c = chunk()
    obj._talloc_chunk = c
    c.obj = obj
    c.name = type
    c.destructor = None
    c.child = None
    c.prev = None
    c.extra = None
    c.parent = parent
    first = parent.child
    c.next = first
    if first is not None:
        first.prev = c
    parent.child = c
    if fill is not None:
        fill(obj)
    return obj


def _talloc_unusual(ctx: Any, type: Any) -> Any:
    """talloc() of a class that is not made by calling it alone, or on no owner, or on one that has rare fields."""
    info = info_of(type)
    return new_plain(ctx, info) if info.plain else new_struct(ctx, type, type)


def talloc_new(ctx: TALLOC_CTX | None) -> TALLOC_CTX | None:
    """
    Make an empty context, named "talloc_new: " and the place of the call.

    C: ``#define talloc_new(ctx)``

    Returns:
        The context; None if a memory limit refuses.
    """
    frame = _getframe(1)
    name = (frame.f_code, frame.f_lasti, "talloc_new: ")
    parent: Any = None
    if ctx is not None:
        try:
            parent = ctx._talloc_chunk
            if parent.obj is not ctx or parent.extra is not None:
                parent = None
        except Exception:  # whatever a user's __getattr__ raises
            parent = None
    if parent is None:
        return new_context(ctx, name)
    # new_context() and link() in one piece: 15 % less time.
    obj = TALLOC_CTX()
    c = chunk()
    obj._talloc_chunk = c  # type: ignore[misc]  # the slot is hidden from checkers
    c.obj = obj
    c.name = name
    c.destructor = None
    c.child = None
    c.prev = None
    c.extra = None
    c.parent = parent
    first = parent.child
    c.next = first
    if first is not None:
        first.prev = c
    parent.child = c
    return obj


def talloc_init(fmt: str, *args: object) -> TALLOC_CTX | None:
    """
    Make a context at top level, named by a printf format.

    C: ``void *talloc_init(const char *fmt, ...)``
    """
    return _named(None, 0, fmt, args)  # type: ignore[no-any-return]


def talloc_named(context: TALLOC_CTX | None, size: int, fmt: str, *args: object) -> TALLOC_CTX | talloc_buffer | None:
    """
    Make a context (size 0) or a buffer of *size* bytes, named by a printf format.

    C: ``void *talloc_named(const void *context, size_t size, const char *fmt, ...)``

    Ownership: the name is a string chunk called ".name", a child of the new chunk.
    """
    return _named(context, size, fmt, args)  # type: ignore[no-any-return]


def talloc_named_const(context: TALLOC_CTX | None, size: int, name: str) -> TALLOC_CTX | None:
    """
    Make a context (size 0) or a buffer of *size* bytes with the given name.

    C: ``void *talloc_named_const(const void *context, size_t size, const char *name)``

    Returns:
        The chunk; None if *size* is negative, 256 MiB or more, or a memory limit refuses.
    """
    require_str(name, "name")
    if require_int(size, "size") == 0:
        return new_context(context, name)
    return new_buffer(context, size, name)


def _named(context: TALLOC_CTX | None, size: int, fmt: str, args: tuple[object, ...]) -> Any:
    require_str(fmt, "fmt")
    obj = new_context(context, None) if require_int(size, "size") == 0 else new_buffer(context, size, None)
    if obj is None:
        return None
    c = obj._talloc_chunk
    try:
        name = set_name_format(c, fmt, args)
    except BaseException:
        free_internal(c, caller(2))
        raise
    if name is None:
        free_internal(c, caller(2))
        return None
    return obj


def talloc_size(ctx: TALLOC_CTX | None, size: int) -> talloc_buffer | None:
    """
    Make a buffer of *size* bytes, named by the place of the call.

    C: ``#define talloc_size(ctx, size)``

    Returns:
        The buffer; None if *size* is negative, 256 MiB or more, or a memory limit refuses.
    """
    return new_buffer(ctx, require_int(size, "size"), caller(1))


def talloc_zero_size(ctx: TALLOC_CTX | None, size: int) -> talloc_buffer | None:
    """
    Make a buffer of *size* zero bytes; the same as `talloc_size` here, where nothing is uninitialised.

    C: ``#define talloc_zero_size(ctx, size)``
    """
    return new_buffer(ctx, require_int(size, "size"), caller(1))


def pointed_type(ptr: Any) -> Any:
    """The type that *ptr* points to: itself where it is a type, else what it is an instance of."""
    if ptr is None:
        raise TypeError("ptr must be a type or an instance of one, not None")
    cls: builtins.type[Any] = _type(ptr)  # pyright: ignore[reportUnknownVariableType]  # of an Any
    if cls is talloc_list:
        return ptr.element
    if isinstance(ptr, _type) or is_pointer_type(ptr):
        return ptr
    if isinstance(ptr, str):
        return char
    return bytearray if isinstance(ptr, bytearray) else cls


@overload
def talloc_ptrtype(ctx: TALLOC_CTX | None, ptr: builtins.type[C]) -> C | None: ...
@overload
def talloc_ptrtype(ctx: TALLOC_CTX | None, ptr: talloc_string | talloc_buffer) -> talloc_buffer | None: ...
@overload
def talloc_ptrtype(ctx: TALLOC_CTX | None, ptr: C) -> C | None: ...
@overload
def talloc_ptrtype(ctx: TALLOC_CTX | None, ptr: object) -> Any: ...
def talloc_ptrtype(ctx: TALLOC_CTX | None, ptr: Any) -> Any:
    """
    Make a chunk of the type that *ptr* is, or is an instance of, named by the place of the call.

    C: ``#define talloc_ptrtype(ctx, ptr)``
    """
    return new_struct(ctx, pointed_type(ptr), caller(1))


@overload
def talloc_memdup(t: TALLOC_CTX | None, p: bytes | bytearray | memoryview | None) -> talloc_buffer | None: ...
@overload
def talloc_memdup(t: TALLOC_CTX | None, p: list[T]) -> talloc_list[T] | None: ...
@overload
def talloc_memdup(t: TALLOC_CTX | None, p: C) -> C | None: ...
def talloc_memdup(t: TALLOC_CTX | None, p: Any) -> Any:
    """
    Make a copy of bytes, of a struct or of an array, named by the place of the call.

    C: ``#define talloc_memdup(t, p, size)``

    Args:
        t: The owner.

        p: A bytes-like object; an instance of a subclass of `TALLOC_CTX`, chunk or not, whose field values the new
            one shares; or a list. None gives an empty buffer.

    Ownership: children, destructor and references of *p* are not copied.
    """
    where = caller(1)
    if p is None:
        return new_buffer(t, b"", where)
    if _type(p) is talloc_list:
        return new_list(t, p, p.element, where)
    if isinstance(p, list):
        return new_list(t, p, object, where)  # pyright: ignore[reportUnknownArgumentType]
    if issubclass(_type(p), TALLOC_CTX):
        return copy_struct(t, p, where)
    try:
        view = memoryview(p)
    except TypeError:
        raise TypeError(f"p must be a bytes-like object, a struct or an array, not {_type(p).__name__}") from None
    return new_buffer(t, view, where)


def talloc_free(ptr: TALLOC_CTX | None) -> int:
    """
    Free a chunk and all its children.

    C: ``#define talloc_free(ctx)``, ``int _talloc_free(void *ptr, const char *location)``

    Returns:
        0; -1 if *ptr* is None, a destructor refuses, or references are in the way.

    Callbacks: the destructor of *ptr* runs first, while all its children are alive; then the children are freed, the
    newest first, each in the same way.
    Ownership: a child that other contexts refer to, or whose destructor refuses, moves to a new owner and lives on.
    """
    frame = _getframe(1)
    c: Any
    try:
        c = ptr._talloc_chunk  # type: ignore[union-attr]  # None has none: below
        if c.obj is not ptr or c.extra is not None or c.next is LEFT:
            c = None
    except Exception:  # whatever a user's __getattr__ raises
        c = None
    if c is None:
        return _free_unusual(ptr, (frame.f_code, frame.f_lasti))
    # free_chunk() once more: a fifth less time than with a call of it.
    destructor = c.destructor
    if destructor is not None:
        c.destructor = RUNNING
        try:
            answer: Any = destructor(ptr)
        except BaseException as error:
            answer = destructor_raised(c, destructor, error)
        if answer is not AGREED and answer is not None and refuses(c, destructor, answer):
            return -1
        if c.next is LEFT or c.extra is not None:
            return free_agreed(c, (frame.f_code, frame.f_lasti))
    if c.child is not None:
        return free_agreed(c, (frame.f_code, frame.f_lasti))
    following = c.next
    before = c.prev
    if before is not None:
        before.next = following
    else:
        parent = c.parent
        if parent is not None:
            parent.child = following
    if following is not None:
        following.prev = before
    c.next = LEFT
    c.prev = frame.f_code
    c.destructor = frame.f_lasti
    c.parent = None
    c.obj = None
    return 0


def _free_unusual(ptr: Any, where: Any) -> int:
    """talloc_free() of what is no living chunk, or has rare fields."""
    c = None if ptr is None else chunk_of(ptr)
    return -1 if c is None else free_chunk(c, where)


@overload
def TALLOC_FREE(ctx: TALLOC_CTX | None) -> None: ...
# mypy refuses ``x = TALLOC_FREE(x)`` of a function that gives None in every case; this one never comes.
@overload
def TALLOC_FREE(ctx: Never) -> Never: ...  # type: ignore[overload-cannot-match]  # pyright: ignore[reportOverlappingOverload]
def TALLOC_FREE(ctx: TALLOC_CTX | None) -> None:
    """
    Free a chunk unless it is None, and give None back.

    So that C's macro can be written as ``x = TALLOC_FREE(x)``.

    C: ``#define TALLOC_FREE(ctx)``
    """
    frame = _getframe(1)
    c: Any
    try:
        c = ctx._talloc_chunk  # type: ignore[union-attr]  # None has none: below
        if c.obj is not ctx or c.extra is not None or c.next is LEFT:
            c = None
    except Exception:  # whatever a user's __getattr__ raises
        c = None
    if c is None:
        _free_unusual(ctx, (frame.f_code, frame.f_lasti))
        return
    # free_chunk() once more: a fifth less time than with a call of it.
    destructor = c.destructor
    if destructor is not None:
        c.destructor = RUNNING
        try:
            answer: Any = destructor(ctx)
        except BaseException as error:
            answer = destructor_raised(c, destructor, error)
        if answer is not AGREED and answer is not None and refuses(c, destructor, answer):
            return
        if c.next is LEFT or c.extra is not None:
            free_agreed(c, (frame.f_code, frame.f_lasti))
            return
    if c.child is not None:
        free_agreed(c, (frame.f_code, frame.f_lasti))
        return
    following = c.next
    before = c.prev
    if before is not None:
        before.next = following
    else:
        parent = c.parent
        if parent is not None:
            parent.child = following
    if following is not None:
        following.prev = before
    c.next = LEFT
    c.prev = frame.f_code
    c.destructor = frame.f_lasti
    c.parent = None
    c.obj = None


def talloc_free_children(ptr: TALLOC_CTX | None) -> None:
    """
    Free all children of a chunk, but not the string that is its name.

    C: ``void talloc_free_children(void *ptr)``

    Ownership: children whose destructors refuse move to the owner of *ptr*.
    """
    if ptr is not None:
        c = chunk_of(ptr)
        if c is not None:
            from ._walk import look_into

            look_into(c)  # what is a child only for those who look is one for this, too
            free_children(c, caller(1))


def talloc_set_destructor(ptr: P, destructor: Callable[[P], int | None] | None) -> None:
    """
    Set the function that is asked before a chunk is freed.

    C: ``#define talloc_set_destructor(ptr, function)``

    Args:
        ptr: A chunk; it has one destructor at most.

        destructor: Called as ``destructor(ptr)`` while the chunk is whole. -1 refuses the free, anything else agrees.
            None removes the destructor.
    """
    c = chunk_of(ptr)
    if destructor is not None and not callable(destructor):
        raise TypeError(f"destructor must be callable or None, not {_type(destructor).__name__}")
    if c is not None:
        guard = destructor_guards.get(_type(ptr))
        c.destructor = destructor if guard is None else guard(destructor)


def owner_of(new_ctx: Any) -> tuple[bool, chunk | None]:
    """Whether *new_ctx* can be an owner, and its header: null_context or None for None."""
    if new_ctx is None:
        return True, world.null
    c = chunk_of(new_ctx)
    return c is not None, c


def _steal(new_ctx: Any, ptr: Any, depth: int) -> Any:
    if ptr is None:
        return None
    c = chunk_of(ptr)
    good, new = owner_of(new_ctx)
    if c is None or not good:
        return None
    if c.extra is not None and c.extra.refs is not None:
        # C compares with what it was given: with null tracking on, None is not the parent of anything.
        if c.parent is not (None if new_ctx is None else new):
            log_references(c, "WARNING: talloc_steal with references", caller(depth + 1))
    steal_internal(new, c)
    return ptr


def talloc_steal(new_ctx: TALLOC_CTX | None, ptr: P) -> P:
    """
    Make *ptr*, with all its children, the newest child of another owner.

    C: ``#define talloc_steal(new_ctx, ptr)``

    Args:
        new_ctx: The new owner; None for none.

        ptr: What is moved; None is allowed and gives None.

    Returns:
        *ptr*.

    Ownership: references to *ptr* stay; a warning is logged if there are any.
    """
    return _steal(new_ctx, ptr, 1)  # type: ignore[no-any-return]


def talloc_move(new_ctx: TALLOC_CTX | None, pptr: P) -> P:
    """
    The same as `talloc_steal`, for a caller who gives up the pointer itself.

    In Python the caller sets the variable to None: ``y, x = talloc_move(ctx, x), None``.

    C: ``#define talloc_move(new_ctx, pptr)``
    """
    return _steal(new_ctx, pptr, 1)  # type: ignore[no-any-return]


def talloc_reparent(old_parent: TALLOC_CTX | None, new_parent: TALLOC_CTX | None, ptr: P) -> P | None:
    """
    Let *new_parent* take the place of *old_parent*, which owns *ptr* or holds a reference to it.

    C: ``void *talloc_reparent(const void *old_parent, const void *new_parent, const void *ptr)``

    Returns:
        *ptr*; None if *old_parent* is neither.
    """
    if ptr is None:
        return None
    c = chunk_of(ptr)
    good, new = owner_of(new_parent)
    old = None
    if old_parent is not None:
        old = chunk_of(old_parent)
        good = good and old is not None
    if c is None or not good:
        return None
    moved: chunk | None = c if c.parent is old else reference_of(c, old)
    if moved is None:
        return None
    steal_internal(new, moved)
    return ptr


def talloc_parent(ptr: TALLOC_CTX | None) -> TALLOC_CTX | None:
    """
    The owner of a chunk; None at top level.

    C: ``void *talloc_parent(const void *ptr)``
    """
    if ptr is None:
        return None
    c = chunk_of(ptr)
    if c is None or c.parent is None:
        return None
    return c.parent.obj  # type: ignore[no-any-return]


def talloc_is_parent(context: TALLOC_CTX | None, ptr: TALLOC_CTX | None) -> int:
    """
    Whether *ptr* is *context* itself or one of its owners upwards. Note the order.

    C: ``int talloc_is_parent(const void *context, const void *ptr)``

    Returns:
        1 or 0; 0 also beyond `TALLOC_MAX_DEPTH` levels.
    """
    if context is None or ptr is None:
        return 0
    c = chunk_of(context)
    presumed = chunk_of(ptr)
    if c is None or presumed is None:
        return 0
    return int(is_ancestor(c, presumed))
