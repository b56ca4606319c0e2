# SPDX-License-Identifier: LGPL-3.0-or-later
"""
C's types as Python objects: ``sizeof``, the name that a chunk of a type bears, the zero value of a field.

Prior art: the ``sizeof(type)`` and ``#type`` of the macros in lib/talloc/talloc.h. A type argument is a class, or
``T | None`` for a pointer to T. What is known of a class is computed once and kept: one dictionary look-up after that.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, ClassVar

    #: Arrays of these are buffers.
    byte_type = type["char | int8_t | uint8_t | bytes | bytearray"]

__all__ = [
    "char",
    "int8_t",
    "int16_t",
    "int32_t",
    "int64_t",
    "size_t",
    "ssize_t",
    "uint8_t",
    "uint16_t",
    "uint32_t",
    "uint64_t",
]

_FunctionType = type(lambda: None)
_UnionType: Any = type(int | None)
_NoneType = type(None)

#: No chunk is as big as this.
MAX_TALLOC_SIZE = 0x10000000
#: At most so many classes are remembered: a program that makes classes without end must not grow for it.
_infos_max = 4096


class char(int):
    """C's ``char``, one byte, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 1
    __talloc_name__: ClassVar[str] = "char"


class int8_t(int):
    """C's ``int8_t``, one byte, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 1
    __talloc_name__: ClassVar[str] = "int8_t"


class uint8_t(int):
    """C's ``uint8_t``, one byte, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 1
    __talloc_name__: ClassVar[str] = "uint8_t"


class int16_t(int):
    """C's ``int16_t``, two bytes, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 2
    __talloc_name__: ClassVar[str] = "int16_t"


class uint16_t(int):
    """C's ``uint16_t``, two bytes, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 2
    __talloc_name__: ClassVar[str] = "uint16_t"


class int32_t(int):
    """C's ``int32_t``, four bytes, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 4
    __talloc_name__: ClassVar[str] = "int32_t"


class uint32_t(int):
    """C's ``uint32_t``, four bytes, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 4
    __talloc_name__: ClassVar[str] = "uint32_t"


class int64_t(int):
    """C's ``int64_t``, eight bytes, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 8
    __talloc_name__: ClassVar[str] = "int64_t"


class uint64_t(int):
    """C's ``uint64_t``, eight bytes, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 8
    __talloc_name__: ClassVar[str] = "uint64_t"


class size_t(int):
    """C's ``size_t``, eight bytes, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 8
    __talloc_name__: ClassVar[str] = "size_t"


class ssize_t(int):
    """C's ``ssize_t``, eight bytes, as a type argument."""

    __slots__ = ()
    __talloc_size__: ClassVar[int] = 8
    __talloc_name__: ClassVar[str] = "ssize_t"


_MARKERS = frozenset(
    (
        char,
        int8_t,
        uint8_t,
        int16_t,
        uint16_t,
        int32_t,
        uint32_t,
        int64_t,
        uint64_t,
        size_t,
        ssize_t,
    )
)
#: Arrays of these are byte buffers. A bool is one byte too, but its values are False and True, not numbers.
_BYTE_TYPES = frozenset((char, int8_t, uint8_t, bytes, bytearray))
#: Types of which C knows the name and the size without looking inside.
_BUILTIN: dict[Any, tuple[str, int]] = {
    int: ("int", 4),
    bool: ("bool", 1),
    float: ("double", 8),
    str: ("char *", 8),
    object: ("void *", 8),
    bytes: ("uint8_t", 1),
    bytearray: ("uint8_t", 1),
}
_ZEROS: dict[Any, Any] = {
    int: 0,
    bool: False,
    float: 0.0,
    "int": 0,
    "bool": False,
    "float": 0.0,
}


class type_info:
    """What is known of a type argument."""

    __slots__ = (
        "callable",
        "fill",
        "is_bytes",
        "is_chunk",
        "name",
        "plain",
        "pointer",
        "quick",
        "runs_init",
        "size",
        "type",
        "zero",
    )

    def __init__(self, type_arg: Any, name: str, size: int) -> None:
        self.type: Any = type_arg
        self.name: str = name
        self.size: int = size
        #: Arrays of this type are byte buffers.
        self.is_bytes: bool = type_arg in _BYTE_TYPES
        #: ``T | None``: the elements are pointers.
        self.pointer: bool = False
        #: A subclass of TALLOC_CTX: chunks of this type are its instances.
        self.is_chunk: bool = False
        #: Instances of this subclass of TALLOC_CTX come from ``object.__new__``, and take attributes without ado.
        self.plain: bool = False
        #: Calling the class and then `fill` is all that making an instance takes.
        self.quick: bool = False
        #: ``__init__`` can be called without arguments and does something.
        self.runs_init: bool = False
        #: The class can be called without arguments.
        self.callable: bool = False
        #: Sets the declared fields that have no value yet.
        self.fill: Callable[[Any], None] | None = None
        #: What an element of a new array is, unless an instance is made.
        self.zero: Any = None


