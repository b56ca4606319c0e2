# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The chunk header, the classes of chunks, and how an object becomes a chunk.

Prior art: ``struct talloc_chunk`` and ``__talloc_with_prefix()`` in lib/talloc/talloc.c. Each chunk is two Python
objects: the public one, whose only slot for us leads to its header, and the header with the links of the tree. The
header of a chunk that has died stays with the object and tells where it was freed.
Cost: O(1) for everything here but `append_oldest`.
"""

from __future__ import annotations

from sys import _getframe  # pyright: ignore[reportPrivateUsage]  # documented, and 40 times faster than inspect

from . import _abort
from ._rare import HANDLE_BYTES, admit, rare
from .types import info_of, set_chunk_base

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType
    from typing import Any, Generic, SupportsIndex, TypeVar

    location_t = tuple[CodeType, int]
    talloc_destructor_t = Callable[[Any], "int | None"]
    E = TypeVar("E")

__all__ = [
    "LEFT",
    "TALLOC_CTX",
    "attach",
    "attach_oldest",
    "bad_chunk",
    "being_freed",
    "birthplaces",
    "caller",
    "caller_outside",
    "chunk",
    "chunk_of",
    "destructor_guards",
    "freed_at",
    "guarded_by",
    "lazy_children",
    "link",
    "location_text",
    "make_oldest",
    "reference_handle",
    "shared",
    "talloc_buffer",
    "talloc_list",
    "talloc_string",
    "world",
]


class chunk:
    """The header of one chunk. Users never see it."""

    # Eight, as two more take 16 bytes, 5 % of an idle connection, and 3.5 % of the building of a tree.
    __slots__ = ("child", "destructor", "extra", "name", "next", "obj", "parent", "prev")

    #: The public object; None once the chunk is dead.
    obj: Any
    #: Header of the owner; None at top level.
    parent: chunk | None
    #: Siblings, newest first; `prev` of the first is None. From the moment the destructor has agreed `next` is `LEFT`,
    #: and `prev` where the free was called: see `freed_at`.
    next: chunk | None
    prev: Any
    #: The newest child.
    child: chunk | None
    #: Of a dead chunk whose `prev` is the code alone, where in that. Two stores instead of a tuple: 8 % of a free.
    destructor: Any
    #: A str, a type, a location `(code, lasti)` or `(code, lasti, prefix)`, `CONTENT`, or None (unnamed).
    name: Any
    extra: rare | None


#: Stands in the place of the next sibling of a chunk that has left the tree to die.
LEFT = chunk()
LEFT.obj = LEFT.parent = LEFT.next = LEFT.prev = LEFT.child = LEFT.destructor = LEFT.name = LEFT.extra = None


class reference_handle(chunk):
    """A reference: a childless chunk below the context that holds it, and a link in the list of its target."""

    __slots__ = ("made_at", "newer", "older", "target")

    target: chunk
    newer: reference_handle | None
    older: reference_handle | None
    made_at: location_t


class _text:
    """A name that is no string: it shows up in debuggers."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


#: As a name: the chunk is a string and is called like its content.
CONTENT = _text("<content>")


def RUNNING(_ptr: object) -> int:
    """Stands in the place of a destructor while that runs: a second free meanwhile is refused."""
    return -1


class _world:
    """The process-wide state of the tree."""

    __slots__ = ("null",)

    def __init__(self) -> None:
        #: The null_context while null tracking is on.
        self.null: chunk | None = None


world = _world()

#: Owners of children that are made only when somebody looks: class -> function that makes them.
lazy_children: dict[type, Callable[[Any], object]] = {}

#: Classes whose objects remember where they were made, for messages: class -> name of the attribute.
birthplaces: dict[type, str] = {}

#: Classes that put something around a destructor of the user's, or around none: class -> function that does.
destructor_guards: dict[type, Callable[[Any], Any]] = {}


def guarded_by(own: Callable[[Any], object]) -> Callable[[Any], talloc_destructor_t]:
    """A guard that runs *own* behind each destructor of the user's that agrees, or raises, which counts as that."""

    def guard(destructor: talloc_destructor_t | None) -> talloc_destructor_t:
        def guarded(obj: Any) -> int | None:
            answer: int | None = 0
            try:
                if destructor is not None:
                    answer = destructor(obj)
            finally:
                if answer != -1:
                    own(obj)
            return answer

        return guarded

    return guard


