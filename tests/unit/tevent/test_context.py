# SPDX-License-Identifier: LGPL-3.0-or-later
"""Making, freeing and re-initialising contexts; a fork; what is left behind."""

from __future__ import annotations

import gc
import os
import socket
import warnings
from typing import Any

import pytest
from tevent_kit import Clock, Failure, Recorder, context, turns, wrapper_of

from talloc_py import (
    TALLOC_CTX,
    talloc_free,
    talloc_get_name,
    talloc_new,
    talloc_parent,
    talloc_reparent,
    talloc_set_abort_fn,
    talloc_set_memlimit,
)
from tevent import (
    TEVENT_FD_READ,
    tevent_abort_error,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_cached_getpid,
    tevent_common_context_destructor,
    tevent_common_have_events,
    tevent_common_wakeup,
    tevent_common_wakeup_fd,
    tevent_common_wakeup_init,
    tevent_context,
    tevent_context_init,
    tevent_context_init_byname,
    tevent_context_set_wait_timeout,
    tevent_create_immediate,
    tevent_fd_get_flags,
    tevent_fd_get_tag,
    tevent_fd_set_auto_close,
    tevent_fd_set_close_fn,
    tevent_fd_set_flags,
    tevent_fd_set_tag,
    tevent_get_trace_timer_callback,
    tevent_loop_allow_nesting,
    tevent_loop_once,
    tevent_loop_set_nesting_hook,
    tevent_loop_until,
    tevent_loop_wait,
    tevent_re_initialise,
    tevent_schedule_immediate,
    tevent_set_debug,
    tevent_set_max_debug_level,
    tevent_set_trace_fd_callback,
    tevent_set_trace_immediate_callback,
    tevent_set_trace_signal_callback,
    tevent_set_trace_timer_callback,
    tevent_signal_support,
    tevent_threaded_context_create,
    tevent_threaded_schedule_immediate,
    tevent_timeval_zero,
    tevent_update_timer,
    timeval,
)

SIGUSR1 = 10


def nothing(*_: Any) -> None:
    """A handler that does nothing."""


def traced(ev: tevent_context, log: Recorder) -> None:
    """Let *log* hear of all events of *ev*."""
    tevent_set_trace_fd_callback(ev, log.event, "fd")
    tevent_set_trace_timer_callback(ev, log.event, "timer")
    tevent_set_trace_immediate_callback(ev, log.event, "immediate")
    tevent_set_trace_signal_callback(ev, log.event, "signal")


