# SPDX-License-Identifier: LGPL-3.0-or-later
"""Contexts in a forked child: everything is still there, and nothing is taken from the parent."""

from __future__ import annotations

import os
import select
import selectors
import signal
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from backend_kit import BACKENDS, context, forget_signals, loop_until, pipe

from talloc_py import talloc_free
from tevent import (
    TEVENT_FD_READ,
    _sys,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_cached_getpid,
    tevent_common_wakeup,
    tevent_context_init_ops,
    tevent_context_set_wait_timeout,
    tevent_create_immediate,
    tevent_fd_set_flags,
    tevent_find_ops_byname,
    tevent_loop_once,
    tevent_re_initialise,
    tevent_schedule_immediate,
    tevent_threaded_context_create,
    tevent_threaded_schedule_immediate,
    timeval,
)
from tevent._notify import wakeup_channel
from tevent._sigcount import state as signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tevent import tevent_context

USR1 = int(signal.SIGUSR1)


def in_child(function: Callable[[], object]) -> str:
    """The repr of what a function returns in a forked child; its traceback where it raises."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Newer interpreters warn where the process has ever had threads; the child does not touch them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            answer = repr(function())
        except BaseException:
            answer = traceback.format_exc()
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    parts = []
    while part := os.read(reader, 65536):
        parts.append(part)
    os.close(reader)
    assert os.waitpid(pid, 0) == (pid, 0)
    return b"".join(parts).decode()


@pytest.fixture(autouse=True)
def no_signal_is_left_for_another_test() -> Iterator[None]:
    forget_signals()
    yield
    forget_signals()


@pytest.fixture(params=BACKENDS)
def any_ev(request: pytest.FixtureRequest) -> Iterator[tevent_context]:
    with context(request.param) as ev:
        yield ev


def test_all_events_are_still_there(any_ev: tevent_context) -> None:
    """A timer, an immediate and an fd event made before the fork run in the child."""
    log: list[str] = []
    im = tevent_create_immediate(any_ev)
    assert im is not None
    with pipe() as (reader, writer):
        tevent_add_fd(any_ev, None, reader, TEVENT_FD_READ, lambda *args: log.append("fd"), None)
        tevent_add_timer(any_ev, None, timeval(0, 0), lambda *args: log.append("timer"), None)
        tevent_schedule_immediate(im, any_ev, lambda *args: log.append("immediate"), None)
        os.write(writer, b"x")

        def child() -> list[str]:
            loop_until(any_ev, lambda: len(log) == 3)
            return log

        assert in_child(child) == repr(["immediate", "timer", "fd"])
        assert log == []
        loop_until(any_ev, lambda: len(log) == 3)


def test_events_are_not_stolen(any_ev: tevent_context) -> None:
    """What the child frees, changes and adds is not noticed by the parent, nor the other way round."""
    log: list[str] = []
    with pipe() as (r1, w1), pipe() as (r2, w2), pipe() as (r3, w3):
        first = tevent_add_fd(any_ev, None, r1, TEVENT_FD_READ, lambda *args: log.append("first"), None)
        second = tevent_add_fd(any_ev, None, r2, TEVENT_FD_READ, lambda *args: log.append("second"), None)
        tevent_context_set_wait_timeout(any_ev, 0)
        tevent_loop_once(any_ev)

        def child() -> list[str]:
            talloc_free(first)
            tevent_fd_set_flags(second, 0)
            tevent_add_fd(any_ev, None, r3, TEVENT_FD_READ, lambda *args: log.append("third"), None)
            os.write(w3, b"x")
            tevent_context_set_wait_timeout(any_ev, 30)
            loop_until(any_ev, lambda: log)
            return log

        assert in_child(child) == repr(["third"])
        assert tevent_loop_once(any_ev) == -1
        os.write(w1, b"x")
        assert tevent_loop_once(any_ev) == 0
        assert log == ["first"]
        talloc_free(first)
        os.write(w2, b"x")
        assert tevent_loop_once(any_ev) == 0
        assert log == ["first", "second"]


def test_the_process_id() -> None:
    """It is right in the child at once."""
    assert in_child(lambda: tevent_cached_getpid() == os.getpid()) == "True"
    assert tevent_cached_getpid() == os.getpid()


def test_wakeups_are_not_shared(any_ev: tevent_context) -> None:
    """A wakeup of the child does not wake the parent, and the parent's is not eaten by the child."""
    tevent_context_set_wait_timeout(any_ev, 0)
    tctx = tevent_threaded_context_create(any_ev, any_ev)
    assert tctx is not None

    def child() -> list[int]:
        results = [tevent_loop_once(any_ev)]
        tevent_common_wakeup(any_ev)
        return [*results, tevent_loop_once(any_ev), tevent_loop_once(any_ev)]

    assert in_child(child) == "[-1, 0, -1]"
    assert tevent_loop_once(any_ev) == -1
    tevent_common_wakeup(any_ev)
    assert in_child(child) == "[-1, 0, -1]"
    assert tevent_loop_once(any_ev) == 0


