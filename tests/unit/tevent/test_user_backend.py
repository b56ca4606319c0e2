# SPDX-License-Identifier: LGPL-3.0-or-later
"""Backends that a user writes: a minimal one over select(), and built-in ones with one operation replaced."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from backend_kit import BACKENDS, forget_signals, loop_until, pipe

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_set_destructor
from tevent import (
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    TEVENT_TRACE_AFTER_WAIT,
    TEVENT_TRACE_BEFORE_WAIT,
    get_errno,
    set_errno,
    tevent_abort_error,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_common_add_fd,
    tevent_common_add_signal,
    tevent_common_add_timer_v2,
    tevent_common_check_signal,
    tevent_common_fd_destructor,
    tevent_common_fd_disarm,
    tevent_common_fd_get_flags,
    tevent_common_fd_set_close_fn,
    tevent_common_fd_set_flags,
    tevent_common_have_events,
    tevent_common_invoke_fd_handler,
    tevent_common_loop_immediate,
    tevent_common_loop_timer_delay,
    tevent_common_loop_wait,
    tevent_common_no_timeout,
    tevent_common_schedule_immediate,
    tevent_common_threaded_activate_immediate,
    tevent_common_timeout_msec,
    tevent_context,
    tevent_context_init_byname,
    tevent_context_init_ops,
    tevent_context_set_wait_timeout,
    tevent_create_immediate,
    tevent_fd_get_flags,
    tevent_fd_set_auto_close,
    tevent_fd_set_flags,
    tevent_find_ops_byname,
    tevent_loop_once,
    tevent_loop_wait,
    tevent_ops,
    tevent_re_initialise,
    tevent_register_backend,
    tevent_req,
    tevent_req_poll,
    tevent_schedule_immediate,
    tevent_set_trace_callback,
    tevent_signal_support,
    tevent_threaded_context_create,
    tevent_threaded_schedule_immediate,
    tevent_timeval_current_ofs,
    tevent_timeval_is_zero,
    tevent_trace_point_callback,
    tevent_wakeup_recv,
    tevent_wakeup_send,
    timeval,
)
from tevent.backend import _known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tevent import tevent_fd

READ = TEVENT_FD_READ
WRITE = TEVENT_FD_WRITE
USR1 = int(signal.SIGUSR1)


# A backend as a user would write it, from the helpers alone.


class select_state(TALLOC_CTX):
    """What the backend keeps for a context: the events that it cares for."""

    events: list[tevent_fd]


def select_context_init(ev: tevent_context) -> int:
    state = select_state()
    state.events = []
    ev.additional_data = state
    return 0


def select_fd_destructor(fde: tevent_fd) -> int:
    ev = fde.event_ctx
    if ev is not None and fde in ev.additional_data.events:
        ev.additional_data.events.remove(fde)
    return tevent_common_fd_destructor(fde)


def select_add_fd(
    ev: tevent_context, mem_ctx: Any, fd: int, flags: int, handler: Any, private_data: Any, handler_name: str
) -> tevent_fd | None:
    fde = tevent_common_add_fd(ev, mem_ctx, fd, flags, handler, private_data, handler_name)
    if fde is not None:
        ev.additional_data.events.insert(0, fde)
        talloc_set_destructor(fde, select_fd_destructor)
    return fde


def select_loop_once(ev: tevent_context) -> int:
    if ev.signal_events and tevent_common_check_signal(ev):
        return 0
    if ev.threaded_contexts:
        tevent_common_threaded_activate_immediate(ev)
    if ev.immediate_events and tevent_common_loop_immediate(ev):
        return 0
    delay = tevent_common_loop_timer_delay(ev)
    if tevent_timeval_is_zero(delay):
        return 0
    if ev.signal_events and tevent_common_check_signal(ev):
        return 0
    return select_wait(ev, delay)


def select_wait(ev: tevent_context, delay: timeval) -> int:
    events: list[tevent_fd] = [fde for fde in ev.additional_data.events if fde.event_ctx is ev]
    msec = tevent_common_timeout_msec(delay)
    tevent_trace_point_callback(ev, TEVENT_TRACE_BEFORE_WAIT)
    try:
        readable, writeable, _ = select.select(
            [fde.fd for fde in events if fde.flags & READ],
            [fde.fd for fde in events if fde.flags & WRITE],
            [],
            None if msec < 0 else msec / 1000,
        )
    finally:
        tevent_trace_point_callback(ev, TEVENT_TRACE_AFTER_WAIT)
    if ev.signal_events and tevent_common_check_signal(ev):
        return 0
    for fde in events:
        flags = ((READ if fde.fd in readable else 0) | (WRITE if fde.fd in writeable else 0)) & fde.flags
        if flags:
            ev.additional_data.events.remove(fde)
            ev.additional_data.events.append(fde)
            tevent_common_invoke_fd_handler(fde, flags)
            return 0
    if tevent_common_no_timeout(delay):
        set_errno(errno.EAGAIN)
        return -1
    tevent_common_loop_timer_delay(ev)
    return 0


SELECT_OPS = tevent_ops(
    context_init=select_context_init,
    add_fd=select_add_fd,
    set_fd_close_fn=tevent_common_fd_set_close_fn,
    get_fd_flags=tevent_common_fd_get_flags,
    set_fd_flags=tevent_common_fd_set_flags,
    add_timer=tevent_common_add_timer_v2,
    schedule_immediate=tevent_common_schedule_immediate,
    add_signal=tevent_common_add_signal,
    loop_once=select_loop_once,
    loop_wait=tevent_common_loop_wait,
)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Registered for this module; users have no way to take that back."""
    assert tevent_find_ops_byname("test select") is None
    assert tevent_register_backend("test select", SELECT_OPS) is True
    assert tevent_find_ops_byname("test select") is SELECT_OPS
    yield
    del _known.by_name["test select"]