class TestInit:
    def test_is_a_child_of_its_owner(self, top: TALLOC_CTX, backend: str) -> None:
        """A chunk like any other."""
        ev = tevent_context_init_byname(top, backend)
        assert ev is not None
        assert talloc_parent(ev) is top
        assert talloc_get_name(ev) == "struct tevent_context"
        assert ev.wait_timeout == (30, 0)
        assert talloc_free(ev) == 0

    def test_top_level(self) -> None:
        """An owner of None makes it a root."""
        ev = tevent_context_init(None)
        assert ev is not None
        assert talloc_parent(ev) is None
        talloc_free(ev)

    def test_memory_limit(self) -> None:
        """A limit gives None."""
        tight = talloc_new(None)
        assert tight is not None
        talloc_set_memlimit(tight, 1)
        assert tevent_context_init_byname(tight, "epoll") is None
        talloc_free(tight)

    def test_class_is_not_called(self) -> None:
        """Only the functions make contexts."""
        with pytest.raises(TypeError, match="made by tevent_context_init"):
            tevent_context()

    def test_signal_support(self, ev: tevent_context) -> None:
        """All built-in backends know signals."""
        assert tevent_signal_support(ev) is True

    def test_repr(self, epoll_ev: tevent_context) -> None:
        """It tells what state it is in."""
        assert repr(epoll_ev).endswith("idle>")
        talloc_free(epoll_ev)
        assert repr(epoll_ev).endswith("freed>")

    @pytest.mark.parametrize(
        "call",
        [
            tevent_loop_once,
            tevent_loop_wait,
            tevent_re_initialise,
            tevent_signal_support,
            lambda ev: tevent_loop_until(ev, lambda _: True, None),
            lambda ev: tevent_context_set_wait_timeout(ev, 1),
            lambda ev: tevent_add_timer(ev, None, timeval(0, 0), nothing, None),
            lambda ev: tevent_add_fd(ev, None, 0, 0, nothing, None),
            lambda ev: tevent_set_trace_fd_callback(ev, None, None),
            lambda ev: tevent_loop_set_nesting_hook(ev, None, None),
            lambda ev: tevent_common_wakeup_init(ev),
        ],
    )
    def test_wrong_and_dead_contexts(self, call: Any, epoll_ev: tevent_context, top: TALLOC_CTX) -> None:
        """Another type is a TypeError; a freed context goes to talloc's abort function."""
        for wrong in (None, 5, top):
            with pytest.raises(TypeError, match="ev must be a tevent_context"):
                call(wrong)
        talloc_free(epoll_ev)
        with pytest.raises(RuntimeError, match="access after free"):
            call(epoll_ev)

    @pytest.mark.parametrize(
        ("call", "result"),
        [
            (tevent_loop_once, -1),
            (tevent_loop_wait, -1),
            (tevent_re_initialise, -1),
            (tevent_signal_support, False),
            (lambda ev: tevent_loop_until(ev, lambda _: True, None), -1),
            (lambda ev: tevent_context_set_wait_timeout(ev, 1), 0),
            (lambda ev: tevent_add_timer(ev, None, timeval(0, 0), nothing, None), None),
            (lambda ev: tevent_add_fd(ev, None, 0, 0, nothing, None), None),
            (lambda ev: tevent_set_debug(ev, None, None), -1),
            (lambda ev: tevent_set_max_debug_level(ev, 3), 0),
            (lambda ev: tevent_set_trace_timer_callback(ev, None, None), None),
            (lambda ev: tevent_get_trace_timer_callback(ev), (None, None)),
            (lambda ev: tevent_loop_set_nesting_hook(ev, None, None), None),
            (lambda ev: tevent_loop_allow_nesting(ev), None),
            (lambda ev: tevent_common_wakeup_init(ev), 22),
            (lambda ev: tevent_schedule_immediate(tevent_create_immediate(None), ev, nothing, None), None),
        ],
    )
    def test_dead_context_and_an_abort_function_that_returns(
        self, call: Any, result: Any, epoll_ev: tevent_context
    ) -> None:
        """The value of failure, and nothing happens."""
        reasons: list[str] = []
        talloc_free(epoll_ev)
        talloc_set_abort_fn(reasons.append)
        try:
            assert call(epoll_ev) == result
        finally:
            talloc_set_abort_fn(None)
        assert reasons == ["Bad talloc magic value - access after free"]

    def test_on_a_wrapper(self, epoll_ev: tevent_context, aborts: list[str]) -> None:
        """A wrapper cannot be re-initialised nor emptied."""
        wrapper = wrapper_of(epoll_ev)
        assert tevent_re_initialise(wrapper) == -1
        assert tevent_common_context_destructor(wrapper) == 0
        assert aborts == ["tevent_common_context_destructor() active on wrapper"] * 2


