# SPDX-License-Identifier: LGPL-3.0-or-later
"""Wrapper contexts: what surrounds handlers, the use stack, and frees at bad moments."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from backend_kit import BACKENDS, aborts, context, debug_of, forget_signals, loop_until, pipe

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_parent, talloc_set_abort_fn, talloc_set_memlimit
from tevent import (
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    get_errno,
    set_errno,
    tevent_abort_error,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_common_context_destructor,
    tevent_context_is_wrapper,
    tevent_context_pop_use,
    tevent_context_push_use,
    tevent_context_same_loop,
    tevent_context_set_wait_timeout,
    tevent_context_wrapper_create,
    tevent_create_immediate,
    tevent_fd_get_flags,
    tevent_fd_set_close_fn,
    tevent_fd_set_flags,
    tevent_loop_allow_nesting,
    tevent_loop_once,
    tevent_loop_until,
    tevent_loop_wait,
    tevent_re_initialise,
    tevent_reset_immediate,
    tevent_schedule_immediate,
    tevent_set_debug,
    tevent_set_trace_callback,
    tevent_set_trace_fd_callback,
    tevent_set_trace_immediate_callback,
    tevent_set_trace_signal_callback,
    tevent_set_trace_timer_callback,
    tevent_thread_proxy_create,
    tevent_threaded_context_create,
    tevent_threaded_schedule_immediate,
    tevent_wrapper_main_ev,
    tevent_wrapper_ops,
    timeval,
)
from tevent.wrapper import _stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tevent import tevent_context, tevent_immediate

USR1 = int(signal.SIGUSR1)
SOON = timeval(0, 0)


class wrap_state(TALLOC_CTX):
    """The state of the wrappers of these tests: what their operations were called with."""

    log: list[Any]
    refuse: bool = False
    raises: str | None = None


def make_ops() -> tevent_wrapper_ops:
    """Operations that write down how they were called, and raise where the state says so."""

    def operation(name: str) -> Any:
        def note(wrap_ev: Any, state: wrap_state, main_ev: Any, *args: Any) -> bool:
            state.log.append((name, *args))
            assert wrap_ev is not main_ev
            if state.raises == name:
                raise ZeroDivisionError
            return not state.refuse

        return note

    kinds = ("fd", "timer", "immediate", "signal")
    names = ["before_use", "after_use", *(f"{when}_{kind}_handler" for kind in kinds for when in ("before", "after"))]
    return tevent_wrapper_ops(name="test", **{name: operation(name) for name in names})


@pytest.fixture(autouse=True)
def the_use_stack_is_empty() -> Iterator[None]:
    """Fail a test that leaves something in use; forget signals that nobody was told of."""
    forget_signals()
    yield
    forget_signals()
    left = list(_stack)
    _stack.clear()
    assert left == []


@pytest.fixture(params=BACKENDS)
def any_main(request: pytest.FixtureRequest) -> Iterator[tevent_context]:
    with context(request.param) as ev:
        tevent_context_set_wait_timeout(ev, 0)
        yield ev


@pytest.fixture
def main() -> Iterator[tevent_context]:
    with context() as ev:
        tevent_context_set_wait_timeout(ev, 0)
        yield ev


def wrap(main: tevent_context, owner: Any = None) -> tuple[tevent_context, wrap_state]:
    wrap_ev, state = tevent_context_wrapper_create(main, main if owner is None else owner, make_ops(), wrap_state)
    assert wrap_ev is not None
    state.log = []
    return wrap_ev, state


def immediate(owner: Any) -> tevent_immediate:
    im = tevent_create_immediate(owner)
    assert im is not None
    return im


class TestCreating:
    def test_owner_and_state(self, main: tevent_context) -> None:
        """The wrapper is a child of mem_ctx, the state a child of the wrapper."""
        owner = talloc_new(main)
        wrap_ev, state = wrap(main, owner)
        assert talloc_parent(wrap_ev) is owner
        assert talloc_parent(state) is wrap_ev
        assert type(state) is wrap_state
        assert tevent_context_is_wrapper(wrap_ev)
        assert not tevent_context_is_wrapper(main)
        assert "wrapper" in repr(wrap_ev)

    def test_of_a_wrapper(self, main: tevent_context) -> None:
        """Wrappers do not stack: (None, None), EINVAL and a debug message of level FATAL."""
        wrap_ev, _state = wrap(main)
        messages = debug_of(main)
        set_errno(0)
        assert tevent_context_wrapper_create(wrap_ev, None, make_ops(), wrap_state) == (None, None)
        assert get_errno() == errno.EINVAL
        assert messages[-1][0] == 0
        assert "stacking not allowed" in messages[-1][1]

    def test_of_a_context_that_nests(self, main: tevent_context) -> None:
        """Nesting and wrappers exclude each other, in both orders."""
        messages = debug_of(main)
        tevent_loop_allow_nesting(main)
        assert tevent_context_wrapper_create(main, None, make_ops(), wrap_state) == (None, None)
        assert "conflicts with nesting" in messages[-1][1]
        with context() as other:
            wrap_ev, _state = wrap(other)
            with pytest.raises(tevent_abort_error, match="tevent_loop_allow_nesting\\(\\) with wrapper"):
                tevent_loop_allow_nesting(other)
            with pytest.raises(tevent_abort_error, match="tevent_loop_allow_nesting\\(\\) on wrapper"):
                tevent_loop_allow_nesting(wrap_ev)

    def test_wrong_types(self, main: tevent_context) -> None:
        """They are TypeErrors that name the parameter."""
        with pytest.raises(TypeError, match="ev"):
            tevent_context_wrapper_create(None, None, make_ops(), wrap_state)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="ops"):
            tevent_context_wrapper_create(main, None, None, wrap_state)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            tevent_wrapper_ops("incomplete")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="ev"):
            tevent_context_pop_use(None)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            tevent_context_wrapper_create(main, None, make_ops(), 5)  # type: ignore[type-var]
        assert not main.wrappers

    def test_of_a_freed_context(self, main: tevent_context) -> None:
        """It goes to talloc's abort function; where that returns nothing is made and nothing used."""
        talloc_free(main)
        reasons: list[str] = []
        talloc_set_abort_fn(reasons.append)
        try:
            assert tevent_context_wrapper_create(main, None, make_ops(), wrap_state) == (None, None)
            assert tevent_context_push_use(main) is False
            assert tevent_context_is_wrapper(main) is False
        finally:
            talloc_set_abort_fn(None)
        assert reasons == ["Bad talloc magic value - access after free"] * 3

    def test_memory_limit(self, main: tevent_context) -> None:
        """Where the wrapper or its state does not fit there is neither."""
        owner = talloc_new(main)
        results = []
        for limit in range(1, 4000, 16):
            talloc_set_memlimit(owner, limit)
            wrap_ev, state = tevent_context_wrapper_create(main, owner, make_ops(), wrap_state)
            results.append((wrap_ev is None, state is None))
            if wrap_ev is not None:
                break
            assert not main.wrappers
        assert results[0] == (True, True)
        assert results[-1] == (False, False)
        assert set(results[:-1]) == {(True, True)}

    def test_repr_of_the_operations(self) -> None:
        """They show their name."""
        assert repr(make_ops()) == "<tevent_wrapper_ops 'test'>"