def test_threaded_contexts_are_cut_off(any_ev: tevent_context) -> None:
    """Those of before the fork do nothing in the child; new ones work."""
    log: list[str] = []
    old = tevent_threaded_context_create(any_ev, any_ev)
    im = tevent_create_immediate(any_ev)
    assert old is not None
    assert im is not None

    def child() -> list[str]:
        tevent_threaded_schedule_immediate(old, im, lambda *args: log.append("never"), None)
        assert im.event_ctx is None
        new = tevent_threaded_context_create(any_ev, any_ev)
        assert new is not None
        tevent_threaded_schedule_immediate(new, im, lambda *args: log.append("new"), None)
        loop_until(any_ev, lambda: log)
        talloc_free(old)
        return log

    assert in_child(child) == "['new']"
    tevent_threaded_schedule_immediate(old, im, lambda *args: log.append("parent"), None)
    loop_until(any_ev, lambda: log)
    assert log == ["parent"]


def test_signals_are_counted_apart(any_ev: tevent_context) -> None:
    """Each process gets its own occurrences; what was undelivered at the fork reaches both."""
    log: list[int] = []
    tevent_add_signal(any_ev, None, USR1, 0, lambda ev, se, n, count, *rest: log.append(count), None)
    os.kill(os.getpid(), USR1)

    def child() -> list[int]:
        loop_until(any_ev, lambda: log)
        for _ in range(3):
            os.kill(os.getpid(), USR1)
        loop_until(any_ev, lambda: len(log) == 2)
        return log

    assert in_child(child) == "[1, 3]"
    loop_until(any_ev, lambda: log)
    tevent_context_set_wait_timeout(any_ev, 0)
    while tevent_loop_once(any_ev) == 0:
        pass
    assert log == [1]
    os.kill(os.getpid(), USR1)
    loop_until(any_ev, lambda: len(log) == 2)
    assert log == [1, 1]


def test_asyncio_takes_the_wakeup_descriptor_away_in_every_child(any_ev: tevent_context) -> None:
    """The first occurrence in the child wakes its loop all the same, and none is counted twice or lost."""
    log: list[int] = []
    tevent_add_signal(any_ev, None, USR1, 0, lambda ev, se, n, count, *rest: log.append(count), None)

    def child() -> list[int]:
        # asyncio does this where it was imported, after or before our own preparations.
        signal.set_wakeup_fd(-1)
        for _ in range(3):
            os.kill(os.getpid(), USR1)
        assert readable(signals.read_fd)
        loop_until(any_ev, lambda: log)
        return log

    assert in_child(child) == "[3]"


def test_a_wakeup_descriptor_before_the_fork_stays(any_ev: tevent_context) -> None:
    """What somebody else has put in the place of ours is in its place in the child too."""
    with pipe() as (_reader, writer):
        tevent_add_signal(any_ev, None, USR1, 0, lambda *args: None, None)
        ours = signal.set_wakeup_fd(writer)
        # asyncio, where it was imported, takes it away in the child; and that is not ours to mend.
        assert in_child(lambda: signal.set_wakeup_fd(-1) in (writer, -1)) == "True"
        assert signal.set_wakeup_fd(ours) == writer


def test_a_sleeping_child_is_woken_by_a_signal(any_ev: tevent_context) -> None:
    """Its own pipe wakes its own loop."""
    log: list[int] = []
    tevent_add_signal(any_ev, None, USR1, 0, lambda ev, se, n, count, *rest: log.append(count), None)

    def child() -> list[int]:
        import threading

        thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), USR1))
        thread.start()
        loop_until(any_ev, lambda: log, 10)
        thread.join()
        return log

    assert in_child(child) == "[1]"
    assert log == []


def test_initialised_again_in_the_child(any_ev: tevent_context) -> None:
    """What a server does: nothing of the parent's is left, and new events work."""
    log: list[str] = []
    with pipe() as (reader, writer):
        tevent_add_fd(any_ev, None, reader, TEVENT_FD_READ, lambda *args: log.append("old"), None)
        tevent_add_signal(any_ev, None, USR1, 0, lambda *args: log.append("signal"), None)
        os.write(writer, b"x")

        def child() -> list[Any]:
            assert tevent_re_initialise(any_ev) == 0
            assert signal.getsignal(USR1) == signal.SIG_DFL
            tevent_context_set_wait_timeout(any_ev, 0)
            tevent_loop_once(any_ev)
            tevent_loop_once(any_ev)
            tevent_add_fd(any_ev, None, reader, TEVENT_FD_READ, lambda *args: log.append("new"), None)
            loop_until(any_ev, lambda: log)
            return log

        assert in_child(child) == "['new']"
        loop_until(any_ev, lambda: log)
        assert log == ["old"]


