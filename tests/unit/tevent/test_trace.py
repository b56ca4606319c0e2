# SPDX-License-Identifier: LGPL-3.0-or-later
"""Trace callbacks of the loop and of each kind of event, and the flow of calls."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest
from tevent_kit import Failure, Recorder, context, turns, wrapper_of

import tevent
from talloc_py import TALLOC_CTX, talloc_free
from tevent import (
    TEVENT_CALL_FLOW_REQ_RESET,
    TEVENT_FD_READ,
    TEVENT_HAS_LOOP_ONCE_TRACE_POINTS,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_context,
    tevent_create_immediate,
    tevent_event_trace_point,
    tevent_fd,
    tevent_fd_get_tag,
    tevent_fd_set_tag,
    tevent_get_trace_callback,
    tevent_get_trace_fd_callback,
    tevent_immediate,
    tevent_loop_once,
    tevent_loop_wait,
    tevent_req,
    tevent_req_create,
    tevent_req_post,
    tevent_req_set_callback,
    tevent_reset_immediate,
    tevent_schedule_immediate,
    tevent_set_trace_callback,
    tevent_set_trace_fd_callback,
    tevent_set_trace_immediate_callback,
    tevent_set_trace_signal_callback,
    tevent_set_trace_timer_callback,
    tevent_thread_call_depth_cmd,
    tevent_thread_call_depth_reset_from_req,
    tevent_thread_call_depth_set_callback,
    tevent_timer,
    tevent_trace_point,
    tevent_update_timer,
    timeval,
)

SIGUSR1 = 10
KINDS = ("", "fd_", "signal_", "timer_", "immediate_", "queue_")


def setter_and_getter(kind: str) -> tuple[Any, Any]:
    """The two functions for one kind of callback."""
    return getattr(tevent, f"tevent_set_trace_{kind}callback"), getattr(tevent, f"tevent_get_trace_{kind}callback")


class TestEnums:
    def test_values(self) -> None:
        """C's numbers, exported flat too."""
        assert [(point.name, int(point)) for point in tevent_trace_point] == [
            ("TEVENT_TRACE_BEFORE_WAIT", 0), ("TEVENT_TRACE_AFTER_WAIT", 1),
            ("TEVENT_TRACE_BEFORE_LOOP_ONCE", 2), ("TEVENT_TRACE_AFTER_LOOP_ONCE", 3),
        ]  # fmt: skip
        assert [int(point) for point in tevent_event_trace_point] == [0, 1, 2]
        assert [int(cmd) for cmd in tevent_thread_call_depth_cmd] == list(range(8))
        for enum in (tevent_trace_point, tevent_event_trace_point, tevent_thread_call_depth_cmd):
            for member in enum:
                assert getattr(tevent, member.name) is member
        assert TEVENT_HAS_LOOP_ONCE_TRACE_POINTS == 1