class TALLOC_CTX:
    """
    The base class of everything that can own and be owned: a chunk of memory in C.

    C: ``typedef void TALLOC_CTX;``

    A subclass is a C struct: ``talloc(ctx, foo_state)`` makes a chunk of it. An instance that was made by calling
    the class is like a struct on C's stack: not a chunk, until a talloc function makes one. Copies (`copy`, `pickle`,
    `dataclasses.replace`) are such plain instances too.
    """

    if TYPE_CHECKING:
        # Not told of the slot, a checker lets this class be combined with str, bytearray and list.
        __slots__ = ()
        _talloc_chunk: chunk
    else:
        __slots__ = ("_talloc_chunk",)

    def __getstate__(self) -> object:
        # object's own way, without its check that all slots are known: the header is not part of a copy.
        return object.__getstate__(self)


_CodeType = type((lambda: None).__code__)
_header_slot: Any = TALLOC_CTX.__dict__["_talloc_chunk"]
# copy and pickle take over the slots that a class lists here; the header must not be among them.
TALLOC_CTX.__slots__ = ()
set_chunk_base(TALLOC_CTX)

if TYPE_CHECKING:
    # To a checker they are what isinstance() says: subclasses of both.

    class talloc_string(str, TALLOC_CTX):
        __slots__ = ()

    class talloc_buffer(bytearray, TALLOC_CTX):
        __slots__ = ()

    class talloc_list(list[E], TALLOC_CTX, Generic[E]):
        __slots__ = ()

        element: Any

        def __init__(self, iterable: Iterable[E] = (), /) -> None: ...

else:
    # A base class with a slot cannot be combined with str, bytearray or list, so isinstance(x, TALLOC_CTX) holds by
    # way of __class__, to which isinstance falls back: no metaclass slows down the other chunks.

    class talloc_string(str):
        """A chunk that is a string."""

        __slots__ = ("_talloc_chunk",)
        __class__ = property(lambda _self: TALLOC_CTX)

        def __reduce_ex__(self, _protocol: SupportsIndex) -> tuple[Any, ...]:
            return str, (str.__str__(self),)

    class talloc_buffer(bytearray):
        """A chunk of bytes."""

        __slots__ = ("_talloc_chunk",)
        __class__ = property(lambda _self: TALLOC_CTX)

        def __reduce_ex__(self, _protocol: SupportsIndex) -> tuple[Any, ...]:
            return bytearray, (bytes(self),)

    class talloc_list(list):
        """A chunk that is an array of anything but bytes."""

        __slots__ = ("_talloc_chunk", "element")
        __class__ = property(lambda _self: TALLOC_CTX)

        def __reduce_ex__(self, _protocol: SupportsIndex) -> tuple[Any, ...]:
            return list, (), None, iter(self)


_header_slots: dict[type, Any] = (
    {cls: cls.__dict__["_talloc_chunk"] for cls in (talloc_string, talloc_buffer, talloc_list)}
    if not TYPE_CHECKING
    else {}
)


def caller(depth: int) -> location_t:
    """The place in the code that called the function *depth* levels above the one that asks."""
    frame = _getframe(depth + 1)
    return frame.f_code, frame.f_lasti


def caller_outside(*packages: str) -> location_t:
    """The innermost place in the code that is in none of the *packages*, for what is made through several functions."""
    frame: Any = _getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in packages:
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def shared(place: location_t) -> location_t:
    """
    *place* as the one object that all who keep this place have in common: 90 bytes less for each queue, stream, event.

    The key is the identity of the code, whose own hash takes ten times as long; the value keeps the code alive.
    """
    key = (id(place[0]), place[1])
    known = _places.get(key)
    if known is None:
        if len(_places) >= _PLACES_MAX:
            _places.clear()
        known = _places[key] = place
    return known


_places: dict[tuple[int, int], location_t] = {}
#: A program that makes code without end must not grow for it.
_PLACES_MAX = 4096


def location_text(where: Any) -> str:
    """``file:line`` of a place that `caller` gave; a str stands for itself."""
    if where is None:
        return "(null)"
    if isinstance(where, str):
        return where
    code: CodeType = where[0]
    lasti: int = where[1]
    line: int | None = None
    for start, end, number in code.co_lines():
        if start <= lasti < end:
            line = number
            break
    return f"{code.co_filename}:{code.co_firstlineno if line is None else line}"