def test_selectors_without_a_descriptor_of_their_own() -> None:
    """A selector that does not live in the kernel serves the child as it is."""
    ops = tevent_find_ops_byname("selectors")
    assert ops is not None
    selector = selectors.SelectSelector()
    ev = tevent_context_init_ops(None, ops, selector)
    assert ev is not None
    with pipe() as (reader, writer):
        log: list[str] = []
        tevent_add_fd(ev, None, reader, TEVENT_FD_READ, lambda *args: log.append("fd"), None)
        os.write(writer, b"x")

        def child() -> tuple[bool, list[str]]:
            tevent_loop_once(ev)
            return ev.additional_data.selector is selector, log

        assert in_child(child) == "(True, ['fd'])"
        talloc_free(ev)


def test_platform_without_eventfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wakeups over a pipe are not shared either, without epoll as well."""
    monkeypatch.setattr(_sys, "eventfd", None)
    for epoll in (_sys.epoll, None):
        monkeypatch.setattr(_sys, "epoll", epoll)
        with context("poll") as ev:
            tevent_context_set_wait_timeout(ev, 0)
            tevent_threaded_context_create(ev, ev)

            def child(ev: tevent_context = ev) -> list[int]:
                tevent_common_wakeup(ev)
                return [tevent_loop_once(ev), tevent_loop_once(ev)]

            assert in_child(child) == "[0, -1]"
            assert tevent_loop_once(ev) == -1


class TestWithoutFork:
    """What a child does, done in this process, where it can be looked at."""

    @pytest.mark.parametrize("eventfd", [True, False])
    def test_a_wakeup_made_anew(self, monkeypatch: pytest.MonkeyPatch, eventfd: bool) -> None:
        """The numbers stay, what was signalled before is gone, what is watched is watched on."""
        if not eventfd:
            monkeypatch.setattr(_sys, "eventfd", None)
        channel = wakeup_channel()
        before = (channel.fd, channel.read_fd, channel.write_fd)
        with pipe() as (reader, writer):
            assert channel.watch(reader, lambda: None)
            channel.notify()
            assert readable(channel.fd)
            channel.renew()
            assert (channel.fd, channel.read_fd, channel.write_fd) == before
            assert not readable(channel.fd)
            channel.notify()
            assert readable(channel.fd)
            channel.drain()
            assert not readable(channel.fd)
            os.write(writer, b"x")
            assert readable(channel.fd)
            channel.unwatch(reader)
            channel.unwatch(reader)
            assert not readable(channel.fd)
        channel.close()

    def test_a_selector_made_anew(self) -> None:
        """One that lives in the kernel is replaced by one of the same class with the same registrations."""
        with context("selectors") as ev, pipe() as (reader, _writer):
            state = ev.additional_data
            tevent_add_fd(ev, None, reader, TEVENT_FD_READ, None, None)
            old = state.selector
            state.pid = -1
            tevent_context_set_wait_timeout(ev, 0)
            assert tevent_loop_once(ev) == -1
            assert state.selector is not old
            assert type(state.selector) is type(old)
            assert state.registered == {reader: 1}
            assert state.pid == os.getpid()

    def test_signals_made_anew(self) -> None:
        """The pipe keeps its numbers and loses what was in it."""
        log: list[int] = []
        with context() as ev:
            tevent_add_signal(ev, None, USR1, 0, lambda ev, se, n, count, *rest: log.append(count), None)
            os.kill(os.getpid(), USR1)
            before = (signals.read_fd, signals.write_fd)
            for function in _sys.after_fork_in_child:
                function()
            assert (signals.read_fd, signals.write_fd) == before
            os.kill(os.getpid(), USR1)
            loop_until(ev, lambda: log)
            assert log == [1]


def readable(fd: int) -> bool:
    return select.select([fd], [], [], 0)[0] == [fd]


def test_two_generations(any_ev: tevent_context) -> None:
    """A grandchild parts from its parent as that did."""
    log: list[str] = []
    with pipe() as (reader, writer):
        tevent_add_fd(any_ev, None, reader, TEVENT_FD_READ, lambda *args: log.append("fd"), None)
        os.write(writer, b"x")

        def grandchild() -> list[str]:
            loop_until(any_ev, lambda: log)
            return log

        def child() -> str:
            answer = in_child(grandchild)
            loop_until(any_ev, lambda: log)
            return answer + repr(log)

        assert in_child(child) == repr("['fd']['fd']")