class TestSetters:
    @pytest.mark.parametrize("kind", KINDS)
    def test_set_and_get(self, epoll_ev: tevent_context, kind: str) -> None:
        """One slot per context; None clears it."""
        setter, getter = setter_and_getter(kind)
        assert getter(epoll_ev) == (None, None)
        mark = object()
        setter(epoll_ev, print, mark)
        assert getter(epoll_ev) == (print, mark)
        setter(epoll_ev, repr, None)
        assert getter(epoll_ev) == (repr, None)
        setter(epoll_ev, None, None)
        assert getter(epoll_ev) == (None, None)
        assert epoll_ev.lean
        assert epoll_ev.im_plain

    @pytest.mark.parametrize("kind", KINDS)
    def test_wrong_types(self, epoll_ev: tevent_context, top: TALLOC_CTX, kind: str) -> None:
        """What is no function and what is no context is refused."""
        setter, getter = setter_and_getter(kind)
        with pytest.raises(TypeError, match="cb must be callable or None, not str"):
            setter(epoll_ev, "print", None)
        with pytest.raises(TypeError, match="ev must be a tevent_context"):
            setter(top, None, None)
        with pytest.raises(TypeError, match="ev must be a tevent_context"):
            getter(None)

    @pytest.mark.parametrize("kind", KINDS)
    def test_on_a_wrapper(self, epoll_ev: tevent_context, aborts: list[str], kind: str) -> None:
        """Abort, and nothing is set."""
        wrapper = wrapper_of(epoll_ev)
        setter, getter = setter_and_getter(kind)
        setter(wrapper, print, None)
        assert aborts == [f"tevent_set_trace_{kind}callback() on wrapper"]
        assert getter(wrapper) == getter(epoll_ev) == (None, None)

    def test_events_of_wrappers(self, epoll_ev: tevent_context, log: Recorder, pipe: tuple[int, int]) -> None:
        """The callbacks of the main context see them too, and their handlers get the wrapper."""
        wrapper = wrapper_of(epoll_ev)
        for setter in (
            tevent_set_trace_fd_callback,
            tevent_set_trace_timer_callback,
            tevent_set_trace_immediate_callback,
        ):
            setter(epoll_ev, log.event, "trace")
        os.write(pipe[1], b"x")
        fde = tevent_add_fd(wrapper, None, pipe[0], TEVENT_FD_READ, lambda *args: log.calls.append(args[0]), None)
        tevent_add_timer(wrapper, None, timeval(0, 0), lambda *args: log.calls.append(args[0]), None)
        im = tevent_create_immediate(epoll_ev)
        assert im is not None
        tevent_schedule_immediate(im, wrapper, lambda *args: log.calls.append(args[0]), None)
        assert log.take() == [("trace", "ATTACH")] * 3
        turns(epoll_ev, 2)
        assert log.take() == [("trace", "BEFORE_HANDLER"), wrapper, ("trace", "DETACH")] * 2
        turns(epoll_ev, 1)
        assert log.take() == [("trace", "BEFORE_HANDLER"), wrapper]
        talloc_free(fde)
        assert log.take() == [("trace", "DETACH")]

    @pytest.mark.parametrize("kind", ["point", "fd", "signal", "timer", "immediate", "queue"])
    def test_callers_for_backends(self, epoll_ev: tevent_context, kind: str) -> None:
        """They call the callback, if there is one."""
        call = getattr(tevent, f"tevent_trace_{kind}_callback")
        args = ("event", "point") if kind != "point" else ("point",)
        call(epoll_ev, *args)
        seen: list[Any] = []
        setter, _ = setter_and_getter("" if kind == "point" else f"{kind}_")
        setter(epoll_ev, lambda *all: seen.append(all), "private")
        call(epoll_ev, *args)
        assert seen == [(*args, "private")]


