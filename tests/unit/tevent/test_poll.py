# SPDX-License-Identifier: LGPL-3.0-or-later
"""The backend poll: its own order, what is lazy in it, and descriptors that go bad."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from backend_kit import context, debug_of, pipe

from talloc_py import talloc_free
from tevent import (
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    _sys,
    get_errno,
    tevent_add_fd,
    tevent_add_timer,
    tevent_common_fd_disarm,
    tevent_context_set_wait_timeout,
    tevent_fd_get_flags,
    tevent_fd_set_flags,
    tevent_loop_once,
    tevent_re_initialise,
    tevent_set_trace_callback,
    tevent_timeval_current_ofs,
    timeval,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tevent import tevent_context

READ = TEVENT_FD_READ
WRITE = TEVENT_FD_WRITE


@pytest.fixture
def poll_ev() -> Iterator[tevent_context]:
    """A context of the backend poll that does not wait."""
    with context("poll") as ev:
        tevent_context_set_wait_timeout(ev, 0)
        yield ev


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def noting(log: list[Any], name: str) -> Any:
    return lambda ev, fde, flags, private_data: log.append((name, flags))


class CountingPoll:
    """A poll object that counts what is asked of it."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.calls.append(name)
            return getattr(self.real, name)(*args)

        return call


class TestOrder:
    def test_newest_first_then_round_robin(self, poll_ev: tevent_context, pair: Any) -> None:
        """Of A, B and C, all ready, C runs first, and each goes to the end of the list."""
        log: list[Any] = []
        with pipe() as (_r1, w1), pipe() as (_r2, w2), pipe() as (_r3, w3):
            for name, fd in (("A", w1), ("B", w2), ("C", w3)):
                tevent_add_fd(poll_ev, None, fd, WRITE, noting(log, name), None)
            for _ in range(6):
                tevent_loop_once(poll_ev)
            assert [name for name, _ in log] == list("CBACBA")

    def test_the_list_shows_the_order(self, poll_ev: tevent_context) -> None:
        """What has run stands at the end of ev.fd_events; what is added later at the head."""
        log: list[Any] = []
        with pipe() as (_r1, w1), pipe() as (_r2, w2), pipe() as (_r3, w3):
            a = tevent_add_fd(poll_ev, None, w1, WRITE, noting(log, "a"), None)
            b = tevent_add_fd(poll_ev, None, w2, WRITE, noting(log, "b"), None)
            assert list(poll_ev.fd_events) == [b, a]
            tevent_loop_once(poll_ev)
            assert list(poll_ev.fd_events) == [a, b]
            c = tevent_add_fd(poll_ev, None, w3, WRITE, noting(log, "c"), None)
            assert list(poll_ev.fd_events) == [c, a, b]
            for _ in range(3):
                tevent_loop_once(poll_ev)
            assert [name for name, _ in log] == ["b", "c", "a", "b"]

    def test_events_on_one_descriptor_are_independent(self, poll_ev: tevent_context, pair: Any) -> None:
        """R, W and RW on a socket that is both: the newest first, each with its own flags."""
        one, two = pair
        two.send(b"x")
        log: list[Any] = []
        for name, flags in (("R", READ), ("W", WRITE), ("RW", READ | WRITE)):
            tevent_add_fd(poll_ev, None, one.fileno(), flags, noting(log, name), None)
        for _ in range(6):
            tevent_loop_once(poll_ev)
        assert log == [("RW", 3), ("W", 2), ("R", 1)] * 2


