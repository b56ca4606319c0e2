# SPDX-License-Identifier: LGPL-3.0-or-later
"""Arrays, resizing, strings, printf, reports, pools and memory limits."""

from __future__ import annotations

import io
import typing

import pytest

import talloc_py as t
from talloc_py._walk import check_invariants
from talloc_py.core import chunk_of

C = t.TALLOC_CTX


class foo_state(C):
    a: int


def named(parent, name):
    return t.talloc_named_const(parent, 0, name)


class TestArray:
    def test_kinds(self):
        """Buffers for one-byte types, lists of zeros or instances for others."""
        assert t.talloc_array(None, t.char, 2) == bytearray(2)
        assert type(t.talloc_array(None, t.uint16_t, 2)[0]) is int
        assert t.talloc_array(None, bool, 2) == [False, False]
        assert t.talloc_zero_array(None, float, 1) == [0.0]
        assert t.talloc_array(None, foo_state | None, 2) == [None, None]
        assert t.talloc_array(None, C, 2) == [None, None]
        assert t.talloc_array(None, str, 1) == [None]
        a = t.talloc_array(None, foo_state, 2)
        assert (type(a[0]), a[0].a, a[0] is a[1]) == (foo_state, 0, False)
        assert isinstance(a, C)
        assert isinstance(a, list)
        assert t.talloc_array(None, int, 0) == []
        with pytest.raises(t.talloc_abort_error, match="unknown"):
            t.talloc_get_name(a[0])

    def test_elements_of_other_classes(self):
        """An instance if one can be made, else None; an __init__ that raises is heard."""

        class made:
            number: int

        class wanting:
            def __init__(self, x): ...

        class raising:
            def __init__(self):
                raise TypeError("mine")

        assert t.talloc_array(None, made, 1)[0].number == 0
        assert type(t.talloc_array(None, wanting, 1)[0]) is wanting
        assert t.talloc_array(None, dict, 1) == [{}]
        assert t.talloc_array(None, memoryview, 1) == [None]
        assert t.talloc_array(None, slice, 1) == [None]
        with pytest.raises(TypeError, match="mine"):
            t.talloc_array(None, raising, 1)

    def test_tuple_with_required_fields(self):
        """A named tuple cannot be made without its values."""

        class pair(typing.NamedTuple):
            a: int
            b: int

        assert t.talloc_array(None, pair, 1) == [None]

    def test_array_size_zero(self):
        """Elements of no size are a ValueError."""
        with pytest.raises(ValueError, match="0"):
            t.talloc_array_size(None, 0, 4)

    def test_type_of_size_zero(self):
        """A class may say that it has no size; a resize to nothing frees."""
        empty = type("empty", (C,), {"__talloc_size__": 0})
        a = t.talloc_array(None, empty, 3)
        assert t.talloc_get_size(a) == 0
        assert t.talloc_realloc(None, a, empty, 5) is None


