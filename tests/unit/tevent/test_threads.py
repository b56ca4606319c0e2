# SPDX-License-Identifier: LGPL-3.0-or-later
"""Thread proxies and threaded contexts: who runs what, in which order, and what is freed when."""

from __future__ import annotations

import errno
import gc
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from backend_kit import BACKENDS, aborts, context, debug_of, loop_until

from talloc_py import (
    TALLOC_CTX,
    talloc_free,
    talloc_new,
    talloc_parent,
    talloc_set_abort_fn,
    talloc_set_memlimit,
    talloc_steal,
)
from tevent import (
    _sys,
    get_errno,
    set_errno,
    tevent_abort_error,
    tevent_common_have_events,
    tevent_common_threaded_activate_immediate,
    tevent_common_wakeup,
    tevent_common_wakeup_fd,
    tevent_common_wakeup_init,
    tevent_context_set_wait_timeout,
    tevent_create_immediate,
    tevent_immediate,
    tevent_loop_once,
    tevent_re_initialise,
    tevent_schedule_immediate,
    tevent_set_trace_callback,
    tevent_set_trace_immediate_callback,
    tevent_thread_proxy,
    tevent_thread_proxy_create,
    tevent_thread_proxy_schedule,
    tevent_threaded_context,
    tevent_threaded_context_create,
    tevent_threaded_schedule_immediate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tevent import tevent_context


@pytest.fixture(params=BACKENDS)
def any_ev(request: pytest.FixtureRequest) -> Iterator[tevent_context]:
    with context(request.param) as ev:
        yield ev


@pytest.fixture
def ev() -> Iterator[tevent_context]:
    with context() as made:
        yield made


def immediate(owner: TALLOC_CTX | None = None) -> tevent_immediate:
    im = tevent_create_immediate(owner)
    assert im is not None
    return im


def proxy(ev: tevent_context) -> tevent_thread_proxy:
    tp = tevent_thread_proxy_create(ev)
    assert tp is not None
    return tp


def threaded(owner: TALLOC_CTX | None, ev: tevent_context) -> tevent_threaded_context:
    tctx = tevent_threaded_context_create(owner, ev)
    assert tctx is not None
    return tctx


def in_thread(function: Callable[[], object]) -> None:
    """Run a function in another thread, to its end."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


class TestProxy:
    def test_the_handler_runs_in_the_thread_of_the_loop(self, any_ev: tevent_context) -> None:
        """With the context, the immediate and the private data."""
        log: list[Any] = []
        tp = proxy(any_ev)
        data = object()
        im = immediate()
        in_thread(
            lambda: tevent_thread_proxy_schedule(
                tp, im, lambda *args: log.append((*args, threading.current_thread())), data
            )
        )
        loop_until(any_ev, lambda: log)
        assert log == [(any_ev, im, data, threading.main_thread())]

    def test_a_sleeping_loop_wakes(self, any_ev: tevent_context) -> None:
        """What a thread schedules while the loop waits ends the wait."""
        log: list[Any] = []
        tp = proxy(any_ev)
        about_to_wait = threading.Event()
        tevent_set_trace_callback(any_ev, lambda point, _: about_to_wait.set() if point == 0 else None, None)

        def work() -> None:
            about_to_wait.wait()
            tevent_thread_proxy_schedule(tp, immediate(), lambda *args: log.append("ran"), None)

        thread = threading.Thread(target=work)
        thread.start()
        loop_until(any_ev, lambda: log, 10)
        thread.join()

    def test_a_batch_runs_in_reverse_order(self, ev: tevent_context) -> None:
        """What is scheduled before the loop looks runs last in, first out, in 1 + n + 1 iterations."""
        log: list[Any] = []
        tp = proxy(ev)
        freed: list[Any] = []
        for name in range(3):
            data = talloc_new(None)
            assert data is not None
            data_of[name] = data
            tevent_thread_proxy_schedule(tp, immediate(), lambda ev, im, p, name=name: log.append(name), data)
        for turn in range(5):
            assert tevent_loop_once(ev) == 0
            freed.append(sum(not alive(d) for d in data_of.values()))
            if turn < 4:
                assert log == [2, 1, 0][:turn]
        assert freed == [0, 0, 0, 0, 3]
        data_of.clear()

    def test_separate_batches_keep_their_order(self, ev: tevent_context) -> None:
        """Between the batches the loop has looked."""
        log: list[Any] = []
        tp = proxy(ev)
        for first in (0, 2):
            for name in (first, first + 1):
                tevent_thread_proxy_schedule(tp, immediate(), lambda ev, im, p, n=name: log.append(n), None)
            tevent_loop_once(ev)
        loop_until(ev, lambda: len(log) == 4)
        assert log == [1, 0, 3, 2]

    def test_ownership(self, ev: tevent_context) -> None:
        """The immediate and the private data go over, and are freed after the batch unless moved away."""
        tp = proxy(ev)
        old_owner = talloc_new(None)
        kept_by = talloc_new(ev)
        im, data = immediate(old_owner), talloc_new(old_owner)
        kept_im, kept = immediate(), talloc_new(None)

        def keep(ev: Any, im: Any, private_data: Any) -> None:
            talloc_steal(kept_by, private_data)
            talloc_steal(kept_by, im)

        tevent_thread_proxy_schedule(tp, im, lambda *args: None, data)
        tevent_thread_proxy_schedule(tp, kept_im, keep, kept)
        talloc_free(old_owner)
        assert alive(im)
        assert alive(data)
        loop_until(ev, lambda: not alive(im))
        assert not alive(data)
        assert talloc_parent(kept) is kept_by
        assert talloc_parent(kept_im) is kept_by

    def test_a_handler_that_frees_its_immediate(self, ev: tevent_context) -> None:
        """It goes when the handler returns; the batch's end finds nothing of it."""
        log: list[Any] = []
        tp = proxy(ev)
        tevent_thread_proxy_schedule(tp, immediate(), lambda ev, im, p: log.append(talloc_free(im)), None)
        loop_until(ev, lambda: tp.free_im is not None and log and not tp.done)
        assert log == [-1]

    def test_a_handler_that_raises(self, ev: tevent_context) -> None:
        """The exception leaves the loop, the rest of the batch runs later and is freed."""
        log: list[Any] = []
        tp = proxy(ev)
        tevent_thread_proxy_schedule(tp, immediate(), lambda *args: log.append("second"), None)

        def handler(*args: Any) -> None:
            raise ZeroDivisionError

        tevent_thread_proxy_schedule(tp, immediate(), handler, None)
        with pytest.raises(ZeroDivisionError):
            loop_until(ev, lambda: False)
        loop_until(ev, lambda: log and not tp.done)
        assert log == ["second"]

    def test_freed_with_pending_work(self, ev: tevent_context) -> None:
        """What is pending is freed unrun, seen by the loop or not; what comes later is ignored."""
        tp = proxy(ev)
        ims = [immediate() for _ in range(4)]
        fail = lambda *args: pytest.fail("it ran")  # noqa: E731
        tevent_thread_proxy_schedule(tp, ims[0], fail, None)
        tevent_thread_proxy_schedule(tp, ims[1], fail, None)
        tevent_loop_once(ev)
        tevent_thread_proxy_schedule(tp, ims[2], fail, None)
        read_fd, write_fd = tp.read_fd, tp.write_fd
        assert talloc_free(tp) == 0
        assert not any(alive(im) for im in ims[:3])
        for fd in (read_fd, write_fd):
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(fd)
        tevent_thread_proxy_schedule(tp, ims[3], fail, None)
        assert alive(ims[3])
        talloc_free(ims[3])
        assert not tevent_common_have_events(ev)
        assert repr(tp) == "<tevent_thread_proxy closed>"

    def test_freed_by_a_handler_of_its_own(self, ev: tevent_context) -> None:
        """The rest of the batch does not run."""
        log: list[Any] = []
        tp = proxy(ev)
        tevent_thread_proxy_schedule(tp, immediate(), lambda *args: log.append("never"), None)
        tevent_thread_proxy_schedule(tp, immediate(), lambda *args: log.append(talloc_free(tp)), None)
        loop_until(ev, lambda: log)
        tevent_context_set_wait_timeout(ev, 0)
        assert tevent_loop_once(ev) == -1
        assert log == [0]

    def test_it_goes_with_its_context(self) -> None:
        """It is a child of the context."""
        with context() as ev:
            tp = proxy(ev)
            assert talloc_parent(tp) is ev
            im = immediate()
            tevent_thread_proxy_schedule(tp, im, lambda *args: None, None)
            talloc_free(ev)
            assert tp.write_fd == -1
            assert not alive(im)

    def test_it_counts_as_an_event(self, ev: tevent_context) -> None:
        """A loop_wait does not end while there is one."""
        tp = proxy(ev)
        assert tevent_common_have_events(ev)
        assert repr(tp) == "<tevent_thread_proxy 0 pending>"
        talloc_free(tp)
        assert not tevent_common_have_events(ev)

    def test_more_than_the_pipe_holds(self, ev: tevent_context) -> None:
        """A full pipe wakes the loop just as well: nothing is lost, and the pipe is emptied."""
        log: list[Any] = []
        tp = proxy(ev)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(tp.write_fd, b"x" * 4096)
        tevent_thread_proxy_schedule(tp, immediate(), lambda *args: log.append("ran"), None)
        loop_until(ev, lambda: log and not tp.done)
        tevent_context_set_wait_timeout(ev, 0)
        assert tevent_loop_once(ev) == -1

    def test_what_it_cannot_get(self, ev: tevent_context, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without descriptors or memory it is None, with nothing left behind."""
        talloc_set_memlimit(ev, 1)
        assert tevent_thread_proxy_create(ev) is None
        assert not ev.fd_events

        def fail() -> Any:
            raise OSError(errno.EMFILE, "too many")

        monkeypatch.setattr(_sys, "new_pipe", fail)
        assert tevent_thread_proxy_create(ev) is None
        assert get_errno() == errno.EMFILE

    def test_no_memory_for_the_inner_things(self) -> None:
        """A proxy whose fd event does not fit is taken down again."""
        for limit in range(96, 3000, 32):
            with context() as ev:
                talloc_set_memlimit(ev, limit)
                before = len(os.listdir("/proc/self/fd"))
                tp = tevent_thread_proxy_create(ev)
                if tp is not None:
                    break
                assert len(os.listdir("/proc/self/fd")) == before
                assert not ev.fd_events
        else:
            pytest.fail("it never fitted")

    def test_wrong_types(self, ev: tevent_context) -> None:
        """They are TypeErrors that name the parameter."""
        tp = proxy(ev)
        with pytest.raises(TypeError, match="ev"):
            tevent_thread_proxy_create(None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="tp"):
            tevent_thread_proxy_schedule(None, immediate(), print, None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="pp_im"):
            tevent_thread_proxy_schedule(tp, None, print, None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="handler"):
            tevent_thread_proxy_schedule(tp, immediate(ev), 5, None)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            tevent_thread_proxy()
        with pytest.raises(TypeError):
            tevent_threaded_context()

    def test_a_freed_context(self, ev: tevent_context) -> None:
        """It goes to talloc's abort function; where that returns there is neither proxy nor handle."""
        talloc_free(ev)
        reasons: list[str] = []
        talloc_set_abort_fn(reasons.append)
        try:
            assert tevent_thread_proxy_create(ev) is None
            assert tevent_threaded_context_create(None, ev) is None
        finally:
            talloc_set_abort_fn(None)
        assert reasons == ["Bad talloc magic value - access after free"] * 2

    def test_a_handle_freed_after_its_context(self) -> None:
        """Nothing is left to do."""
        owner = talloc_new(None)
        with context() as ev:
            tctx = threaded(owner, ev)
        assert talloc_free(tctx) == 0
        talloc_free(owner)

    def test_dropped_without_free(self) -> None:
        """A proxy that nobody freed is reported when it is collected, and its pipe is closed."""
        before = len(os.listdir("/proc/self/fd"))
        ev: Any
        with context() as ev:
            tp: Any = proxy(ev)
            talloc_free(tp.read_fde)
            tp.read_fde = None
            talloc_steal(None, tp)
            del tp
            with pytest.warns(ResourceWarning, match="unclosed <tevent_thread_proxy"):
                gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before


data_of: dict[int, Any] = {}


def alive(chunk: Any) -> bool:
    """Whether a chunk has not been freed."""
    return chunk._talloc_chunk.obj is chunk


class TestThreadedContext:
    def test_the_handler_runs_in_the_thread_of_the_loop(self, any_ev: tevent_context) -> None:
        """With the context, the immediate and the private data; the immediate is idle then and stays."""
        log: list[Any] = []
        tctx = threaded(any_ev, any_ev)
        im = immediate(any_ev)
        in_thread(
            lambda: tevent_threaded_schedule_immediate(
                tctx, im, lambda *args: log.append((*args, threading.current_thread())), "data"
            )
        )
        loop_until(any_ev, lambda: log)
        assert log == [(any_ev, im, "data", threading.main_thread())]
        assert im.event_ctx is None
        assert alive(im)

    def test_a_sleeping_loop_wakes(self, any_ev: tevent_context) -> None:
        """What a thread schedules while the loop waits ends the wait."""
        log: list[Any] = []
        tctx = threaded(any_ev, any_ev)
        im = immediate(any_ev)
        about_to_wait = threading.Event()
        tevent_set_trace_callback(any_ev, lambda point, _: about_to_wait.set() if point == 0 else None, None)

        def work() -> None:
            about_to_wait.wait()
            tevent_threaded_schedule_immediate(tctx, im, lambda *args: log.append("ran"), None)

        thread = threading.Thread(target=work)
        thread.start()
        loop_until(any_ev, lambda: log, 10)
        thread.join()

    def test_many_threads(self, any_ev: tevent_context) -> None:
        """Everything runs once, and of each thread in its order."""
        log: list[Any] = []
        tctx = threaded(any_ev, any_ev)
        each = 50
        ims = {name: [immediate(any_ev) for _ in range(each)] for name in "abcd"}

        def work(name: str) -> None:
            for n, im in enumerate(ims[name]):
                tevent_threaded_schedule_immediate(tctx, im, lambda ev, im, p: log.append(p), (name, n))

        threads = [threading.Thread(target=work, args=(name,)) for name in ims]
        for thread in threads:
            thread.start()
        loop_until(any_ev, lambda: len(log) == 4 * each, 2000)
        for thread in threads:
            thread.join()
        for name in ims:
            assert [n for who, n in log if who == name] == list(range(each))

    def test_order_against_direct_ones(self, ev: tevent_context) -> None:
        """It goes behind those that are queued when the loop looks: c and a directly, b by a thread in between."""
        log: list[Any] = []
        tctx = threaded(ev, ev)
        run = lambda ev, im, p: log.append(p)  # noqa: E731
        tevent_schedule_immediate(immediate(ev), ev, run, "c")
        tevent_threaded_schedule_immediate(tctx, immediate(ev), run, "b")
        tevent_schedule_immediate(immediate(ev), ev, run, "a")
        loop_until(ev, lambda: len(log) == 3)
        assert log == ["c", "a", "b"]

    def test_it_is_not_an_event(self, ev: tevent_context) -> None:
        """Neither the handle nor the wakeup keep a loop_wait going."""
        tctx = threaded(ev, ev)
        assert list(ev.threaded_contexts) == [tctx]
        assert not tevent_common_have_events(ev)
        talloc_free(tctx)
        assert not ev.threaded_contexts

    @pytest.mark.parametrize("end", ["free", "re_initialise"])
    def test_its_context_is_gone(self, end: str) -> None:
        """It is cut off: scheduling is ignored, the immediate stays idle and can be freed."""
        owner = talloc_new(None)
        with context() as ev:
            tctx = threaded(owner, ev)
            assert repr(tctx) == "<tevent_threaded_context linked>"
            if end == "free":
                talloc_free(ev)
            else:
                tevent_re_initialise(ev)
            im = immediate(owner)
            tevent_threaded_schedule_immediate(tctx, im, lambda *args: pytest.fail("it ran"), None)
            assert im.event_ctx is None
            assert repr(tctx) == "<tevent_threaded_context cut off>"
            assert talloc_free(im) == 0
            assert talloc_free(tctx) == 0
        talloc_free(owner)

    def test_new_ones_after_re_initialise(self, ev: tevent_context) -> None:
        """They work."""
        threaded(ev, ev)
        tevent_re_initialise(ev)
        log: list[Any] = []
        tctx = threaded(ev, ev)
        tevent_threaded_schedule_immediate(tctx, immediate(ev), lambda *args: log.append("ran"), None)
        loop_until(ev, lambda: log)

    def test_on_its_way_when_the_context_goes(self) -> None:
        """The immediate becomes idle: it can be freed, or scheduled elsewhere."""
        owner = talloc_new(None)
        im = immediate(owner)
        with context() as ev:
            tevent_threaded_schedule_immediate(threaded(ev, ev), im, lambda *args: pytest.fail("it ran"), None)
            assert im.event_ctx is ev
        assert im.event_ctx is None
        log: list[Any] = []
        with context() as ev:
            tevent_schedule_immediate(im, ev, lambda *args: log.append("ran"), None)
            tevent_loop_once(ev)
        assert log == ["ran"]
        talloc_free(owner)

    def test_freed_on_its_way(self, ev: tevent_context) -> None:
        """To free an immediate that a thread has just scheduled aborts, and so does to schedule it directly."""
        tctx = threaded(ev, ev)
        im = immediate(ev)
        log: list[Any] = []
        tevent_threaded_schedule_immediate(tctx, im, lambda *args: log.append("ran"), None)
        with pytest.raises(tevent_abort_error, match="scheduled by a thread"):
            talloc_free(im)
        with pytest.raises(tevent_abort_error, match="scheduled by a thread"):
            tevent_schedule_immediate(im, ev, print, None)
        loop_until(ev, lambda: log)
        assert talloc_free(im) == 0

    def test_what_may_not_be_scheduled(self, ev: tevent_context) -> None:
        """Queued, running, freed, without a handler: abort, and nothing is queued."""
        tctx = threaded(ev, ev)
        queued = immediate(ev)
        tevent_schedule_immediate(queued, ev, lambda *args: None, None)
        with pytest.raises(tevent_abort_error, match="queued immediate"):
            tevent_threaded_schedule_immediate(tctx, queued, print, None)
        with pytest.raises(tevent_abort_error, match="without a handler"):
            tevent_threaded_schedule_immediate(tctx, immediate(ev), None, None)  # type: ignore[arg-type]
        seen: list[str] = []

        def handler(ev: Any, im: Any, private_data: Any) -> None:
            with aborts() as reasons:
                tevent_threaded_schedule_immediate(tctx, im, print, None)
                talloc_free(im)
                tevent_threaded_schedule_immediate(tctx, im, print, None)
            seen.extend(reasons)

        tevent_schedule_immediate(queued, ev, handler, None)
        tevent_loop_once(ev)
        assert "running immediate" in seen[0]
        assert seen[1] == "tevent_immediate use after free"
        assert not ev.scheduled_immediates

    def test_trace(self, ev: tevent_context) -> None:
        """The move is a DETACH and an ATTACH; scheduling itself is none."""
        log: list[Any] = []
        messages = debug_of(ev)
        tevent_set_trace_immediate_callback(ev, lambda im, point, _: log.append(int(point)), None)
        tctx = threaded(ev, ev)
        tevent_threaded_schedule_immediate(tctx, immediate(ev), lambda *args: log.append("ran"), None)
        assert log == []
        tevent_loop_once(ev)
        assert log == [1, 0, 2, "ran", 1]
        assert any("from thread into main" in text for _, text in messages)

    def test_a_raising_trace_callback_loses_nothing(self, ev: tevent_context) -> None:
        """The exception leaves the loop, the others are taken over in a later iteration, in their order."""
        log: list[Any] = []
        tctx = threaded(ev, ev)
        for name in "abc":
            tevent_threaded_schedule_immediate(tctx, immediate(ev), lambda ev, im, p: log.append(p), name)

        def trace(im: Any, point: int, private_data: Any) -> None:
            tevent_set_trace_immediate_callback(ev, None, None)
            raise ZeroDivisionError

        tevent_set_trace_immediate_callback(ev, trace, None)
        with pytest.raises(ZeroDivisionError):
            tevent_loop_once(ev)
        loop_until(ev, lambda: "c" in log)
        assert log == ["b", "c"]

    def test_taken_over_by_hand(self, ev: tevent_context) -> None:
        """For backends: the step of the loop that queues them."""
        log: list[Any] = []
        tctx = threaded(ev, ev)
        im = immediate(ev)
        tevent_threaded_schedule_immediate(tctx, im, lambda *args: log.append("ran"), None)
        assert ev.scheduled_immediates
        tevent_common_threaded_activate_immediate(ev)
        assert not ev.scheduled_immediates
        assert list(ev.immediate_events) == [im]
        tevent_common_threaded_activate_immediate(ev)
        assert tevent_loop_once(ev) == 0
        assert log == ["ran"]

    def test_what_it_cannot_get(self, ev: tevent_context, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without descriptors or memory it is None."""

        def fail(*args: object) -> Any:
            raise OSError(errno.EMFILE, "too many")

        with monkeypatch.context() as patch:
            patch.setattr(_sys, "eventfd", fail)
            assert tevent_threaded_context_create(ev, ev) is None
        assert get_errno() == errno.EMFILE
        owner = talloc_new(ev)
        talloc_set_memlimit(owner, 1)
        assert tevent_threaded_context_create(owner, ev) is None
        assert not ev.threaded_contexts

    def test_wrong_types(self, ev: tevent_context) -> None:
        """They are TypeErrors that name the parameter."""
        tctx = threaded(ev, ev)
        with pytest.raises(TypeError, match="ev"):
            tevent_threaded_context_create(ev, None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="tctx"):
            tevent_threaded_schedule_immediate(None, immediate(ev), print, None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="im"):
            tevent_threaded_schedule_immediate(tctx, None, print, None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="handler"):
            tevent_threaded_schedule_immediate(tctx, immediate(ev), 5, None)  # type: ignore[arg-type]

    def test_contexts_are_independent(self) -> None:
        """Loops of different contexts run in different threads and send work to each other."""
        log: list[Any] = []
        with context() as here, context() as there:
            to_there, to_here = threaded(there, there), threaded(here, here)
            im_there, im_here = immediate(there), immediate(here)

            def ping(ev: Any, im: Any, count: int) -> None:
                log.append((threading.current_thread() is threading.main_thread(), count))
                if ev is there:
                    tevent_threaded_schedule_immediate(to_here, im_here, ping, count + 1)
                elif count < 10:
                    tevent_threaded_schedule_immediate(to_there, im_there, ping, count + 1)

            def done() -> bool:
                return len(log) >= 10

            thread = threading.Thread(target=loop_until, args=(there, lambda: len(log) >= 9, 1000))
            thread.start()
            tevent_threaded_schedule_immediate(to_there, im_there, ping, 1)
            loop_until(here, done, 1000)
            thread.join()
        assert log == [(n % 2 == 0, n) for n in range(1, 11)]


class TestWakeup:
    def test_it_ends_a_wait(self, any_ev: tevent_context) -> None:
        """From another thread; more than one before the loop looks are one."""
        assert tevent_common_wakeup_init(any_ev) == 0
        in_thread(lambda: [tevent_common_wakeup(any_ev) for _ in range(3)])
        assert tevent_loop_once(any_ev) == 0
        tevent_context_set_wait_timeout(any_ev, 0)
        assert tevent_loop_once(any_ev) == -1

    def test_without_init(self, ev: tevent_context) -> None:
        """ENOTCONN is returned, errno stays."""
        set_errno(0)
        assert tevent_common_wakeup(ev) == errno.ENOTCONN
        assert get_errno() == 0

    def test_a_raw_descriptor(self) -> None:
        """Eight bytes, a failure is ignored."""
        reader, writer = os.pipe()
        assert tevent_common_wakeup_fd(writer) == 0
        assert len(os.read(reader, 100)) == 8
        os.close(reader)
        os.close(writer)
        assert tevent_common_wakeup_fd(writer) == 0

    def test_a_platform_without_eventfd(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pipe does the same."""
        monkeypatch.setattr(_sys, "eventfd", None)
        with context() as ev:
            log: list[Any] = []
            tctx = threaded(ev, ev)
            in_thread(lambda: tevent_threaded_schedule_immediate(tctx, immediate(), log.append, None))
            im = ev.scheduled_immediates[0]
            assert tevent_loop_once_catching(ev) is TypeError
            talloc_free(im)
            assert tevent_loop_once(ev) == 0
            tevent_context_set_wait_timeout(ev, 0)
            assert tevent_loop_once(ev) == -1

    def test_no_epoll_descriptor_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The errno is returned and nothing stays open."""

        def fail(*args: object, **options: object) -> Any:
            raise OSError(errno.EMFILE, "too many")

        with context("poll") as ev:
            monkeypatch.setattr(_sys, "epoll", fail)
            assert tevent_common_wakeup_init(ev) == errno.EMFILE


def tevent_loop_once_catching(ev: tevent_context) -> object:
    try:
        return tevent_loop_once(ev)
    except TypeError as error:
        return type(error)