def freed_at(c: chunk) -> Any:
    """The place where the free of a dead or dying chunk was called."""
    where = c.prev
    return (where, c.destructor) if type(where) is _CodeType else where


def name_of(c: chunk) -> str | None:
    """The name of a chunk, dead or alive; None if it has none."""
    name = c.name
    if name is None:
        return None
    if isinstance(name, str):
        return str.partition(name, "\0")[0] if "\0" in name else name
    if name is CONTENT:
        return _content_name(c.obj)
    if isinstance(name, tuple):
        place: tuple[Any, ...] = name  # pyright: ignore[reportUnknownVariableType]  # of an Any
        return (place[2] if len(place) == 3 else "") + location_text(place)
    return info_of(name).name


def _content_name(obj: Any) -> str:
    """The name of a string, also after it was made a buffer; a dead one has forgotten it."""
    if obj is None:
        return "(string)"
    if isinstance(obj, str):
        return str.partition(obj, "\0")[0]
    return decode(bytes(obj).partition(b"\0")[0]) if isinstance(obj, bytearray) else ""


def encode(text: str) -> bytes:
    """The bytes of a C string, without its NUL."""
    return str.encode(text, "utf-8", "surrogateescape")


def decode(raw: bytes) -> str:
    """The str of a C string's bytes."""
    return raw.decode("utf-8", "surrogateescape")


def header_of(ptr: object) -> chunk | None:
    """The header in the slot of *ptr*, whosever it is; no method of the user's class is called."""
    cls = type(ptr)
    slot = _header_slots.get(cls, _header_slot)
    if slot is _header_slot and not issubclass(cls, TALLOC_CTX):
        raise TypeError(f"a talloc chunk is needed, not {cls.__name__}: {_brief(ptr)}")
    try:
        c: chunk = slot.__get__(ptr, cls)
    except AttributeError:
        return None
    return c


def _brief(ptr: object) -> str:
    if ptr is None or type(ptr) in (int, str, bytes, float, bool):
        text = repr(ptr)
        return text if len(text) <= 60 else text[:57] + "..."
    return object.__repr__(ptr)


def bad_chunk(ptr: object) -> chunk | None:
    """
    Say what is wrong with *ptr*, which did not pass the test for a chunk.

    Raises TypeError for what can be no chunk; calls the abort function for what is none any more, or never was. None
    if that returned. Where nothing is wrong (a ``__getattribute__`` had lied), the header.
    """
    c = header_of(ptr)
    if c is not None and c.obj is ptr:
        return c
    if c is None or c.obj is not None:
        _abort.abort(
            "Bad talloc magic value - unknown value",
            f"{type(ptr).__name__} object at {id(ptr):#x} was not made by a talloc function",
        )
        return None
    from ._misuse import after_free

    _abort.log(f"talloc: access after free error - first free may be at {location_text(freed_at(c))}\n")
    _abort.abort("Bad talloc magic value - access after free", after_free(c, ptr))
    return None


def chunk_of(ptr: Any) -> chunk | None:
    """The header of a chunk; None if it is none and the abort function has returned."""
    try:
        c: chunk = ptr._talloc_chunk
        if c.obj is ptr:
            return c
    except Exception:  # whatever a user's __getattr__ raises
        pass
    return bad_chunk(ptr)


def being_freed(c: chunk) -> bool:
    """Whether the free of a chunk has begun: its destructor has agreed, its children are going."""
    return c.next is LEFT and c.obj is not None


def size_of(c: chunk) -> int:
    """The size of a chunk as talloc_get_size() tells it; of a handle as limits and pools count it."""
    obj = c.obj
    cls: type[Any] = type(obj)  # pyright: ignore[reportUnknownVariableType]  # of an Any
    if cls is TALLOC_CTX:
        return 0 if c.extra is None else c.extra.body
    if cls is talloc_string:
        return string_size(obj)
    if cls is talloc_buffer:
        return len(obj)
    if cls is talloc_list:
        return len(obj) * info_of(obj.element).size
    if cls is reference_handle:
        return HANDLE_BYTES
    return info_of(cls).size