class TestPoints:
    def test_iteration_that_waits(self, ev: tevent_context, log: Recorder, pipe: tuple[int, int]) -> None:
        """Around the iteration, around the wait, then the handler."""
        while tevent_loop_once(ev) == 0:
            pass
        os.write(pipe[1], b"x")
        fde = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, log.fd, "fd")
        tevent_set_trace_callback(ev, log.point, None)
        while ("fd", 1) not in log.calls:
            log.take()
            tevent_loop_once(ev)
        assert log.take() == ["BEFORE_LOOP_ONCE", "BEFORE_WAIT", "AFTER_WAIT", ("fd", 1), "AFTER_LOOP_ONCE"]
        talloc_free(fde)

    @pytest.mark.parametrize("kind", ["immediate", "timer", "signal"])
    def test_iteration_that_does_not_wait(self, ev: tevent_context, log: Recorder, kind: str) -> None:
        """Without the two points of the wait."""
        if kind == "immediate":
            im = tevent_create_immediate(ev)
            assert im is not None
            tevent_schedule_immediate(im, ev, log.immediate, "ran")
        elif kind == "timer":
            tevent_add_timer(ev, None, timeval(1, 0), log.timer, "ran")
        else:
            tevent_add_signal(ev, ev, SIGUSR1, 0, lambda *_: log.calls.append("ran"), None)
            signal.raise_signal(SIGUSR1)
        tevent_set_trace_callback(ev, log.point, None)
        tevent_loop_once(ev)
        assert log.take() == ["BEFORE_LOOP_ONCE", "ran", "AFTER_LOOP_ONCE"]

    def test_set_while_the_loop_runs(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """The iteration that is going on tells its end already, also inside tevent_loop_wait()."""
        for handler, mark in ((lambda ev, *_: tevent_set_trace_callback(ev, log.point, None), 1), (log.immediate, 2)):
            im = tevent_create_immediate(epoll_ev)
            assert im is not None
            tevent_schedule_immediate(im, epoll_ev, handler, mark)
        assert tevent_loop_wait(epoll_ev) == 0
        assert log.take() == ["AFTER_LOOP_ONCE", "BEFORE_LOOP_ONCE", 2, "AFTER_LOOP_ONCE"]
        tevent_set_trace_callback(epoll_ev, None, None)
        tevent_schedule_immediate(im, epoll_ev, lambda ev, *_: tevent_set_trace_callback(ev, log.point, None), None)
        assert tevent_loop_once(epoll_ev) == 0
        assert log.take() == ["AFTER_LOOP_ONCE"]

    @pytest.mark.parametrize("at", range(4))
    def test_raising_callback(self, ev: tevent_context, at: int) -> None:
        """The exception leaves the loop call, and the next call works."""

        def failing(point: tevent_trace_point, private_data: object) -> None:
            if point == at:
                raise Failure

        while tevent_loop_once(ev) == 0:
            pass
        tevent_set_trace_callback(ev, failing, None)
        with pytest.raises(Failure):
            tevent_loop_once(ev)
        assert ev.level == 0
        tevent_set_trace_callback(ev, None, None)
        assert tevent_loop_once(ev) == -1

    def test_context_freed_before_the_wait(self, epoll_ev: tevent_context, aborts: list[str]) -> None:
        """The iteration ends there, as one whose handler freed the context."""
        tevent_set_trace_callback(epoll_ev, lambda point, _: talloc_free(epoll_ev) if point == 0 else None, None)
        assert tevent_loop_once(epoll_ev) == 0
        assert aborts == ["tevent_context freed while its loop runs"]


class TestFdEvents:
    def test_life(self, ev: tevent_context, log: Recorder, pipe: tuple[int, int]) -> None:
        """Attached, run, detached by the free; the close function comes after that."""
        tevent_set_trace_fd_callback(ev, log.event, "trace")
        os.write(pipe[1], b"x")
        fde = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, log.fd, "fd")
        tevent.tevent_fd_set_close_fn(fde, lambda *_: log.calls.append("close"))
        while ("fd", 1) not in log.calls:
            tevent_loop_once(ev)
        talloc_free(fde)
        calls = log.take()
        assert calls[0] == ("trace", "ATTACH")
        assert calls[-4:] == [("trace", "BEFORE_HANDLER"), ("fd", 1), ("trace", "DETACH"), "close"]

    def test_tag_set_at_attach_sticks(self, ev: tevent_context, pipe: tuple[int, int], log: Recorder) -> None:
        """ATTACH comes just before the event enters its list."""
        seen: list[Any] = []

        def cb(fde: tevent_fd, point: tevent_event_trace_point, private_data: object) -> None:
            if point == tevent_event_trace_point.TEVENT_EVENT_TRACE_ATTACH:
                seen.append(fde in list(ev.fd_events))
                tevent_fd_set_tag(fde, 42)

        tevent_set_trace_fd_callback(ev, cb, None)
        fde = tevent_add_fd(ev, None, pipe[0], 0, log.fd, None)
        assert tevent_fd_get_tag(fde) == 42
        assert seen == [False]

    def test_raising_at_attach(self, ev: tevent_context, pipe: tuple[int, int], log: Recorder) -> None:
        """The exception leaves tevent_add_fd(), and there is no event."""
        seen: list[tevent_fd] = []

        def failing(fde: tevent_fd, point: Any, private_data: object) -> None:
            seen.append(fde)
            raise Failure

        before = len(ev.fd_events)
        tevent_set_trace_fd_callback(ev, failing, None)
        with pytest.raises(Failure):
            tevent_add_fd(ev, None, pipe[0], 0, log.fd, None)
        tevent_set_trace_fd_callback(ev, None, None)
        assert len(ev.fd_events) == before
        assert seen[0]._talloc_chunk.obj is None

    def test_raising_at_detach(
        self, ev: tevent_context, pipe: tuple[int, int], log: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a free it is a destructor's exception: reported, and the free goes on, with the close function."""
        import sys

        reported: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", reported.append)

        def failing(fde: tevent_fd, point: Any, private_data: object) -> None:
            raise Failure

        fde = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, log.fd, "fd")
        tevent.tevent_fd_set_close_fn(fde, log.close)
        tevent_set_trace_fd_callback(ev, failing, None)
        assert talloc_free(fde) == 0
        tevent_set_trace_fd_callback(ev, None, None)
        assert [type(report.exc_value) for report in reported] == [Failure]
        assert log.take() == [("close", ev, pipe[0], "fd")]
        os.write(pipe[1], b"x")
        turns(ev, 3)
        assert log.take() == []