@pytest.fixture(autouse=True)
def no_signal_is_left_for_another_test() -> Iterator[None]:
    forget_signals()
    yield
    forget_signals()


@pytest.fixture
def owner() -> Iterator[TALLOC_CTX]:
    ctx = talloc_new(None)
    assert ctx is not None
    yield ctx
    talloc_free(ctx)


@pytest.fixture
def ev(owner: TALLOC_CTX) -> tevent_context:
    made = tevent_context_init_byname(owner, "test select")
    assert made is not None
    tevent_context_set_wait_timeout(made, 0)
    return made


class TestMinimalBackend:
    def test_fd_events(self, ev: tevent_context) -> None:
        """One handler a turn, in turn, with what is ready and wanted."""
        one, two = socket.socketpair()
        with one, two:
            log: list[Any] = []
            note = lambda ev, fde, flags, p: log.append((p, flags))  # noqa: E731
            a = tevent_add_fd(ev, None, one.fileno(), READ, note, "a")
            tevent_add_fd(ev, None, two.fileno(), READ | WRITE, note, "b")
            for _ in range(2):
                tevent_loop_once(ev)
            two.send(b"x")
            for _ in range(2):
                tevent_loop_once(ev)
            assert log == [("b", WRITE), ("b", WRITE), ("a", READ), ("b", WRITE)]
            tevent_fd_set_flags(a, 0)
            assert tevent_fd_get_flags(a) == 0
            talloc_free(a)

    def test_frees_in_handlers(self, ev: tevent_context) -> None:
        """An event that frees itself, and one that frees another that is ready too."""
        log: list[Any] = []
        with pipe() as (_r1, w1), pipe() as (_r2, w2):
            other = tevent_add_fd(ev, None, w1, WRITE, lambda *args: log.append("never"), None)

            def handler(ev: Any, fde: Any, flags: int, private_data: Any) -> None:
                log.append((talloc_free(other), talloc_free(fde)))

            tevent_add_fd(ev, None, w2, WRITE, handler, None)
            tevent_loop_once(ev)
            assert tevent_loop_once(ev) == -1
        assert log == [(0, -1)]

    def test_auto_close_and_exceptions(self, ev: tevent_context) -> None:
        """The descriptor is closed with the event; the loop goes on after an exception."""
        reader, writer = os.pipe()
        log: list[Any] = []

        def handler(*args: Any) -> None:
            log.append("raises")
            raise ZeroDivisionError

        fde = tevent_add_fd(ev, None, writer, WRITE, handler, None)
        tevent_fd_set_auto_close(fde)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                tevent_loop_once(ev)
        talloc_free(fde)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(writer)
        os.close(reader)

    def test_the_order_of_things(self, ev: tevent_context) -> None:
        """Signals, then immediates, then timers, then descriptors."""
        log: list[str] = []
        assert tevent_signal_support(ev)
        im = tevent_create_immediate(ev)
        assert im is not None
        with pipe() as (_reader, writer):
            tevent_add_fd(ev, None, writer, WRITE, lambda *args: log.append("fd"), None)
            tevent_add_timer(ev, None, timeval(0, 0), lambda *args: log.append("timer"), None)
            tevent_schedule_immediate(im, ev, lambda *args: log.append("immediate"), None)
            tevent_add_signal(ev, None, USR1, 0, lambda *args: log.append("signal"), None)
            os.kill(os.getpid(), USR1)
            loop_until(ev, lambda: "fd" in log)
        assert log == ["signal", "immediate", "timer", "fd"]

    def test_waiting_for_a_timer(self, ev: tevent_context) -> None:
        """loop_wait runs it and ends."""
        log: list[str] = []
        tevent_context_set_wait_timeout(ev, 30)
        tevent_add_timer(ev, None, tevent_timeval_current_ofs(0, 1000), lambda *args: log.append("timer"), None)
        assert tevent_common_have_events(ev)
        assert tevent_loop_wait(ev) == 0
        assert log == ["timer"]

    def test_nothing_to_do(self, ev: tevent_context) -> None:
        """-1 with EAGAIN where it must not wait."""
        set_errno(0)
        assert tevent_loop_once(ev) == -1
        assert get_errno() == errno.EAGAIN

    def test_signals_and_threads_wake_it(self, ev: tevent_context) -> None:
        """The internal wakeup is an fd event like any other."""
        log: list[str] = []
        tevent_context_set_wait_timeout(ev, 30)
        tctx = tevent_threaded_context_create(ev, ev)
        im = tevent_create_immediate(ev)
        assert tctx is not None
        assert im is not None
        tevent_add_signal(ev, None, USR1, 0, lambda *args: log.append("signal"), None)
        about_to_wait = threading.Event()
        tevent_set_trace_callback(ev, lambda point, _: about_to_wait.set() if point == 0 else None, None)

        def work() -> None:
            about_to_wait.wait()
            tevent_threaded_schedule_immediate(tctx, im, lambda *args: log.append("immediate"), None)
            signal.pthread_kill(threading.get_ident(), USR1)

        thread = threading.Thread(target=work)
        thread.start()
        loop_until(ev, lambda: len(log) == 2)
        thread.join()
        assert sorted(log) == ["immediate", "signal"]

    def test_requests(self, ev: tevent_context) -> None:
        """Requests run on it as on any context."""
        tevent_context_set_wait_timeout(ev, 30)
        req = tevent_wakeup_send(ev, ev, timeval(0, 0))
        assert isinstance(req, tevent_req)
        assert tevent_req_poll(req, ev)
        assert tevent_wakeup_recv(req)

    def test_initialised_again(self, ev: tevent_context) -> None:
        """context_init is called again, the events of before are detached."""
        state = ev.additional_data
        with pipe() as (_reader, writer):
            fde = tevent_add_fd(ev, None, writer, WRITE, lambda *args: pytest.fail("it ran"), None)
            assert tevent_re_initialise(ev) == 0
            assert ev.additional_data is not state
            assert tevent_loop_once(ev) == -1
            assert talloc_free(fde) == 0

    def test_disarmed(self, ev: tevent_context) -> None:
        """A backend may detach an event whose descriptor went bad."""
        with pipe() as (_reader, writer):
            fde = tevent_add_fd(ev, None, writer, WRITE, lambda *args: pytest.fail("it ran"), None)
            assert fde is not None
            tevent_common_fd_disarm(fde)
            assert tevent_common_invoke_fd_handler(fde, WRITE) == (0, False)
            assert tevent_loop_once(ev) == -1

    def test_the_context_goes_in_a_handler(self, ev: tevent_context) -> None:
        """The loop call aborts, the backend is not asked again."""
        tevent_add_timer(ev, None, timeval(0, 0), lambda *args: talloc_free(ev), None)
        with pytest.raises(tevent_abort_error, match="freed while its loop runs"):
            tevent_loop_once(ev)


