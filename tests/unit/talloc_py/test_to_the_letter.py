# SPDX-License-Identifier: LGPL-3.0-or-later
"""What small functions answer and what messages say, to the letter."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings

import pytest

import talloc_py as t
import tsocket
from talloc_py import diagnostics
from talloc_py._abort import abort
from talloc_py._chunk import guarded_by


class foo(t.TALLOC_CTX):
    n: int


def text():
    return t.talloc_strdup(None, "text")


#: A call with one argument that is no int or no str, and what that argument is called.
WRONG = [
    ("count", "int", lambda: t.talloc_array(None, int, 1.5)),
    ("count", "int", lambda: t.talloc_zero_array(None, int, 1.5)),
    ("size", "int", lambda: t.talloc_array_size(None, 1.5, 1)),
    ("count", "int", lambda: t.talloc_array_size(None, 1, 1.5)),
    ("count", "int", lambda: t.talloc_realloc(None, None, int, 1.5)),
    ("size", "int", lambda: t.talloc_realloc_size(None, None, 1.5)),
    ("size", "int", lambda: t.talloc_realloc_fn(None, None, 1.5)),
    ("name", "str", lambda: t.talloc_named_const(None, 0, 1.5)),
    ("size", "int", lambda: t.talloc_named_const(None, 1.5, "")),
    ("fmt", "str", lambda: t.talloc_named(None, 0, 1.5)),
    ("size", "int", lambda: t.talloc_named(None, 1.5, "")),
    ("size", "int", lambda: t.talloc_size(None, 1.5)),
    ("size", "int", lambda: t.talloc_zero_size(None, 1.5)),
    ("max_size", "int", lambda: t.talloc_set_memlimit(text(), 1.5)),
    ("fmt", "str", lambda: t.talloc_set_name(text(), 1.5)),
    ("name", "str", lambda: t.talloc_set_name_const(text(), 1.5)),
    ("name", "str", lambda: t.talloc_check_name(text(), 1.5)),
    ("name", "str", lambda: t.talloc_find_parent_byname(text(), 1.5)),
    ("size", "int", lambda: t.talloc_pool(None, 1.5)),
    ("num_subobjects", "int", lambda: t.talloc_pooled_object(None, foo, 1.5, 1)),
    ("total_subobjects_size", "int", lambda: t.talloc_pooled_object(None, foo, 1, 1.5)),
    ("depth", "int", lambda: t.talloc_report_depth_cb(text(), 1.5, 1, print, None)),
    ("max_depth", "int", lambda: t.talloc_report_depth_cb(text(), 1, 1.5, print, None)),
    ("depth", "int", lambda: t.talloc_report_depth_file(text(), 1.5, 1, None)),
    ("max_depth", "int", lambda: t.talloc_report_depth_file(text(), 1, 1.5, None)),
    ("p", "str", lambda: t.talloc_strdup(None, 1.5)),
    ("p", "str", lambda: t.talloc_strndup(None, 1.5, 1)),
    ("n", "int", lambda: t.talloc_strndup(None, "", 1.5)),
    ("fmt", "str", lambda: t.talloc_asprintf(None, 1.5)),
    ("fmt", "str", lambda: t.talloc_vasprintf(None, 1.5, ())),
    ("a", "str", lambda: t.talloc_strdup_append(text(), 1.5)),
    ("a", "str", lambda: t.talloc_strdup_append_buffer(text(), 1.5)),
    ("a", "str", lambda: t.talloc_strndup_append(text(), 1.5, 1)),
    ("n", "int", lambda: t.talloc_strndup_append_buffer(text(), "", 1.5)),
    ("fmt", "str", lambda: t.talloc_asprintf_append(text(), 1.5)),
    ("fmt", "str", lambda: t.talloc_asprintf_addbuf(text(), 1.5)),
    ("sep", "str", lambda: t.talloc_asprintf_addsep(text(), 1.5, "")),
    ("fmt", "str", lambda: t.talloc_asprintf_addsep(text(), "", 1.5)),
    ("a", "str", lambda: t.talloc_append_string(None, text(), 1.5)),
]


class TestMessages:
    """What somebody reads who has made a mistake."""

    @pytest.mark.parametrize(("name", "kind", "call"), WRONG)
    def test_an_argument_of_another_type_is_named(self, name, kind, call):
        """The message says which argument has to be what, and what it is."""
        article = "an" if kind == "int" else "a"
        with pytest.raises(TypeError, match=rf"^{name} must be {article} {kind}, not float$"):
            call()

    def test_a_negative_limit(self):
        """It is refused, and the message says why."""
        with pytest.raises(ValueError, match=r"^max_size must not be negative$"):
            t.talloc_set_memlimit(text(), -1)

    @pytest.mark.parametrize(("setter", "name"), [(t.talloc_set_abort_fn, "abort_fn"), (t.talloc_set_log_fn, "log_fn")])
    def test_the_parameter_is_named(self, setter, name):
        """What can not be called is refused with the name of the parameter."""
        with pytest.raises(TypeError, match=rf"^{name}\b"):
            setter(5)

    def test_an_abort_says_its_reason_alone(self):
        """Where there is no more to say than in C the default error does not."""
        with pytest.raises(t.talloc_abort_error) as caught:
            abort("a reason")
        assert str(caught.value) == "a reason"

    @pytest.mark.parametrize(("length", "shown"), [(60, "'" + "x" * 58 + "'"), (61, "'" + "x" * 56 + "...")])
    def test_what_is_no_chunk_is_shown_in_sixty_characters(self, length, shown):
        """A longer text is cut, one of just that length is not."""
        with pytest.raises(TypeError) as caught:
            t.talloc_free("x" * (length - 2))
        assert str(caught.value) == f"a talloc chunk is needed, not str: {shown}"

    def test_a_hook_that_fails_is_reported_by_the_default_one(self, monkeypatch):
        """The exception of a destructor and that of the hook are told as the interpreter tells them."""
        told = []

        def hook(unraisable):
            raise KeyError("hook")

        monkeypatch.setattr(sys, "unraisablehook", hook)
        monkeypatch.setattr(sys, "__unraisablehook__", told.append)
        chunk = t.talloc_new(None)
        t.talloc_set_destructor(chunk, lambda obj: 1 // 0)
        assert t.talloc_free(chunk) == 0
        assert [(one.exc_type, one.err_msg) for one in told] == [(KeyError, "Exception ignored in sys.unraisablehook")]


class TestWhatIsNoChunkAnyMore:
    """Objects that lost their chunk to another."""

    def test_a_struct_that_became_the_first_of_an_array(self):
        """It lives on as an element, and is no chunk."""
        one = t.talloc_zero(None, foo)
        array = t.talloc_realloc(None, one, foo, 2)
        assert array[0] is one
        with pytest.raises((TypeError, t.talloc_abort_error)):
            t.talloc_get_size(one)
        assert t.talloc_get_size(array) == 16


class TestTypes:
    """Type arguments."""

    @pytest.mark.parametrize(
        ("name", "size"),
        [
            ("char", 1), ("int8_t", 1), ("uint8_t", 1), ("int16_t", 2), ("uint16_t", 2), ("int32_t", 4),
            ("uint32_t", 4), ("int64_t", 8), ("uint64_t", 8), ("size_t", 8), ("ssize_t", 8),
        ],
    )  # fmt: skip
    def test_those_of_c(self, name, size):
        """They have C's names and sizes."""
        array = t.talloc_array(None, getattr(t, name), 3)
        assert (t.talloc_get_name(array), t.talloc_get_size(array)) == (name, 3 * size)

    def test_none_is_no_type(self):
        """None is refused, also for a chunk without a name."""
        with pytest.raises(TypeError, match=r"^a type argument must be a class or T \| None, not None$"):
            t.talloc_get_type(t.talloc_pool(None, 0), None)