class TestHandlers:
    def test_fd(self, any_main: tevent_context) -> None:
        """The operations surround the handler, which gets the wrapper."""
        wrap_ev, state = wrap(any_main)
        with pipe() as (_reader, writer):

            def handler(ev: Any, fde: Any, flags: int, private_data: Any) -> None:
                state.log.append(("handler", ev, flags, private_data))

            fde = tevent_add_fd(wrap_ev, None, writer, TEVENT_FD_WRITE, handler, "data")
            assert fde is not None
            assert talloc_parent(fde) is any_main
            assert fde in any_main.fd_events
            loop_until(any_main, lambda: state.log)
            assert state.log == [
                ("before_fd_handler", fde, TEVENT_FD_WRITE, "handler"),
                ("handler", wrap_ev, TEVENT_FD_WRITE, "data"),
                ("after_fd_handler", fde, TEVENT_FD_WRITE, "handler"),
            ]
            tevent_fd_set_flags(fde, 0)
            assert tevent_fd_get_flags(fde) == 0
            talloc_free(fde)

    def test_timer(self, any_main: tevent_context) -> None:
        """With the time asked for and the time at which it fires."""
        wrap_ev, state = wrap(any_main)
        owner = talloc_new(any_main)

        def handler(ev: Any, te: Any, now: Any, private_data: Any) -> None:
            state.log.append(("handler", ev, now))

        te = tevent_add_timer(wrap_ev, owner, timeval(1, 2), handler, None)
        assert talloc_parent(te) is owner
        tevent_loop_once(any_main)
        now = state.log[1][2]
        assert state.log == [
            ("before_timer_handler", te, timeval(1, 2), now, "handler"),
            ("handler", wrap_ev, now),
            ("after_timer_handler", te, timeval(1, 2), now, "handler"),
        ]

    def test_immediate(self, any_main: tevent_context) -> None:
        """In the queue of the main context, in its place."""
        wrap_ev, state = wrap(any_main)

        def handler(ev: Any, im: Any, private_data: Any) -> None:
            state.log.append(("handler", ev, private_data))

        first, im, last = (immediate(any_main) for _ in range(3))
        tevent_schedule_immediate(first, any_main, handler, "first")
        tevent_schedule_immediate(im, wrap_ev, handler, "wrapped")
        tevent_schedule_immediate(last, any_main, handler, "last")
        for _ in range(3):
            tevent_loop_once(any_main)
        assert state.log == [
            ("handler", any_main, "first"),
            ("before_immediate_handler", im, "handler"),
            ("handler", wrap_ev, "wrapped"),
            ("after_immediate_handler", im, "handler"),
            ("handler", any_main, "last"),
        ]

    def test_signal(self, any_main: tevent_context) -> None:
        """With number, count and siginfo."""
        wrap_ev, state = wrap(any_main)

        def handler(ev: Any, *rest: Any) -> None:
            state.log.append(("handler", ev))

        se = tevent_add_signal(wrap_ev, None, USR1, 0, handler, None)
        os.kill(os.getpid(), USR1)
        tevent_loop_once(any_main)
        assert state.log == [
            ("before_signal_handler", se, USR1, 1, None, "handler"),
            ("handler", wrap_ev),
            ("after_signal_handler", se, USR1, 1, None, "handler"),
        ]

    def test_an_immediate_goes_back_to_the_main_context(self, main: tevent_context) -> None:
        """What is scheduled on the main context afterwards is not wrapped any more; None through a wrapper cancels."""
        wrap_ev, state = wrap(main)
        im = immediate(main)
        tevent_schedule_immediate(im, wrap_ev, lambda *args: None, None)
        tevent_schedule_immediate(im, wrap_ev, None, None)
        assert not main.immediate_events
        tevent_schedule_immediate(im, main, lambda *args: None, None)
        tevent_loop_once(main)
        assert state.log == []

    def test_what_cannot_be_added(self, main: tevent_context) -> None:
        """A failure of the main context is passed on."""
        wrap_ev, _state = wrap(main)
        assert tevent_add_fd(wrap_ev, None, -1, TEVENT_FD_READ, None, None) is None
        assert tevent_add_signal(wrap_ev, None, 1000, 0, lambda *args: None, None) is None
        owner = talloc_new(main)
        talloc_set_memlimit(owner, 1)
        assert tevent_add_timer(wrap_ev, owner, SOON, lambda *args: None, None) is None

    def test_close_functions_are_not_wrapped(self, main: tevent_context) -> None:
        """They get the main context, and no operation runs."""
        wrap_ev, state = wrap(main)
        log: list[Any] = []
        with pipe() as (reader, _writer):
            fde = tevent_add_fd(wrap_ev, None, reader, TEVENT_FD_READ, None, None)
            tevent_fd_set_close_fn(fde, lambda ev, fde, fd, p: log.append((ev, fd)))
            talloc_free(fde)
            assert log == [(main, reader)]
            assert state.log == []

    def test_the_event_is_freed_in_its_handler(self, main: tevent_context) -> None:
        """after_x runs all the same."""
        wrap_ev, state = wrap(main)
        with pipe() as (_reader, writer):
            tevent_add_fd(wrap_ev, None, writer, TEVENT_FD_WRITE, lambda ev, fde, fl, p: talloc_free(fde), None)
            tevent_schedule_immediate(immediate(main), wrap_ev, lambda ev, im, p: talloc_free(im), None)
            tevent_add_timer(wrap_ev, None, SOON, lambda ev, te, now, p: talloc_free(te), None)
            for _ in range(3):
                assert tevent_loop_once(main) == 0
        assert [name for name, *_ in state.log] == [
            "before_immediate_handler", "after_immediate_handler", "before_timer_handler", "after_timer_handler",
            "before_fd_handler", "after_fd_handler",
        ]  # fmt: skip

    @pytest.mark.parametrize("where", ["handler", "before_timer_handler", "after_timer_handler"])
    def test_exceptions(self, main: tevent_context, where: str) -> None:
        """Whatever raises: the wrapper is off the stack and works again, after_x has run if before_x had."""
        wrap_ev, state = wrap(main)
        state.raises = where

        def handler(*args: Any) -> None:
            if where == "handler":
                raise ZeroDivisionError

        tevent_add_timer(wrap_ev, None, SOON, handler, None)
        with pytest.raises(ZeroDivisionError):
            tevent_loop_once(main)
        expected = ["before_timer_handler", "after_timer_handler"]
        assert [name for name, *_ in state.log] == expected[: 1 if where == expected[0] else 2]
        state.raises = None
        state.log.clear()
        tevent_add_timer(wrap_ev, None, SOON, handler if where != "handler" else lambda *args: None, None)
        assert tevent_loop_once(main) == 0
        assert [name for name, *_ in state.log] == expected

    def test_trace_of_the_main_context(self, main: tevent_context) -> None:
        """It sees the events of wrappers: BEFORE_HANDLER comes after before_x, DETACH after after_x."""
        wrap_ev, state = wrap(main)
        tevent_set_trace_timer_callback(main, lambda te, point, _: state.log.append((f"trace {int(point)}",)), None)
        tevent_add_timer(wrap_ev, None, SOON, lambda *args: state.log.append(("handler",)), None)
        tevent_loop_once(main)
        assert [name for name, *_ in state.log] == [
            "trace 0", "before_timer_handler", "trace 2", "handler", "after_timer_handler", "trace 1",
        ]  # fmt: skip


