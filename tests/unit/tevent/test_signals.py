# SPDX-License-Identifier: LGPL-3.0-or-later
"""Signal events: counts, order, what is installed and restored, and what handlers may do."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from backend_kit import BACKENDS, aborts, context, forget_signals, loop_until, pipe

from talloc_py import talloc_free, talloc_new, talloc_parent, talloc_set_abort_fn, talloc_set_memlimit, talloc_steal
from tevent import (
    SA_NOCLDSTOP,
    SA_NOCLDWAIT,
    SA_NODEFER,
    SA_RESETHAND,
    SA_RESTART,
    SA_SIGINFO,
    get_errno,
    set_errno,
    tevent_abort_error,
    tevent_add_signal,
    tevent_add_timer,
    tevent_cleanup_pending_signal_handlers,
    tevent_common_check_signal,
    tevent_common_have_events,
    tevent_common_invoke_signal_handler,
    tevent_create_immediate,
    tevent_loop_allow_nesting,
    tevent_loop_once,
    tevent_loop_wait,
    tevent_num_signals,
    tevent_re_initialise,
    tevent_sa_info_queue_count,
    tevent_schedule_immediate,
    tevent_set_trace_callback,
    tevent_set_trace_fd_callback,
    tevent_set_trace_signal_callback,
    tevent_signal,
    tevent_signal_get_tag,
    tevent_signal_set_tag,
    tevent_threaded_context_create,
    timeval,
)
from tevent._sigcount import state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tevent import tevent_context

USR1 = int(signal.SIGUSR1)
USR2 = int(signal.SIGUSR2)


@pytest.fixture(autouse=True)
def dispositions_are_restored() -> Iterator[None]:
    """Fail a test that leaves a handler or a wakeup descriptor behind; forget signals that nobody was told of."""
    forget_signals()
    yield
    forget_signals()
    assert [signal.getsignal(n) for n in (USR1, USR2)] == [signal.SIG_DFL] * 2
    assert signal.set_wakeup_fd(-1) == -1


@pytest.fixture(params=BACKENDS)
def any_ev(request: pytest.FixtureRequest) -> Iterator[tevent_context]:
    with context(request.param) as ev:
        yield ev


@pytest.fixture
def ev() -> Iterator[tevent_context]:
    with context() as made:
        yield made


def send(signum: int, times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), signum)


def recorder(log: list[Any], name: object = None) -> Any:
    """A handler that notes its name, the number and the count."""

    def handler(ev: Any, se: Any, signum: int, count: int, siginfo: Any, private_data: Any) -> None:
        log.append((signum, count) if name is None else (name, count))

    return handler


class TestDelivery:
    def test_occurrences_are_counted_exactly(self, any_ev: tevent_context) -> None:
        """One call tells how often the signal has come since the last call."""
        log: list[Any] = []
        tevent_add_signal(any_ev, None, USR1, 0, recorder(log), None)
        send(USR1, 3)
        assert tevent_loop_once(any_ev) == 0
        assert log == [(USR1, 3)]
        send(USR1, 1)
        loop_until(any_ev, lambda: len(log) == 2)
        assert log == [(USR1, 3), (USR1, 1)]

    def test_many_occurrences_are_counted_exactly(self, ev: tevent_context) -> None:
        """Far more occurrences than C would remember are all counted."""
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        send(USR1, 3000)
        tevent_loop_once(ev)
        assert log == [(USR1, 3000)]

    def test_more_occurrences_than_are_read_at_once(self, ev: tevent_context, monkeypatch: pytest.MonkeyPatch) -> None:
        """The rest comes with the next iterations."""
        monkeypatch.setattr("tevent._sigcount.PIPE_SIZE", 4)
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        send(USR1, 10)
        loop_until(ev, lambda: sum(count for _, count in log) >= 10)
        assert len(log) > 1
        assert sum(count for _, count in log) == 10

    def test_siginfo_calls_once_for_each(self, any_ev: tevent_context) -> None:
        """With SA_SIGINFO each occurrence is a call with count 1 and an object that knows the number."""
        log: list[Any] = []
        tevent_add_signal(
            any_ev,
            None,
            USR1,
            SA_SIGINFO,
            lambda ev, se, n, c, info, p: log.append((c, info.si_signo, info.si_pid)),
            None,
        )
        send(USR1, 3)
        tevent_loop_once(any_ev)
        assert log == [(1, USR1, 0)] * 3

    def test_plain_and_siginfo_events_together(self, ev: tevent_context) -> None:
        """An event gets what its own flags ask for, whichever came first."""
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, 0, lambda ev, se, n, c, info, p: log.append(("plain", c, info)), None)
        tevent_add_signal(
            ev, None, USR1, SA_SIGINFO, lambda ev, se, n, c, info, p: log.append(("info", c, info.si_signo)), None
        )
        send(USR1, 2)
        tevent_loop_once(ev)
        assert log == [("info", 1, USR1), ("info", 1, USR1), ("plain", 2, None)]

    def test_more_siginfo_occurrences_than_the_queue_of_c(self, ev: tevent_context) -> None:
        """None is lost beyond tevent_sa_info_queue_count()."""
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, SA_SIGINFO, recorder(log), None)
        send(USR1, 300)
        tevent_loop_once(ev)
        assert log == [(USR1, 1)] * 300

    def test_order_of_numbers_and_events(self, ev: tevent_context) -> None:
        """Ascending numbers, and of one number the newest event first."""
        log: list[Any] = []
        for name in "abc":
            tevent_add_signal(ev, None, USR2, 0, recorder(log, f"{name}2"), None)
            tevent_add_signal(ev, None, USR1, 0, recorder(log, f"{name}1"), None)
        send(USR2)
        send(USR1)
        tevent_loop_once(ev)
        assert [name for name, _ in log] == ["c1", "b1", "a1", "c2", "b2", "a2"]

    def test_arguments(self, ev: tevent_context) -> None:
        """The handler gets its context, its event and its private data."""
        log: list[Any] = []
        data = object()
        se = tevent_add_signal(ev, None, USR1, 0, lambda *args: log.append(args), data)
        send(USR1)
        tevent_loop_once(ev)
        assert log == [(ev, se, USR1, 1, None, data)]

    def test_all_contexts_are_served_by_the_loop_of_one(self) -> None:
        """The events of another context run too, with their own context; afterwards that one sees nothing."""
        log: list[Any] = []
        with context() as ev1, context() as ev2:
            tevent_add_signal(ev1, None, USR1, 0, lambda ev, *rest: log.append(ev), None)
            tevent_add_signal(ev2, None, USR1, 0, lambda ev, *rest: log.append(ev), None)
            send(USR1)
            tevent_loop_once(ev1)
            assert log == [ev2, ev1]
            assert tevent_common_check_signal(ev2) == 0
            assert len(log) == 2

    def test_a_context_without_signal_events_delivers_nothing(self, ev: tevent_context) -> None:
        """Only a loop with a signal event delivers."""
        log: list[Any] = []
        with context() as watching:
            tevent_add_signal(watching, None, USR1, 0, recorder(log), None)
            send(USR1)
            tevent_add_timer(ev, None, timeval(0, 0), lambda *args: None, None)
            assert tevent_loop_once(ev) == 0
            assert log == []
            assert tevent_loop_once(watching) == 0
            assert log == [(USR1, 1)]

    def test_signals_come_before_immediates(self, any_ev: tevent_context) -> None:
        """While immediates are queued signals still come through, and first."""
        log: list[Any] = []
        im = tevent_create_immediate(any_ev)
        assert im is not None
        tevent_add_signal(any_ev, None, USR1, 0, recorder(log, "signal"), None)
        tevent_schedule_immediate(im, any_ev, lambda *args: log.append("immediate"), None)
        send(USR1)
        tevent_loop_once(any_ev)
        assert log == [("signal", 1)]
        tevent_loop_once(any_ev)
        assert log == [("signal", 1), "immediate"]

    def test_an_occurrence_during_a_handler_comes_later(self, ev: tevent_context) -> None:
        """What a handler causes is delivered by a later iteration."""
        log: list[Any] = []

        def handler(ev: Any, se: Any, signum: int, count: int, siginfo: Any, private_data: Any) -> None:
            log.append(count)
            if len(log) == 1:
                send(USR1, 2)

        tevent_add_signal(ev, None, USR1, 0, handler, None)
        send(USR1)
        tevent_loop_once(ev)
        assert log == [1]
        tevent_loop_once(ev)
        assert log == [1, 2]

    def test_an_occurrence_of_a_higher_number_during_a_handler_comes_at_once(self, ev: tevent_context) -> None:
        """Its turn is still to come; that of a lower number is over."""
        low, high = sorted((USR1, USR2))
        log: list[Any] = []

        def handler(ev: Any, se: Any, signum: int, count: int, siginfo: Any, private_data: Any) -> None:
            log.append(signum)
            if len(log) < 3:
                send(low + high - signum)

        for signum in (low, high):
            tevent_add_signal(ev, None, signum, 0, handler, None)
        send(low)
        tevent_loop_once(ev)
        assert log == [low, high]
        tevent_loop_once(ev)
        assert log == [low, high, low]

    def test_a_sleeping_loop_wakes(self, any_ev: tevent_context) -> None:
        """A signal ends the wait and is delivered in the same or the next iterations."""
        log: list[Any] = []
        tevent_add_signal(any_ev, None, USR1, 0, recorder(log), None)
        with sent_during_the_wait(any_ev):
            loop_until(any_ev, lambda: log, 10)
        assert log == [(USR1, 1)]

    def test_a_signal_to_another_thread_wakes_the_loop(self, any_ev: tevent_context) -> None:
        """Also where the system interrupts a thread that does not loop."""
        log: list[Any] = []
        tevent_add_signal(any_ev, None, USR1, 0, recorder(log), None)
        thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), USR1))
        thread.start()
        loop_until(any_ev, lambda: log, 10)
        thread.join()
        assert log == [(USR1, 1)]

    def test_a_loop_in_another_thread_delivers(self, any_ev: tevent_context) -> None:
        """The loop may run in a thread, the event must be added in the main thread."""
        log: list[Any] = []
        tevent_add_signal(any_ev, None, USR1, 0, recorder(log), None)
        thread = threading.Thread(target=lambda: loop_until(any_ev, lambda: log, 10))
        thread.start()
        send(USR1)
        thread.join()
        assert log == [(USR1, 1)]

    def test_the_wakeup_is_emptied(self, any_ev: tevent_context) -> None:
        """After the delivery the loop sleeps again: no readiness stays behind."""
        log: list[Any] = []
        tevent_add_signal(any_ev, None, USR1, 0, recorder(log), None)
        send(USR1)
        loop_until(any_ev, lambda: log)
        fired: list[Any] = []
        for _ in range(3):
            tevent_loop_once_without_waiting(any_ev)
        assert tevent_loop_once_without_waiting(any_ev) == -1
        assert fired == []


@contextmanager
def sent_during_the_wait(ev: tevent_context) -> Iterator[None]:
    """Let another thread send SIGUSR1 to the process when the loop is about to wait."""
    about_to_wait = threading.Event()

    def send_it() -> None:
        about_to_wait.wait()
        send(USR1)

    thread = threading.Thread(target=send_it)
    thread.start()
    tevent_set_trace_callback(ev, lambda point, _: about_to_wait.set() if point == 0 else None, None)
    yield
    thread.join()


def tevent_loop_once_without_waiting(ev: tevent_context) -> int:
    from tevent import tevent_context_set_wait_timeout

    old = tevent_context_set_wait_timeout(ev, 0)
    try:
        return tevent_loop_once(ev)
    finally:
        tevent_context_set_wait_timeout(ev, old)


class TestAdding:
    def test_owner(self, ev: tevent_context) -> None:
        """The event is a child of mem_ctx, of the context where that is None."""
        se = tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
        assert se is not None
        assert talloc_parent(se) is ev
        owner = talloc_new(ev)
        other = tevent_add_signal(ev, owner, USR1, 0, recorder([]), None)
        assert other is not None
        assert talloc_parent(other) is owner

    @pytest.mark.parametrize("signum", [0, -1, int(signal.SIGKILL), int(signal.SIGSTOP), 65, 67, 68, 1000])
    def test_numbers_that_cannot_be_handled(self, ev: tevent_context, signum: int) -> None:
        """They give None with EINVAL, and leave nothing behind."""
        set_errno(0)
        assert tevent_add_signal(ev, None, signum, 0, recorder([]), None) is None
        assert get_errno() == errno.EINVAL
        assert not ev.signal_events
        assert signal.set_wakeup_fd(-1) == -1

    def test_a_refused_number_makes_the_wakeup_event_all_the_same(self, ev: tevent_context) -> None:
        """The first use makes the internal wakeup, though it fails later; it does not count as an event."""
        traced: list[Any] = []
        tevent_set_trace_fd_callback(ev, lambda fde, point, _: traced.append(point), None)
        assert tevent_add_signal(ev, None, int(signal.SIGKILL), 0, recorder([]), None) is None
        assert ev.wakeup_fde is not None
        assert list(ev.fd_events) == [ev.wakeup_fde]
        assert traced == [0]
        assert not tevent_common_have_events(ev)

    def test_a_number_out_of_range_makes_the_wakeup_event_too(self, ev: tevent_context) -> None:
        """As in C, whose check of the number comes second."""
        assert tevent_add_signal(ev, None, tevent_num_signals(), 0, recorder([]), None) is None
        assert ev.wakeup_fde is not None

    def test_one_wakeup_event_for_all(self, ev: tevent_context) -> None:
        """Signals and threads share one internal fd event."""
        tevent_threaded_context_create(ev, ev)
        tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
        tevent_add_signal(ev, None, USR2, 0, recorder([]), None)
        assert list(ev.fd_events) == [ev.wakeup_fde]

    def test_elsewhere_than_in_the_main_thread(self, ev: tevent_context) -> None:
        """Only the main thread may install handlers: None with ENOSYS, also where the number has an event already."""
        tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
        results: list[Any] = []

        def add() -> None:
            for signum in (USR1, USR2):
                set_errno(0)
                results.append((tevent_add_signal(ev, None, signum, 0, recorder([]), None), get_errno()))

        thread = threading.Thread(target=add)
        thread.start()
        thread.join()
        assert results == [(None, errno.ENOSYS)] * 2

    def test_wrong_types(self, ev: tevent_context) -> None:
        """They are TypeErrors that name the parameter."""
        with pytest.raises(TypeError, match="ev"):
            tevent_add_signal(None, None, USR1, 0, recorder([]), None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="signum"):
            tevent_add_signal(ev, None, "USR1", 0, recorder([]), None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="sa_flags"):
            tevent_add_signal(ev, None, USR1, None, recorder([]), None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="handler"):
            tevent_add_signal(ev, None, USR1, 0, 5, None)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            tevent_signal()

    def test_event_without_handler(self, ev: tevent_context) -> None:
        """It may stand there but must not fire."""
        se = tevent_add_signal(ev, None, USR1, 0, None, None)
        assert se is not None
        send(USR1)
        with pytest.raises(tevent_abort_error, match="event without a handler"):
            tevent_loop_once(ev)

    def test_memory_limit(self) -> None:
        """Where there is no room the event is None and nothing is installed."""
        with context() as ev:
            owner = talloc_new(ev)
            talloc_set_memlimit(owner, 1)
            assert tevent_add_signal(ev, owner, USR1, 0, recorder([]), None) is None
            assert signal.getsignal(USR1) == signal.SIG_DFL

    def test_no_descriptor_left_for_the_wakeup(self, ev: tevent_context, monkeypatch: pytest.MonkeyPatch) -> None:
        """The errno of what failed is passed on."""
        from tevent import _sys

        def fail(*args: object) -> None:
            raise OSError(errno.EMFILE, "too many")

        monkeypatch.setattr(_sys, "eventfd", fail)
        assert tevent_add_signal(ev, None, USR1, 0, recorder([]), None) is None
        assert get_errno() == errno.EMFILE

    def test_no_descriptor_left_for_the_pipe(self, ev: tevent_context, monkeypatch: pytest.MonkeyPatch) -> None:
        """The errno of what failed is passed on, nothing is installed, and later it works."""
        from tevent import _sys

        def fail() -> None:
            raise OSError(errno.EMFILE, "too many")

        with monkeypatch.context() as patch:
            patch.setattr(_sys, "new_pipe", fail)
            assert tevent_add_signal(ev, None, USR1, 0, recorder([]), None) is None
        assert get_errno() == errno.EMFILE
        assert signal.getsignal(USR1) == signal.SIG_DFL
        assert tevent_add_signal(ev, None, USR1, 0, recorder([]), None) is not None

    def test_an_interpreter_that_may_not_install_handlers(
        self, ev: tevent_context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the interpreter refuses a wakeup descriptor the answer is ENOSYS, and no descriptor is left open."""
        from tevent import _sys

        def refuse(fd: int, **options: object) -> int:
            raise ValueError("main thread of the main interpreter")

        with monkeypatch.context() as patch:
            patch.setattr(_sys, "set_wakeup_fd", refuse)
            assert tevent_add_signal(ev, None, USR1, 0, recorder([]), None) is None
        assert get_errno() == errno.ENOSYS

    def test_a_raising_trace_callback_leaves_nothing(self, ev: tevent_context) -> None:
        """The exception leaves the call, the event is gone and the handler of before is back."""

        def trace(se: object, point: int, private_data: object) -> None:
            raise ZeroDivisionError

        tevent_set_trace_signal_callback(ev, trace, None)
        with pytest.raises(ZeroDivisionError):
            tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
        assert signal.getsignal(USR1) == signal.SIG_DFL
        assert not ev.signal_events

    def test_restart_is_given_to_the_system(self, ev: tevent_context) -> None:
        """With SA_RESTART a system call is not interrupted; all that can be seen is that the signal still comes."""
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, SA_RESTART, recorder(log), None)
        send(USR1, 2)
        tevent_loop_once(ev)
        assert log == [(USR1, 2)]