infos: dict[Any, type_info] = {}
#: `type_info.fill` of those classes that are `type_info.quick`: all that making an instance takes, with one look.
quick_fills: dict[Any, Callable[[Any], None] | None] = {}
#: Where the classes of chunks begin; set by the module that defines it.
_chunk_bases: list[type] = []


def set_chunk_base(base: type) -> None:
    """Make *base* the class whose subclasses are the types of chunks."""
    _chunk_bases.append(base)


def info_of(type_arg: Any) -> type_info:
    """What is known of *type_arg*; TypeError where it is no type."""
    info = infos.get(type_arg)
    if info is None:
        info = _pointer_info(type_arg) or _class_info(type_arg)
        if len(infos) >= _infos_max:
            infos.clear()
            quick_fills.clear()
        infos[type_arg] = info
        if info.quick:
            quick_fills[type_arg] = info.fill
    return info


def _pointer_info(type_arg: Any) -> type_info | None:
    """The pointer ``T | None`` (or ``Optional[T]``); None where *type_arg* is no such thing."""
    if not is_pointer_type(type_arg):
        return None
    targets = [arg for arg in type_arg.__args__ if arg is not _NoneType]
    if len(targets) != 1 or len(targets) == len(type_arg.__args__):
        raise TypeError(f"{type_arg!r} is no C type: a pointer to T is written T | None")
    target = info_of(targets[0])
    if target.type is str:
        name = target.name
    else:
        name = target.name + ("*" if target.name.endswith("*") else " *")
    info = type_info(type_arg, name, 8)
    info.pointer = True
    return info


def is_pointer_type(type_arg: Any) -> bool:
    """Whether *type_arg* is a union, ``T | None`` or ``Optional[T]``; nobody has the latter without typing."""
    if type(type_arg) is _UnionType:
        return True
    typing = sys.modules.get("typing")
    return typing is not None and getattr(type_arg, "__origin__", None) is typing.Union


def _class_info(cls: Any) -> type_info:
    if not isinstance(cls, type):
        raise TypeError(f"a type argument must be a class or T | None, not {cls!r}")
    base = _chunk_bases[0]
    if cls is base:
        info = type_info(cls, "TALLOC_CTX", 1)
        info.is_chunk = True
        return info
    if cls in _BUILTIN:
        info = type_info(cls, *_BUILTIN[cls])
        info.zero = _ZEROS.get(cls)
        return info
    fields = declared_fields(cls)
    own = type.__getattribute__(cls, "__dict__")
    name: Any = own.get("__talloc_name__")
    size: Any = own.get("__talloc_size__")
    if name is None:
        name = "struct " + cls.__name__
    if size is None:
        size = max(8, 8 * len(fields))
    if not isinstance(name, str) or not isinstance(size, int) or size < 0:
        raise TypeError(f"{cls.__name__}: __talloc_name__ must be a str and __talloc_size__ a number of bytes")
    info = type_info(cls, name, size)
    if cls in _MARKERS:
        info.zero = 0
    else:
        info.is_chunk = issubclass(cls, base)
        _learn_making(info, fields)
    return info


def declared_fields(cls: type) -> dict[str, Any]:
    """Names of the declared fields of *cls* and its bases, each with its annotation (None for a mere slot)."""
    fields: dict[str, Any] = {}
    left_out = (object, *_chunk_bases)
    for base in cls.__mro__:
        if base in left_out:
            continue
        for name, annotation in own_annotations(base).items():
            if not _is_classvar(annotation):
                fields.setdefault(name, annotation)
        for name in _slot_names(base):
            fields.setdefault(name, None)
    return fields


def own_annotations(cls: type) -> dict[str, Any]:
    """The annotations in the body of *cls* itself."""
    own = type.__getattribute__(cls, "__dict__")
    found: Any = own.get("__annotations__")
    if found is None and sys.version_info >= (3, 14):
        import annotationlib

        found = annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return found or {}


def _slot_names(cls: type) -> Iterator[str]:
    """The names in ``__slots__`` of *cls* itself, in the form that the compiler gives to private ones."""
    slots: Any = type.__getattribute__(cls, "__dict__").get("__slots__", ())
    for name in (slots,) if isinstance(slots, str) else tuple(slots):
        if name in ("__dict__", "__weakref__"):
            continue
        if name.startswith("__") and not name.endswith("__"):
            name = f"_{cls.__name__.lstrip('_')}{name}"
        yield name


def _is_classvar(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2].strip() == "ClassVar"
    typing = sys.modules.get("typing")
    if typing is None:
        return False
    return annotation is typing.ClassVar or getattr(annotation, "__origin__", None) is typing.ClassVar