class TestRealloc:
    def test_new_and_free(self):
        """None makes a new one; 0 unlinks, whatever that says."""
        top = named(None, "top")
        a = t.talloc_realloc(top, None, int, 2)
        assert (a, t.talloc_get_name(a), t.talloc_parent(a)) == ([0, 0], "int", top)
        assert t.talloc_realloc(None, a, int, 0) is None
        assert t.talloc_parent(a) is top
        assert t.talloc_realloc(top, a, int, 0) is None
        assert t.talloc_total_blocks(top) == 1
        assert t.talloc_realloc(None, None, int, 0) is None
        assert t.talloc_get_name(t.talloc_realloc_fn(None, None, 3)) == "UNNAMED"
        assert t.talloc_realloc(None, None, int, -1) is None
        assert t.talloc_realloc_size(None, None, 0x10000000) is None

    def test_keeps_its_place(self):
        """Owner, siblings, children, destructor and references held stay; the destructor gets the new object."""
        top = named(None, "top")
        named(top, "older")
        s = t.talloc_strdup(top, "text")
        named(top, "younger")
        child = named(s, "child")
        seen = []
        t.talloc_set_destructor(s, seen.append)
        b = t.talloc_realloc(None, s, t.char, 50)
        check_invariants(chunk_of(top))
        assert (b[:6], len(b)) == (b"text\0\0", 50)
        assert t.talloc_parent(child) is b
        order = []
        t.talloc_report_depth_cb(top, 0, 1, lambda p, *_rest: order.append(t.talloc_get_name(p)), None)
        assert order == ["top", "younger", "char", "older"]
        with pytest.raises(t.talloc_abort_error, match="after free"):
            t.talloc_get_size(s)
        t.talloc_free(b)
        assert len(seen) == 1
        assert seen[0] is b

    def test_in_place(self):
        """Buffers and lists stay the same object; new elements are zero."""
        b = t.talloc_memdup(None, b"abc")
        assert t.talloc_realloc_size(None, b, 5) is b
        assert b == b"abc\0\0"
        a = t.talloc_array(None, int, 2)
        a[0] = 5
        assert t.talloc_realloc(None, a, int, 3) is a
        assert t.talloc_realloc_zero(None, a, int, 1) is a
        assert a == [5]

    def test_exported_buffer(self):
        """A buffer somebody looks into cannot be resized: a new one takes over."""
        b = t.talloc_memdup(None, b"abc")
        with memoryview(b):
            c = t.talloc_realloc_size(None, b, 2)
            d = t.talloc_realloc_size(None, c, 4)
        assert (bytes(b), c, d) == (b"abc", d, b"ab\0\0")

    def test_names(self):
        """A new name, except for the same size and for shrinking by less than 1024."""
        p = t.talloc_size(None, 20)
        t.talloc_set_name_const(p, "mine")
        for size, expected in ((15, "mine"), (15, "mine"), (3000, "char"), (1977, "char")):
            p = t.talloc_realloc(None, p, t.char, size)
            assert t.talloc_get_name(p) == expected
        t.talloc_set_name_const(p, "mine")
        assert t.talloc_get_name(t.talloc_realloc(None, p, t.char, 953)) == "char"
        p = t.talloc_realloc_fn(None, p, 1000)
        assert t.talloc_get_name(p) == "UNNAMED"

    def test_string_cut_keeps_content_as_name(self):
        """Shrunk in place, the name is what the bytes say up to the first NUL."""
        s = t.talloc_strdup(None, "hello")
        b = t.talloc_realloc(None, s, t.char, 3)
        assert (b, t.talloc_get_name(b)) == (b"hel", "hel")
        assert t.talloc_realloc(None, t.talloc_strdup(None, "ab"), t.char, 3) == "ab"
        a = t.talloc_realloc(None, t.talloc_strdup(None, "abc"), int, 1)
        assert (a, t.talloc_get_name(a)) == ([97], "abc")

    def test_struct_becomes_an_array(self):
        """The old object is the first element and no chunk any more; its children belong to the array."""
        p = t.talloc(None, foo_state)
        p.a = 3
        child = named(p, "child")
        assert t.talloc_realloc(None, p, foo_state, 1) is p
        a = t.talloc_realloc(None, p, foo_state, 2)
        assert (a[0] is p, a[0].a, a[1].a) == (True, 3, 0)
        assert t.talloc_parent(child) is a
        with pytest.raises(t.talloc_abort_error, match="unknown"):
            t.talloc_get_name(p)
        q = t.talloc_realloc(None, t.talloc(None, foo_state), t.uint8_t, 10)
        assert q == bytearray(10)

    def test_other_kinds(self):
        """Between lists, buffers and contexts elements go by index."""
        assert t.talloc_realloc(None, t.talloc_memdup(None, b"ab"), int, 3) == [97, 98, 0]
        a = t.talloc_array(None, int, 2)
        a[:] = [300, "x"]
        assert t.talloc_realloc(None, a, t.uint8_t, 3) == bytes((44, 0, 0))
        assert t.talloc_realloc(None, t.talloc_new(None), int, 2) == [0, 0]
        b = t.talloc_realloc(None, t.talloc_array(None, int, 2), foo_state | None, 3)
        assert (b, t.talloc_get_size(b)) == ([0, 0, None], 24)

    def test_refused(self):
        """With references, and for pools: None, unchanged."""
        top = named(None, "top")
        b = t.talloc_size(top, 4)
        t.talloc_reference(top, b)
        assert t.talloc_realloc_size(None, b, 8) is None
        assert len(b) == 4
        assert t.talloc_realloc_size(None, t.talloc_pool(None, 100), 8) is None