class TestTimers:
    def test_life(self, ev: tevent_context, log: Recorder) -> None:
        """DETACH comes after the handler."""
        tevent_set_trace_timer_callback(ev, log.event, "trace")
        tevent_add_timer(ev, None, timeval(0, 0), log.timer, "timer")
        turns(ev, 2)
        assert log.take() == [("trace", "ATTACH"), ("trace", "BEFORE_HANDLER"), "timer", ("trace", "DETACH")]

    def test_freed_in_its_handler(self, ev: tevent_context, log: Recorder) -> None:
        """DETACH inside the free, and not again."""

        def handler(ev: tevent_context, te: tevent_timer, now: timeval, private_data: object) -> None:
            talloc_free(te)
            log.calls.append("after the free")

        tevent_set_trace_timer_callback(ev, log.event, "trace")
        tevent_add_timer(ev, None, timeval(0, 0), handler, None)
        turns(ev, 2)
        assert [call if type(call) is str else call[1] for call in log.take()] == [
            "ATTACH", "BEFORE_HANDLER", "DETACH", "after the free",
        ]  # fmt: skip

    def test_updated(self, ev: tevent_context, log: Recorder) -> None:
        """DETACH and ATTACH."""
        tevent_set_trace_timer_callback(ev, log.event, "trace")
        te = tevent_add_timer(ev, None, timeval(9, 0), log.timer, None)
        assert te is not None
        tevent_update_timer(te, timeval(8, 0))
        talloc_free(te)
        assert [point for _, point in log.take()] == ["ATTACH", "DETACH", "ATTACH", "DETACH"]

    def test_raising_at_attach(self, ev: tevent_context, log: Recorder) -> None:
        """The exception leaves the call, and there is no timer."""

        def failing(te: tevent_timer, point: Any, private_data: object) -> None:
            raise Failure

        tevent_set_trace_timer_callback(ev, failing, None)
        with pytest.raises(Failure):
            tevent_add_timer(ev, None, timeval(0, 0), log.timer, None)
        assert not ev.timer_events

    def test_raising_at_detach_after_the_handler(self, ev: tevent_context, log: Recorder) -> None:
        """It leaves the loop call; the timer is gone."""

        def failing(te: tevent_timer, point: Any, private_data: object) -> None:
            if point == 1:
                raise Failure

        te = tevent_add_timer(ev, None, timeval(0, 0), log.timer, "ran")
        assert te is not None
        tevent_set_trace_timer_callback(ev, failing, None)
        with pytest.raises(Failure):
            tevent_loop_once(ev)
        assert log.take() == ["ran"]
        assert te._talloc_chunk.obj is None


