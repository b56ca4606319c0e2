# SPDX-License-Identifier: LGPL-3.0-or-later
"""What one iteration does, in which order, and how loop calls end."""

from __future__ import annotations

import errno
import math
import os
import signal
from typing import Any

import pytest
from tevent_kit import UNTOUCHED, Clock, Failure, Recorder, context, turns

from talloc_py import TALLOC_CTX, talloc_free
from tevent import (
    TEVENT_FD_READ,
    get_errno,
    set_errno,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_common_have_events,
    tevent_common_loop_immediate,
    tevent_common_loop_timer_delay,
    tevent_common_wakeup_init,
    tevent_context,
    tevent_context_set_wait_timeout,
    tevent_create_immediate,
    tevent_fd,
    tevent_fd_set_flags,
    tevent_loop_once,
    tevent_loop_set_nesting_hook,
    tevent_loop_until,
    tevent_loop_wait,
    tevent_schedule_immediate,
    tevent_set_trace_callback,
    tevent_set_trace_fd_callback,
    tevent_set_trace_immediate_callback,
    tevent_set_trace_timer_callback,
    tevent_thread_call_depth_set_callback,
    tevent_thread_proxy_create,
    tevent_threaded_context_create,
    tevent_threaded_schedule_immediate,
    timeval,
)

SIGUSR1 = 10


def immediate(ev: tevent_context, handler: Any, private_data: Any = None) -> Any:
    """A queued immediate."""
    im = tevent_create_immediate(ev)
    assert im is not None
    tevent_schedule_immediate(im, ev, handler, private_data)
    return im