class TestLaziness:
    def test_nothing_is_asked_of_the_system_before_the_wait(self, poll_ev: tevent_context) -> None:
        """Adding, changing and freeing an event make no call; the next wait makes one for each change."""
        counting = CountingPoll(poll_ev.additional_data.poller)
        poll_ev.additional_data.poller = counting
        with pipe() as (reader, writer):
            a = tevent_add_fd(poll_ev, None, reader, READ, None, None)
            b = tevent_add_fd(poll_ev, None, writer, 0, None, None)
            tevent_fd_set_flags(a, 0)
            tevent_fd_set_flags(a, READ)
            assert counting.calls == []
            tevent_loop_once(poll_ev)
            assert counting.calls == ["register", "poll"]
            tevent_loop_once(poll_ev)
            assert counting.calls == ["register", "poll", "poll"]
            talloc_free(a)
            talloc_free(b)
            tevent_loop_once(poll_ev)
            assert counting.calls == ["register", "poll", "poll", "unregister", "poll"]

    def test_a_change_that_changes_nothing(self, poll_ev: tevent_context) -> None:
        """The same flags again are nothing to do."""
        with pipe() as (reader, _writer):
            fde = tevent_add_fd(poll_ev, None, reader, READ, None, None)
            tevent_loop_once(poll_ev)
            tevent_fd_set_flags(fde, READ)
            assert not poll_ev.additional_data.changed

    def test_freed_before_the_first_wait(self, poll_ev: tevent_context) -> None:
        """It was never there."""
        with pipe() as (reader, _writer):
            talloc_free(tevent_add_fd(poll_ev, None, reader, READ, None, None))
            assert tevent_loop_once(poll_ev) == -1
            assert get_errno() == errno.EAGAIN

    def test_a_number_that_is_given_out_again(self, poll_ev: tevent_context) -> None:
        """The new event hears of the new file, the old one is gone."""
        log: list[Any] = []
        with pipe() as (r1, _w1):
            tevent_loop_once(poll_ev)
            fde = tevent_add_fd(poll_ev, None, r1, READ, noting(log, "old"), None)
            tevent_loop_once(poll_ev)
            talloc_free(fde)
            with pipe() as (r2, w2):
                os.dup2(r2, r1)
                tevent_add_fd(poll_ev, None, r1, READ, noting(log, "new"), None)
                os.write(w2, b"x")
                tevent_loop_once(poll_ev)
                assert log == [("new", READ)]


class TestTrouble:
    def test_a_descriptor_that_is_closed(self, poll_ev: tevent_context) -> None:
        """The next wait finds it invalid: the event is detached with a debug message, the handler does not run."""
        messages = debug_of(poll_ev)
        with pipe() as (reader, _writer):
            fde = tevent_add_fd(poll_ev, None, reader, READ, noting([], "never"), None)
            tevent_loop_once(poll_ev)
            os.close(reader)
            assert tevent_loop_once(poll_ev) == 0
            assert tevent_fd_get_flags(fde) == 0
            assert fde is not None
            assert fde.event_ctx is None
            assert "POLLNVAL" in messages[-1][1]
            assert tevent_loop_once(poll_ev) == -1
            assert talloc_free(fde) == 0

    def test_a_number_that_never_was_open(self, poll_ev: tevent_context) -> None:
        """add_fd gives an event; the next wait detaches it."""
        fde = tevent_add_fd(poll_ev, None, 999, READ, noting([], "never"), None)
        assert tevent_fd_get_flags(fde) == READ
        assert tevent_loop_once(poll_ev) == 0
        assert tevent_fd_get_flags(fde) == 0

    def test_an_error_that_only_a_writer_could_hear(self, poll_ev: tevent_context) -> None:
        """WRITE is taken away, the handler does not run; asked for again it is taken away again."""
        log: list[Any] = []
        with pipe() as (reader, writer):
            fde = tevent_add_fd(poll_ev, None, writer, WRITE, noting(log, "never"), None)
            os.close(reader)
            for _ in range(2):
                assert tevent_loop_once(poll_ev) == 0
                assert tevent_fd_get_flags(fde) == 0
                tevent_fd_set_flags(fde, WRITE)
            tevent_fd_set_flags(fde, READ | WRITE)
            tevent_loop_once(poll_ev)
            assert log == [("never", READ | WRITE)]

    def test_detached_without_a_word_to_the_backend(self, poll_ev: tevent_context) -> None:
        """An event that somebody disarms does not run, and its registration goes."""
        with pipe() as (_reader, writer):
            fde = tevent_add_fd(poll_ev, None, writer, WRITE, noting([], "never"), None)
            assert fde is not None
            tevent_loop_once(poll_ev)
            tevent_common_fd_disarm(fde)
            assert tevent_loop_once(poll_ev) == 0
            assert tevent_loop_once(poll_ev) == -1
            assert poll_ev.additional_data.registered == {}
            tevent_fd_set_flags(fde, READ)
            talloc_free(fde)

    def test_poll_itself_fails(self, poll_ev: tevent_context) -> None:
        """loop_once gives -1 with the errno, after AFTER_WAIT."""
        points: list[int] = []
        messages = debug_of(poll_ev)

        class failing:
            def poll(self, timeout: int) -> Any:
                raise OSError(errno.ENOMEM, "no memory")

        tevent_set_trace_callback(poll_ev, lambda point, _: points.append(int(point)), None)
        poll_ev.additional_data.poller = failing()
        assert tevent_loop_once(poll_ev) == -1
        assert get_errno() == errno.ENOMEM
        assert points == [2, 0, 1, 3]
        assert messages[-1][0] == 0

    def test_the_context_goes_while_it_waits(self, poll_ev: tevent_context) -> None:
        """A trace callback frees the context before the wait: nothing more is touched."""
        from tevent import tevent_abort_error

        tevent_set_trace_callback(poll_ev, lambda point, _: talloc_free(poll_ev) if point == 0 else None, None)
        with pytest.raises(tevent_abort_error, match="freed while its loop runs"):
            tevent_loop_once(poll_ev)


