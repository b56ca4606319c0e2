# SPDX-License-Identifier: LGPL-3.0-or-later
"""What small functions answer and what messages say, to the letter."""

from __future__ import annotations

import sys

import pytest

import talloc_py as t
from talloc_py._abort import abort


class foo(t.TALLOC_CTX):
    n: int


class TestMessages:
    """What somebody reads who has made a mistake."""

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