class TestOrder:
    def test_first_match_ends_the_iteration(self, ev: tevent_context, log: Recorder, pipe: tuple[int, int]) -> None:
        """Immediates before timers before descriptors, one handler each."""
        os.write(pipe[1], b"x")
        tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, log.fd, "fd")
        tevent_add_timer(ev, None, timeval(1, 0), log.timer, "timer1")
        tevent_add_timer(ev, None, timeval(1, 0), log.timer, "timer2")
        immediate(ev, log.immediate, "im1")
        immediate(ev, log.immediate, "im2")
        for expected in ("im1", "im2", "timer1", "timer2"):
            assert tevent_loop_once(ev) == 0
            assert log.take() == [expected]
        turns(ev, 4)
        assert ("fd", 1) in log.take()

    def test_signals_come_before_immediates(self, ev: tevent_context, log: Recorder) -> None:
        """Also where an immediate is always queued."""

        def again(ev: tevent_context, im: Any, private_data: object) -> None:
            log.calls.append("im")
            tevent_schedule_immediate(im, ev, again, None)

        se = tevent_add_signal(ev, ev, SIGUSR1, 0, lambda *_: log.calls.append("signal"), None)
        immediate(ev, again)
        assert tevent_loop_once(ev) == 0
        signal.raise_signal(SIGUSR1)
        assert tevent_loop_once(ev) == 0
        assert log.take() == ["im", "signal"]
        talloc_free(se)

    def test_signals_reach_a_loop_call_that_runs_immediates(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """tevent_loop_wait() looks for them before each immediate."""
        se = tevent_add_signal(epoll_ev, epoll_ev, SIGUSR1, 0, lambda *_: log.calls.append("signal"), None)

        def raising(ev: tevent_context, im: Any, private_data: object) -> None:
            signal.raise_signal(SIGUSR1)
            immediate(ev, last)

        def last(ev: tevent_context, im: Any, private_data: object) -> None:
            log.calls.append("im")
            talloc_free(se)

        immediate(epoll_ev, raising)
        assert tevent_loop_wait(epoll_ev) == 0
        assert log.take() == ["signal", "im"]

    def test_starvation_is_by_design(self, ev: tevent_context, log: Recorder, pipe: tuple[int, int]) -> None:
        """While an immediate is queued nothing else runs; while a timer is due no descriptor is looked at."""
        os.write(pipe[1], b"x")
        left = [5]

        def again(ev: tevent_context, im: Any, private_data: object) -> None:
            left[0] -= 1
            log.calls.append("im")
            if left[0]:
                tevent_schedule_immediate(im, ev, again, None)

        tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, log.fd, "fd")
        tevent_add_timer(ev, None, timeval(1, 0), log.timer, "timer")
        immediate(ev, again)
        for _ in range(6):
            tevent_loop_once(ev)
        assert log.take() == ["im"] * 5 + ["timer"]

    def test_what_a_handler_adds_waits_for_the_next_iteration(self, ev: tevent_context, log: Recorder) -> None:
        """Neither an immediate nor a timer runs in the iteration that added it."""

        def adding(ev: tevent_context, te: Any, now: Any, private_data: object) -> None:
            log.calls.append("first")
            tevent_add_timer(ev, None, timeval(0, 0), log.timer, "timer")
            immediate(ev, log.immediate, "im")

        tevent_add_timer(ev, None, timeval(0, 0), adding, None)
        for expected in (["first"], ["im"], ["timer"]):
            tevent_loop_once(ev)
            assert log.take() == expected

    def test_no_system_call_for_an_immediate(
        self, epoll_ev: tevent_context, log: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither the clock nor the descriptors are looked at."""
        tevent_add_timer(epoll_ev, None, timeval(1, 0), log.timer, None)
        epoll_ev.additional_data.poll = None
        from tevent import _sys

        monkeypatch.setattr(_sys, "time_ns", None)
        immediate(epoll_ev, log.immediate, "im")
        assert tevent_loop_once(epoll_ev) == 0
        assert log.take() == ["im"]

    def test_threads_hand_in_behind_what_is_queued(self, ev: tevent_context, log: Recorder) -> None:
        """The step that takes over what threads scheduled comes after the signals, before the immediates."""
        tctx = tevent_threaded_context_create(ev, ev)
        assert tctx is not None
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_threaded_schedule_immediate(tctx, im, log.immediate, "thread")
        immediate(ev, log.immediate, "own")
        turns(ev, 6)
        assert log.take() == ["own", "thread"]
        assert tevent_loop_wait(ev) == 0


class FakeWait:
    """Takes the place of epoll's wait: remembers the timeouts, in milliseconds, and turns the clock."""

    def __init__(self, ev: tevent_context, clock: Clock) -> None:
        self.timeouts: list[int] = []
        self.clock = clock
        self.real = ev.additional_data.ep.poll
        ev.additional_data.poll = self

    def __call__(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        assert maxevents == 1
        # As the interpreter does: up to nanoseconds, then up to what the system takes.
        ms = -1 if timeout < 0 else -(-math.ceil(timeout * 1e9) // 1000000)
        self.timeouts.append(ms)
        ready: list[tuple[int, int]] = self.real(0, 1)
        if not ready and ms > 0:
            self.clock.us += ms * 1000
        return ready


class TestWait:
    def test_without_a_timer_the_wait_timeout(self, top: TALLOC_CTX, clock: Clock) -> None:
        """30 seconds at first, nothing to do is no failure."""
        ev = context(top, "epoll", None)
        wait = FakeWait(ev, clock)
        assert tevent_loop_once(ev) == 0
        assert tevent_context_set_wait_timeout(ev, 5) == 30
        assert tevent_loop_once(ev) == 0
        assert tevent_context_set_wait_timeout(ev, 2**31 - 1) == 5
        assert ev.wait_timeout == (2147483647, 0)
        assert tevent_loop_once(ev) == 0
        assert wait.timeouts == [30000, 5000, -1]

    def test_until_the_first_timer(self, top: TALLOC_CTX, clock: Clock, log: Recorder) -> None:
        """Not capped by the wait timeout, rounded up; the timer runs in the same iteration."""
        ev = context(top, "epoll", None)
        wait = FakeWait(ev, clock)
        now = clock.us
        tevent_add_timer(ev, None, timeval(now // 1000000 + 100, 7), log.timer, "late")
        tevent_add_timer(ev, None, timeval(now // 1000000, 123), log.timer, "soon")
        assert tevent_loop_once(ev) == 0
        assert log.take() == ["soon"]
        assert tevent_loop_once(ev) == 0
        assert log.take() == ["late"]
        assert wait.timeouts == [1, 100000]

    def test_no_millisecond_too_much(self, top: TALLOC_CTX, clock: Clock, log: Recorder) -> None:
        """A wait of whole milliseconds is that long, whatever a float makes of it."""
        ev = context(top, "epoll", None)
        wait = FakeWait(ev, clock)
        lengths = [*range(1, 3000, 7), 256499]
        for ms in lengths:
            when = clock.us + ms * 1000
            tevent_add_timer(ev, None, timeval(when // 1000000, when % 1000000), log.timer, ms)
            assert tevent_loop_once(ev) == 0
        assert wait.timeouts == log.take() == lengths

    def test_one_timer_after_the_wait(self, top: TALLOC_CTX, clock: Clock, log: Recorder) -> None:
        """Two that became due in the wait take two iterations."""
        ev = context(top, "epoll", None)
        FakeWait(ev, clock)
        soon = timeval(clock.us // 1000000 + 1, 0)
        tevent_add_timer(ev, None, soon, log.timer, "a")
        tevent_add_timer(ev, None, soon, log.timer, "b")
        tevent_loop_once(ev)
        assert log.take() == ["a"]
        tevent_loop_once(ev)
        assert log.take() == ["b"]

    def test_wait_that_ends_early(self, top: TALLOC_CTX, clock: Clock, log: Recorder) -> None:
        """A timer that is still not due after the wait does not run."""
        ev = context(top, "epoll", None)
        ev.additional_data.poll = lambda timeout, maxevents: []
        tevent_add_timer(ev, None, timeval(clock.us // 1000000 + 1, 0), log.timer, "a")
        assert tevent_loop_once(ev) == 0
        assert log.take() == []

    def test_timer_due_during_an_fd_handler_waits(
        self, top: TALLOC_CTX, clock: Clock, log: Recorder, pipe: tuple[int, int]
    ) -> None:
        """An iteration that ran an fd handler runs no timer."""
        ev = context(top, "epoll", None)
        os.write(pipe[1], b"x")
        tevent_add_timer(ev, None, timeval(clock.us // 1000000 + 1, 0), log.timer, "timer")

        def handler(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            clock.us += 2000000
            log.calls.append("fd")

        tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, handler, None)
        tevent_loop_once(ev)
        assert log.take() == ["fd"]
        tevent_loop_once(ev)
        assert log.take() == ["timer"]

    def test_very_far_timer(self, top: TALLOC_CTX, clock: Clock, log: Recorder) -> None:
        """The system's longest wait is not exceeded."""
        ev = context(top, "epoll", None)
        wait = FakeWait(ev, clock)
        tevent_add_timer(ev, None, timeval(2**40, 0), log.timer, None)
        assert tevent_loop_once(ev) == 0
        assert wait.timeouts == [2147483647]

    def test_far_timer_for_real(self, ev: tevent_context, log: Recorder) -> None:
        """Each backend takes a timer that is centuries away."""
        tevent_context_set_wait_timeout(ev, 30)
        tevent_add_timer(ev, None, timeval(2**40, 0), log.timer, None)
        immediate(ev, log.immediate, "im")
        tevent_common_wakeup_init(ev)
        from tevent import tevent_common_wakeup

        tevent_common_wakeup(ev)
        for _ in range(2):
            assert tevent_loop_once(ev) == 0
        assert log.take() == ["im"]

    def test_not_normalised_timer(self, top: TALLOC_CTX, clock: Clock, log: Recorder) -> None:
        """A tv_usec of more than a second is compared as a pair: due only when the seconds have passed."""
        ev = context(top, "epoll", None)
        wait = FakeWait(ev, clock)
        clock.us = 5_500_000
        tevent_add_timer(ev, None, timeval(5, 2000000), log.timer, "odd")
        assert tevent_loop_once(ev) == 0
        assert wait.timeouts == [1500]
        assert log.take() == ["odd"]

    def test_signal_ends_the_wait(self, top: TALLOC_CTX, log: Recorder) -> None:
        """A signal that arrives in the wait is delivered in the same iteration."""
        ev = context(top, "epoll", None)
        tevent_add_signal(ev, ev, SIGUSR1, 0, lambda *_: log.calls.append("signal"), None)
        real = ev.additional_data.poll

        def poll(timeout: float, maxevents: int) -> Any:
            signal.raise_signal(SIGUSR1)
            return real(timeout, maxevents)

        ev.additional_data.poll = poll
        assert tevent_loop_once(ev) == 0
        assert log.take() == ["signal"]
        ev.additional_data.poll = real
        talloc_free(ev)

    def test_signal_just_before_the_wait(self, top: TALLOC_CTX, log: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
        """Signals are looked for once more after the timers."""
        ev = context(top, "epoll", None)
        tevent_add_signal(ev, ev, SIGUSR1, 0, lambda *_: log.calls.append("signal"), None)
        tevent_add_timer(ev, None, timeval(2**40, 0), log.timer, None)
        ev.additional_data.poll = None
        from tevent import _sys

        def time_ns() -> int:
            signal.raise_signal(SIGUSR1)
            return 10**18

        monkeypatch.setattr(_sys, "time_ns", time_ns)
        assert tevent_loop_once(ev) == 0
        assert log.take() == ["signal"]
        talloc_free(ev)


class TestNoWait:
    def test_everything_is_still_handled(self, ev: tevent_context, log: Recorder, pipe: tuple[int, int]) -> None:
        """Only what would wait fails."""
        os.write(pipe[1], b"x")
        fde = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, log.fd, "fd")
        tevent_add_timer(ev, None, timeval(1, 0), log.timer, "timer")
        immediate(ev, log.immediate, "im")
        for _ in range(5):
            tevent_loop_once(ev)
        calls = log.take()
        assert calls[:2] == ["im", "timer"]
        assert calls[2] == ("fd", 1)
        talloc_free(fde)

    @pytest.mark.parametrize("with_timer", [False, True])
    def test_nothing_to_do(self, ev: tevent_context, log: Recorder, with_timer: bool) -> None:
        """-1 and EAGAIN, also with a timer in the future; from tevent_loop_wait() too."""
        while tevent_loop_once(ev) == 0:
            pass
        if with_timer:
            tevent_add_timer(ev, None, timeval(2**40, 0), log.timer, None)
        set_errno(UNTOUCHED)
        assert tevent_loop_once(ev) == -1
        assert get_errno() == errno.EAGAIN
        set_errno(UNTOUCHED)
        assert tevent_loop_wait(ev) == (-1 if with_timer else 0)
        assert get_errno() == (errno.EAGAIN if with_timer else UNTOUCHED)
        set_errno(UNTOUCHED)
        assert tevent_loop_until(ev, lambda _: False, None) == -1
        assert get_errno() == errno.EAGAIN

    @pytest.mark.parametrize(
        ("secs", "back"),
        [(0, 0), (1, 1), (2**31 - 2, 2**31 - 2), (2**31 - 1, 2**31 - 1), (2**32 - 1, 2**31 - 1), (-1, 2**31 - 1)],
    )
    def test_values_read_back(self, epoll_ev: tevent_context, secs: int, back: int) -> None:
        """What is set comes back, capped."""
        tevent_context_set_wait_timeout(epoll_ev, secs)
        assert tevent_context_set_wait_timeout(epoll_ev, 0) == back

    def test_marker(self, epoll_ev: tevent_context) -> None:
        """The field shows C's marker."""
        assert epoll_ev.wait_timeout == (0, 2147483647)

    def test_wrong_type(self, epoll_ev: tevent_context) -> None:
        """Seconds are an int."""
        with pytest.raises(TypeError, match="secs must be a int"):
            tevent_context_set_wait_timeout(epoll_ev, 1.5)  # type: ignore[arg-type]


class TestLoopTimerDelay:
    def test_no_timer(self, epoll_ev: tevent_context) -> None:
        """The wait timeout, also the marker."""
        assert tevent_common_loop_timer_delay(epoll_ev) == (0, 2147483647)
        tevent_context_set_wait_timeout(epoll_ev, 9)
        assert tevent_common_loop_timer_delay(epoll_ev) == (9, 0)
        tevent_context_set_wait_timeout(epoll_ev, 2**31 - 1)
        assert tevent_common_loop_timer_delay(epoll_ev) == (2147483647, 0)

    def test_due(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """Zero, and that one has run."""
        tevent_add_timer(epoll_ev, None, timeval(1, 0), log.timer, "due")
        assert tevent_common_loop_timer_delay(epoll_ev) == (0, 0)
        assert log.take() == ["due"]

    def test_not_due(self, epoll_ev: tevent_context, log: Recorder, clock: Clock) -> None:
        """The time until it; the marker where there is to be no wait."""
        tevent_add_timer(epoll_ev, None, timeval(clock.us // 1000000 + 2, 5), log.timer, None)
        assert tevent_common_loop_timer_delay(epoll_ev) == (0, 2147483647)
        tevent_context_set_wait_timeout(epoll_ev, 1)
        assert tevent_common_loop_timer_delay(epoll_ev) == (2, 5)
        assert log.take() == []


class TestLoopImmediate:
    def test_result(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """True when it ran one."""
        assert tevent_common_loop_immediate(epoll_ev) is False
        immediate(epoll_ev, log.immediate, "a")
        immediate(epoll_ev, log.immediate, "b")
        assert tevent_common_loop_immediate(epoll_ev) is True
        assert log.take() == ["a"]


class TestHaveEvents:
    def test_each_kind(self, ev: tevent_context, pipe: tuple[int, int], log: Recorder) -> None:
        """Timers, immediates and signals count; fd events only while they wait for something."""
        assert not tevent_common_have_events(ev)
        te = tevent_add_timer(ev, None, timeval(2**40, 0), log.timer, None)
        assert tevent_common_have_events(ev)
        talloc_free(te)
        assert not tevent_common_have_events(ev)
        im = immediate(ev, log.immediate)
        assert tevent_common_have_events(ev)
        talloc_free(im)
        se = tevent_add_signal(ev, ev, SIGUSR1, 0, lambda *_: None, None)
        assert tevent_common_have_events(ev)
        talloc_free(se)
        assert not tevent_common_have_events(ev)
        silent = tevent_add_fd(ev, None, pipe[1], 0, log.fd, None)
        fde = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, log.fd, None)
        assert tevent_common_have_events(ev)
        tevent_fd_set_flags(fde, 0)
        assert not tevent_common_have_events(ev)
        tevent_fd_set_flags(silent, 2)
        assert tevent_common_have_events(ev)
        talloc_free(silent)
        assert not tevent_common_have_events(ev)

    def test_threads(self, ev: tevent_context) -> None:
        """A proxy counts, a threaded context does not."""
        tctx = tevent_threaded_context_create(ev, ev)
        assert tctx is not None
        assert not tevent_common_have_events(ev)
        proxy = tevent_thread_proxy_create(ev)
        assert proxy is not None
        assert tevent_common_have_events(ev)
        talloc_free(proxy)
        assert not tevent_common_have_events(ev)

    def test_empty_loop(self, ev: tevent_context) -> None:
        """Nothing to wait for: 0 at once."""
        tevent_context_set_wait_timeout(ev, 30)
        assert tevent_loop_wait(ev) == 0

    def test_lists_for_backends(self, ev: tevent_context, pipe: tuple[int, int], log: Recorder) -> None:
        """False while empty, iterable in list order."""
        assert not ev.timer_events
        assert not ev.immediate_events
        assert not ev.signal_events
        assert not ev.threaded_contexts
        assert not ev.scheduled_immediates
        a = tevent_add_fd(ev, None, pipe[0], 0, log.fd, None)
        b = tevent_add_fd(ev, None, pipe[0], 0, log.fd, None)
        assert [fde for fde in ev.fd_events if fde is not ev.wakeup_fde] == [b, a]
        assert ev.fd_events
        later = tevent_add_timer(ev, None, timeval(9, 0), log.timer, None)
        sooner = tevent_add_timer(ev, None, timeval(3, 0), log.timer, None)
        assert list(ev.timer_events) == [sooner, later]
        assert len(ev.timer_events) == len(ev.timers) == 2
        ims = [immediate(ev, log.immediate) for _ in range(3)]
        assert list(ev.immediate_events) == ims
        assert len(ev.immediate_events) == 3
        assert repr(ev.timer_events).startswith("<event_list [<tevent_timer")


class TestLoopUntil:
    def test_true_at_once(self, ev: tevent_context, log: Recorder) -> None:
        """No iteration, result 0."""
        immediate(ev, log.immediate, "im")
        assert tevent_loop_until(ev, lambda p: p == "yes", "yes") == 0
        assert log.take() == []

    def test_stops_when_finished(self, ev: tevent_context, log: Recorder) -> None:
        """Asked before each iteration."""
        for i in range(5):
            immediate(ev, log.immediate, i)
        assert tevent_loop_until(ev, lambda calls: len(calls) == 3, log.calls) == 0
        assert log.take() == [0, 1, 2]

    def test_stops_at_a_failure(self, ev: tevent_context) -> None:
        """A result other than 0 ends it."""
        while tevent_loop_once(ev) == 0:
            pass
        assert tevent_loop_until(ev, lambda _: False, None) == -1

    def test_wrong_type(self, ev: tevent_context) -> None:
        """finished is a callable."""
        with pytest.raises(TypeError, match="finished must be a callable, not bool"):
            tevent_loop_until(ev, True, None)  # type: ignore[arg-type]


class TestExceptions:
    """An exception leaves the loop call, and everything is as after a normal end."""

    @pytest.mark.parametrize("watched", [False, True])
    @pytest.mark.parametrize("kind", ["fd", "timer", "immediate", "signal"])
    @pytest.mark.parametrize("loop", ["once", "wait", "until"])
    def test_from_each_kind_of_handler(
        self, ev: tevent_context, kind: str, loop: str, watched: bool, pipe: tuple[int, int], log: Recorder
    ) -> None:
        """The context stays usable, no other event is lost."""
        points: list[str] = []
        if watched:
            tevent_set_trace_callback(ev, lambda point, _: points.append(point.name), None)
            for setter in (
                tevent_set_trace_fd_callback,
                tevent_set_trace_timer_callback,
                tevent_set_trace_immediate_callback,
            ):
                setter(ev, log.event, None)
            tevent_loop_set_nesting_hook(
                ev, lambda e, p, level, begin, stack: points.append(f"hook {begin}") or 0, None
            )

        def raising(*_: Any) -> None:
            raise Failure(kind)

        event: Any
        if kind == "fd":
            os.write(pipe[1], b"x")
            event = tevent_add_fd(ev, ev, pipe[0], TEVENT_FD_READ, raising, None)
        elif kind == "timer":
            event = tevent_add_timer(ev, ev, timeval(1, 0), raising, None)
        elif kind == "immediate":
            event = immediate(ev, raising)
        else:
            event = tevent_add_signal(ev, ev, SIGUSR1, 0, raising, None)
            signal.raise_signal(SIGUSR1)
        with pytest.raises(Failure, match=kind):
            for _ in range(3):
                if loop == "once":
                    tevent_loop_once(ev)
                elif loop == "wait":
                    tevent_loop_wait(ev)
                else:
                    tevent_loop_until(ev, lambda _: False, None)
        assert ev.level == 0
        if watched:
            assert points[-2:] == ["TEVENT_TRACE_AFTER_LOOP_ONCE", "hook False"]
        log.take()
        if kind == "timer":
            assert event._talloc_chunk.obj is None
        else:
            assert event.busy is False
            talloc_free(event)
            assert event._talloc_chunk.obj is None
        immediate(ev, log.immediate, "next")
        turns(ev, 5)
        assert "next" in log.take()

    def test_deferred_free_is_done(self, ev: tevent_context, pipe: tuple[int, int]) -> None:
        """An event that was freed in the handler that raised is gone afterwards."""
        os.write(pipe[1], b"x")

        def raising(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            assert talloc_free(fde) == -1
            raise Failure

        fde = tevent_add_fd(ev, None, pipe[0], TEVENT_FD_READ, raising, None)
        assert fde is not None
        with pytest.raises(Failure):
            for _ in range(3):
                tevent_loop_once(ev)
        assert fde._talloc_chunk.obj is None

    def test_from_finished(self, ev: tevent_context) -> None:
        """The function of tevent_loop_until() may raise as well."""

        def finished(private_data: object) -> bool:
            raise Failure

        with pytest.raises(Failure):
            tevent_loop_until(ev, finished, None)
        assert ev.level == 0

    @pytest.mark.parametrize("base", [KeyboardInterrupt, SystemExit])
    def test_also_base_exceptions(self, ev: tevent_context, base: type[BaseException], log: Recorder) -> None:
        """Not only Exception."""

        def raising(*_: Any) -> None:
            raise base

        immediate(ev, raising)
        with pytest.raises(base):
            tevent_loop_wait(ev)
        immediate(ev, log.immediate, "next")
        assert tevent_loop_wait(ev) == 0
        assert log.take() == ["next"]


class TestCallDepth:
    def test_reset_at_the_end_of_each_iteration(self, ev: tevent_context, log: Recorder) -> None:
        """Also in tevent_loop_wait(), not in tevent_loop_until(); switched on in a handler it counts at once."""
        calls: list[Any] = []

        def switching(*_: Any) -> None:
            tevent_thread_call_depth_set_callback(lambda *args: calls.append(args), "mine")

        try:
            immediate(ev, switching)
            immediate(ev, log.immediate, "second")
            assert tevent_loop_wait(ev) == 0
            assert calls == [("mine", 0, None, 0, "_tevent_loop_once")] * 2
            calls.clear()
            immediate(ev, log.immediate, "third")
            tevent_loop_once(ev)
            assert calls == [("mine", 0, None, 0, "_tevent_loop_once")]
            calls.clear()
            immediate(ev, log.immediate, "fourth")
            tevent_loop_until(ev, lambda _: "fourth" in log.calls, None)
            assert calls == []
        finally:
            tevent_thread_call_depth_set_callback(None, None)