class TestLoop:
    def test_no_loop_of_its_own(self, main: tevent_context) -> None:
        """A loop call on a wrapper aborts, and gives -1 with ENOSYS."""
        wrap_ev, _state = wrap(main)
        with pytest.raises(tevent_abort_error, match="tevent_wrapper_glue_loop_once\\(\\) called"):
            tevent_loop_once(wrap_ev)
        with aborts() as reasons:
            for call in (tevent_loop_once, tevent_loop_wait):
                set_errno(0)
                assert call(wrap_ev) == -1
                assert get_errno() == errno.ENOSYS
            assert tevent_loop_until(wrap_ev, lambda _: False, None) == -1
            assert wrap_ev.ops.context_init(wrap_ev) == -1
        assert reasons == [
            "tevent_wrapper_glue_loop_once() called",
            "tevent_wrapper_glue_loop_wait() called",
            "tevent_wrapper_glue_loop_once() called",
            "tevent_wrapper_glue_context_init() called",
        ]

    def test_what_belongs_to_the_main_context(self, main: tevent_context) -> None:
        """Setting trace callbacks or a debug function, and initialising again, abort."""
        wrap_ev, _state = wrap(main)
        setters: list[Any] = [
            tevent_set_trace_callback,
            tevent_set_trace_fd_callback,
            tevent_set_trace_timer_callback,
            tevent_set_trace_immediate_callback,
            tevent_set_trace_signal_callback,
        ]
        for setter in setters:
            with pytest.raises(tevent_abort_error, match=f"{setter.__name__}\\(\\) on wrapper"):
                setter(wrap_ev, lambda *args: None, None)
        with aborts() as reasons:
            assert tevent_set_debug(wrap_ev, None, None) == -1
            assert get_errno() == errno.EINVAL
            assert tevent_common_context_destructor(wrap_ev) == 0
        assert reasons == [
            "tevent_set_debug() on wrapper",
            "tevent_common_context_destructor() active on wrapper",
        ]
        with pytest.raises(tevent_abort_error, match="active on wrapper"):
            tevent_re_initialise(wrap_ev)

    def test_same_loop(self, main: tevent_context) -> None:
        """Contexts with the same living main context."""
        one, _ = wrap(main)
        two, _ = wrap(main)
        with context() as other:
            assert tevent_context_same_loop(main, one)
            assert tevent_context_same_loop(one, two)
            assert not tevent_context_same_loop(one, other)
            assert not tevent_context_same_loop(None, main)
            assert not tevent_context_same_loop(main, None)
            assert not tevent_context_same_loop(None, None)
        assert tevent_wrapper_main_ev(None) is None
        assert tevent_wrapper_main_ev(main) is main
        assert tevent_wrapper_main_ev(one) is main

    def test_thread_proxy(self, main: tevent_context) -> None:
        """Not on a wrapper: None with EINVAL and a debug message."""
        wrap_ev, _state = wrap(main)
        messages = debug_of(main)
        assert tevent_thread_proxy_create(wrap_ev) is None
        assert get_errno() == errno.EINVAL
        assert messages[-1][0] == 0

    def test_threaded_context(self, main: tevent_context) -> None:
        """An immediate scheduled through it runs as the wrapper's."""
        wrap_ev, state = wrap(main)
        tctx = tevent_threaded_context_create(main, wrap_ev)
        assert tctx is not None
        tevent_threaded_schedule_immediate(
            tctx, immediate(main), lambda ev, im, p: state.log.append(("handler", ev)), None
        )
        tevent_loop_once(main)
        assert [entry[:2] for entry in state.log[1:2]] == [("handler", wrap_ev)]
        assert state.log[0][0] == "before_immediate_handler"