class TestFree:
    def test_order_of_detaching(self, top: TALLOC_CTX, backend: str, log: Recorder, pipe: tuple[int, int]) -> None:
        """fd events newest first, timers in firing order, immediates in queue order, signals newest first."""
        ev = context(top, backend)
        traced(ev, log)

        def name(event: Any, point: Any, private_data: Any) -> None:
            log.calls.append((event.private_data, point.name[19:]))

        for setter in (
            tevent_set_trace_fd_callback, tevent_set_trace_timer_callback, tevent_set_trace_immediate_callback,
            tevent_set_trace_signal_callback,
        ):  # fmt: skip
            setter(ev, name, None)
        tevent_add_fd(ev, top, pipe[0], 0, nothing, "fd1")
        tevent_add_fd(ev, top, pipe[1], 0, nothing, "fd2")
        tevent_add_timer(ev, top, timeval(9, 0), nothing, "t9")
        tevent_add_timer(ev, top, timeval(5, 0), nothing, "t5")
        tevent_add_timer(ev, top, timeval(0, 0), nothing, "t0")
        for i in (1, 2):
            im = tevent_create_immediate(top)
            assert im is not None
            tevent_schedule_immediate(im, ev, nothing, f"im{i}")
        tevent_add_signal(ev, top, SIGUSR1, 0, nothing, "sig1")
        tevent_add_signal(ev, top, SIGUSR1, 0, nothing, "sig2")
        log.take()
        talloc_free(ev)
        seen = [call for call in log.take() if call[0] is not None]
        assert seen == [(name, "DETACH") for name in ("fd2", "fd1", "t0", "t5", "t9", "im1", "im2", "sig2", "sig1")]

    def test_detached_events_stay_valid(
        self, top: TALLOC_CTX, backend: str, pipe: tuple[int, int], log: Recorder
    ) -> None:
        """Events of other owners live on, detached; what may be done with them is harmless."""
        ev = context(top, backend)
        fde = tevent_add_fd(ev, top, pipe[0], TEVENT_FD_READ, log.fd, None)
        te = tevent_add_timer(ev, top, timeval(0, 0), log.timer, None)
        im = tevent_create_immediate(top)
        assert fde is not None
        assert te is not None
        assert im is not None
        tevent_schedule_immediate(im, ev, log.immediate, "first context")
        tevent_fd_set_tag(fde, 7)
        talloc_free(ev)
        assert fde.event_ctx is te.event_ctx is im.event_ctx is None
        assert tevent_fd_get_flags(fde) == 0
        tevent_fd_set_flags(fde, TEVENT_FD_READ)
        assert tevent_fd_get_flags(fde) == 0
        tevent_fd_set_close_fn(fde, log.close)
        tevent_fd_set_auto_close(fde)
        assert tevent_fd_get_tag(fde) == 7
        other = context(top, backend)
        tevent_schedule_immediate(im, other, log.immediate, "second context")
        turns(other)
        assert log.take() == ["second context"]
        assert talloc_free(fde) == talloc_free(te) == talloc_free(im) == 0
        assert log.take() == []
        os.fstat(pipe[0])

    def test_update_of_a_detached_timer_aborts(self, top: TALLOC_CTX, aborts: list[str]) -> None:
        """A use after free in C."""
        ev = context(top)
        te = tevent_add_timer(ev, top, timeval(0, 0), nothing, None)
        assert te is not None
        talloc_free(ev)
        tevent_update_timer(te, timeval(1, 0))
        assert aborts == ["tevent_timer use after free"]

    def test_close_functions_run_after_the_detaching(
        self, top: TALLOC_CTX, backend: str, pipe: tuple[int, int], log: Recorder
    ) -> None:
        """They are called when the events are freed as children, with no context."""
        ev = context(top, backend)
        traced(ev, log)
        fde = tevent_add_fd(ev, None, pipe[0], 0, nothing, "private")
        tevent_fd_set_close_fn(fde, log.close)
        tevent_add_timer(ev, None, timeval(0, 0), nothing, None)
        log.take()
        fd = pipe[0]
        talloc_free(ev)
        seen = [call for call in log.take() if call != ("fd", "DETACH")]
        assert seen == [("timer", "DETACH"), ("close", None, fd, "private")]

    @pytest.mark.parametrize("kind", ["fd", "timer", "immediate"])
    @pytest.mark.parametrize("loop", ["once", "wait", "until"])
    def test_in_a_handler(self, kind: str, loop: str, backend: str, pipe: tuple[int, int], aborts: list[str]) -> None:
        """The free works at once; when the handler has returned the loop call aborts, and then returns 0."""
        root = talloc_new(None)
        ev = context(root, backend, None)
        freed: list[int] = []

        def handler(ev: tevent_context, *_: Any) -> None:
            freed.append(talloc_free(ev))

        if kind == "fd":
            os.write(pipe[1], b"x")
            tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, handler, None)
        elif kind == "timer":
            tevent_add_timer(ev, None, timeval(1, 0), handler, None)
        else:
            im = tevent_create_immediate(ev)
            assert im is not None
            tevent_schedule_immediate(im, ev, handler, None)
        result = -1
        for _ in range(5):  # the first iterations of poll_mt may only drain the wakeup
            if loop == "once":
                result = tevent_loop_once(ev)
            elif loop == "wait":
                result = tevent_loop_wait(ev)
            else:
                result = tevent_loop_until(ev, lambda _: False, None)
            if freed:
                break
        assert result == 0
        assert freed == [0]
        assert ev._talloc_chunk.obj is None
        assert aborts == ["tevent_context freed while its loop runs"]
        talloc_free(root)

    def test_in_a_handler_by_default_raises(self, log: Recorder) -> None:
        """The abort error leaves the loop call; the same for a parent of the context."""
        root = talloc_new(None)
        ev = context(root)
        te = tevent_add_timer(ev, None, timeval(0, 0), lambda *_: talloc_free(root), None)
        with pytest.raises(tevent_abort_error, match="freed while its loop runs"):
            tevent_loop_once(ev)
        assert te is not None
        assert te._talloc_chunk.obj is None
        assert ev._talloc_chunk.obj is None

    def test_in_finished(self, top: TALLOC_CTX, aborts: list[str]) -> None:
        """The function of tevent_loop_until may free the context too."""
        ev = context(top)

        def finished(ev: tevent_context) -> bool:
            talloc_free(ev)
            return False

        assert tevent_loop_until(ev, finished, ev) == 0
        assert aborts == ["tevent_context freed while its loop runs"]

    def test_traced_handler_frees_the_context(self, top: TALLOC_CTX, log: Recorder, aborts: list[str]) -> None:
        """Nobody traces on a context that is gone."""
        for kind in ("timer", "immediate"):
            ev = context(top)
            traced(ev, log)
            if kind == "timer":
                tevent_add_timer(ev, top, timeval(0, 0), lambda ev, *_: talloc_free(ev), None)
            else:
                im = tevent_create_immediate(top)
                assert im is not None
                tevent_schedule_immediate(im, ev, lambda ev, *_: talloc_free(ev), None)
            tevent_loop_once(ev)
            assert log.take() == [(kind, "ATTACH"), (kind, "BEFORE_HANDLER")]
        assert len(aborts) == 2

    def test_raising_trace_callback_does_not_stop_it(
        self, top: TALLOC_CTX, pipe: tuple[int, int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The exception is reported as a destructor's, and everything is detached all the same."""
        import sys

        reported: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", reported.append)
        ev = context(top)

        def failing(*_: Any) -> None:
            raise Failure

        fdes = [tevent_add_fd(ev, top, pipe[0], 0, nothing, None) for _ in range(3)]
        te = tevent_add_timer(ev, top, timeval(0, 0), nothing, None)
        im = tevent_create_immediate(top)
        assert im is not None
        tevent_schedule_immediate(im, ev, nothing, None)
        tevent_set_trace_fd_callback(ev, failing, None)
        tevent_set_trace_timer_callback(ev, failing, None)
        tevent_set_trace_immediate_callback(ev, failing, None)
        assert talloc_free(ev) == 0
        assert ev._talloc_chunk.obj is None
        assert [type(report.exc_value) for report in reported] == [Failure]
        assert all(fde is not None and fde.event_ctx is None for fde in fdes)
        assert te is not None
        assert te.event_ctx is None
        assert im.event_ctx is None

    def test_descriptors_are_given_back(self, backend: str) -> None:
        """Each context closes what it opened."""
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(5):
            ev = context(None, backend)
            tevent_common_wakeup_init(ev)
            talloc_free(ev)
        assert set(os.listdir("/proc/self/fd")) == before


class TestReInitialise:
    def test_keeps_and_loses(self, ev: tevent_context, top: TALLOC_CTX, log: Recorder, pipe: tuple[int, int]) -> None:
        """Events and the nesting hook go, without close functions; timeout and callbacks stay."""
        tevent_context_set_wait_timeout(ev, 7)
        fde = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, nothing, None)
        tevent_fd_set_close_fn(fde, log.close)
        te = tevent_add_timer(ev, None, timeval(0, 0), log.timer, None)
        assert fde is not None
        assert te is not None
        tevent_loop_set_nesting_hook(ev, lambda *_: 0, None)
        tevent_set_trace_timer_callback(ev, log.event, "timer")
        assert tevent_re_initialise(ev) == 0
        assert log.take() == [("timer", "DETACH")]
        assert fde.event_ctx is te.event_ctx is None
        assert ev.nesting_hook is None
        assert not tevent_common_have_events(ev)
        assert tevent_context_set_wait_timeout(ev, 0) == 7
        tevent_add_timer(ev, None, timeval(0, 0), log.timer, "new")
        os.write(pipe[1], b"x")
        again = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, log.fd, "again")
        turns(ev, 6)
        calls = log.take()
        assert "new" in calls
        assert ("again", 1) in calls
        talloc_free(again)
        assert talloc_free(fde) == 0
        assert log.take() == [("close", None, pipe[0], None)]

    def test_inside_a_handler(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """The loop goes on with what the handler adds afterwards."""

        def handler(ev: tevent_context, *_: Any) -> None:
            assert tevent_re_initialise(ev) == 0
            tevent_add_timer(ev, None, timeval(0, 0), log.timer, "after")

        tevent_add_timer(epoll_ev, None, timeval(0, 0), handler, None)
        tevent_add_timer(epoll_ev, None, timeval(0, 0), log.timer, "lost")
        assert tevent_loop_wait(epoll_ev) == 0
        assert log.take() == ["after"]
        assert epoll_ev.level == 0

    def test_threaded_contexts_are_cut_off(self, ev: tevent_context, log: Recorder) -> None:
        """The old ones do nothing any more, new ones work."""
        old = tevent_threaded_context_create(ev, ev)
        assert old is not None
        assert tevent_re_initialise(ev) == 0
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_threaded_schedule_immediate(old, im, log.immediate, "old")
        assert im.event_ctx is None
        new = tevent_threaded_context_create(ev, ev)
        assert new is not None
        tevent_threaded_schedule_immediate(new, im, log.immediate, "new")
        turns(ev, 10)
        assert log.take() == ["new"]

    def test_common_destructor_alone(self, ev: tevent_context, log: Recorder) -> None:
        """It detaches everything and frees nothing."""
        te = tevent_add_timer(ev, None, timeval(0, 0), log.timer, None)
        assert te is not None
        assert tevent_common_context_destructor(ev) == 0
        assert te.event_ctx is None
        assert te._talloc_chunk.obj is te
        assert ev._talloc_chunk.obj is ev


class TestWakeup:
    def test_not_there(self, epoll_ev: tevent_context) -> None:
        """Without init there is nothing to wake, and errno stays."""
        import errno

        assert tevent_common_wakeup(epoll_ev) == errno.ENOTCONN

    def test_makes_a_loop_turn(self, ev: tevent_context) -> None:
        """The wait ends, the turn does nothing else; init a second time changes nothing."""
        assert tevent_common_wakeup_init(ev) == 0
        fde = ev.wakeup_fde
        assert tevent_common_wakeup_init(ev) == 0
        assert ev.wakeup_fde is fde
        while tevent_loop_once(ev) == 0:
            pass
        assert tevent_common_wakeup(ev) == 0
        assert tevent_common_wakeup(ev) == 0
        assert tevent_loop_once(ev) == 0
        assert tevent_loop_once(ev) == -1
        assert list(ev.fd_events) == [fde]
        assert not tevent_common_have_events(ev)

    def test_raw_descriptor(self, pipe: tuple[int, int]) -> None:
        """One write; a failure is ignored."""
        assert tevent_common_wakeup_fd(pipe[1]) == 0
        assert len(os.read(pipe[0], 100)) == 8
        assert tevent_common_wakeup_fd(-1) == 0

    def test_no_descriptors_left(self, epoll_ev: tevent_context, monkeypatch: pytest.MonkeyPatch) -> None:
        """The errno comes back."""
        from tevent import _sys

        def failing(*_: Any) -> Any:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(_sys, "eventfd", failing)
        assert tevent_common_wakeup_init(epoll_ev) == 24
        assert epoll_ev.wakeup_fde is None

    def test_refused_event(self, epoll_ev: tevent_context, monkeypatch: pytest.MonkeyPatch) -> None:
        """A backend that makes no event: ENOMEM, and no descriptor stays open."""
        from tevent import tevent_ops

        epoll_ev.ops = tevent_ops(add_fd=lambda *_: None)
        assert tevent_common_wakeup_init(epoll_ev) == 12
        assert epoll_ev.wakeup_fde is None


class TestFork:
    def test_child_has_its_own_set(self, top: TALLOC_CTX, backend: str, pipe: tuple[int, int]) -> None:
        """Timers, immediates and fd events work in the child; what it changes does not reach the parent."""
        ev = context(top, backend)
        log = Recorder()
        fde = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, log.fd, "fd")
        other = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, log.fd, "other")
        tevent_add_timer(ev, None, timeval(1, 0), log.timer, "timer")
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_schedule_immediate(im, ev, log.immediate, "immediate")
        os.write(pipe[1], b"x")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                turns(ev, 8)
                calls = log.take()
                right = (
                    tevent_cached_getpid() == os.getpid()
                    and calls[:2] == ["immediate", "timer"]
                    and ("fd", 1) in calls
                    and ("other", 1) in calls
                )
                talloc_free(fde)
                talloc_free(top)
                status = 0 if right else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert tevent_cached_getpid() == os.getpid()
        turns(ev, 8)
        calls = log.take()
        assert calls[:2] == ["immediate", "timer"]
        assert ("fd", 1) in calls
        talloc_free(fde)
        talloc_free(other)