class TestStrings:
    def test_dup(self):
        """Up to the first NUL; n counts bytes."""
        assert t.talloc_strdup(None, "a\0b") == "a"
        assert t.talloc_strdup(None, None) is None
        assert t.talloc_strndup(None, None, 3) is None
        assert t.talloc_strndup(None, "héllo", 3) == "hé"
        assert t.talloc_strndup(None, "é", 1).encode("utf-8", "surrogateescape") == b"\xc3"
        assert t.talloc_strndup(None, "abc", -1) == "abc"
        assert t.talloc_strndup(None, "abc", 0) == ""
        assert t.talloc_vasprintf(None, "%s", ["x"]) == "x"
        for bad in (b"x", 1):
            with pytest.raises(TypeError, match="must be a str"):
                t.talloc_strdup(None, bad)
        with pytest.raises(UnicodeEncodeError):
            t.talloc_strdup(None, "\ud800")

    def test_is_a_chunk_and_a_str(self):
        """It can own and be owned."""
        s = t.talloc_strdup(None, "x")
        assert isinstance(s, C)
        assert isinstance(s, str)
        assert {"x": 1}[s] == 1
        child = named(s, "child")
        assert t.talloc_parent(child) is s
        assert type(s.upper()) is str

    def test_append_and_append_buffer(self):
        """append starts at the first NUL, append_buffer before the last byte."""
        make = lambda: t.talloc_asprintf(None, "a%cb", 0)  # noqa: E731
        assert (t.talloc_get_size(make()), t.talloc_get_name(make())) == (4, "a")
        assert t.talloc_strdup_append(make(), "X") == "aX"
        assert t.talloc_strdup_append_buffer(make(), "X") == "a\0bX"
        assert t.talloc_strndup_append(make(), "XY", 1) == "aX"
        assert t.talloc_strndup_append_buffer(make(), "XY", 1) == "a\0bX"
        assert t.talloc_asprintf_append(make(), "%d", 5) == "a5"
        assert t.talloc_asprintf_append_buffer(make(), "%d", 5) == "a\0b5"
        assert t.talloc_vasprintf_append(make(), "%d", (5,)) == "a5"
        assert t.talloc_vasprintf_append_buffer(make(), "%d", (5,)) == "a\0b5"
        assert t.talloc_strdup_append(make(), "") == "a"
        s = make()
        assert t.talloc_asprintf_append(s, "%s", "") is s
        assert t.talloc_strdup_append(s, None) is s
        assert t.talloc_strdup_append_buffer(s, "") is s

    def test_char_buffers(self):
        """The bytes count, and the result is a string."""
        make = lambda: t.talloc_memdup(None, b"ab\0\0\0\0\0\0")  # noqa: E731
        s = t.talloc_strdup_append(make(), "cd")
        assert (s, t.talloc_get_name(s)) == ("abcd", "abcd")
        assert t.talloc_strdup_append_buffer(make(), "cd") == "ab\0\0\0\0\0cd"
        assert t.talloc_strdup_append_buffer(t.talloc_size(None, 0), "x") == "x"

    def test_none(self):
        """A new top-level string; nothing from nothing."""
        s = t.talloc_strdup_append(None, "x")
        assert (s, t.talloc_parent(s)) == ("x", None)
        assert t.talloc_strdup_append_buffer(None, None) is None
        assert t.talloc_strndup_append(None, "xy", 1) == "x"
        assert t.talloc_asprintf_append(None, "%d", 1) == "1"
        assert t.talloc_append_string(None, None, "x") == "x"
        assert t.talloc_append_string(None, s, "y") == "xy"

    def test_takes_over_the_chunk(self):
        """Children and destructor are those of the new string; the old one is dead."""
        top = named(None, "top")
        s = t.talloc_strdup(top, "x")
        child = named(s, "child")
        r = t.talloc_strdup_append(s, "y")
        assert (t.talloc_parent(child) is r, t.talloc_parent(r) is top, t.talloc_get_name(r)) == (True, True, "xy")
        with pytest.raises(t.talloc_abort_error, match=f"freed at {__file__}"):
            t.talloc_strdup_append(s, "z")

    def test_halves_of_a_character_meet(self):
        """Bytes that complete each other become the character."""
        first = t.talloc_strndup(None, "é", 1)
        rest = "é".encode()[1:].decode("utf-8", "surrogateescape")
        assert t.talloc_strdup_append(first, rest) == "é"

    def test_failure_leaves_the_string(self):
        """References or a limit: None, and the string is as it was."""
        top = named(None, "top")
        s = t.talloc_strdup(top, "x")
        t.talloc_reference(top, s)
        assert t.talloc_strdup_append(s, "y") is None
        assert t.talloc_get_name(s) == "x"
        t.talloc_unlink(top, s)
        limited = named(None, "limited")
        s = t.talloc_strdup(limited, "x")
        t.talloc_set_memlimit(limited, 200)
        assert t.talloc_asprintf_append(s, "%100d", 1) is None
        assert t.talloc_get_name(s) == "x"
        assert t.talloc_asprintf_addbuf(s, "%100d", 1) is None
        assert t.talloc_total_blocks(limited) == 1

    @pytest.mark.parametrize("s", ["plain", 5, b"x"])
    def test_what_is_no_string_chunk(self, s):
        """A TypeError."""
        with pytest.raises(TypeError):
            t.talloc_strdup_append(s, "x")
        with pytest.raises(TypeError, match="string or a buffer"):
            t.talloc_strdup_append(t.talloc_new(None), "x")

    def test_addbuf_and_addsep(self):
        """Built up in steps."""
        assert t.talloc_asprintf_addbuf(None, "x") is None
        assert t.talloc_asprintf_addsep(None, ",", "x") is None
        s = t.talloc_strdup(None, "")
        assert t.talloc_asprintf_addbuf(s, "") is s
        for n, expected in enumerate(("0", "0, 1", "0, 1, 2")):
            s = t.talloc_asprintf_addsep(s, ", ", "%d", n)
            assert s == expected
        assert t.talloc_asprintf_addsep(s, "%", "%s", "") == "0, 1, 2%"
        assert t.talloc_asprintf_addbuf(t.talloc_strdup(None, "x"), "%c", "y") == "xy"

    def test_too_long(self, monkeypatch):
        """256 MiB are too much."""
        monkeypatch.setattr("talloc_py._make.MAX_TALLOC_SIZE", 4)
        monkeypatch.setattr("talloc_py.string.MAX_TALLOC_SIZE", 4)
        assert t.talloc_strdup(None, "abc") is None
        s = t.talloc_strdup(None, "ab")
        assert t.talloc_strdup_append(s, "c") is None


