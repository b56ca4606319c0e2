# SPDX-License-Identifier: LGPL-3.0-or-later
"""What small functions answer and what messages say, to the letter."""

from __future__ import annotations

import sys

import pytest

import talloc_py as t
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