class TestForgotten:
    def test_context(self, backend: str) -> None:
        """Dropped without a free it is reported, and its descriptors are closed."""
        before = set(os.listdir("/proc/self/fd"))
        ev = context(None, backend)
        tevent_common_wakeup_init(ev)
        del ev
        with pytest.warns(ResourceWarning, match="unclosed <tevent context"):
            gc.collect()
        gc.collect()  # the recorded warning held on to it
        assert set(os.listdir("/proc/self/fd")) == before

    def test_fd_event_with_auto_close(self) -> None:
        """An event that should have closed its descriptor is reported too; the descriptor stays open."""
        one, two = socket.socketpair()
        ev = context(None)
        fde = tevent_add_fd(ev, None, one.detach(), 0, nothing, None)
        assert fde is not None
        fd = fde.fd
        tevent_fd_set_auto_close(fde)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del ev, fde
            gc.collect()
        texts = sorted(str(warning.message) for warning in caught)
        assert len(texts) == 2
        assert "with auto close" in texts[1]
        os.close(fd)
        two.close()

    def test_freed_is_fine(self) -> None:
        """No warning after a free."""
        ev = context(None)
        talloc_free(ev)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del ev
            gc.collect()

    def test_events_are_kept_by_their_context(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """Nobody needs to hold on to an event."""
        im = tevent_create_immediate(epoll_ev)
        assert im is not None
        tevent_schedule_immediate(im, epoll_ev, log.immediate, "im")
        del im
        tevent_add_timer(epoll_ev, None, tevent_timeval_zero(), log.timer, "te")
        gc.collect()
        turns(epoll_ev)
        assert log.take() == ["im", "te"]

    def test_a_chunk_outlives_being_moved(self, top: TALLOC_CTX, log: Recorder, clock: Clock) -> None:
        """An event may change its owner and still runs."""
        ev = context(top)
        te = tevent_add_timer(ev, None, timeval(1, 0), log.timer, "moved")
        assert te is not None
        other = talloc_new(top)
        talloc_reparent(ev, other, te)
        turns(ev)
        assert log.take() == ["moved"]