class TestWaiting:
    def test_the_timeout_is_rounded_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whole milliseconds, so that no timer fires early; for ever is -1; the longest wait fits."""
        asked: list[int] = []

        class instant:
            def poll(self, timeout: int) -> list[Any]:
                asked.append(timeout)
                return []

        monkeypatch.setattr(_sys, "time_ns", lambda: 1_000_000_000)
        with context("poll") as ev:
            ev.additional_data.poller = instant()
            tevent_loop_once(ev)
            tevent_context_set_wait_timeout(ev, 2**31 - 1)
            tevent_loop_once(ev)
            tevent_context_set_wait_timeout(ev, 2**31 - 2)
            tevent_loop_once(ev)
            te = tevent_add_timer(ev, None, timeval(1, 1), lambda *args: None, None)
            tevent_loop_once(ev)
            talloc_free(te)
            tevent_add_timer(ev, None, timeval(3, 1001), lambda *args: None, None)
            tevent_loop_once(ev)
            assert asked == [30000, -1, 2**31 - 1, 1, 2002]

    def test_a_timer_that_becomes_due_in_the_wait(self) -> None:
        """It runs at the end of that iteration."""
        log: list[Any] = []
        with context("poll") as ev:
            tevent_add_timer(ev, None, tevent_timeval_current_ofs(0, 1000), lambda *args: log.append("timer"), None)
            tevent_loop_once(ev)
        assert log == ["timer"]

    def test_an_event_added_before_the_wait_is_not_run_for_what_an_older_one_saw(self) -> None:
        """BEFORE_WAIT may add events: they are looked at in the next wait."""
        log: list[Any] = []
        with context("poll") as ev, pipe() as (_reader, writer):
            tevent_add_fd(ev, None, writer, WRITE, noting(log, "old"), None)

            def add(point: int, _private: object) -> None:
                if point == 0 and len(ev.fd_events) < 2:
                    tevent_add_fd(ev, None, writer, WRITE, noting(log, "new"), None)

            tevent_set_trace_callback(ev, add, None)
            tevent_loop_once(ev)
            tevent_loop_once(ev)
        assert [name for name, _ in log] == ["old", "new"]

    def test_initialised_again(self, poll_ev: tevent_context) -> None:
        """The old events are gone, new ones work."""
        log: list[Any] = []
        with pipe() as (_reader, writer):
            old = tevent_add_fd(poll_ev, None, writer, WRITE, noting(log, "old"), None)
            tevent_loop_once(poll_ev)
            assert tevent_re_initialise(poll_ev) == 0
            assert tevent_loop_once(poll_ev) == -1
            tevent_add_fd(poll_ev, None, writer, WRITE, noting(log, "new"), None)
            tevent_loop_once(poll_ev)
            assert [name for name, _ in log] == ["old", "new"]
            assert talloc_free(old) == 0
