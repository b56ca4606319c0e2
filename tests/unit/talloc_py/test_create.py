# SPDX-License-Identifier: LGPL-3.0-or-later
"""Making chunks: kinds, zeroed fields, sizes, names, bad arguments."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle
import sys
import typing
from abc import ABC, abstractmethod

import pytest

import talloc_py as t
from talloc_py._chunk import CONTENT
from talloc_py.core import attach, attach_oldest, chunk_of, lazy_children, location_text
from talloc_py.types import info_of

C = t.TALLOC_CTX


class plain_state(C):
    number: int
    flag: bool
    ratio: float
    text: str
    other: plain_state | None
    ready: int = 7
    shared: typing.ClassVar[int] = 3


class slot_state(C):
    __slots__ = ("__hidden", "a", "b")
    a: int


class with_init(C):
    name: str
    size: int

    def __init__(self, start=5):
        self.size = start
        self.child = t.talloc_new(self)
        self.known_as = t.talloc_get_name(self)


class needs_argument(C):
    number: int

    def __init__(self, argument):
        raise AssertionError("must not run")


@dataclasses.dataclass
class eq_state(C):
    a: int = 0
    b: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class frozen_state(C):
    a: int


@dataclasses.dataclass(slots=True)
class slots_dataclass(C):
    a: int
    b: int = 4


class hostile(C):
    """A class whose every method betrays that it was called."""

    calls: typing.ClassVar[list] = []
    parent: int
    name: int
    next: int

    def _betray(self, *args):
        self.calls.append(args)
        raise AssertionError(args)

    __eq__ = __len__ = __bool__ = __getattr__ = __setattr__ = __delattr__ = __iter__ = __repr__ = __str__ = _betray
    __hash__ = _betray


class TestStruct:
    def test_declared_fields_are_zero(self):
        """0, False, 0.0 and None by annotation; class defaults stay."""
        p = t.talloc(None, plain_state)
        assert type(p) is plain_state
        assert (p.number, p.flag, p.ratio, p.text, p.other, p.ready) == (0, False, 0.0, None, None, 7)
        assert p.flag is False
        assert type(p.ratio) is float
        assert "ready" not in vars(p)

    def test_slots_are_zero(self):
        """A slot with an annotation gets its zero, one without None."""
        p = t.talloc_zero(None, slot_state)
        assert (p.a, p.b, p._slot_state__hidden) == (0, None, None)

    def test_init_sees_a_complete_chunk(self):
        """__init__ may allocate on its object and ask for its name; what it sets stays."""
        p = t.talloc(None, with_init)
        assert (p.size, p.name, p.known_as) == (5, None, "struct with_init")
        assert t.talloc_parent(p.child) is p

    def test_init_that_needs_arguments_is_not_run(self):
        """The object is made without it and zeroed."""
        assert t.talloc(None, needs_argument).number == 0

    def test_init_with_keyword_arguments(self):
        """Required keywords count, given ones do not."""

        class required(C):
            def __init__(self, *, a):
                raise AssertionError

        class given(C):
            def __init__(self, *args, a=1, **kwargs):
                self.a = a

        class starred(C):
            def __init__(*args):
                args[0].a = len(args)

        assert t.talloc(None, required) is not None
        assert t.talloc(None, given).a == 1
        assert t.talloc(None, starred).a == 1

    def test_init_that_is_no_plain_function(self):
        """A partial method and C code are asked for their signature."""

        class partial(C):
            def _set(self, value):
                self.value = value

            __init__ = functools.partialmethod(_set, 3)

        class wanting(C):
            def _set(self, value, more):
                raise AssertionError

            __init__ = functools.partialmethod(_set, 3)

        assert t.talloc(None, partial).value == 3
        assert t.talloc(None, wanting) is not None

    def test_exception_from_init_leaves_no_chunk(self):
        """It passes on; children made before go, the destructor set before does not run."""
        gone = []

        class bad(C):
            def __init__(self):
                t.talloc_set_destructor(t.talloc_new(self), lambda _p: gone.append(1))
                t.talloc_set_destructor(self, lambda _p: gone.append(2))
                t.talloc_increase_ref_count(self)
                raise LookupError

        top = t.talloc_new(None)
        with pytest.raises(LookupError):
            t.talloc(top, bad)
        assert t.talloc_total_blocks(top) == 1
        assert gone == [1]

    def test_init_that_frees_itself_and_raises(self):
        """There is nothing left to take back."""

        class bad(C):
            def __init__(self):
                t.talloc_free(self)
                raise LookupError

        with pytest.raises(LookupError):
            t.talloc(None, bad)

    def test_abstract_class(self):
        """Python's own TypeError passes."""

        class abstract(C, ABC):
            @abstractmethod
            def f(self): ...

        with pytest.raises(TypeError, match="abstract"):
            t.talloc(None, abstract)

    def test_own_new_and_metaclass(self):
        """__new__ without arguments is used, one with arguments is not; a metaclass's call is obeyed."""

        class own_new(C):
            def __new__(cls):
                self = super().__new__(cls)
                self.mark = 1
                return self

        class new_with_argument(C):
            def __new__(cls, argument):
                raise AssertionError

        class meta(type):
            def __call__(cls):
                self = super().__call__()
                self.mark = 2
                return self

        class made_by_meta(C, metaclass=meta):
            pass

        assert t.talloc(None, own_new).mark == 1
        assert t.talloc(None, new_with_argument) is not None
        assert t.talloc(None, made_by_meta).mark == 2

    def test_new_that_gives_something_else(self):
        """A TypeError: no chunk of that class came out, or one that is a chunk already."""

        class liar(C):
            def __new__(cls):
                return object()

        class singleton(C):
            only = None

            def __new__(cls):
                cls.only = cls.only or super().__new__(cls)
                return cls.only

        with pytest.raises(TypeError, match="gave a object"):
            t.talloc(None, liar)
        assert t.talloc(None, singleton) is not None
        with pytest.raises(TypeError, match="already"):
            t.talloc(None, singleton)

    def test_field_that_cannot_be_set(self):
        """An annotation without a slot, in a class without a dictionary, is left alone."""

        class tight(C):
            __slots__ = ()
            a: int

        assert not hasattr(t.talloc(None, tight), "a")

    def test_odd_field_names(self):
        """Names that no assignment statement could have are zeroed too."""
        keyword = type("keyword", (C,), {"__annotations__": {"class": "int"}})
        strange = type("strange", (C,), {"__annotations__": {"a b": "int"}})
        assert vars(t.talloc(None, keyword)) == {"class": 0}
        assert vars(t.talloc(None, strange)) == {"a b": 0}

    def test_plain_context_as_type(self):
        """TALLOC_CTX itself gives a context of one byte."""
        p = t.talloc(None, C)
        assert type(p) is C
        assert (t.talloc_get_size(p), t.talloc_get_name(p), t.talloc_array_length(p)) == (1, "TALLOC_CTX", 1)

    def test_memory_of_classes_is_bounded(self, monkeypatch):
        """A program that makes classes without end does not grow for it."""
        monkeypatch.setattr("talloc_py.types._infos_max", 0)
        for _ in range(3):
            assert t.talloc(None, type("x", (C,), {})) is not None
        assert len(t.types.infos) <= 1