class TestContextInit:
    def test_it_fails(self, owner: TALLOC_CTX) -> None:
        """Any result but 0: no context."""
        ops = tevent_ops(context_init=lambda ev: 5)
        assert tevent_context_init_ops(owner, ops, None) is None

    def test_it_raises(self, owner: TALLOC_CTX) -> None:
        """The exception leaves, no context stays."""

        def fail(ev: tevent_context) -> int:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            tevent_context_init_ops(owner, tevent_ops(context_init=fail), None)
        assert owner._talloc_chunk.child is None

    def test_additional_data(self, owner: TALLOC_CTX) -> None:
        """It finds there what was given."""
        seen: list[Any] = []
        ops = tevent_ops(context_init=lambda ev: seen.append(ev.additional_data) or 0)
        assert tevent_context_init_ops(owner, ops, "mine") is not None
        assert seen == ["mine"]

    def test_without_signals(self, owner: TALLOC_CTX) -> None:
        """A backend without add_signal says so."""
        ev = tevent_context_init_ops(owner, tevent_ops(context_init=lambda ev: 0), None)
        assert ev is not None
        assert not tevent_signal_support(ev)


NAMES = (
    "context_init",
    "add_fd",
    "set_fd_close_fn",
    "get_fd_flags",
    "set_fd_flags",
    "add_timer",
    "schedule_immediate",
    "add_signal",
    "loop_once",
    "loop_wait",
)