class TestFormat:
    @pytest.mark.parametrize(
        ("fmt", "args", "expected"),
        [
            ("%u", (-1,), "4294967295"),
            ("%x", (-1,), "ffffffff"),
            ("%lx", (-1,), "f" * 16),
            ("%hhu", (258,), "2"),
            ("%d", (2**31,), "-2147483648"),
            ("%hd", (40000,), "-25536"),
            ("%s", (None,), "(null)"),
            ("%p", (None,), "(nil)"),
            ("%-8s|", ("é",), "é      |"),
            ("%#o", (8,), "010"),
            ("%.3d", (5,), "005"),
            ("%+d", (5,), "+5"),
            ("% d", (5,), " 5"),
            ("%5.1s|", (None,), "     |"),
            ("%.6s", (None,), "(null)"),
            ("%*d|%-*d", (5, 1, 3, 2), "    1|2  "),
            ("%*d|", (-3, 1), "1  |"),
            ("%.*f", (2, 1.005), "1.00"),
            ("%.*f", (-1, 0.5), "0.500000"),
            ("%c%c", (65, "é"), "Aé"),
            ("100%%", (), "100%"),
            ("%i%%", (3, 4), "3%"),
            ("%#x %#X %#x", (255, 255, 0), "0xff 0XFF 0"),
            ("%08.3f", (-3.14159,), "-003.142"),
            ("%-08d|", (5,), "5       |"),
            ("%08.3d", (5,), "     005"),
            ("%.0d|", (0,), "|"),
            ("%#.0o", (0,), "0"),
            ("%#.3o", (8,), "010"),
            ("%#.2o", (8,), "010"),
            ("%5s|%-5s|", ("ab", "ab"), "   ab|ab   |"),
            ("%zu %jd %td %qd %Ld", (1, 2, 3, 4, 5), "1 2 3 4 5"),
            ("%f %F", (float("inf"), float("-inf")), "inf -INF"),
            ("%05f", (float("inf"),), "  inf"),
            ("%+E", (12345.678,), "+1.234568E+04"),
            ("%g %G", (1e-10, 1e20), "1e-10 1E+20"),
            ("%#.3g", (1,), "1.00"),
            ("%a %A", (1.5, 255.5), "0x1.8p+0 0X1.FFP+7"),
            ("%.0a %.1a %.3a", (1.5, 1.96875, 1.0), "0x2p+0 0x2.0p+0 0x1.000p+0"),
            ("%12a|", (1.0,), "      0x1p+0|"),
            ("%012a", (1.0,), "0x0000001p+0"),
            ("%a", (0.0,), "0x0p+0"),
            ("%f", (True,), "1.000000"),
            ("%d", (True,), "1"),
            ("%s", ("a\0b",), "a"),
            ("é%d", (1,), "é1"),
            ("%5c|", ("x",), "    x|"),
        ],
    )
    def test_like_c(self, fmt, args, expected):
        """What the GNU C library gives."""
        assert t.talloc_asprintf(None, fmt, *args) == expected

    def test_half_a_character(self):
        """The precision of %s counts bytes."""
        assert t.talloc_asprintf(None, "%.1s", "é").encode("utf-8", "surrogateescape") == b"\xc3"

    def test_pointer(self):
        """%p of an object is its address; flags and widths work."""
        thing = object()
        assert t.talloc_asprintf(None, "%p", thing) == hex(id(thing))
        assert t.talloc_asprintf(None, "%30p", thing) == hex(id(thing)).rjust(30)

    def test_negative_nan(self):
        """The sign of a NaN shows."""
        import math

        assert t.talloc_asprintf(None, "%f", math.copysign(float("nan"), -1.0)) == "-nan"

    @pytest.mark.parametrize(
        ("fmt", "args"),
        [
            ("%d", ()),
            ("%*d", (1,)),
            ("%d", ("1",)),
            ("%d", (1.0,)),
            ("%s", (1,)),
            ("%s", (b"x",)),
            ("%c", ("ab",)),
            ("%c", (1.5,)),
            ("%f", ("1",)),
            ("%*d", ("x", 1)),
            ("%x", (None,)),
        ],
    )
    def test_wrong_arguments(self, fmt, args):
        """Too few, or of the wrong type: TypeError."""
        with pytest.raises(TypeError):
            t.talloc_asprintf(None, fmt, *args)

    @pytest.mark.parametrize("fmt", ["%n", "%", "%y", "%lld%", "%hhhd", "%5"])
    def test_bad_formats(self, fmt):
        """%n, unknown conversions and a format that ends early: ValueError."""
        with pytest.raises(ValueError, match="%"):
            t.talloc_asprintf(None, fmt, 1, 2)