class TestUserClasses:
    @pytest.mark.parametrize("cls", [eq_state, frozen_state, slots_dataclass, hostile, plain_state, slot_state])
    def test_every_function_leaves_the_users_methods_alone(self, cls):
        """Identity is all that counts: no method of the class is called."""
        hostile.calls.clear()
        top = t.talloc_new(None)
        p, q = t.talloc(top, cls), t.talloc_zero(top, cls)
        t.talloc_set_destructor(p, lambda _p: 0)
        assert t.talloc_get_type(p, cls) is p
        assert t.talloc_get_type_abort(q, cls) is q
        assert t.talloc_steal(q, p) is p
        assert t.talloc_parent(p) is q
        assert t.talloc_reference(top, p) is p
        assert t.talloc_unlink(top, p) == 0
        assert t.talloc_total_blocks(top) == 3
        assert t.talloc_memdup(top, p) is not p
        t.talloc_report_depth_cb(top, 0, -1, lambda *_args: None, None)
        array = t.talloc_realloc(None, p, cls, 2)
        assert array[0] is p
        assert t.talloc_free(top) == 0
        assert hostile.calls == []

    def test_equal_chunks_are_distinct(self):
        """== plays no part in who is who."""
        top = t.talloc_new(None)
        p, q = t.talloc(top, eq_state), t.talloc(top, eq_state)
        assert p == q
        assert t.talloc_is_parent(p, q) == 0
        assert t.talloc_free(p) == 0
        assert t.talloc_get_name(q) == "struct eq_state"

    @pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
    @pytest.mark.parametrize("cls", [eq_state, plain_state, slots_dataclass])
    def test_copies_are_plain_objects(self, cls, make, aborts):
        """A copy has the fields but is no chunk."""
        p = t.talloc(None, cls)
        q = make(p)
        assert type(q) is cls
        assert (vars(q) if hasattr(q, "__dict__") else q.a) == (vars(p) if hasattr(p, "__dict__") else p.a)
        t.talloc_get_name(q)
        assert aborts == ["Bad talloc magic value - unknown value"]

    @pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
    def test_copies_of_builtin_kinds(self, make):
        """Copies of strings, buffers and arrays are what Python calls them."""
        for p, cls in (
            (t.talloc_strdup(None, "a"), str),
            (t.talloc_size(None, 2), bytearray),
            (t.talloc_array(None, int, 2), list),
        ):
            assert type(make(p)) is cls
            assert make(p) == p

    def test_replace(self, aborts):
        """dataclasses.replace() gives a plain object."""
        q = dataclasses.replace(t.talloc(None, eq_state), a=5)
        assert q.a == 5
        t.talloc_free(q)
        assert aborts == ["Bad talloc magic value - unknown value"]

    def test_instance_made_by_calling_the_class(self):
        """... is like a struct on the stack: unknown to talloc."""
        with pytest.raises(t.talloc_abort_error, match=r"^Bad talloc magic value - unknown value: plain_state object"):
            t.talloc_free(plain_state())
        with pytest.raises(t.talloc_abort_error, match="unknown value"):
            t.talloc_new(plain_state())

    def test_getattr_that_lends_another_header(self):
        """A proxy that answers for another chunk is found out."""

        class proxy(C):
            def __getattr__(self, name):
                return getattr(target, name)

        target = t.talloc_new(None)
        with pytest.raises(t.talloc_abort_error, match="unknown value"):
            t.talloc_free(proxy())

    def test_getattribute_that_fails(self):
        """A chunk that denies its header is still recognised."""

        class denier(C):
            def __getattribute__(self, name):
                raise LookupError(name)

        p = t.talloc(None, denier)
        assert t.talloc_get_name(p) == "struct denier"
        assert t.talloc_new(p) is not None
        assert t.talloc_get_type(p, denier) is p
        assert t.talloc_get_type_abort(p, denier) is p
        assert t.talloc_free(p) == 0

    @pytest.mark.parametrize("thing", [1, "text", b"x", [], object(), 1.5, C, "x" * 100])
    def test_what_can_be_no_chunk(self, thing):
        """A TypeError says what it was."""
        with pytest.raises(TypeError, match="a talloc chunk is needed"):
            t.talloc_free(thing)
        with pytest.raises(TypeError, match="a talloc chunk is needed"):
            t.talloc_new(thing)
        with pytest.raises(TypeError, match="a talloc chunk is needed"):
            t.talloc_get_type_abort(thing, int)

    def test_none_where_c_would_crash(self):
        """None is a TypeError for functions that read the chunk."""
        for call in (
            lambda: t.talloc_get_name(None),
            lambda: t.talloc_set_name(None, "x"),
            lambda: t.talloc_set_name_const(None, "x"),
            lambda: t.talloc_set_type(None, int),
            lambda: t.talloc_set_destructor(None, None),
            lambda: t.talloc_reference_count(None),
            lambda: t.talloc_set_memlimit(None, 1),
        ):
            with pytest.raises(TypeError):
                call()

    def test_none_where_c_is_tolerant(self):
        """None gives the failure value."""
        top = t.talloc_new(None)
        assert t.talloc_steal(top, None) is None
        assert t.talloc_move(top, None) is None
        assert t.talloc_reparent(top, top, None) is None
        assert t.talloc_reference(top, None) is None
        assert (t.talloc_unlink(top, None), t.talloc_increase_ref_count(None), t.talloc_get_size(None)) == (-1, -1, 0)
        assert (t.talloc_parent(None), t.talloc_parent_name(None), t.talloc_check_name(None, "x")) == (None,) * 3
        assert t.talloc_get_type(None, int) is None
        assert t.talloc_find_parent_byname(None, "x") is None
        assert t.talloc_find_parent_bytype(None, int) is None
        assert (t.talloc_is_parent(None, top), t.talloc_is_parent(top, None), t.talloc_array_length(None)) == (0, 0, 0)
        assert (t.talloc_total_size(None), t.talloc_total_blocks(None)) == (0, 0)