class TestMainContextGone:
    @pytest.fixture(params=["free", "re_initialise"])
    def orphan(self, request: pytest.FixtureRequest) -> Iterator[tevent_context]:
        owner = talloc_new(None)
        with context() as main:
            wrap_ev, _state = wrap(main, owner)
            if request.param == "free":
                talloc_free(main)
            else:
                tevent_re_initialise(main)
            yield wrap_ev
            talloc_free(owner)

    def test_adding(self, orphan: tevent_context) -> None:
        """None with EINVAL; an immediate aborts."""
        for add in (
            lambda: tevent_add_fd(orphan, None, 0, TEVENT_FD_READ, None, None),
            lambda: tevent_add_timer(orphan, None, SOON, None, None),
            lambda: tevent_add_signal(orphan, None, USR1, 0, None, None),
            lambda: tevent_threaded_context_create(orphan, orphan),
        ):
            set_errno(0)
            assert add() is None
            assert get_errno() == errno.EINVAL
        im = immediate(orphan)
        with pytest.raises(tevent_abort_error, match="main context is gone"):
            tevent_schedule_immediate(im, orphan, lambda *args: None, None)
        with aborts():
            tevent_schedule_immediate(im, orphan, lambda *args: None, None)
            assert get_errno() == errno.EINVAL

    def test_using(self, orphan: tevent_context) -> None:
        """It cannot be used, and loops with nobody."""
        assert tevent_context_push_use(orphan) is False
        assert not tevent_context_same_loop(orphan, orphan)
        assert tevent_wrapper_main_ev(orphan) is None

    def test_freeing(self, orphan: tevent_context) -> None:
        """It is fine."""
        assert talloc_free(orphan) == 0

    def test_in_a_handler(self) -> None:
        """The main context goes in a handler of a wrapper: no after_x, the stack is in order, the loop call aborts."""
        owner = talloc_new(None)
        with context() as main:
            wrap_ev, state = wrap(main, owner)
            tevent_add_timer(wrap_ev, owner, SOON, lambda *args: talloc_free(main), None)
            with pytest.raises(tevent_abort_error, match="freed while its loop runs"):
                tevent_loop_once(main)
            assert [name for name, *_ in state.log] == ["before_timer_handler"]
            assert _stack == []
        talloc_free(owner)

    def test_initialised_again_in_a_handler(self, main: tevent_context) -> None:
        """after_x runs, with None for the main context."""
        wrap_ev, state = wrap(main)
        seen: list[Any] = []
        after = wrap_ev.wrapper.ops.after_timer_handler
        wrap_ev.wrapper.ops.after_timer_handler = lambda wrap_ev, state, main_ev, *_: seen.append(main_ev)
        te = tevent_add_timer(wrap_ev, None, SOON, lambda *args: tevent_re_initialise(main), None)
        assert te is not None
        tevent_loop_once(main)
        wrap_ev.wrapper.ops.after_timer_handler = after
        assert seen == [None]
        assert [name for name, *_ in state.log] == ["before_timer_handler"]
        assert _stack == []

    def test_while_it_is_used(self) -> None:
        """pop_use is right, after_use does not run."""
        owner = talloc_new(None)
        with context() as main:
            wrap_ev, state = wrap(main, owner)
            assert tevent_context_push_use(wrap_ev)
        tevent_context_pop_use(wrap_ev)
        assert [name for name, *_ in state.log] == ["before_use"]
        talloc_free(owner)