class TestInstalling:
    def test_the_first_installs_and_the_last_restores(self, ev: tevent_context) -> None:
        """What was there before comes back with the last event of all contexts."""
        mine = lambda signum, frame: None  # noqa: E731
        signal.signal(USR1, mine)
        try:
            with context() as other:
                a = tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
                b = tevent_add_signal(other, None, USR1, 0, recorder([]), None)
                assert signal.getsignal(USR1) is not mine
                talloc_free(a)
                assert signal.getsignal(USR1) is not mine
                talloc_free(b)
                assert signal.getsignal(USR1) is mine
        finally:
            signal.signal(USR1, signal.SIG_DFL)

    def test_ignored_comes_back(self, ev: tevent_context) -> None:
        """SIG_IGN is restored too."""
        signal.signal(USR1, signal.SIG_IGN)
        try:
            talloc_free(tevent_add_signal(ev, None, USR1, 0, recorder([]), None))
            assert signal.getsignal(USR1) == signal.SIG_IGN
        finally:
            signal.signal(USR1, signal.SIG_DFL)

    @pytest.mark.parametrize("end", ["free", "re_initialise"])
    def test_the_end_of_the_context_restores(self, end: str) -> None:
        """Freed or initialised again: the handler goes, the detached event can be freed."""
        with context() as ev:
            owner = talloc_new(None)
            se = tevent_add_signal(ev, owner, USR1, 0, recorder([]), None)
            assert se is not None
            if end == "free":
                talloc_free(ev)
            else:
                assert tevent_re_initialise(ev) == 0
            assert signal.getsignal(USR1) == signal.SIG_DFL
            assert se.event_ctx is None
            assert "detached" in repr(se)
            assert talloc_free(se) == 0
            talloc_free(owner)

    def test_a_context_of_its_own_goes_on(self) -> None:
        """One context goes, the events of another one go on."""
        log: list[Any] = []
        with context() as ev:
            with context() as other:
                tevent_add_signal(other, None, USR1, 0, recorder(log, "other"), None)
                tevent_add_signal(ev, None, USR1, 0, recorder(log, "ev"), None)
            send(USR1)
            tevent_loop_once(ev)
            assert log == [("ev", 1)]

    def test_occurrences_wait_for_a_later_event(self, ev: tevent_context) -> None:
        """What came in while there was an event is given to the next one of that number, of any context."""
        log: list[Any] = []
        talloc_free_after = tevent_add_signal(ev, None, USR1, 0, recorder(log, "old"), None)
        send(USR1, 2)
        talloc_free(talloc_free_after)
        with context() as other:
            tevent_add_signal(other, None, USR1, 0, recorder(log, "new"), None)
            assert tevent_loop_once(other) == 0
        assert log == [("new", 2)]

    def test_what_came_before_the_first_event_is_somebody_elses(self, ev: tevent_context) -> None:
        """Also while another number is watched."""
        log: list[Any] = []
        before = signal.signal(USR2, lambda *_: log.append("theirs"))
        tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        send(USR2)
        tevent_add_signal(ev, None, USR2, 0, recorder(log), None)
        send(USR1)
        tevent_loop_once(ev)
        assert log == ["theirs", (USR1, 1)]
        talloc_free(ev.signal_events[0])
        signal.signal(USR2, before)

    def test_an_event_added_to_a_watched_number_starts_with_what_is_undelivered(self, ev: tevent_context) -> None:
        """Occurrences are counted for the process: also an event that comes after them gets them."""
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, 0, recorder(log, "a"), None)
        send(USR1)
        tevent_loop_once(ev)
        send(USR1, 2)
        tevent_add_signal(ev, None, USR1, 0, recorder(log, "b"), None)
        loop_until(ev, lambda: len(log) >= 3)
        assert log == [("a", 1), ("b", 2), ("a", 2)]

    def test_freed_in_another_thread(self, ev: tevent_context) -> None:
        """There nothing can be restored; the next event of the number takes over, or the next signal restores."""
        se = tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
        thread = threading.Thread(target=talloc_free, args=(se,))
        thread.start()
        thread.join()
        assert signal.getsignal(USR1) != signal.SIG_DFL
        log: list[Any] = []
        se = tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        send(USR1)
        loop_until(ev, lambda: log)
        talloc_free(se)
        assert signal.getsignal(USR1) == signal.SIG_DFL

    def test_a_signal_nobody_wants_takes_its_old_effect(self, ev: tevent_context) -> None:
        """The last event went in another thread: at the next occurrence the old handler is back and gets it."""
        seen: list[int] = []
        signal.signal(USR1, lambda signum, frame: seen.append(signum))
        try:
            se = tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
            thread = threading.Thread(target=talloc_free, args=(se,))
            thread.start()
            thread.join()
            send(USR1)
            assert seen == [USR1]
            assert signal.set_wakeup_fd(-1) == -1
        finally:
            signal.signal(USR1, signal.SIG_DFL)

    def test_a_handler_that_somebody_kept_does_nothing_later(self, ev: tevent_context) -> None:
        """Whoever calls our function after the last event went does no harm."""
        se = tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
        kept: Any = signal.getsignal(USR1)
        talloc_free(se)
        kept(USR1, None)
        assert tevent_loop_once_without_waiting(ev) == -1

    def test_a_handler_that_python_does_not_know_becomes_the_default(
        self, ev: tevent_context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A handler from outside Python cannot be named, so it cannot be restored."""
        from tevent import _sys

        real = signal.signal

        def outside(signum: int, handler: Any) -> Any:
            real(signum, handler)
            return None

        monkeypatch.setattr(_sys, "signal", outside)
        talloc_free(tevent_add_signal(ev, None, USR1, 0, recorder([]), None))
        assert signal.getsignal(USR1) == signal.SIG_DFL


class TestForeignWakeupDescriptor:
    @pytest.fixture
    def foreign(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs
        signal.set_wakeup_fd(-1)
        ours.close()
        theirs.close()

    def test_it_is_served_and_restored(self, ev: tevent_context, foreign: tuple[socket.socket, socket.socket]) -> None:
        """The descriptor of before gets a byte for each occurrence and is back at the end."""
        reader, writer = foreign
        signal.set_wakeup_fd(writer.fileno())
        log: list[Any] = []
        se = tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        send(USR1, 3)
        tevent_loop_once(ev)
        assert log == [(USR1, 3)]
        assert reader.recv(100) == bytes([USR1] * 3)
        talloc_free(se)
        assert signal.set_wakeup_fd(-1) == writer.fileno()

    def test_signals_of_others_are_passed_on(
        self, ev: tevent_context, foreign: tuple[socket.socket, socket.socket]
    ) -> None:
        """Bytes of numbers that are none of ours go to the descriptor of before, and count nowhere here."""
        reader, writer = foreign
        signal.set_wakeup_fd(writer.fileno())
        signal.signal(USR2, lambda signum, frame: None)
        try:
            log: list[Any] = []
            se = tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
            send(USR2)
            send(USR1)
            tevent_loop_once(ev)
            assert log == [(USR1, 1)]
            assert sorted(reader.recv(100)) == sorted([USR2, USR1])
            talloc_free(se)
        finally:
            signal.signal(USR2, signal.SIG_DFL)

    def test_closed_meanwhile(self, ev: tevent_context) -> None:
        """A descriptor that its owner closed is written to no more, though its number is given out again."""
        with pipe() as (_reader, writer):
            signal.set_wakeup_fd(writer)
            log: list[Any] = []
            se = tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
            with pipe() as (innocent, other):
                os.dup2(other, writer)
                send(USR1)
                tevent_loop_once(ev)
                with pytest.raises(BlockingIOError):
                    os.read(innocent, 1)
            talloc_free(se)
            signal.set_wakeup_fd(-1)
        assert log == [(USR1, 1)]

    def test_closed_before_it_is_restored(self, ev: tevent_context) -> None:
        """Then nothing is restored."""
        with pipe() as (_reader, writer):
            signal.set_wakeup_fd(writer)
            se = tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
            os.close(writer)
            talloc_free(se)

    def test_full(self, ev: tevent_context) -> None:
        """A full one loses its bytes, as with the interpreter itself; we count on."""
        with pipe() as (_reader, writer):
            try:
                while True:
                    os.write(writer, b"x" * 65536)
            except BlockingIOError:
                pass
            signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            log: list[Any] = []
            se = tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
            send(USR1, 2)
            tevent_loop_once(ev)
            talloc_free(se)
            assert signal.set_wakeup_fd(-1) == writer
        assert log == [(USR1, 2)]

    def test_replaced_later(self, ev: tevent_context, foreign: tuple[socket.socket, socket.socket]) -> None:
        """A descriptor that somebody puts in the place of ours stays; the signals still come, one at least."""
        reader, writer = foreign
        log: list[Any] = []
        se = tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        signal.set_wakeup_fd(writer.fileno())
        send(USR1)
        tevent_loop_once(ev)
        assert log == [(USR1, 1)]
        assert reader.recv(100) == bytes([USR1])
        talloc_free(se)
        assert signal.set_wakeup_fd(-1) == writer.fileno()

    def test_replaced_by_one_that_passes_on_to_us(
        self, ev: tevent_context, foreign: tuple[socket.socket, socket.socket]
    ) -> None:
        """Bytes that are passed on are the same occurrences, not further ones."""
        reader, writer = foreign
        log: list[Any] = []
        se = tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        ours = signal.set_wakeup_fd(writer.fileno())
        send(USR1)
        os.write(ours, reader.recv(100))
        tevent_loop_once(ev)
        assert log == [(USR1, 1)]
        signal.set_wakeup_fd(ours)
        send(USR1, 2)
        loop_until(ev, lambda: len(log) > 1)
        assert log == [(USR1, 1), (USR1, 2)]
        talloc_free(se)

    @pytest.mark.parametrize("taken_away", [True, False])
    def test_a_sleeping_loop_is_woken(
        self, ev: tevent_context, foreign: tuple[socket.socket, socket.socket], taken_away: bool
    ) -> None:
        """Its wakeup is readable, also where the interpreter wrote its byte to somebody else or nowhere."""
        log: list[Any] = []
        se = tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        ours = signal.set_wakeup_fd(-1 if taken_away else foreign[1].fileno())
        send(USR1)
        assert select.select([state.read_fd], [], [], 0)[0] == [state.read_fd]
        loop_until(ev, lambda: log)
        assert log == [(USR1, 1)]
        signal.set_wakeup_fd(ours)
        talloc_free(se)

    def test_taken_away(self, ev: tevent_context) -> None:
        """Where somebody has removed ours it is put back by the first signal, and counts exactly from then on."""
        log: list[Any] = []
        se = tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        ours = signal.set_wakeup_fd(-1)
        send(USR1)
        tevent_loop_once(ev)
        assert log == [(USR1, 1)]
        assert signal.set_wakeup_fd(ours) == ours
        send(USR1, 3)
        loop_until(ev, lambda: len(log) > 1)
        assert log == [(USR1, 1), (USR1, 3)]
        talloc_free(se)


class TestHandlers:
    def test_freeing_itself(self, any_ev: tevent_context) -> None:
        """talloc_free gives -1, the event goes when the handler returns."""
        log: list[Any] = []

        def handler(ev: Any, se: tevent_signal, *rest: Any) -> None:
            log.append(talloc_free(se))
            assert se.event_ctx is None
            assert signal.getsignal(USR1) == signal.SIG_DFL

        tevent_add_signal(any_ev, None, USR1, 0, handler, None)
        send(USR1)
        tevent_loop_once(any_ev)
        assert log == [-1]
        assert not any_ev.signal_events
        assert not tevent_common_have_events(any_ev)

    def test_freeing_itself_twice(self, ev: tevent_context) -> None:
        """The second free aborts."""
        log: list[Any] = []

        def handler(ev: Any, se: tevent_signal, *rest: Any) -> None:
            talloc_free(se)
            with pytest.raises(tevent_abort_error, match="tevent_signal double free"):
                talloc_free(se)
            log.append("done")

        tevent_add_signal(ev, None, USR1, 0, handler, None)
        send(USR1)
        tevent_loop_once(ev)
        assert log == ["done"]

    def test_freeing_its_parent(self, ev: tevent_context) -> None:
        """The parent goes at once, the event with the return of the handler."""
        owner = talloc_new(ev)
        log: list[Any] = []
        tevent_add_signal(ev, owner, USR1, 0, lambda *args: log.append(talloc_free(owner)), None)
        send(USR1)
        tevent_loop_once(ev)
        assert log == [0]
        assert not ev.signal_events

    def test_freeing_itself_with_siginfo_ends_its_calls(self, ev: tevent_context) -> None:
        """The other occurrences are not delivered to it, but to others."""
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, SA_SIGINFO, recorder(log, "stays"), None)

        def handler(ev: Any, se: tevent_signal, *rest: Any) -> None:
            log.append("freed")
            talloc_free(se)

        tevent_add_signal(ev, None, USR1, SA_SIGINFO, handler, None)
        send(USR1, 3)
        tevent_loop_once(ev)
        assert log == ["freed", ("stays", 1), ("stays", 1), ("stays", 1)]

    def test_freeing_another_one(self, ev: tevent_context) -> None:
        """The other one is skipped, of the same number or of another one."""
        log: list[Any] = []
        same = tevent_add_signal(ev, None, USR1, 0, recorder(log, "same"), None)
        other = tevent_add_signal(ev, None, USR2, 0, recorder(log, "other"), None)

        def handler(*args: Any) -> None:
            log.append("frees")
            talloc_free(same)
            talloc_free(other)

        tevent_add_signal(ev, None, USR1, 0, handler, None)
        send(USR1)
        send(USR2)
        tevent_loop_once(ev)
        assert log == ["frees"]

    def test_adding_one_of_the_same_number(self, ev: tevent_context) -> None:
        """It gets nothing of what is being delivered; one of a number that is still to come does."""
        log: list[Any] = []

        def handler(*args: Any) -> None:
            log.append("first")
            if len(log) == 1:
                tevent_add_signal(ev, None, USR1, 0, recorder(log, "new 1"), None)
                tevent_add_signal(ev, None, USR2, 0, recorder(log, "new 2"), None)

        tevent_add_signal(ev, None, USR1, 0, handler, None)
        tevent_add_signal(ev, None, USR2, 0, recorder(log, "old 2"), None)
        send(USR1)
        send(USR2)
        tevent_loop_once(ev)
        assert log == ["first", ("new 2", 1), ("old 2", 1)]

    @pytest.mark.parametrize("flags", [0, SA_SIGINFO])
    def test_an_exception_loses_nothing(self, ev: tevent_context, flags: int) -> None:
        """It leaves the loop call; the others get their occurrences in a later one, together with newer ones."""
        log: list[Any] = []
        tevent_add_signal(ev, None, USR2, 0, recorder(log, "other number"), None)
        tevent_add_signal(ev, None, USR1, 0, recorder(log, "same number"), None)

        def handler(ev: Any, se: Any, signum: int, count: int, siginfo: Any, private_data: Any) -> None:
            log.append(("raises", count))
            if len(log) == 1:
                raise ZeroDivisionError

        tevent_add_signal(ev, None, USR1, flags, handler, None)
        send(USR1, 2)
        send(USR2, 3)
        with pytest.raises(ZeroDivisionError):
            tevent_loop_once(ev)
        assert len(log) == 1
        send(USR1, 1)
        assert tevent_loop_once(ev) == 0
        if flags:
            assert log[:3] == [("raises", 1)] * 3
            assert log[3:] == [("same number", 3), ("other number", 3)]
        else:
            assert log == [("raises", 2), ("raises", 1), ("same number", 3), ("other number", 3)]

    def test_the_rest_of_an_exception_is_told_by_another_context(self, ev: tevent_context) -> None:
        """Any loop with a signal event delivers it."""
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, 0, recorder(log, "rest"), None)

        def handler(*args: Any) -> None:
            raise ZeroDivisionError

        se = tevent_add_signal(ev, None, USR1, 0, handler, None)
        send(USR1)
        with pytest.raises(ZeroDivisionError):
            tevent_loop_once(ev)
        talloc_free(se)
        with context() as other:
            tevent_add_signal(other, None, USR2, 0, recorder(log), None)
            tevent_loop_once(other)
        assert log == [("rest", 1)]

    def test_a_nested_loop_sees_only_newer_occurrences(self, ev: tevent_context) -> None:
        """Each occurrence reaches each handler once."""
        tevent_loop_allow_nesting(ev)
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, 0, recorder(log, "old"), None)

        def handler(ev: Any, se: Any, signum: int, count: int, siginfo: Any, private_data: Any) -> None:
            log.append(("new", count))
            if len(log) == 1:
                send(USR1, 1)
                tevent_loop_once(ev)
                log.append("nested is over")

        tevent_add_signal(ev, None, USR1, 0, handler, None)
        send(USR1, 2)
        tevent_loop_once(ev)
        assert log == [("new", 2), ("new", 1), ("old", 1), "nested is over", ("old", 2)]

    @pytest.mark.parametrize("flags", [0, SA_SIGINFO])
    def test_freeing_the_context(self, flags: int) -> None:
        """The free works, the loop call aborts, and the events of other contexts get the rest later."""
        log: list[Any] = []
        with context() as other, context() as ev:
            tevent_add_signal(other, None, USR1, 0, recorder(log, "same number"), None)
            tevent_add_signal(other, None, USR2, 0, recorder(log, "other number"), None)
            tevent_add_signal(ev, None, USR1, flags, lambda *args: log.append(talloc_free(ev)), None)
            send(USR1, 2)
            send(USR2)
            with pytest.raises(tevent_abort_error, match="tevent_context freed while its loop runs"):
                tevent_loop_once(ev)
            assert log == [0]
            tevent_loop_once(other)
            assert log == [0, ("same number", 2), ("other number", 1)]

    def test_freeing_the_looping_context_from_an_event_of_another(self) -> None:
        """The occurrences that the other event has still to get are kept for it."""
        log: list[Any] = []
        with context() as other, context() as ev:
            tevent_add_signal(ev, None, USR1, 0, recorder(log), None)

            def handler(*args: Any) -> None:
                log.append("call")
                if not ev.gone:
                    talloc_free(ev)

            tevent_add_signal(other, None, USR1, SA_SIGINFO, handler, None)
            send(USR1, 3)
            with aborts() as reasons:
                assert tevent_loop_once(ev) == 0
            assert reasons == ["tevent_context freed while its loop runs"]
            assert log == ["call"]
            tevent_loop_once(other)
            assert log == ["call"] * 3

    def test_re_initialise_in_a_handler(self, ev: tevent_context) -> None:
        """The events are detached; that whose handler runs is freed after it, another one stays a chunk."""
        log: list[Any] = []
        other = tevent_add_signal(ev, None, USR2, 0, recorder(log), None)
        se = tevent_add_signal(ev, None, USR1, 0, lambda *args: log.append(tevent_re_initialise(ev)), None)
        assert se is not None
        assert other is not None
        send(USR1)
        tevent_loop_once(ev)
        assert log == [0]
        assert se._talloc_chunk.obj is None
        assert other.event_ctx is None
        assert talloc_free(other) == 0

    def test_reset_hand_without_siginfo(self, any_ev: tevent_context) -> None:
        """The library frees the event after one call with all that is pending."""
        log: list[Any] = []
        tevent_add_signal(any_ev, None, USR1, SA_RESETHAND, recorder(log), None)
        send(USR1, 3)
        assert tevent_loop_wait(any_ev) == 0
        assert log == [(USR1, 3)]
        assert signal.getsignal(USR1) == signal.SIG_DFL

    def test_reset_hand_with_siginfo(self, ev: tevent_context) -> None:
        """It gets the first occurrence only."""
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, SA_RESETHAND | SA_SIGINFO, recorder(log), None)
        send(USR1, 3)
        tevent_loop_wait(ev)
        assert log == [(USR1, 1)]

    def test_reset_hand_whose_handler_raises_or_frees(self, ev: tevent_context) -> None:
        """It is gone all the same, once."""

        def raises(*args: Any) -> None:
            raise ZeroDivisionError

        tevent_add_signal(ev, None, USR1, SA_RESETHAND, raises, None)
        send(USR1)
        with pytest.raises(ZeroDivisionError):
            tevent_loop_once(ev)
        assert not ev.signal_events
        tevent_add_signal(ev, None, USR1, SA_RESETHAND, lambda ev, se, *rest: talloc_free(se), None)
        send(USR1)
        loop_until(ev, lambda: not ev.signal_events)

    def test_moving_the_event_in_its_handler(self, ev: tevent_context) -> None:
        """Its owner may change, it goes on."""
        owner = talloc_new(ev)
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, 0, lambda ev, se, *rest: log.append(talloc_steal(owner, se)), None)
        send(USR1)
        tevent_loop_once(ev)
        assert talloc_parent(log[0]) is owner


class TestTrace:
    def test_points(self, ev: tevent_context) -> None:
        """ATTACH before the event is listed, BEFORE_HANDLER, DETACH when it is freed."""
        log: list[Any] = []

        def trace(se: tevent_signal, point: int, private_data: object) -> None:
            log.append((int(point), private_data, len(ev.signal_events)))
            if point == 0:
                tevent_signal_set_tag(se, 17)

        tevent_set_trace_signal_callback(ev, trace, "data")
        se = tevent_add_signal(ev, None, USR1, 0, lambda *args: log.append("handler"), None)
        assert tevent_signal_get_tag(se) == 17
        send(USR1)
        tevent_loop_once(ev)
        talloc_free(se)
        assert log == [(0, "data", 0), (2, "data", 1), "handler", (1, "data", 1)]

    def test_detach_when_freed_in_its_handler(self, ev: tevent_context) -> None:
        """DETACH comes inside talloc_free, and only once."""
        log: list[Any] = []
        tevent_set_trace_signal_callback(ev, lambda se, point, _: log.append(int(point)), None)

        def handler(ev: Any, se: tevent_signal, *rest: Any) -> None:
            talloc_free(se)
            log.append("freed")

        tevent_add_signal(ev, None, USR1, 0, handler, None)
        send(USR1)
        tevent_loop_once(ev)
        assert log == [0, 2, 1, "freed"]

    def test_detach_at_the_end_of_the_context_newest_first(self) -> None:
        """The newest event is detached first."""
        log: list[Any] = []
        with context() as ev:
            a = tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
            b = tevent_add_signal(ev, None, USR2, 0, recorder([]), None)
            tevent_set_trace_signal_callback(ev, lambda se, point, _: log.append((se, int(point))), None)
            assert list(ev.signal_events) == [b, a]
            tevent_re_initialise(ev)
        assert log == [(b, 1), (a, 1)]

    def test_a_raising_detach_does_no_harm(self, ev: tevent_context, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is reported as a destructor's exception; the event goes, the handler of before is back."""
        reported: list[Any] = []
        monkeypatch.setattr("sys.unraisablehook", lambda args: reported.append(args.exc_type))

        def trace(se: object, point: int, private_data: object) -> None:
            if point == 1:
                raise ZeroDivisionError

        tevent_set_trace_signal_callback(ev, trace, None)
        se = tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
        assert talloc_free(se) == 0
        assert reported == [ZeroDivisionError]
        assert signal.getsignal(USR1) == signal.SIG_DFL
        tevent_add_signal(ev, None, USR1, 0, lambda ev, se, *rest: talloc_free(se), None)
        send(USR1)
        loop_until(ev, lambda: not ev.signal_events)
        assert reported == [ZeroDivisionError] * 2


class TestForBackends:
    def test_check_signal(self, ev: tevent_context) -> None:
        """0 where nothing is pending, else 1."""
        log: list[Any] = []
        tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        assert tevent_common_check_signal(ev) == 0
        send(USR1)
        assert tevent_common_check_signal(ev) == 1
        assert tevent_common_check_signal(ev) == 0
        assert log == [(USR1, 1)]

    def test_cleanup(self, ev: tevent_context) -> None:
        """The event is detached; to clean up twice or to free it later is harmless."""
        se = tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
        assert se is not None
        tevent_cleanup_pending_signal_handlers(se)
        assert signal.getsignal(USR1) == signal.SIG_DFL
        assert not ev.signal_events
        tevent_cleanup_pending_signal_handlers(se)
        assert talloc_free(se) == 0

    def test_invoke(self, ev: tevent_context) -> None:
        """The handler runs with what is given; whether the event is gone is told."""
        log: list[Any] = []
        se = tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
        assert se is not None
        assert tevent_common_invoke_signal_handler(se, USR1, 5, None) == (0, False)
        assert log == [(USR1, 5)]
        tevent_cleanup_pending_signal_handlers(se)
        assert tevent_common_invoke_signal_handler(se, USR1, 5, None) == (0, False)
        assert len(log) == 1
        gone = tevent_add_signal(ev, None, USR1, 0, lambda ev, se, *rest: talloc_free(se), None)
        assert gone is not None
        assert tevent_common_invoke_signal_handler(gone, USR1, 1, None) == (0, True)

    def test_fields(self, ev: tevent_context) -> None:
        """What a backend may look at."""
        handler = recorder([])
        se = tevent_add_signal(ev, None, USR1, SA_NODEFER, handler, "data")
        assert se is not None
        assert (se.signum, se.sa_flags, se.event_ctx, se.handler, se.private_data, se.handler_name, se.tag) == (
            USR1, SA_NODEFER, ev, handler, "data", "handler", 0,
        )  # fmt: skip
        assert "handler" in repr(se)

    def test_tags(self, ev: tevent_context) -> None:
        """64 bits, 0 at first; None is ignored."""
        se = tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
        assert tevent_signal_get_tag(se) == 0
        tevent_signal_set_tag(se, 2**64 + 5)
        assert tevent_signal_get_tag(se) == 5
        tevent_signal_set_tag(None, 1)
        assert tevent_signal_get_tag(None) == 0

    def test_constants(self) -> None:
        """Linux's values, and the sizes of C's tables."""
        assert (SA_NOCLDSTOP, SA_NOCLDWAIT, SA_SIGINFO) == (1, 2, 4)
        assert (SA_RESTART, SA_NODEFER, SA_RESETHAND) == (0x10000000, 0x40000000, 0x80000000)
        assert (tevent_num_signals(), tevent_sa_info_queue_count()) == (68, 256)

    def test_the_siginfo_has_a_repr(self, ev: tevent_context) -> None:
        """It says its number."""
        log: list[str] = []
        tevent_add_signal(ev, None, USR1, SA_SIGINFO, lambda ev, se, n, c, info, p: log.append(repr(info)), None)
        send(USR1)
        tevent_loop_once(ev)
        assert log == [f"<siginfo si_signo={USR1}>"]

    def test_a_freed_context(self, ev: tevent_context) -> None:
        """It goes to talloc's abort function; where that returns there is no event."""
        talloc_free(ev)
        reasons: list[str] = []
        talloc_set_abort_fn(reasons.append)
        try:
            assert tevent_add_signal(ev, None, USR1, 0, recorder([]), None) is None
        finally:
            talloc_set_abort_fn(None)
        assert reasons == ["Bad talloc magic value - access after free"]


class TestPlatformWithoutEpoll:
    def test_an_fd_event_stands_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no descriptor can follow the pipe of signals the context has a second internal fd event."""
        from tevent import _sys

        monkeypatch.setattr(_sys, "epoll", None)
        monkeypatch.setattr(_sys, "eventfd", None)
        log: list[Any] = []
        with context("poll") as ev, context("poll") as other:
            tevent_add_signal(ev, None, USR1, 0, recorder(log), None)
            se = tevent_add_signal(other, None, USR1, 0, recorder(log), None)
            with sent_during_the_wait(ev):
                loop_until(ev, lambda: log, 10)
            assert log == [(USR1, 1)] * 2
            assert len(ev.fd_events) == 2
            talloc_free(se)
            assert list(other.fd_events) == [other.wakeup_fde]
            assert not tevent_common_have_events(other)


def test_a_dropped_context_gives_its_descriptors_back() -> None:
    """A context with signal events that is dropped and collected is reported, and leaves no descriptor open."""
    ev: Any
    with context() as ev:
        tevent_add_signal(ev, None, USR1, 0, recorder([]), None)
        talloc_free(ev)
    del ev
    gc.collect()