def _learn_making(info: type_info, fields: dict[str, Any]) -> None:
    """Find out how an instance of a chunk class is made and what of it has to be zeroed."""
    cls = info.type
    zeros = {name: _zero_of(annotation) for name, annotation in fields.items() if _can_lack_value(cls, name)}
    made_by_object = cls.__new__ is object.__new__ and type(cls).__call__ is type.__call__
    has_init = cls.__init__ is not object.__init__
    info.runs_init = has_init and needs_no_arguments(cls.__init__)
    info.callable = (not has_init or info.runs_init) and (made_by_object or needs_no_arguments(cls.__new__))
    guarded = cls.__setattr__ is not object.__setattr__
    info.plain = info.is_chunk and made_by_object and not guarded and info.size < MAX_TALLOC_SIZE
    info.quick = info.plain and not has_init
    if zeros:
        info.fill = _filler(cls, zeros) if info.quick else _careful_filler(cls, zeros)


def _zero_of(annotation: Any) -> Any:
    if isinstance(annotation, (type, str)):
        return _ZEROS.get(annotation)
    return None


def _can_lack_value(cls: type, name: str) -> bool:
    """Whether a fresh object has no value for *name*, not even the class's, and has a place to put one."""
    for base in cls.__mro__:
        own = type.__getattribute__(base, "__dict__")
        if name in own:
            return _is_slot(own[name])
    return cls.__dictoffset__ != 0


_SlotType = type(vars(type_info)["name"])  # pyright: ignore[reportUnknownVariableType]  # of an Any


def _is_slot(value: object) -> bool:
    return type(value) is _SlotType


def needs_no_arguments(init: Any) -> bool:
    """Whether an ``__init__`` (or ``__new__``) can be called with nothing but the object (or class)."""
    if type(init) is not _FunctionType or init.__dict__:
        return _signature_needs_nothing(init)
    code = init.__code__
    required = code.co_argcount - 1 - len(init.__defaults__ or ())
    if code.co_argcount == 0:
        required = 0  # (*args): the object is the first of them.
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    given: Any = init.__kwdefaults__ or {}
    return required <= 0 and all(keyword in given for keyword in keywords)


def _signature_needs_nothing(init: Any) -> bool:
    """The same for whatever is no plain function: a decorated one, a partial method, a callable object, C code."""
    import inspect

    try:
        inspect.signature(init).bind(None)
    except TypeError:
        return False
    except ValueError:
        return True  # C code without a signature: let the call itself decide.
    return True


def _filler(cls: type, zeros: dict[str, Any]) -> Callable[[Any], None]:
    """
    A function that sets all fields of a fresh object, for classes that cannot have set any of them.

    Generated, as `dataclasses` does: a loop over names with setattr() takes five times as long, on each creation.
    """
    if not all(name.isidentifier() for name in zeros):
        return _careful_filler(cls, zeros)
    lines = "\n".join(f" o.{name} = {value!r}" for name, value in zeros.items())
    scope: dict[str, Any] = {}
    try:
        exec(f"def fill(o):\n{lines}", scope)
    except SyntaxError:  # A field that is called like a keyword.
        return _careful_filler(cls, zeros)
    fill: Callable[[Any], None] = scope["fill"]
    return fill


def _careful_filler(cls: type, zeros: dict[str, Any]) -> Callable[[Any], None]:
    """A function that sets those fields that have no value yet and calls no method of the user's class for it."""
    in_dict: dict[str, Any] = {}
    in_slots: list[tuple[Any, Any]] = []
    for name, value in zeros.items():
        slot = _slot_of(cls, name)
        if slot is None:
            in_dict[name] = value
        else:
            in_slots.append((slot, value))

    def fill(obj: Any) -> None:
        for slot, value in in_slots:
            try:
                slot.__get__(obj, cls)
            except AttributeError:
                slot.__set__(obj, value)
        if in_dict:
            own: dict[str, Any] = object.__getattribute__(obj, "__dict__")
            for name, value in in_dict.items():
                own.setdefault(name, value)

    return fill


def _slot_of(cls: type, name: str) -> Any:
    """What leads to the slot *name* of a class; None where it has none."""
    for base in cls.__mro__:
        slot: Any = type.__getattribute__(base, "__dict__").get(name)
        if _is_slot(slot):
            return slot
    return None


def copy_fields(source: Any, target: Any) -> None:
    """Give *target* all values that *source*, of the same class, has in its dictionary and its slots."""
    cls: type[Any] = type(source)  # pyright: ignore[reportUnknownVariableType]  # of an Any
    if cls.__dictoffset__ != 0:
        object.__getattribute__(target, "__dict__").update(object.__getattribute__(source, "__dict__"))
    for base in cls.__mro__:
        if base in _chunk_bases:
            continue
        for slot in type.__getattribute__(base, "__dict__").values():
            if _is_slot(slot):
                try:
                    value = slot.__get__(source, cls)
                except AttributeError:
                    continue
                slot.__set__(target, value)
