# SPDX-License-Identifier: LGPL-3.0-or-later
"""Loop calls inside handlers, and the hook around loop calls."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tevent_kit import Failure, Recorder, context, turns, wrapper_of

from talloc_py import TALLOC_CTX, talloc_free
from tevent import (
    TEVENT_FD_READ,
    get_errno,
    set_errno,
    tevent_abort_error,
    tevent_add_fd,
    tevent_add_timer,
    tevent_context,
    tevent_create_immediate,
    tevent_fd,
    tevent_immediate,
    tevent_loop_allow_nesting,
    tevent_loop_once,
    tevent_loop_set_nesting_hook,
    tevent_loop_until,
    tevent_loop_wait,
    tevent_re_initialise,
    tevent_schedule_immediate,
    tevent_timeval_zero,
)

HERE = Path(__file__).name


def immediate(ev: tevent_context, handler: Any, private_data: Any = None) -> tevent_immediate:
    """A queued immediate."""
    im = tevent_create_immediate(ev)
    assert im is not None
    tevent_schedule_immediate(im, ev, handler, private_data)
    return im


class TestForbidden:
    @pytest.mark.parametrize(
        "inner",
        [tevent_loop_once, tevent_loop_wait, lambda ev: tevent_loop_until(ev, lambda _: False, None)],
    )
    @pytest.mark.parametrize("outer", [tevent_loop_once, tevent_loop_wait])
    def test_aborts_and_fails(self, epoll_ev: tevent_context, inner: Any, outer: Any, aborts: list[str]) -> None:
        """The reason names the place of the call; then -1 and ELOOP, and the context is as before."""
        results: list[Any] = []

        def handler(ev: tevent_context, *_: Any) -> None:
            set_errno(0)
            results.append((inner(ev), get_errno()))

        immediate(epoll_ev, handler)
        im = immediate(epoll_ev, lambda *_: None)
        assert outer(epoll_ev) == 0
        assert results == [(-1, errno.ELOOP)]
        assert len(aborts) == 1
        assert aborts[0].startswith("tevent_loop_once() nesting at ")
        assert HERE in aborts[0]
        talloc_free(im)
        immediate(epoll_ev, lambda *_: None)
        assert tevent_loop_once(epoll_ev) == 0
        assert len(aborts) == 1

    def test_raises_by_default(self, epoll_ev: tevent_context) -> None:
        """The error leaves the handler and the outer call."""
        immediate(epoll_ev, lambda ev, *_: tevent_loop_once(ev))
        with pytest.raises(tevent_abort_error, match="nesting at"):
            tevent_loop_once(epoll_ev)
        immediate(epoll_ev, lambda *_: None)
        assert tevent_loop_once(epoll_ev) == 0

    def test_inside_until(self, epoll_ev: tevent_context, aborts: list[str]) -> None:
        """Both the handlers and finished() are inside."""
        assert tevent_loop_until(epoll_ev, lambda _: tevent_loop_once(epoll_ev) == -1, None) == 0
        assert len(aborts) == 1

    def test_another_context_is_no_nesting(self, top: TALLOC_CTX, epoll_ev: tevent_context, log: Recorder) -> None:
        """Levels are per context."""
        other = context(top)
        immediate(other, log.immediate, "other")
        immediate(epoll_ev, lambda *_: tevent_loop_once(other))
        assert tevent_loop_once(epoll_ev) == 0
        assert log.take() == ["other"]


class TestAllowed:
    def test_nested_iterations(self, ev: tevent_context, log: Recorder) -> None:
        """The running immediate and the running timer are out of their lists."""
        tevent_loop_allow_nesting(ev)

        def timer(ev: tevent_context, te: Any, now: Any, private_data: Any) -> None:
            log.calls.append(f"{private_data} in")
            tevent_loop_once(ev)
            log.calls.append(f"{private_data} out")

        tevent_add_timer(ev, None, tevent_timeval_zero(), timer, "t1")
        tevent_add_timer(ev, None, tevent_timeval_zero(), timer, "t2")
        immediate(ev, lambda ev, im, p: timer(ev, im, None, p), "im")
        assert tevent_loop_once(ev) == 0
        assert log.take() == ["im in", "t1 in", "t2 in", "t2 out", "t1 out", "im out"]

    def test_survives_re_initialise(self, ev: tevent_context, log: Recorder) -> None:
        """For ever."""
        tevent_loop_allow_nesting(ev)
        tevent_re_initialise(ev)
        immediate(ev, lambda ev, *_: tevent_loop_wait(ev))
        immediate(ev, log.immediate, "inner")
        assert tevent_loop_once(ev) == 0
        assert log.take() == ["inner"]

    def test_fd_event_runs_inside_itself(self, ev: tevent_context, log: Recorder, pipe: tuple[int, int]) -> None:
        """A running fd event stays armed: still ready it is called recursively, and freed there it goes only once."""
        tevent_loop_allow_nesting(ev)
        os.write(pipe[1], b"x")
        depth = [0]

        def handler(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            depth[0] += 1
            log.calls.append(depth[0])
            if depth[0] < 3:
                while len(log.calls) < 3:
                    tevent_loop_once(ev)
                assert fde._talloc_chunk.obj is fde
            else:
                assert talloc_free(fde) == -1

        fde = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, handler, None)
        assert fde is not None
        turns(ev, 5)
        assert log.take() == [1, 2, 3]
        assert fde._talloc_chunk.obj is None

    @pytest.mark.parametrize("traced", [False, True])
    def test_immediate_runs_inside_itself(self, ev: tevent_context, log: Recorder, traced: bool) -> None:
        """Rescheduled in its handler it may run in the nested loop; freed there it goes after the outer run."""
        from tevent import tevent_set_trace_immediate_callback

        tevent_loop_allow_nesting(ev)
        if traced:
            tevent_set_trace_immediate_callback(ev, lambda *_: None, None)

        def outer(ev: tevent_context, im: tevent_immediate, private_data: object) -> None:
            tevent_schedule_immediate(im, ev, inner, None)
            tevent_loop_once(ev)
            log.calls.append(im._talloc_chunk.obj is im)

        def inner(ev: tevent_context, im: tevent_immediate, private_data: object) -> None:
            log.calls.append(talloc_free(im))

        im = immediate(ev, outer)
        assert tevent_loop_once(ev) == 0
        assert log.take() == [-1, True]
        assert im._talloc_chunk.obj is None

    def test_not_with_wrappers(self, epoll_ev: tevent_context, aborts: list[str]) -> None:
        """Neither on a wrapper nor on a context that has one."""
        wrapper = wrapper_of(epoll_ev)
        tevent_loop_allow_nesting(wrapper)
        tevent_loop_allow_nesting(epoll_ev)
        assert aborts == ["tevent_loop_allow_nesting() on wrapper", "tevent_loop_allow_nesting() with wrapper"]
        assert not epoll_ev.nesting_allowed
        assert not wrapper.nesting_allowed


class TestHook:
    def test_called_around_every_loop_call(self, ev: tevent_context, log: Recorder) -> None:
        """At level 1 too; the list that stands for the stack pointer is the same at begin and end."""
        tevent_loop_allow_nesting(ev)
        stacks: list[Any] = []

        def hook(ev: tevent_context, private_data: Any, level: int, begin: bool, stack_ptr: list[Any]) -> int:
            log.calls.append((private_data, level, begin))
            if begin:
                assert stack_ptr == [None]
                stack_ptr[0] = object()
                stacks.append((stack_ptr, stack_ptr[0]))
            else:
                was, mark = stacks.pop()
                assert stack_ptr is was
                assert stack_ptr[0] is mark
            return 0

        tevent_loop_set_nesting_hook(ev, hook, "mine")
        immediate(ev, lambda ev, *_: tevent_loop_once(ev))
        immediate(ev, lambda *_: None)
        assert tevent_loop_once(ev) == 0
        assert log.take() == [("mine", 1, True), ("mine", 2, True), ("mine", 2, False), ("mine", 1, False)]
        immediate(ev, lambda *_: None)
        immediate(ev, lambda *_: None)
        assert tevent_loop_wait(ev) == 0
        assert log.take() == [("mine", 1, True), ("mine", 1, False)] * 2
        assert tevent_loop_until(ev, lambda _: True, None) == 0
        assert log.take() == [("mine", 1, True), ("mine", 1, False)]

    @pytest.mark.parametrize("loop", [tevent_loop_once, lambda ev: tevent_loop_until(ev, lambda _: False, None)])
    def test_result_at_begin(self, epoll_ev: tevent_context, log: Recorder, loop: Any) -> None:
        """Not 0: that is the result, nothing runs, and no end is told."""

        def hook(ev: tevent_context, private_data: Any, level: int, begin: bool, stack_ptr: list[Any]) -> int:
            log.calls.append(begin)
            return 17

        tevent_loop_set_nesting_hook(epoll_ev, hook, None)
        immediate(epoll_ev, log.immediate, "never")
        assert loop(epoll_ev) == 17
        assert log.take() == [True]
        assert epoll_ev.level == 0

    @pytest.mark.parametrize(
        "loop", [tevent_loop_once, lambda ev: tevent_loop_until(ev, lambda ims: not ev.immediate_events, None)]
    )
    def test_result_at_end(self, epoll_ev: tevent_context, log: Recorder, loop: Any) -> None:
        """Not 0: it replaces the result."""

        def hook(ev: tevent_context, private_data: Any, level: int, begin: bool, stack_ptr: list[Any]) -> int:
            return 0 if begin else 18

        tevent_loop_set_nesting_hook(epoll_ev, hook, None)
        immediate(epoll_ev, log.immediate, "runs")
        assert loop(epoll_ev) == 18
        assert log.take() == ["runs"]

    def test_set_in_a_handler(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """The iteration that is going on tells its end; every later one both."""

        def hook(ev: tevent_context, private_data: Any, level: int, begin: bool, stack_ptr: list[Any]) -> int:
            log.calls.append(begin)
            return 0

        immediate(epoll_ev, lambda ev, *_: tevent_loop_set_nesting_hook(ev, hook, None))
        immediate(epoll_ev, lambda *_: None)
        assert tevent_loop_wait(epoll_ev) == 0
        assert log.take() == [False, True, False]

    def test_raising_hook(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """What it raises leaves the loop call."""

        def hook(*_: Any) -> int:
            raise Failure

        tevent_loop_set_nesting_hook(epoll_ev, hook, None)
        with pytest.raises(Failure):
            tevent_loop_once(epoll_ev)
        assert epoll_ev.level == 0

    def test_rules(self, epoll_ev: tevent_context, aborts: list[str]) -> None:
        """The same pair again is fine; another one, None too, aborts and is then set anyway."""

        def hook(*_: Any) -> int:
            return 0

        tevent_loop_set_nesting_hook(epoll_ev, hook, "data")
        tevent_loop_set_nesting_hook(epoll_ev, hook, "data")
        assert aborts == []
        tevent_loop_set_nesting_hook(epoll_ev, hook, "other data")
        assert aborts == ["tevent: Violation of nesting hook rules\n"]
        assert epoll_ev.nesting_data == "other data"
        tevent_loop_set_nesting_hook(epoll_ev, None, None)
        assert len(aborts) == 2
        assert epoll_ev.nesting_hook is None
        assert epoll_ev.lean

    def test_wrong_type(self, epoll_ev: tevent_context) -> None:
        """A hook is callable or None."""
        with pytest.raises(TypeError, match="hook must be a callable, not int"):
            tevent_loop_set_nesting_hook(epoll_ev, 1, None)  # type: ignore[arg-type]