class TestFreeing:
    def test_its_events_are_detached(self, any_main: tevent_context) -> None:
        """fd events with a DETACH, the others without; all stay chunks, those of the main context stay pending."""
        messages = debug_of(any_main)
        wrap_ev, _state = wrap(any_main)
        fail = lambda *args: pytest.fail("it ran")  # noqa: E731
        log: list[Any] = []
        traced: list[Any] = []
        note = lambda event, point, _: traced.append((event, int(point)))  # noqa: E731
        with pipe() as (_reader, writer):
            fde = tevent_add_fd(wrap_ev, None, writer, TEVENT_FD_WRITE, fail, None)
            silent = tevent_add_fd(wrap_ev, None, writer, 0, fail, None)
            te = tevent_add_timer(wrap_ev, None, SOON, fail, None)
            im = immediate(any_main)
            tevent_schedule_immediate(im, wrap_ev, fail, None)
            se = tevent_add_signal(wrap_ev, None, USR1, 0, fail, None)
            mine = immediate(any_main)
            tevent_schedule_immediate(mine, any_main, lambda *args: log.append("immediate"), None)
            tevent_add_timer(any_main, None, SOON, lambda *args: log.append("timer"), None)
            keep = tevent_add_fd(any_main, None, writer, TEVENT_FD_WRITE, lambda *args: log.append("fd"), None)
            others = tevent_add_signal(any_main, None, USR1, 0, lambda *args: log.append("signal"), None)
            for setter in (
                tevent_set_trace_fd_callback,
                tevent_set_trace_timer_callback,
                tevent_set_trace_immediate_callback,
                tevent_set_trace_signal_callback,
            ):
                setter(any_main, note, None)
            assert talloc_free(wrap_ev) == 0
            assert sorted(id(event) for event, point in traced) == sorted([id(fde), id(silent), id(se)])
            assert any("Destroying wrapper context" in text and "wrap_state" in text for _, text in messages)
            assert tevent_fd_get_flags(fde) == 0
            assert fde is not None
            assert te is not None
            assert se is not None
            assert [event.event_ctx for event in (fde, te, im, se)] == [None] * 4
            os.kill(os.getpid(), USR1)
            for _ in range(4):
                tevent_loop_once(any_main)
            loop_until(any_main, lambda: "fd" in log)
            assert log[:3] == ["signal", "immediate", "timer"]
            for event in (fde, silent, te, im, se, keep, others):
                assert talloc_free(event) == 0

    def test_in_its_handler(self, main: tevent_context) -> None:
        """talloc_free gives -1, using it aborts, the real free comes after after_x; its other events never run."""
        owner = talloc_new(None)
        wrap_ev, state = wrap(main, owner)
        fail = lambda *args: pytest.fail("it ran")  # noqa: E731
        im = immediate(main)

        def handler(*args: Any) -> None:
            state.log.append(talloc_free(wrap_ev))
            with aborts() as reasons:
                assert tevent_add_fd(wrap_ev, None, 0, TEVENT_FD_READ, fail, None) is None
                assert tevent_add_timer(wrap_ev, None, SOON, fail, None) is None
                assert tevent_add_signal(wrap_ev, None, USR1, 0, fail, None) is None
                tevent_schedule_immediate(im, wrap_ev, fail, None)
                talloc_free(wrap_ev)
            state.log.append(reasons)
            assert tevent_context_same_loop(wrap_ev, main)

        tevent_add_timer(wrap_ev, None, SOON, handler, None)
        pending = immediate(main)
        tevent_add_timer(wrap_ev, None, SOON, fail, None)
        tevent_loop_once(main)
        tevent_schedule_immediate(pending, main, lambda *args: state.log.append("main"), None)
        assert main.wrappers == []
        assert not main.timer_events
        assert state.log[1] == -1
        assert state.log[2] == [
            "add_fd wrapper use after free",
            "add_timer wrapper use after free",
            "add_signal wrapper use after free",
            "scheduke_immediate wrapper use after free",
            "tevent_context wrapper double free",
        ]
        assert state.log[3][0] == "after_timer_handler"
        assert tevent_loop_once(main) == 0
        assert state.log[4:] == ["main"]
        tevent_reset_immediate(im)
        talloc_free(owner)

    def test_its_parent_in_its_handler(self, main: tevent_context) -> None:
        """The wrapper moves up to the grandparent and goes when the handler returns."""
        top = talloc_new(None)
        owner = talloc_new(top)
        wrap_ev, state = wrap(main, owner)
        tevent_add_timer(wrap_ev, None, SOON, lambda *args: state.log.append(talloc_free(owner)), None)
        tevent_loop_once(main)
        assert state.log[1] == 0
        assert state.log[2][0] == "after_timer_handler"
        assert main.wrappers == []
        talloc_free(top)

    def test_while_it_is_pushed(self, main: tevent_context) -> None:
        """It is freed by the pop, without after_use."""
        wrap_ev, state = wrap(main)
        assert tevent_context_push_use(wrap_ev)
        assert talloc_free(wrap_ev) == -1
        tevent_context_pop_use(wrap_ev)
        assert main.wrappers == []
        assert [name for name, *_ in state.log] == ["before_use"]

    def test_threads_are_cut_off(self, main: tevent_context) -> None:
        """Threaded contexts of the wrapper do nothing any more, those of others go on; what is on its way is idle."""
        owner = talloc_new(None)
        wrap_ev, _state = wrap(main)
        log: list[Any] = []
        mine = tevent_threaded_context_create(owner, wrap_ev)
        other = tevent_threaded_context_create(owner, main)
        assert mine is not None
        assert other is not None
        ims = [immediate(owner) for _ in range(3)]
        for tctx, im in ((mine, ims[0]), (other, ims[1])):
            tevent_threaded_schedule_immediate(tctx, im, lambda ev, im, p: log.append(im), None)
        talloc_free(wrap_ev)
        assert main.threaded_contexts == [other]
        tevent_threaded_schedule_immediate(mine, ims[2], lambda *args: pytest.fail("it ran"), None)
        loop_until(main, lambda: log)
        assert log == [ims[1]]
        assert [talloc_free(im) for im in ims] == [0, 0, 0]
        talloc_free(owner)

    def test_between_the_move_and_the_run(self, main: tevent_context) -> None:
        """A trace callback that frees the wrapper while its immediate is taken over from a thread: it becomes idle."""
        wrap_ev, _state = wrap(main)
        tctx = tevent_threaded_context_create(main, wrap_ev)
        assert tctx is not None
        im = immediate(main)
        tevent_threaded_schedule_immediate(tctx, im, lambda *args: pytest.fail("it ran"), None)

        def trace(im: Any, point: int, _: Any) -> None:
            tevent_set_trace_immediate_callback(main, None, None)
            talloc_free(wrap_ev)

        tevent_set_trace_immediate_callback(main, trace, None)
        tevent_loop_once_or_again(main)
        assert im.event_ctx is None
        assert talloc_free(im) == 0