class TestOneReplaced:
    """Operations of a backend that was found, with one of them replaced by one that notes its call."""

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_it_is_called(self, owner: TALLOC_CTX, backend: str, name: str) -> None:
        """The public functions do nothing but call the operations."""
        found = tevent_find_ops_byname(backend)
        assert found is not None
        calls: list[str] = []
        original = getattr(found, name)

        def replacement(*args: Any) -> Any:
            calls.append(name)
            return original(*args)

        ops = tevent_ops(**{other: getattr(found, other) for other in NAMES} | {name: replacement})
        ev = tevent_context_init_ops(owner, ops, None)
        assert ev is not None
        self.exercise(ev)
        assert calls != []
        assert getattr(ops, name) is replacement
        assert ev.ops is ops

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "context_init"])
    def test_it_is_looked_at_each_time(self, owner: TALLOC_CTX, name: str) -> None:
        """A context may change its operations while it lives."""
        found = tevent_find_ops_byname("poll")
        assert found is not None
        ops = tevent_ops(**{other: getattr(found, other) for other in NAMES})
        ev = tevent_context_init_ops(owner, ops, None)
        assert ev is not None
        self.exercise(ev)
        calls: list[str] = []
        original = getattr(ops, name)

        def replacement(*args: Any) -> Any:
            calls.append(name)
            return original(*args)

        setattr(ops, name, replacement)
        self.exercise(ev)
        assert calls != []

    def exercise(self, ev: tevent_context) -> None:
        """Do something of everything, which must work."""
        log: list[str] = []
        reader, writer = os.pipe()

        def handler(ev: Any, fde: Any, flags: int, private_data: Any) -> None:
            log.append("fd")
            talloc_free(fde)

        fde = tevent_add_fd(ev, None, writer, 0, handler, None)
        tevent_fd_set_auto_close(fde)
        assert tevent_fd_get_flags(fde) == 0
        tevent_fd_set_flags(fde, WRITE)
        tevent_add_timer(ev, None, timeval(0, 0), lambda *args: log.append("timer"), None)
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_schedule_immediate(im, ev, lambda *args: log.append("immediate"), None)

        def signalled(ev: Any, se: Any, *rest: Any) -> None:
            log.append("signal")
            talloc_free(se)

        tevent_add_signal(ev, None, USR1, 0, signalled, None)
        os.kill(os.getpid(), USR1)
        assert tevent_loop_once(ev) == 0
        assert tevent_loop_wait(ev) == 0
        os.close(reader)
        assert log == ["signal", "immediate", "timer", "fd"]