class TestReports:
    def build(self):
        g = named(None, "g")
        a = t.talloc_named_const(g, 12, "a")
        b = named(a, "b")
        named(a, "c")
        r = named(g, "r")
        t.talloc_reference(r, b)
        return g, a, b, r

    def test_full(self):
        """Names, totals, references and addresses."""
        g, a, b, r = self.build()
        c = named(a, "c2")
        t.talloc_free(c)
        out = io.StringIO()
        t.talloc_report_full(g, out)
        lines = out.getvalue().split("\n")
        assert lines[0] == "full talloc report on 'g' (total     12 bytes in   6 blocks)"
        assert lines[1] == f"    {'r':30} contains      0 bytes in   2 blocks (ref 0) {id(r):#x}"
        assert lines[2] == "        reference to: b"
        assert lines[3] == f"    {'a':30} contains     12 bytes in   3 blocks (ref 0) {id(a):#x}"
        assert lines[5] == f"        {'b':30} contains      0 bytes in   1 blocks (ref 1) {id(b):#x}"

    def test_depths(self):
        """One level, a starting depth, one line only."""
        g, *_rest = self.build()
        out = io.StringIO()
        t.talloc_report(g, out)
        assert out.getvalue().startswith("talloc report on 'g'")
        assert len(out.getvalue().splitlines()) == 3
        out = io.StringIO()
        t.talloc_report_depth_file(g, 1, 1, out)
        assert out.getvalue().startswith("    g ")
        assert len(out.getvalue().splitlines()) == 1

    def test_callback(self):
        """Each chunk once, with its depth; a reference shows its target."""
        g, a, b, r = self.build()
        seen = []
        t.talloc_report_depth_cb(g, 0, -1, lambda *args: seen.append(args), "data")
        assert [(p, depth, is_ref) for p, depth, _max, is_ref, _data in seen if p is not a][:4] == [
            (g, 0, 0),
            (r, 1, 0),
            (b, 2, 1),
            (seen[4][0], 2, 0),
        ]
        assert {args[4] for args in seen} == {"data"}

    def test_callback_that_frees(self):
        """What is gone is not shown."""
        g, a, _b, r = self.build()
        seen = []

        def callback(p, *_rest):
            seen.append(t.talloc_get_name(p))
            if p is r:
                t.talloc_free(r)
                t.talloc_free(a)

        t.talloc_report_depth_cb(g, 0, -1, callback, None)
        assert seen == ["g", "r"]

    def test_loop(self):
        """A chunk met again is skipped."""
        a = named(None, "a")
        b = named(a, "b")
        named(b, "c")
        t.talloc_steal(b, a)
        out = io.StringIO()
        t.talloc_report_full(a, out)
        assert [line.split()[0] for line in out.getvalue().splitlines()[1:]] == ["b", "c"]
        assert t.talloc_total_blocks(a) == 3

    def test_without_file_or_root(self):
        """Nothing at all."""
        t.talloc_report_full(named(None, "a"), None)
        t.talloc_full_report_printf(named(None, "a"), None)
        out = io.StringIO()
        t.talloc_report_full(None, out)
        t.talloc_full_report_printf(None, out)
        t.talloc_report_depth_cb(None, 0, -1, print, None)
        assert out.getvalue() == ""
        assert t.talloc_report_str(None, None) == ""

    def test_limits_are_shown(self):
        """A chunk that is a limit has a line before its own."""
        g = named(None, "g")
        t.talloc_set_memlimit(g, 1000)
        out = io.StringIO()
        t.talloc_report_full(g, out)
        assert out.getvalue().splitlines()[0] == (
            f"{'g':30} is a memlimit context (max_size = 1000 bytes, cur_size = 96 bytes)"
        )

    def test_show_parents(self):
        """From the chunk upwards."""
        g = named(None, "g")
        out = io.StringIO()
        t.talloc_show_parents(named(g, "a"), out)
        t.talloc_show_parents(None, out)
        assert out.getvalue() == "talloc parents of 'a'\n\t'a'\n\t'g'\ntalloc no parents for NULL\n"

    def test_report_str(self):
        """Chunks called char show their text; the report itself is not in it."""
        g = named(None, "g")
        s = t.talloc_strdup(g, "text")
        t.talloc_set_type(s, t.char)
        b = t.talloc_memdup(g, b"by\0te")
        t.talloc_set_type(b, t.char)
        t.talloc_set_type(named(g, "x"), t.char)
        t.talloc_set_name_const(named(g, "x"), None)
        text = t.talloc_report_str(g, g)
        lines = text.splitlines()
        assert lines[0] == "full talloc report on 'g' (total     10 bytes in   5 blocks)"
        assert lines[1].startswith("    UNNAMED")
        assert lines[2].endswith("(ref 0): ")
        assert lines[3].endswith("(ref 0):    by")
        assert lines[4].endswith("(ref 0):  text")
        assert t.talloc_parent(text) is g
        out = io.StringIO()
        t.talloc_full_report_printf(s, out)
        assert out.getvalue().startswith("full talloc report on 'char'")