def tevent_loop_once_or_again(ev: tevent_context) -> None:
    """One iteration; where there was nothing to do that is fine."""
    set_errno(0)
    if tevent_loop_once(ev) != 0:
        assert get_errno() == errno.EAGAIN


class TestUseStack:
    def test_push_and_pop(self, main: tevent_context) -> None:
        """before_use and after_use run; nested uses of several contexts end in reverse order."""
        one, one_state = wrap(main)
        two, two_state = wrap(main)
        assert tevent_context_push_use(one)
        assert tevent_context_push_use(main)
        assert tevent_context_push_use(two)
        for ev in (two, main, one):
            tevent_context_pop_use(ev)
        assert [name for name, *_ in one_state.log] == ["before_use", "after_use"]
        assert [name for name, *_ in two_state.log] == ["before_use", "after_use"]

    def test_refused(self, main: tevent_context) -> None:
        """before_use says no: False, and nothing to pop."""
        wrap_ev, state = wrap(main)
        state.refuse = True
        assert tevent_context_push_use(wrap_ev) is False
        assert _stack == []
        state.refuse = False
        state.raises = "before_use"
        with pytest.raises(ZeroDivisionError):
            tevent_context_push_use(wrap_ev)
        assert _stack == []

    def test_twice(self, main: tevent_context) -> None:
        """A wrapper is used once at a time: abort, also inside its handlers; a plain context is used any number."""
        wrap_ev, _state = wrap(main)
        assert tevent_context_push_use(wrap_ev)
        with pytest.raises(tevent_abort_error, match="wrapper already busy!"):
            tevent_context_push_use(wrap_ev)
        with aborts() as reasons:
            assert tevent_context_push_use(wrap_ev) is False
        assert reasons == ["wrapper already busy!"]
        tevent_context_pop_use(wrap_ev)
        log: list[Any] = []

        def handler(*args: Any) -> None:
            with aborts() as reasons:
                log.append(tevent_context_push_use(wrap_ev))
            log.append(reasons)

        tevent_add_timer(wrap_ev, None, SOON, handler, None)
        tevent_loop_once(main)
        assert log == [False, ["wrapper already busy!"]]

    def test_in_use_when_its_handler_runs(self, main: tevent_context) -> None:
        """Abort; where that returns the handler runs all the same and the use goes on."""
        wrap_ev, state = wrap(main)
        tevent_add_timer(wrap_ev, None, SOON, lambda *args: state.log.append("handler"), None)
        assert tevent_context_push_use(wrap_ev)
        with aborts() as reasons:
            tevent_loop_once(main)
        assert reasons == ["wrapper already busy!"]
        assert "handler" in state.log
        tevent_context_pop_use(wrap_ev)
        assert state.log[-1] == ("after_use",)

    def test_overflow(self, main: tevent_context) -> None:
        """There are 32 places; a running handler takes one."""
        wrap_ev, _state = wrap(main)
        for _ in range(31):
            assert tevent_context_push_use(main)
        assert tevent_context_push_use(wrap_ev)
        with pytest.raises(tevent_abort_error, match="TEVENT_WRAPPER_STACK_SIZE overflow"):
            tevent_context_push_use(main)
        tevent_context_pop_use(wrap_ev)
        assert tevent_context_push_use(main)
        with aborts() as reasons:
            assert tevent_context_push_use(wrap_ev) is False
        assert reasons == ["TEVENT_WRAPPER_STACK_SIZE overflow"]
        for _ in range(32):
            tevent_context_pop_use(main)

    def test_empty(self, main: tevent_context) -> None:
        """To pop more than was pushed aborts."""
        wrap_ev, _state = wrap(main)
        for ev in (main, wrap_ev):
            with pytest.raises(tevent_abort_error, match="tevent_wrapper stack already empty"):
                tevent_context_pop_use(ev)
            with aborts() as reasons:
                tevent_context_pop_use(ev)
            assert len(reasons) == 1

    def test_mismatch(self, main: tevent_context) -> None:
        """To pop another one than the last aborts and takes nothing off."""
        wrap_ev, _state = wrap(main)
        assert tevent_context_push_use(main)
        assert tevent_context_push_use(wrap_ev)
        with pytest.raises(tevent_abort_error, match="tevent_wrapper_pop_use mismatch ev!"):
            tevent_context_pop_use(main)
        with aborts() as reasons:
            tevent_context_pop_use(main)
        assert reasons == ["tevent_wrapper_pop_use mismatch ev!"]
        tevent_context_pop_use(wrap_ev)
        tevent_context_pop_use(main)

    def test_a_handler_that_forgets_to_pop(self, main: tevent_context) -> None:
        """Abort when it returns; the stack is in order again."""
        wrap_ev, _state = wrap(main)
        other, _other_state = wrap(main)

        def handler(*args: Any) -> None:
            tevent_context_push_use(other)
            tevent_context_push_use(main)

        tevent_add_timer(wrap_ev, None, SOON, handler, None)
        with pytest.raises(tevent_abort_error, match="tevent_wrapper_pop_use mismatch ev!"):
            tevent_loop_once(main)
        assert _stack == []
        assert tevent_context_push_use(other)
        tevent_context_pop_use(other)

    def test_a_handler_that_pops_its_own_wrapper(self, main: tevent_context) -> None:
        """Abort when it returns, for there is nothing to take off any more."""
        wrap_ev, _state = wrap(main)
        tevent_add_timer(wrap_ev, None, SOON, lambda *args: tevent_context_pop_use(wrap_ev), None)
        with pytest.raises(tevent_abort_error, match="tevent_wrapper stack already empty"):
            tevent_loop_once(main)
        tevent_add_timer(wrap_ev, None, SOON, lambda *args: tevent_context_pop_use(wrap_ev), None)
        with aborts() as reasons:
            assert tevent_loop_once(main) == 0
        assert reasons == ["tevent_wrapper stack already empty"]
        tevent_context_push_use(main)
        tevent_add_timer(wrap_ev, None, SOON, lambda *args: tevent_context_pop_use(wrap_ev), None)
        with pytest.raises(tevent_abort_error, match="tevent_wrapper_pop_use mismatch ev!"):
            tevent_loop_once(main)
        tevent_context_pop_use(main)

    def test_of_a_freed_context(self) -> None:
        """A plain context may be gone when it is popped: only its identity counts."""
        with context() as main:
            tevent_context_push_use(main)
            talloc_free(main)
        tevent_context_pop_use(main)
        with pytest.raises(Exception, match="access after free"):
            tevent_context_push_use(main)
