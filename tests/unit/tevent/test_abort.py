# SPDX-License-Identifier: LGPL-3.0-or-later
"""The abort function, and how its error leaves a free."""

from __future__ import annotations

from typing import Any

import pytest
from tevent_kit import Recorder

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_set_destructor
from tevent import (
    tevent_abort,
    tevent_abort_error,
    tevent_common_check_double_free,
    tevent_context,
    tevent_create_immediate,
    tevent_loop_once,
    tevent_schedule_immediate,
    tevent_set_abort_fn,
    tevent_set_debug,
)


class TestAbort:
    def test_default_raises_the_reason(self) -> None:
        """Without an abort function a RuntimeError says why."""
        with pytest.raises(tevent_abort_error, match=r"^because$") as caught:
            tevent_abort(None, "because")
        assert isinstance(caught.value, RuntimeError)

    def test_function_gets_the_reason_and_may_return(self, aborts: list[str]) -> None:
        """A function that returns lets the caller go on."""
        tevent_abort(None, "because")
        assert aborts == ["because"]

    def test_none_brings_the_default_back(self, aborts: list[str]) -> None:
        """Setting None forgets the function."""
        tevent_set_abort_fn(None)
        with pytest.raises(tevent_abort_error):
            tevent_abort(None, "because")
        assert aborts == []

    def test_only_callables(self) -> None:
        """Anything else is refused at once."""
        with pytest.raises(TypeError, match="abort_fn must be callable or None, not int"):
            tevent_set_abort_fn(1)  # type: ignore[arg-type]

    def test_debug_message_comes_first(self, epoll_ev: tevent_context, aborts: list[str]) -> None:
        """With a context the debug function hears of it, at level FATAL, before the abort function."""
        order: list[Any] = []
        tevent_set_debug(epoll_ev, lambda _c, level, fmt, ap: order.append((int(level), fmt % ap)), None)
        tevent_set_abort_fn(lambda reason: order.append(reason))
        tevent_abort(epoll_ev, "because")
        assert order == [(0, "abort: because\n"), "because"]
        assert aborts == []


class TestDoubleFree:
    def test_second_free_in_the_handler_leaves_talloc_free(self, epoll_ev: tevent_context) -> None:
        """The error passes out of the second talloc_free, and the event goes when its handler returns."""
        im = tevent_create_immediate(epoll_ev)
        assert im is not None
        caught: list[BaseException] = []

        def handler(ev: tevent_context, event: Any, private_data: object) -> None:
            assert talloc_free(im) == -1
            try:
                talloc_free(im)
            except tevent_abort_error as error:
                caught.append(error)

        tevent_schedule_immediate(im, epoll_ev, handler, None)
        assert tevent_loop_once(epoll_ev) == 0
        assert [str(error).partition(":")[0] for error in caught] == ["tevent_immediate double free"]
        assert im._talloc_chunk.obj is None

    def test_fine_below_a_parent_that_is_freed(self, top: TALLOC_CTX, aborts: list[str]) -> None:
        """A destructor that is reached because the parent goes is no double free."""
        parent = talloc_new(top)
        child = talloc_new(parent)

        def destructor(ptr: TALLOC_CTX) -> int:
            tevent_common_check_double_free(ptr, "double")
            return 0

        talloc_set_destructor(child, destructor)
        talloc_free(parent)
        assert aborts == []

    def test_aborts_otherwise(self, top: TALLOC_CTX, aborts: list[str]) -> None:
        """A live parent, or none, means that somebody asked for it."""
        tevent_common_check_double_free(top, "no parent")
        child = talloc_new(top)
        assert child is not None
        tevent_common_check_double_free(child, "live parent")
        assert aborts == ["no parent", "live parent"]

    def test_a_dead_chunk_is_talloc_s_business(self, log: Recorder) -> None:
        """Use after free goes to talloc's abort function."""
        from talloc_py import talloc_set_abort_fn

        dead = talloc_new(None)
        assert dead is not None
        talloc_free(dead)
        reasons: list[str] = []
        talloc_set_abort_fn(reasons.append)
        try:
            tevent_common_check_double_free(dead, "never")
        finally:
            talloc_set_abort_fn(None)
        assert reasons == ["Bad talloc magic value - access after free"]