class TestGuards:
    """What a library does behind the destructor of its own kind of chunk."""

    @pytest.mark.parametrize(("answer", "is_told"), [(-1, False), (0, True), (1, True), (None, True)])
    def test_it_hears_what_agrees(self, answer, is_told):
        """It is told when a destructor agreed, and the answer is the destructor's."""
        told = []
        guarded = guarded_by(told.append)(lambda obj: answer)
        assert guarded("object") is answer
        assert told == (["object"] if is_told else [])

    def test_it_hears_what_raises(self):
        """A destructor that raises counts as one that agreed."""
        told = []
        with pytest.raises(ZeroDivisionError):
            guarded_by(told.append)(lambda obj: 1 // 0)("object")
        assert told == ["object"]

    def test_without_a_destructor(self):
        """It is told, and agrees."""
        told = []
        assert guarded_by(told.append)(None)("object") == 0
        assert told == ["object"]


class TestFormats:
    """Numbers of C's types."""

    @pytest.mark.parametrize(
        ("length", "bits"),
        [("", 32), ("hh", 8), ("h", 16), ("l", 64), ("ll", 64), ("q", 64), ("z", 64), ("j", 64), ("t", 64), ("L", 64)],
    )
    def test_a_number_that_is_too_large(self, length, bits):
        """What does not fit into the type is lost, and the highest bit of a signed one is its sign."""
        assert t.talloc_asprintf(None, f"%{length}u", (1 << bits) + 5) == "5"
        assert t.talloc_asprintf(None, f"%{length}d", (1 << bits) - 1) == "-1"
        assert t.talloc_asprintf(None, f"%{length}d", (1 << (bits - 1)) - 1) == str((1 << (bits - 1)) - 1)

    def test_a_width_that_is_too_large(self):
        """It is an int, too."""
        assert t.talloc_asprintf(None, "%*d", (1 << 32) + 3, 7) == "  7"
        assert t.talloc_asprintf(None, "%.*d", (1 << 32) + 3, 7) == "007"

    @pytest.mark.parametrize(
        ("fmt", "text"), [("%.3a", "0x0.010p-1022"), ("%a", "0x0.01p-1022"), ("%.0a", "0x0p-1022")]
    )
    def test_the_smallest_numbers(self, fmt, text):
        """They begin with zeros."""
        assert t.talloc_asprintf(None, fmt, 2.0**-1030) == text


class TestPlaces:
    """Where something was freed, and where a chunk is in its pool."""

    def test_of_an_unlink(self, log):
        """The message about a use after free has the place of the unlink."""
        parent = t.talloc_new(None)
        child = t.talloc_new(parent)
        line = sys._getframe().f_lineno + 1
        assert t.talloc_unlink(parent, child) == 0
        with pytest.raises(t.talloc_abort_error):
            t.talloc_get_size(child)
        assert log[0] == f"talloc: access after free error - first free may be at {__file__}:{line}\n"

    @pytest.mark.parametrize(
        "resize",
        [
            lambda p: t.talloc_realloc(None, p, int, 50),
            lambda p: t.talloc_realloc_size(None, p, 50),
            lambda p: t.talloc_realloc_fn(None, p, 50),
            lambda p: t.talloc_strdup_append(p, "x"),
            lambda p: t.talloc_strdup_append_buffer(p, "x"),
            lambda p: t.talloc_strndup_append(p, "x", 1),
            lambda p: t.talloc_strndup_append_buffer(p, "x", 1),
            lambda p: t.talloc_asprintf_append(p, "x"),
            lambda p: t.talloc_asprintf_append_buffer(p, "x"),
            lambda p: t.talloc_vasprintf_append(p, "x", ()),
            lambda p: t.talloc_vasprintf_append_buffer(p, "x", ()),
            lambda p: t.talloc_asprintf_addbuf(p, "x"),
        ],
    )
    def test_of_a_realloc(self, log, resize):
        """An object whose chunk went to another is like one that was freed there."""
        old = text()
        assert resize(old) is not None
        with pytest.raises(t.talloc_abort_error):
            t.talloc_get_size(old)
        place = f"{__file__}:{resize.__code__.co_firstlineno}"
        assert log[0] == f"talloc: access after free error - first free may be at {place}\n"

    @pytest.mark.parametrize("length", [0, 5])
    def test_of_the_making_in_debug_mode(self, length):
        """What is made inside one of the packages was made where the program called it."""
        on = diagnostics.births_are_remembered()
        diagnostics.remember_births()
        try:
            line = sys._getframe().f_lineno + 1
            ret, address = tsocket.tsocket_address_unix_from_path(None, "x" * length)
        finally:
            if not on:
                diagnostics.forget_births()
        assert ret == 0
        t.talloc_free(address)
        with pytest.raises(t.talloc_abort_error, match=f"made at {re.escape(__file__)}:{line},"):
            t.talloc_get_name(address)

    def test_whether_the_making_is_remembered(self):
        """It says so for as long as it is."""
        on = diagnostics.births_are_remembered()
        try:
            diagnostics.remember_births()
            assert diagnostics.births_are_remembered()
            diagnostics.forget_births()
            assert not diagnostics.births_are_remembered()
        finally:
            if on:
                diagnostics.remember_births()

    def test_of_what_moved_to_the_front_of_its_pool(self):
        """It is not the last one when something was made behind it, and so has to move to grow."""
        pool = t.talloc_pool(None, 2000)
        first = t.talloc_size(pool, 100)
        second = t.talloc_size(pool, 40)
        t.talloc_free(first)
        second = t.talloc_realloc_size(pool, second, 200)
        t.talloc_size(pool, 100)
        before = t.talloc_get_name(second)
        second = t.talloc_realloc_size(pool, second, 300)
        assert t.talloc_get_name(second) != before


class TestNullContext:
    """The chunk that has everything at top level while it is tracked."""

    def test_it_is_freed(self):
        """It is none any more when tracking ends, and what it had is at top level."""
        t.talloc_enable_null_tracking_no_autofree()
        chunk = t.talloc_new(None)
        null = t.talloc_parent(chunk)
        t.talloc_disable_null_tracking()
        assert t.talloc_parent(chunk) is None
        with pytest.raises(t.talloc_abort_error):
            t.talloc_get_size(null)


class TestReports:
    """How deep they go."""

    @pytest.mark.parametrize(
        ("depth", "max_depth", "shown"), [(0, 0, [0]), (0, 1, [0, 1]), (1, 1, [1]), (0, -1, [0, 1, 2])]
    )
    def test_levels(self, depth, max_depth, shown):
        """The first is shown in any case, those below it down to the last level."""
        top = t.talloc_new(None)
        t.talloc_new(t.talloc_new(top))
        seen = []
        t.talloc_report_depth_cb(top, depth, max_depth, lambda ptr, level, *rest: seen.append(level), None)
        assert seen == shown

    @pytest.mark.parametrize("more", ["", "t.talloc_autofree_context(); "])
    @pytest.mark.parametrize(
        ("function", "headline"),
        [
            ("talloc_enable_leak_report", "talloc report on 'null_context'"),
            ("talloc_enable_leak_report_full", "full talloc report on 'null_context'"),
        ],
    )
    def test_once_at_exit(self, function, headline, more):
        """What is left is told of once, however often it was asked for."""
        program = f"import talloc_py as t; t.{function}(); t.{function}(); {more}t.talloc_size(None, 5)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stderr.startswith(headline)
        assert done.stderr.count("talloc report on 'null_context'") == 1


class TestLoopsOfOwners:
    """Searches up a tree that does not end."""

    @pytest.mark.parametrize("levels", range(6))
    def test_from_below(self, levels):
        """A search that begins some levels below a loop ends."""
        top = t.talloc_new(None)
        chunk = t.talloc_new(top)
        t.talloc_steal(chunk, top)
        for _ in range(levels):
            chunk = t.talloc_new(chunk)
        assert t.talloc_find_parent_byname(chunk, "nobody") is None


class once(type):
    """A metaclass that makes instances in its own way."""

    def __call__(cls):
        return super().__call__()


class TestMaking:
    """Chunks of rare kinds."""

    def test_init_runs_once(self):
        """Also where a metaclass runs it."""

        class state(t.TALLOC_CTX, metaclass=once):
            def __init__(self):
                made.append(self)

        made = []
        assert t.talloc(None, state) is made[0]
        assert len(made) == 1

    @pytest.mark.parametrize("kind", [int, foo])
    def test_a_pooled_object_is_a_pool(self, kind):
        """Whatever its type: so it cannot be resized."""
        pool = t.talloc_pooled_object(None, kind, 2, 100)
        assert t.talloc_realloc(None, pool, kind, 3) is None
        assert t.talloc_get_size(pool) in (4, 8)

    def test_a_buffer_that_somebody_looks_at(self):
        """It grows to the size that was asked for, as a new object."""
        buffer = t.talloc_zero_size(None, 3)
        with memoryview(buffer):
            grown = t.talloc_realloc_size(None, buffer, 10)
        assert grown is not buffer
        assert (len(grown), t.talloc_get_size(grown)) == (10, 10)

    def test_a_mismatch_of_nothing(self):
        """There is no object to tell of."""
        with pytest.raises(t.talloc_abort_error, match=r"name\[NULL\] expected\[struct foo\]$"):
            t.talloc_get_type_abort(None, foo)

    def test_frames_without_a_name(self, log):
        """They are called as in C where they go in the wrong order."""
        outer = t.talloc_stackframe()
        inner = t.talloc_stackframe()
        for frame in (outer, inner):
            t.talloc_set_name_const(frame, None)
        assert t.talloc_free(outer) == 0
        assert log[0] == "Freed frame UNNAMED, expected UNNAMED.\n"
        assert not t.talloc_stackframe_exists()


class TestWarnings:
    """Those of the debug mode."""

    def test_they_have_the_place(self):
        """The file and line of the program."""
        frame = sys._getframe()
        where, line = (frame.f_code, frame.f_lasti), frame.f_lineno
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            diagnostics.warn_at("one", where)
        assert [(str(one.message), one.filename, one.lineno) for one in seen] == [("one", __file__, line)]
        assert seen[0].category is diagnostics.DiagnosticWarning