class TestMemlimit:
    def test_exactly_full(self):
        """Full is allowed, one byte more is not."""
        g = named(None, "g")
        assert t.talloc_set_memlimit(g, 1000) == 0
        a = t.talloc_size(g, 1000 - 96 - 96)
        assert a is not None
        assert t.talloc_new(g) is None
        t.talloc_free(a)
        assert t.talloc_size(g, 1000 - 96 - 96 + 1) is None

    def test_everything_can_be_refused(self):
        """Each way to allocate gives its failure value."""
        g = named(None, "g")
        s = t.talloc_strdup(g, "s")
        t.talloc_set_memlimit(g, 1)
        assert t.talloc(g, foo_state) is None
        assert t.talloc(g, C) is None
        assert t.talloc_zero(g, foo_state) is None
        assert t.talloc_memdup(g, foo_state()) is None
        assert t.talloc_named(g, 0, "x") is None
        assert t.talloc_set_name(g, "x") is None
        assert t.talloc_get_name(g) == "UNNAMED"
        assert t.talloc_reference(g, s) is None
        assert t.talloc_array(g, int, 1) is None
        assert t.talloc_strdup(g, "x") is None
        assert t.talloc_pool(g, 1) is None
        assert t.talloc_pooled_object(g, foo_state, 0, 0) is None
        assert t.talloc_realloc_size(None, s, 20) is None
        t.talloc_set_memlimit(g, 0)
        assert t.talloc_zero(g, foo_state) is not None

    def test_name_refused(self):
        """The chunk fits but its name does not: the chunk is freed."""
        g = named(None, "g")
        t.talloc_set_memlimit(g, 96 * 2 + 10)
        assert t.talloc_named(g, 0, "x") is None
        assert t.talloc_total_blocks(g) == 1

    def test_negative(self):
        """A ValueError."""
        with pytest.raises(ValueError, match="negative"):
            t.talloc_set_memlimit(named(None, "g"), -1)

    def test_old_handle_gives_back_too_much(self, aborts):
        """As in C it ends in a logic error when there is not so much."""
        g = named(None, "g")
        p = named(None, "p")
        t.talloc_reference(g, p)
        t.talloc_set_memlimit(g, 0)
        assert t.talloc_unlink(g, p) == 0
        assert aborts == ["logic error in talloc_memlimit_shrink\n"]

    def test_logic_error_raises_after_the_free(self):
        """The free and the move are complete when the error leaves."""
        for act in ("unlink", "free", "free parent"):
            top = named(None, "top")
            g = named(top, "g")
            p = named(None, "p")
            t.talloc_reference(g, p)
            t.talloc_set_memlimit(g, 0)
            with pytest.raises(t.talloc_abort_error, match="logic error"):
                t.talloc_unlink(g, p) if act == "unlink" else t.talloc_free(g if act == "free" else top)
            assert t.talloc_reference_count(p) == 0

    def test_steal_out_and_in(self):
        """The nearest limit keeps the charge, as in C; stealing in is never refused."""
        m = named(None, "m")
        t.talloc_set_memlimit(m, 0)
        a = t.talloc_size(m, 100)
        limit = chunk_of(m).extra.limit
        assert limit.cur_size == 292
        t.talloc_steal(None, a)
        assert limit.cur_size == 292
        t.talloc_set_memlimit(m, 300)
        t.talloc_steal(m, a)
        assert limit.cur_size == 488
        assert t.talloc_new(m) is None

    def test_steal_that_ends_in_a_logic_error(self):
        """The move is complete all the same, also when a dying parent does it."""
        outer = named(None, "outer")
        inner = named(outer, "inner")
        a = t.talloc_size(inner, 100)
        t.talloc_set_memlimit(outer, 0)
        t.talloc_set_memlimit(inner, 0)
        chunk_of(outer).extra.limit.cur_size = 0
        with pytest.raises(t.talloc_abort_error, match="shrink"):
            t.talloc_steal(None, a)
        assert t.talloc_parent(a) is None
        b = t.talloc_size(inner, 100)
        t.talloc_set_destructor(b, lambda _p: -1)
        chunk_of(outer).extra.limit.cur_size = 0
        with pytest.raises(t.talloc_abort_error, match="shrink"):
            t.talloc_free(inner)
        assert t.talloc_parent(b) is outer

    def test_nested(self):
        """All levels are charged; a limit that is moved forgets the outer ones, and moved in again it is none."""
        m = named(None, "m")
        a = named(m, "a")
        t.talloc_set_memlimit(a, 0)
        t.talloc_set_memlimit(m, 0)
        lm, la = chunk_of(m).extra.limit, chunk_of(a).extra.limit
        assert la.upper is lm
        assert (lm.cur_size, la.cur_size) == (192, 96)
        t.talloc_size(a, 4)
        assert (lm.cur_size, la.cur_size) == (292, 196)
        t.talloc_steal(None, a)
        assert (lm.cur_size, la.cur_size, la.upper) == (96, 196, None)
        t.talloc_steal(m, a)
        assert chunk_of(a).extra.limit is lm

    def test_realloc(self):
        """Growth is charged, shrinking given back, and always a new name."""
        m = named(None, "m")
        t.talloc_set_memlimit(m, 1000)
        p = t.talloc_size(m, 100)
        limit = chunk_of(m).extra.limit
        p = t.talloc_realloc(None, p, t.char, 90)
        assert (t.talloc_get_name(p), limit.cur_size) == ("char", 282)
        assert t.talloc_realloc(None, p, t.char, 900) is None
        assert t.talloc_realloc_size(None, p, 90) is p
        p = t.talloc_realloc(None, p, t.char, 91)
        assert limit.cur_size == 283
        t.talloc_free(p)
        assert limit.cur_size == 96

    def test_resized_behind_our_back(self):
        """A buffer that Python code has grown gives back what was charged."""
        m = named(None, "m")
        t.talloc_set_memlimit(m, 0)
        p = t.talloc_size(m, 1)
        p.extend(bytes(1000))
        t.talloc_free(p)
        assert chunk_of(m).extra.limit.cur_size == 96