def string_size(text: str) -> int:
    """The bytes of a C string, with its NUL."""
    if str.isascii(text):
        return str.__len__(text) + 1
    return len(encode(text)) + 1


def link(
    obj: Any, ctx: Any, name: Any, destructor: talloc_destructor_t | None = None, size: int = -1, prefix: int = 0
) -> chunk | None:
    """
    Make the header of a new chunk and put it first among the children of *ctx*.

    Pools and limits are told of *size* bytes (-1: what `size_of` says) and a *prefix* before the header.

    The caller must put it into the slot of *obj*. None when *ctx* is no chunk and the abort function returned, or a
    memory limit refuses.
    """
    parent: chunk | None = None
    if ctx is None:
        parent = world.null
    else:
        try:
            header: chunk = ctx._talloc_chunk
            if header.obj is ctx:
                parent = header
        except Exception:  # whatever a user's __getattr__ raises
            pass
        if parent is None:
            parent = bad_chunk(ctx)
            if parent is None:
                return None
    c = chunk()
    c.obj = obj
    c.name = name
    c.destructor = destructor
    c.child = None
    c.prev = None
    c.next = None
    c.extra = None
    c.parent = parent
    if parent is not None:
        if parent.extra is not None and not admit(c, parent.extra, size_of(c) if size < 0 else size, prefix):
            return None
        first = parent.child
        if first is not None:
            c.next = first
            first.prev = c
        parent.child = c
    return c


def attach(obj: Any, ctx: Any, name: Any, destructor: talloc_destructor_t | None = None) -> chunk | None:
    """Make *obj*, whose class has the slot of a chunk, the newest child of *ctx*; None as `link` does."""
    c = link(obj, ctx, name, destructor)
    if c is not None:
        obj._talloc_chunk = c
    return c


def attach_guarded(obj: Any, ctx: Any, name: Any, size: int = -1, prefix: int = 0) -> chunk | None:
    """As `attach`, for a class whose ``__setattr__`` may be the user's: that is not called."""
    c = link(obj, ctx, name, None, size, prefix)
    if c is not None:
        set_header(obj, c)
    return c


def set_header(obj: Any, c: chunk) -> None:
    """Put a header into the slot of an object, whatever its class."""
    cls: type[Any] = type(obj)  # pyright: ignore[reportUnknownVariableType]  # of an Any
    _header_slots.get(cls, _header_slot).__set__(obj, c)


def become(c: chunk, obj: Any, where: Any) -> Any:
    """Let *obj* be the object of a chunk from now on; the old one is like freed. Gives *obj*."""
    old = c.obj
    if obj is not old:
        grave = chunk()
        grave.obj = grave.parent = grave.child = grave.destructor = grave.extra = None
        grave.name = name_of(c)
        grave.next = LEFT
        grave.prev = where
        set_header(old, grave)
        set_header(obj, c)
        c.obj = obj
    return obj


def make_plain(obj: Any) -> None:
    """Take the header away from an object: it is no chunk any more, as if its class had been called."""
    _header_slot.__delete__(obj)


def attach_oldest(obj: Any, ctx: Any, name: Any, destructor: talloc_destructor_t | None = None) -> chunk | None:
    """As `attach`, but *obj* becomes the last, the oldest, of the children. O(number of children)."""
    c = attach(obj, ctx, name, destructor)
    if c is not None:
        make_oldest(c)
    return c


def make_oldest(c: chunk) -> None:
    """Move the first child of its parent behind the last. O(number of children)."""
    parent, second = c.parent, c.next
    if parent is not None and second is not None:
        parent.child = second
        second.prev = None
        last = second
        while last.next is not None:
            last = last.next
        last.next = c
        c.prev = last
        c.next = None


def unlink(c: chunk) -> None:
    """Take a chunk out of the list of its parent; it still knows that."""
    following, before = c.next, c.prev
    if before is not None:
        before.next = following
    elif c.parent is not None:
        c.parent.child = following
    if following is not None:
        following.prev = before
    c.next = c.prev = None


def link_first(c: chunk, parent: chunk) -> None:
    """Put a chunk that is in no list first among the children of *parent*."""
    first = parent.child
    c.parent = parent
    c.prev = None
    c.next = first
    if first is not None:
        first.prev = c
    parent.child = c