class TestTypes:
    @pytest.mark.parametrize(
        ("type_arg", "name", "size"),
        [
            (int, "int", 4),
            (bool, "bool", 1),
            (float, "double", 8),
            (str, "char *", 8),
            (object, "void *", 8),
            (C, "TALLOC_CTX", 1),
            (bytes, "uint8_t", 1),
            (bytearray, "uint8_t", 1),
            (t.char, "char", 1),
            (t.int8_t, "int8_t", 1),
            (t.uint16_t, "uint16_t", 2),
            (t.int32_t, "int32_t", 4),
            (t.ssize_t, "ssize_t", 8),
            (int | None, "int *", 8),
            (str | None, "char *", 8),
            (object | None, "void **", 8),
            (typing.Optional[C], "TALLOC_CTX *", 8),  # noqa: UP045
            (plain_state | None, "struct plain_state *", 8),
            (plain_state, "struct plain_state", 48),
            (slot_state, "struct slot_state", 24),
            (dict, "struct dict", 8),
        ],
    )
    def test_name_and_size(self, type_arg, name, size):
        """C's name and sizeof of each kind of type argument."""
        info = info_of(type_arg)
        assert (info.name, info.size) == (name, size)

    def test_own_name_and_size_are_not_inherited(self):
        """__talloc_name__ and __talloc_size__ count in the class's own body only."""

        class base(C):
            __talloc_name__ = "base_t"
            __talloc_size__ = 100
            a: int

        class derived(base):
            b: int

        assert (info_of(base).name, info_of(base).size) == ("base_t", 100)
        assert (info_of(derived).name, info_of(derived).size) == ("struct derived", 16)

    def test_bad_declarations(self):
        """A size or name of the wrong type is a TypeError."""
        for body in ({"__talloc_size__": "8"}, {"__talloc_size__": -1}, {"__talloc_name__": 3}):
            with pytest.raises(TypeError, match="must be"):
                t.talloc(None, type("bad", (C,), body))

    def test_class_variables_do_not_count(self):
        """In any way that they can be written."""

        class odd(C):
            __slots__ = "only"
            a: typing.ClassVar
            b: ClassVar[int]  # noqa: F821
            c: typing.ClassVar

        Evaluated = type(
            "Evaluated", (C,), {"__annotations__": {"a": typing.ClassVar[int], "b": typing.ClassVar, "c": int}}
        )
        assert info_of(odd).size == 8
        assert info_of(Evaluated).size == 8

    @pytest.mark.parametrize("bad", [1, "int", None, int | str, int | str | None, list[int], typing.Literal])
    def test_what_is_no_type(self, bad):
        """A TypeError."""
        for call in (t.talloc, t.talloc_zero, t.talloc_set_type):
            with pytest.raises(TypeError):
                call(t.talloc_new(None), bad)

    def test_type_that_is_no_chunk_class(self):
        """talloc() of it is an array of one element."""
        p = t.talloc(None, int)
        p[0] = 42
        assert p == [42]
        assert (t.talloc_get_name(p), t.talloc_get_size(p)) == ("int", 4)
        assert isinstance(p, C)
        assert t.talloc(None, t.uint8_t) == b"\0"
        assert t.talloc(None, int | None) == [None]