class TestPool:
    def test_plain(self):
        """An unnamed context of size 0."""
        p = t.talloc_pool(None, 1000)
        assert (type(p), t.talloc_get_name(p), t.talloc_get_size(p)) == (C, "UNNAMED", 0)

    def test_members_are_not_charged(self):
        """Only the pool itself is, and what does not fit."""
        m = named(None, "m")
        t.talloc_set_memlimit(m, 0)
        limit = chunk_of(m).extra.limit
        p = t.talloc_pool(m, 256)
        assert limit.cur_size == 96 + 96 + 32 + 256
        a = t.talloc_size(p, 10)
        b = t.talloc_size(a, 10)
        assert limit.cur_size == 480
        c = t.talloc_size(p, 10)
        assert limit.cur_size == 480 + 106
        t.talloc_free(c)
        t.talloc_free(b)
        assert t.talloc_size(p, 10) is not None
        assert limit.cur_size == 480
        t.talloc_free(p)
        assert limit.cur_size == 480 - 128

    def test_stolen_member_keeps_the_space(self):
        """The pool's memory goes with its last member."""
        m = named(None, "m")
        t.talloc_set_memlimit(m, 0)
        limit = chunk_of(m).extra.limit
        p = t.talloc_pool(m, 500)
        a, b = t.talloc_size(p, 10), t.talloc_size(p, 10)
        t.talloc_steal(None, a)
        t.talloc_steal(None, b)
        assert t.talloc_free(p) == 0
        before = limit.cur_size
        t.talloc_free(a)
        assert limit.cur_size == before
        t.talloc_free(b)
        assert limit.cur_size == before - 128

    def test_nested_pool(self):
        """A pool in a pool gives its space back to the outer one."""
        outer = t.talloc_pool(None, 2000)
        inner = t.talloc_pool(outer, 500)
        member = t.talloc_size(inner, 5)
        extra = chunk_of(member).extra
        assert extra.member.owner is chunk_of(inner)
        t.talloc_steal(outer, member)
        assert t.talloc_free(inner) == 0
        assert t.talloc_free(member) == 0
        space = chunk_of(outer).extra.pool
        assert (space.count, space.end) == (1, 0)

    def test_names_after_realloc(self):
        """Renamed only where C moves the memory."""
        pool = t.talloc_pool(None, 400)
        x = t.talloc_named_const(pool, 10, "x")
        x = t.talloc_realloc(None, x, t.char, 11)
        assert t.talloc_get_name(x) == "char"
        y = t.talloc_named_const(pool, 10, "y")
        t.talloc_set_name_const(x, "x")
        x = t.talloc_realloc(None, x, t.char, 12)
        assert t.talloc_get_name(x) == "x"
        y = t.talloc_realloc(None, y, t.char, 100)
        assert t.talloc_get_name(y) == "y"
        x = t.talloc_realloc(None, x, t.char, 100)
        assert t.talloc_get_name(x) == "char"

    def test_realloc_out_of_the_pool(self):
        """It is charged without a header, or refused."""
        m = named(None, "m")
        t.talloc_set_memlimit(m, 0)
        limit = chunk_of(m).extra.limit
        pool = t.talloc_pool(m, 300)
        x, _y = t.talloc_size(pool, 10), t.talloc_size(pool, 10)
        before = limit.cur_size
        t.talloc_set_memlimit(m, before + 199)
        assert t.talloc_realloc_size(None, x, 200) is None
        t.talloc_set_memlimit(m, before + 200)
        assert t.talloc_realloc_size(None, x, 200) is not None
        assert limit.cur_size == before + 200
        assert chunk_of(x).extra.member is None

    def test_realloc_within_the_pool(self):
        """Shrinking in place, moving to a new place, too big for the only member."""
        pool = t.talloc_pool(None, 1000)
        x, y = t.talloc_size(pool, 100), t.talloc_size(pool, 100)
        t.talloc_set_name_const(x, "x")
        t.talloc_set_name_const(y, "y")
        assert t.talloc_get_name(t.talloc_realloc_size(None, x, 50)) == "x"
        assert t.talloc_get_name(t.talloc_realloc_size(None, y, 50)) == "y"
        assert chunk_of(pool).extra.pool.end == 208 + 160
        x = t.talloc_realloc(None, x, t.char, 200)
        assert t.talloc_get_name(x) == "char"
        assert chunk_of(x).extra.start == 208 + 160
        t.talloc_free(y)
        x = t.talloc_realloc(None, x, t.char, 2000)
        assert chunk_of(x).extra.member is None

    def test_pooled_object(self):
        """A struct with room for its sub-objects."""
        p = t.talloc_pooled_object(None, foo_state, 2, 100)
        assert (type(p), p.a, t.talloc_get_name(p), t.talloc_get_size(p)) == (foo_state, 0, "struct foo_state", 8)
        space = chunk_of(p).extra.pool
        assert (space.size, space.first) == (8 + 100 + 143 * 3, 16)
        assert t.talloc_pooled_object(None, int, 1, 1) == [0]
        assert t.talloc_pooled_object(None, t.uint8_t, 1, 1) == bytearray(1)
        assert t.talloc_get_size(t.talloc_pooled_object(None, C, 1, 1)) == 1
        for numbers in ((-1, 0), (0, -1), (0xFFFFFFFF, 0), (0, 0x10000000)):
            assert t.talloc_pooled_object(None, foo_state, *numbers) is None

    def test_init_allocates_in_its_own_pool(self):
        """The pool is complete before __init__ runs."""

        class owner(C):
            def __init__(self):
                self.part = t.talloc_size(self, 10)

        p = t.talloc_pooled_object(None, owner, 1, 10)
        assert chunk_of(p.part).extra.member is chunk_of(p).extra.pool
