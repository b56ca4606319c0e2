# SPDX-License-Identifier: LGPL-3.0-or-later
"""The backend poll_mt: one thread sleeps, another one that holds the lock changes the context."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from backend_kit import context, pipe

from talloc_py import talloc_free
from tevent import (
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    _sys,
    tevent_add_fd,
    tevent_common_have_events,
    tevent_context_init_byname,
    tevent_create_immediate,
    tevent_fd_set_flags,
    tevent_loop_once,
    tevent_schedule_immediate,
    tevent_set_trace_callback,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from tevent import tevent_context


class Sleeper:
    """
    A thread that runs iterations of a context, under a lock that it lets go only while it waits.

    The lock is the caller's, as the backend wants it: taken and released in the trace callback.
    """

    def __init__(self, ev: tevent_context, happened: Callable[[], object]) -> None:
        self.ev = ev
        self.happened = happened
        self.lock = threading.Lock()
        self.asleep = threading.Event()
        self.error: BaseException | None = None
        tevent_set_trace_callback(ev, self._trace, None)
        self.thread = threading.Thread(target=self._run)

    def _trace(self, point: int, _private: object) -> None:
        if point == 0:
            self.lock.release()
            self.asleep.set()
        elif point == 1:
            self.lock.acquire()

    def _run(self) -> None:
        try:
            with self.lock:
                while not self.happened():
                    tevent_loop_once(self.ev)
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Self:
        self.thread.start()
        self.asleep.wait()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.thread.join()
        assert self.error is None


@pytest.fixture
def mt() -> Iterator[tevent_context]:
    with context("poll_mt") as ev:
        yield ev


def test_an_added_event_ends_the_wait(mt: tevent_context) -> None:
    """The sleeper runs the handler of an event that another thread has added."""
    log: list[Any] = []
    with pipe() as (_reader, writer), Sleeper(mt, lambda: log) as sleeper, sleeper.lock:

        def handler(ev: Any, fde: Any, flags: int, private_data: Any) -> None:
            log.append(threading.current_thread())
            talloc_free(fde)

        tevent_add_fd(mt, None, writer, TEVENT_FD_WRITE, handler, None)
    assert log == [sleeper.thread]


def test_changed_flags_end_the_wait(mt: tevent_context) -> None:
    """The sleeper sees what another thread wants now."""
    log: list[Any] = []
    with pipe() as (_reader, writer):
        fde = tevent_add_fd(mt, None, writer, 0, lambda *args: log.append(args[2]), None)
        with Sleeper(mt, lambda: log) as sleeper, sleeper.lock:
            tevent_fd_set_flags(fde, TEVENT_FD_WRITE)
        talloc_free(fde)
    assert log[0] == TEVENT_FD_WRITE


def test_a_freed_event_ends_the_wait(mt: tevent_context) -> None:
    """And its handler does not run, though it is ready by then."""
    log: list[Any] = []
    with pipe() as (reader, writer):
        fde = tevent_add_fd(mt, None, reader, TEVENT_FD_READ, lambda *args: log.append("never"), None)
        gone: list[Any] = []
        with Sleeper(mt, lambda: gone) as sleeper, sleeper.lock:
            os.write(writer, b"x")
            talloc_free(fde)
            gone.append(True)
    assert log == []


def test_an_immediate_ends_the_wait(mt: tevent_context) -> None:
    """The sleeper runs an immediate that another thread has scheduled."""
    log: list[Any] = []
    im = tevent_create_immediate(mt)
    assert im is not None
    with Sleeper(mt, lambda: log) as sleeper, sleeper.lock:
        tevent_schedule_immediate(im, mt, lambda *args: log.append(threading.current_thread()), None)
    assert log == [sleeper.thread]


def test_a_change_between_the_preparation_and_the_wait(mt: tevent_context) -> None:
    """What is changed in BEFORE_WAIT, when the registrations are made already, ends that wait."""
    log: list[Any] = []
    with pipe() as (_reader, writer):

        def trace(point: int, _private: object) -> None:
            if point == 0 and not log:
                log.append(tevent_add_fd(mt, None, writer, TEVENT_FD_WRITE, lambda *args: log.append("ran"), None))

        tevent_set_trace_callback(mt, trace, None)
        for _ in range(3):
            tevent_loop_once(mt)
        assert "ran" in log
        talloc_free(log[0])


def test_the_wakeup_exists_from_the_beginning(mt: tevent_context) -> None:
    """It stands in the list of fd events but does not count as one."""
    assert list(mt.fd_events) == [mt.wakeup_fde]
    assert not tevent_common_have_events(mt)


def test_without_a_sleeper_there_is_nothing_to_wake(mt: tevent_context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes by the thread that loops make no system call."""
    monkeypatch.setattr(_sys, "write", None)
    im = tevent_create_immediate(mt)
    assert im is not None
    log: list[Any] = []
    with pipe() as (reader, _writer):
        fde = tevent_add_fd(mt, None, reader, TEVENT_FD_READ, None, None)
        tevent_fd_set_flags(fde, 0)
        tevent_schedule_immediate(im, mt, lambda *args: log.append("ran"), None)
        tevent_loop_once(mt)
        talloc_free(fde)
    assert log == ["ran"]


def test_no_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a wakeup there is no context of this backend."""

    def fail(*args: object) -> int:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(_sys, "eventfd", fail)
    assert tevent_context_init_byname(None, "poll_mt") is None