class TestImmediates:
    def points(self, log: Recorder) -> list[str]:
        """The points without the private data."""
        return [call if type(call) is str else call[1] for call in log.take()]

    def test_life(self, ev: tevent_context, log: Recorder) -> None:
        """DETACH comes after the handler."""
        tevent_set_trace_immediate_callback(ev, log.event, "trace")
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_schedule_immediate(im, ev, log.immediate, "handler")
        turns(ev, 2)
        assert self.points(log) == ["ATTACH", "BEFORE_HANDLER", "handler", "DETACH"]

    @pytest.mark.parametrize("way", ["again", "none", "reset", "free"])
    def test_cancelled_in_its_handler(self, ev: tevent_context, log: Recorder, way: str) -> None:
        """DETACH inside the call, and not again; a new ATTACH where it is scheduled again."""

        def handler(ev: tevent_context, im: tevent_immediate, private_data: object) -> None:
            if way == "again":
                tevent_schedule_immediate(im, ev, log.immediate, "second")
            elif way == "none":
                tevent_schedule_immediate(im, ev, None, None)
            elif way == "reset":
                tevent_reset_immediate(im)
            else:
                talloc_free(im)
            log.calls.append("end")

        tevent_set_trace_immediate_callback(ev, log.event, "trace")
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_schedule_immediate(im, ev, handler, None)
        turns(ev, 3)
        first = ["ATTACH", "BEFORE_HANDLER", "DETACH"]
        if way == "again":
            assert self.points(log) == [*first, "ATTACH", "end", "BEFORE_HANDLER", "second", "DETACH"]
        else:
            assert self.points(log) == [*first, "end"]

    def test_requests_that_wait_already(self, ev: tevent_context, top: TALLOC_CTX, log: Recorder) -> None:
        """Whoever begins to look on hears of requests that were posted before, each in its place."""
        im = tevent_create_immediate(top)
        assert im is not None
        made = [tevent_req_create(top, TALLOC_CTX)[0] for _ in range(3)]
        for req in made:
            assert req is not None
            tevent_req_post(req, ev)
            if req is made[0]:
                tevent_schedule_immediate(im, ev, log.immediate, "im")
        tevent_set_trace_immediate_callback(ev, log.event, "trace")
        assert turns(ev) == 4
        pair = [("trace", "BEFORE_HANDLER"), ("trace", "DETACH")]
        assert log.take() == [*pair, pair[0], "im", pair[1], *pair, *pair]
        tevent_set_trace_immediate_callback(ev, None, None)
        assert made[0] is not None
        tevent_req_post(made[0], ev)
        tevent_set_trace_immediate_callback(ev, log.event, "trace")
        talloc_free(made[0])
        assert log.take() == [("trace", "DETACH")]

    def test_a_request_that_posts_itself_elsewhere(self, ev: tevent_context, top: TALLOC_CTX, log: Recorder) -> None:
        """DETACH inside the call, also where nobody looks on at the other context."""
        other = context(top)
        req = tevent_req_create(top, TALLOC_CTX)[0]
        assert req is not None

        def callback(req: tevent_req) -> None:
            tevent_req_post(req, other)
            log.calls.append("posted")

        tevent_req_set_callback(req, callback, None)
        tevent_set_trace_immediate_callback(ev, log.event, "trace")
        tevent_req_post(req, ev)
        assert turns(ev) == 1
        assert self.points(log) == ["ATTACH", "BEFORE_HANDLER", "DETACH", "posted"]
        talloc_free(req)

    def test_scheduled_twice(self, ev: tevent_context, log: Recorder) -> None:
        """ATTACH, DETACH, ATTACH."""
        tevent_set_trace_immediate_callback(ev, log.event, "trace")
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_schedule_immediate(im, ev, log.immediate, "first")
        tevent_schedule_immediate(im, ev, log.immediate, "second")
        turns(ev, 2)
        assert self.points(log) == ["ATTACH", "DETACH", "ATTACH", "BEFORE_HANDLER", "second", "DETACH"]

    def test_raising_at_attach(self, ev: tevent_context, log: Recorder) -> None:
        """The exception leaves the call; the event is idle and usable."""

        def failing(im: tevent_immediate, point: Any, private_data: object) -> None:
            raise Failure

        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_set_trace_immediate_callback(ev, failing, None)
        with pytest.raises(Failure):
            tevent_schedule_immediate(im, ev, log.immediate, None)
        assert im.event_ctx is None
        tevent_set_trace_immediate_callback(ev, None, None)
        tevent_schedule_immediate(im, ev, log.immediate, "fine")
        turns(ev, 2)
        assert log.take() == ["fine"]

    def test_callback_sees_what_it_is_about(self, ev: tevent_context, log: Recorder) -> None:
        """At ATTACH and at a DETACH that cancels, the event shows its handler and its context."""
        seen: list[Any] = []

        def cb(im: tevent_immediate, point: Any, private_data: object) -> None:
            seen.append((im.handler_name, im.event_ctx, im.private_data))

        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_set_trace_immediate_callback(ev, cb, None)
        tevent_schedule_immediate(im, ev, log.immediate, "mark")
        tevent_reset_immediate(im)
        assert seen == [("immediate", ev, "mark")] * 2
        assert im.handler_name is None