class TestSizesAndNames:
    def test_names(self):
        """Each way to create gives its own name."""
        here = f"{__file__}:{sys._getframe().f_lineno + 1}"
        chunks = t.talloc_new(None), t.talloc_size(None, 3), t.talloc_zero_size(None, 3), t.talloc_ptrtype(None, int)
        assert [t.talloc_get_name(p) for p in chunks] == ["talloc_new: " + here, here, here, here]
        here = f"{__file__}:{sys._getframe().f_lineno + 1}"
        more = t.talloc_memdup(None, b"x"), t.talloc_array_size(None, 1, 2), t.talloc_array_ptrtype(None, int, 2)
        assert [t.talloc_get_name(p) for p in more] == [here] * 3
        assert t.talloc_get_name(t.talloc_named_const(None, 3, "n")) == "n"
        assert location_text(None) == "(null)"
        assert repr(CONTENT) == "<content>"

    def test_named(self):
        """talloc_named and talloc_init have a .name child."""
        p = t.talloc_named(None, 4, "%s-%d", "x", 1)
        assert (p, t.talloc_get_name(p), t.talloc_total_blocks(p), t.talloc_total_size(p)) == (
            bytearray(4),
            "x-1",
            2,
            8,
        )
        q = t.talloc_init("q")
        assert (t.talloc_get_name(q), t.talloc_total_blocks(q), t.talloc_parent(q)) == ("q", 2, None)

    def test_named_with_a_bad_format(self):
        """The TypeError leaves no chunk behind."""
        top = t.talloc_new(None)
        with pytest.raises(TypeError):
            t.talloc_named(top, 0, "%d")
        assert t.talloc_total_blocks(top) == 1

    @pytest.mark.parametrize("size", [-1, 0x10000000])
    def test_too_big(self, size):
        """Negative sizes and 256 MiB give None."""
        assert t.talloc_size(None, size) is None
        assert t.talloc_named_const(None, size, "x") is None
        assert t.talloc_named(None, size, "x") is None
        assert t.talloc_pool(None, size) is None
        assert t.talloc_array(None, int, size) is None
        assert t.talloc_array(None, int, 0x10000000 // 4) is None
        assert t.talloc_array_size(None, 2, size) is None
        assert t.talloc_array_size(None, 3, 0x10000000 // 3) is None

    def test_huge_struct(self):
        """A struct that says it has 256 MiB cannot be made."""

        class huge(C):
            __talloc_size__ = 0x10000000

        assert t.talloc(None, huge) is None

    @pytest.mark.parametrize("bad", ["1", None, 1.0])
    def test_numbers_must_be_ints(self, bad):
        """TypeError for each size and count."""
        for call in (
            lambda: t.talloc_size(None, bad),
            lambda: t.talloc_named_const(None, bad, "x"),
            lambda: t.talloc_array(None, int, bad),
            lambda: t.talloc_array_size(None, bad, 1),
            lambda: t.talloc_array_size(None, 1, bad),
            lambda: t.talloc_pool(None, bad),
            lambda: t.talloc_realloc(None, None, int, bad),
            lambda: t.talloc_realloc_size(None, None, bad),
            lambda: t.talloc_realloc_fn(None, None, bad),
            lambda: t.talloc_strndup(None, "x", bad),
            lambda: t.talloc_pooled_object(None, C, bad, 1),
            lambda: t.talloc_pooled_object(None, C, 1, bad),
            lambda: t.talloc_set_memlimit(t.talloc_new(None), bad),
            lambda: t.talloc_named(None, bad, "x"),
        ):
            with pytest.raises(TypeError):
                call()

    @pytest.mark.parametrize("bad", [b"x", 1, None])
    def test_names_must_be_strings(self, bad):
        """TypeError for each name and format."""
        p = t.talloc_new(None)
        for call in (
            lambda: t.talloc_named_const(None, 0, bad),
            lambda: t.talloc_named(None, 0, bad),
            lambda: t.talloc_init(bad),
            lambda: t.talloc_set_name(p, bad),
            lambda: t.talloc_check_name(p, bad),
            lambda: t.talloc_find_parent_byname(p, bad),
            lambda: t.talloc_asprintf(None, bad),
        ):
            with pytest.raises(TypeError):
                call()
        with pytest.raises(TypeError):
            t.talloc_set_name_const(p, 1)

    def test_bad_callables(self):
        """Destructors and hooks must be callable."""
        for call in (
            lambda: t.talloc_set_destructor(t.talloc_new(None), 1),
            lambda: t.talloc_set_log_fn(1),
            lambda: t.talloc_set_abort_fn("x"),
        ):
            with pytest.raises(TypeError, match="callable"):
                call()

    def test_sizes(self):
        """Strings count their NUL, contexts and pools are 0."""
        assert t.talloc_get_size(t.talloc_strdup(None, "hé")) == 4
        assert t.talloc_get_size(t.talloc_new(None)) == 0
        assert t.talloc_get_size(t.talloc_pool(None, 100)) == 0
        assert t.talloc_get_size(t.talloc_array(None, plain_state, 2)) == 96
        b = t.talloc_size(None, 3)
        b.extend(b"xx")
        assert t.talloc_get_size(b) == 5

    def test_array_length(self):
        """Elements, bytes with the NUL, or 1 for a struct."""
        assert t.talloc_array_length(t.talloc_array(None, int, 3)) == 3
        assert t.talloc_array_length(t.talloc_size(None, 3)) == 3
        assert t.talloc_array_length(t.talloc_strdup(None, "hello")) == 6
        assert t.talloc_array_length(t.talloc(None, plain_state)) == 1
        assert t.talloc_array_length(t.talloc_new(None)) == 0

    def test_versions(self):
        """What the port is a port of."""
        assert (t.talloc_version_major(), t.talloc_version_minor()) == (2, 5)
        assert (t.TALLOC_VERSION_MAJOR, t.TALLOC_VERSION_MINOR, t.TALLOC_MAX_DEPTH) == (2, 5, 10000)
        assert t.talloc_test_get_magic() == t.talloc_test_get_magic()


class TestMemdup:
    def test_bytes(self):
        """Any bytes-like object gives a buffer; None an empty one."""
        assert t.talloc_memdup(None, memoryview(b"abc")) == b"abc"
        assert t.talloc_memdup(None, None) == b""
        assert t.talloc_memdup(None, t.talloc_memdup(None, b"x")) == b"x"

    def test_struct(self):
        """The same class and values, without __init__, children or destructor."""
        p = t.talloc(None, with_init)
        p.name = "me"
        q = t.talloc_memdup(None, p)
        assert (type(q), q.name, q.child is p.child, t.talloc_total_blocks(q)) == (with_init, "me", True, 1)
        s = slot_state()
        s.a = 9
        d = t.talloc_memdup(None, s)
        assert d.a == 9
        assert not hasattr(d, "b")
        assert type(t.talloc_memdup(None, t.talloc_new(None))) is C

    def test_array(self):
        """A list or array gives an array with the same elements."""
        a = t.talloc_array(None, int, 2)
        b = t.talloc_memdup(None, a)
        assert (b, b is a, t.talloc_get_size(b)) == ([0, 0], False, 8)
        assert t.talloc_get_size(t.talloc_memdup(None, [1, 2])) == 16

    def test_anything_else(self):
        """A TypeError."""
        for bad in ("text", 5, object()):
            with pytest.raises(TypeError, match="bytes-like"):
                t.talloc_memdup(None, bad)

    def test_ptrtype_of_instances(self):
        """The type is the class or what the object is an instance of."""
        assert type(t.talloc_ptrtype(None, plain_state())) is plain_state
        assert t.talloc_ptrtype(None, "text") == bytearray(1)
        assert t.talloc_ptrtype(None, t.talloc_size(None, 4)) == bytearray(1)
        assert t.talloc_ptrtype(None, t.talloc_array(None, int, 4)) == [0]
        assert t.talloc_array_ptrtype(None, plain_state | None, 2) == [None, None]
        with pytest.raises(TypeError):
            t.talloc_ptrtype(None, None)


class TestLibraryHooks:
    def test_lazy_children_appear_for_a_looker(self):
        """They are counted and reported, but making and freeing never asks for them."""

        class owner(C):
            __slots__ = ("made",)

        asked = []

        def make(obj):
            asked.append(obj)
            if not getattr(obj, "made", False):
                obj.made = True
                attach_oldest(C(), obj, "lazy")

        lazy_children[owner] = make
        try:
            a, b = owner(), owner()
            top = t.talloc_new(None)
            attach(a, top, owner)
            attach(b, top, owner)
            t.talloc_named_const(a, 0, "younger")
            assert t.talloc_free(b) == 0
            assert asked == []
            assert t.talloc_total_blocks(top) == 4
            names = []
            t.talloc_report_depth_cb(a, 0, -1, lambda p, *_rest: names.append(t.talloc_get_name(p)), None)
            assert names == ["struct owner", "younger", "lazy"]
        finally:
            del lazy_children[owner]

    def test_attach_oldest_alone_and_at_top_level(self):
        """Without siblings there is nothing to pass."""
        top = C()
        assert attach_oldest(top, None, "top").parent is None
        assert attach_oldest(C(), top, "child").parent is chunk_of(top)