class TestSignals:
    def test_life(self, ev: tevent_context, log: Recorder) -> None:
        """Attached, run, detached by the free."""
        tevent_set_trace_signal_callback(ev, log.event, "trace")
        se = tevent_add_signal(ev, ev, SIGUSR1, 0, lambda *_: log.calls.append("handler"), None)
        signal.raise_signal(SIGUSR1)
        tevent_loop_once(ev)
        talloc_free(se)
        assert log.take() == [("trace", "ATTACH"), ("trace", "BEFORE_HANDLER"), "handler", ("trace", "DETACH")]


class TestGetters:
    def test_independent_contexts(self, top: TALLOC_CTX) -> None:
        """Each context has its own."""
        one, two = context(top), context(top)
        tevent_set_trace_callback(one, print, 1)
        tevent_set_trace_fd_callback(two, repr, 2)
        assert tevent_get_trace_callback(two) == (None, None)
        assert tevent_get_trace_fd_callback(one) == (None, None)


class state(TALLOC_CTX):
    """State of a request that does nothing."""


class TestCallFlow:
    def test_old_callback_hears_a_reset(self) -> None:
        """Before the new one is installed."""
        heard: list[Any] = []
        tevent_thread_call_depth_set_callback(lambda *args: heard.append(("old", *args)), 1)
        assert heard == []
        tevent_thread_call_depth_set_callback(lambda *args: heard.append(("new", *args)), 2)
        tevent_thread_call_depth_set_callback(None, None)
        tevent_thread_call_depth_set_callback(None, None)
        fname = "tevent_thread_call_depth_set_callback"
        assert heard == [
            ("old", 1, TEVENT_CALL_FLOW_REQ_RESET, None, 0, fname),
            ("new", 2, TEVENT_CALL_FLOW_REQ_RESET, None, 0, fname),
        ]

    def test_each_thread_has_its_own(self, top: TALLOC_CTX) -> None:
        """Another thread hears nothing of this one, and a thread's callback is not ours."""
        heard: list[Any] = []
        watchers = tevent.trace.request_watchers

        def other() -> None:
            tevent_thread_call_depth_set_callback(lambda *args: heard.append(args), None)
            ready.set()
            go_on.wait(30)
            tevent_thread_call_depth_set_callback(None, None)

        ready, go_on = threading.Event(), threading.Event()
        thread = threading.Thread(target=other)
        thread.start()
        ready.wait(30)
        ev = context(top)
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_schedule_immediate(im, ev, lambda *_: None, None)
        tevent_loop_once(ev)
        assert heard == []
        go_on.set()
        thread.join()
        assert len(heard) == 1
        assert tevent.trace.request_watchers == watchers

    def test_reset_from_req(self, top: TALLOC_CTX) -> None:
        """The request, its depth and the name of the caller."""
        heard: list[Any] = []
        req, _ = tevent_req_create(top, state)
        assert req is not None
        tevent_thread_call_depth_reset_from_req(req)
        tevent_thread_call_depth_set_callback(lambda *args: heard.append(args), "mine")
        try:
            tevent_thread_call_depth_reset_from_req(req)
            assert heard == [("mine", TEVENT_CALL_FLOW_REQ_RESET, req, 0, "test_reset_from_req")]
            with pytest.raises(TypeError):
                tevent_thread_call_depth_reset_from_req(top)  # type: ignore[arg-type]
        finally:
            tevent_thread_call_depth_set_callback(None, None)

    def test_wrong_type(self) -> None:
        """A callback is callable or None."""
        with pytest.raises(TypeError, match="f must be callable or None"):
            tevent_thread_call_depth_set_callback("f", None)  # type: ignore[arg-type]

    def test_names_of_functions(self) -> None:
        """__name__, else the name of the type; None for None."""
        from functools import partial

        from tevent.trace import function_name

        assert function_name(None) is None
        assert function_name(print) == "print"
        assert function_name(partial(print)) == "partial"
