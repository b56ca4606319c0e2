# SPDX-License-Identifier: LGPL-3.0-or-later
"""The backend selectors: over whatever selector there is."""

from __future__ import annotations

import errno
import os
import selectors
import socket
from typing import TYPE_CHECKING, Any

import pytest
from backend_kit import aborts, context, debug_of, pipe

from talloc_py import talloc_free, talloc_new, talloc_set_memlimit
from tevent import (
    TEVENT_FD_ERROR,
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    _sys,
    get_errno,
    tevent_abort_error,
    tevent_add_fd,
    tevent_add_timer,
    tevent_common_fd_disarm,
    tevent_context_init_ops,
    tevent_context_set_wait_timeout,
    tevent_fd_get_flags,
    tevent_fd_set_flags,
    tevent_find_ops_byname,
    tevent_loop_once,
    tevent_re_initialise,
    tevent_set_trace_callback,
    timeval,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tevent import tevent_context

READ = TEVENT_FD_READ
WRITE = TEVENT_FD_WRITE

KINDS = [
    cls
    for cls in (selectors.SelectSelector, getattr(selectors, "PollSelector", None), selectors.DefaultSelector)
    if cls is not None
]


def over(selector: object, mem_ctx: Any = None) -> tevent_context:
    """A context over *selector* that does not wait."""
    ops = tevent_find_ops_byname("selectors")
    assert ops is not None
    ev = tevent_context_init_ops(mem_ctx, ops, selector)
    assert ev is not None
    tevent_context_set_wait_timeout(ev, 0)
    return ev


@pytest.fixture(params=KINDS, ids=lambda cls: cls.__name__)
def sel_ev(request: pytest.FixtureRequest) -> Iterator[tevent_context]:
    """A context over each kind of selector."""
    ev = over(request.param())
    yield ev
    if not ev.gone:
        talloc_free(ev)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two


class TestSelector:
    def test_the_default(self) -> None:
        """Without one it is the platform's best."""
        with context("selectors") as ev:
            assert type(ev.additional_data.selector) is selectors.DefaultSelector

    def test_the_one_given_is_owned_and_closed(self) -> None:
        """The context closes it when it goes."""

        class mine(selectors.SelectSelector):
            closed = 0

            def close(self) -> None:
                self.closed += 1
                super().close()

        selector = mine()
        ev = over(selector)
        assert ev.additional_data.selector is selector
        talloc_free(ev)
        assert selector.closed == 1

    def test_something_else(self) -> None:
        """It is a TypeError."""
        with pytest.raises(TypeError, match="additional_data"):
            over(object())

    def test_memory_limit(self) -> None:
        """Where there is no room for its data there is no context, and the selector is closed."""
        ops = tevent_find_ops_byname("selectors")
        assert ops is not None
        owner = talloc_new(None)
        # Room for the context itself, but for no more.
        size = next(size for size in range(96, 4096, 16) if _fits(owner, ops, size))
        talloc_set_memlimit(owner, size - 16)
        selector = selectors.SelectSelector()
        assert tevent_context_init_ops(owner, ops, selector) is None
        talloc_free(owner)

    def test_initialised_again(self, sel_ev: tevent_context, pair: Any) -> None:
        """The same selector, emptied."""
        one, _two = pair
        log: list[Any] = []
        selector = sel_ev.additional_data.selector
        old = tevent_add_fd(sel_ev, None, one.fileno(), WRITE, lambda *args: log.append("old"), None)
        assert tevent_re_initialise(sel_ev) == 0
        assert sel_ev.additional_data.selector is selector
        assert tevent_loop_once(sel_ev) == -1
        tevent_add_fd(sel_ev, None, one.fileno(), WRITE, lambda *args: log.append("new"), None)
        tevent_loop_once(sel_ev)
        assert log == ["new"]
        assert talloc_free(old) == 0


def _fits(owner: Any, ops: Any, size: int) -> bool:
    talloc_set_memlimit(owner, size)
    ev = tevent_context_init_ops(owner, ops, None)
    if ev is not None:
        talloc_free(ev)
    return ev is not None


class TestEvents:
    def test_flags(self, sel_ev: tevent_context, pair: Any) -> None:
        """What is ready and wanted."""
        one, two = pair
        log: list[int] = []
        fde = tevent_add_fd(sel_ev, None, one.fileno(), READ, lambda ev, fde, flags, p: log.append(flags), None)
        assert tevent_loop_once(sel_ev) == -1
        two.send(b"x")
        tevent_loop_once(sel_ev)
        tevent_fd_set_flags(fde, READ | WRITE)
        tevent_loop_once(sel_ev)
        tevent_fd_set_flags(fde, WRITE)
        tevent_loop_once(sel_ev)
        tevent_fd_set_flags(fde, WRITE)
        tevent_fd_set_flags(fde, 0)
        assert tevent_loop_once(sel_ev) == -1
        assert log == [1, 3, 2]

    def test_events_on_one_descriptor_share_a_registration(self, sel_ev: tevent_context, pair: Any) -> None:
        """Each has its own flags and its turn; freeing one leaves the others."""
        one, two = pair
        two.send(b"x")
        log: list[Any] = []
        events = [
            tevent_add_fd(sel_ev, None, one.fileno(), flags, lambda ev, fde, flags, p: log.append((p, flags)), name)
            for name, flags in (("R", READ), ("W", WRITE), ("RW", READ | WRITE), ("none", 0))
        ]
        for _ in range(6):
            tevent_loop_once(sel_ev)
        assert sorted(log) == sorted([("R", 1), ("W", 2), ("RW", 3)] * 2)
        assert len(set(log[:3])) == 3
        talloc_free(events[0])
        talloc_free(events[2])
        log.clear()
        tevent_loop_once(sel_ev)
        assert log == [("W", 2)]

    def test_one_handler_a_turn_and_everybody_in_turn(self, sel_ev: tevent_context) -> None:
        """Of several ready descriptors each is served within as many iterations."""
        log: list[Any] = []
        with pipe() as (_r1, w1), pipe() as (_r2, w2), pipe() as (_r3, w3):
            for fd in (w1, w2, w3):
                tevent_add_fd(sel_ev, None, fd, WRITE, lambda ev, fde, flags, p: log.append(p), fd)
            for n in range(1, 10):
                tevent_loop_once(sel_ev)
                assert len(log) == n
            assert all(set(log[i : i + 3]) == {w1, w2, w3} for i in range(0, 9, 3))

    def test_errors_alone_are_never_seen(self, sel_ev: tevent_context, pair: Any) -> None:
        """A selector cannot tell them."""
        one, two = pair
        fde = tevent_add_fd(sel_ev, None, one.fileno(), TEVENT_FD_ERROR, None, None)
        two.close()
        assert tevent_loop_once(sel_ev) == -1
        assert tevent_fd_get_flags(fde) == TEVENT_FD_ERROR

    def test_a_peer_that_is_gone(self, sel_ev: tevent_context, pair: Any) -> None:
        """A reader hears of it."""
        one, two = pair
        log: list[int] = []
        tevent_add_fd(sel_ev, None, one.fileno(), READ, lambda ev, fde, flags, p: log.append(flags), None)
        two.close()
        tevent_loop_once(sel_ev)
        assert log == [READ]

    def test_a_timer_in_the_wait(self, sel_ev: tevent_context) -> None:
        """The wait ends when it is due."""
        log: list[Any] = []
        tevent_context_set_wait_timeout(sel_ev, 2**31 - 1)
        now = _sys.time_ns() // 1000 + 1500
        tevent_add_timer(sel_ev, None, timeval(*divmod(now, 1000000)), lambda *args: log.append("timer"), None)
        assert tevent_loop_once(sel_ev) == 0
        assert log == ["timer"]

    def test_waiting_for_ever(self, sel_ev: tevent_context, pair: Any) -> None:
        """Until something is ready."""
        log: list[Any] = []
        tevent_context_set_wait_timeout(sel_ev, 2**31 - 1)
        tevent_add_fd(sel_ev, None, pair[0].fileno(), WRITE, lambda *args: log.append("ready"), None)
        assert tevent_loop_once(sel_ev) == 0
        assert log == ["ready"]

    def test_trace_points(self, sel_ev: tevent_context) -> None:
        """Around the wait, as with every backend."""
        points: list[int] = []
        tevent_set_trace_callback(sel_ev, lambda point, _: points.append(int(point)), None)
        tevent_loop_once(sel_ev)
        assert points == [2, 0, 1, 3]

    def test_the_context_goes_while_it_waits(self, sel_ev: tevent_context) -> None:
        """A trace callback frees it: the loop call aborts and touches nothing more."""
        tevent_set_trace_callback(sel_ev, lambda point, _: talloc_free(sel_ev) if point == 1 else None, None)
        with pytest.raises(tevent_abort_error, match="freed while its loop runs"):
            tevent_loop_once(sel_ev)


class TestTrouble:
    def test_closed_before_it_is_freed(self, sel_ev: tevent_context) -> None:
        """The handler never runs, the free is fine."""
        with pipe() as (reader, writer):
            fde = tevent_add_fd(sel_ev, None, reader, READ, lambda *args: pytest.fail("it ran"), None)
            os.write(writer, b"x")
            os.close(reader)
            for _ in range(2):
                tevent_loop_once(sel_ev)
            assert talloc_free(fde) == 0
            assert tevent_loop_once(sel_ev) == -1

    def test_a_number_that_is_not_open(self, sel_ev: tevent_context) -> None:
        """add_fd gives an event, which is disarmed at once or in the next wait."""
        messages = debug_of(sel_ev)
        fde = tevent_add_fd(sel_ev, None, 999, READ, lambda *args: pytest.fail("it ran"), None)
        tevent_loop_once(sel_ev)
        assert tevent_fd_get_flags(fde) == 0
        assert "not open, disarmed" in messages[-1][1]

    def test_a_number_that_is_given_out_again(self, sel_ev: tevent_context) -> None:
        """A new event on the number hears of the new file, though the old event was not freed in time."""
        log: list[Any] = []
        with pipe() as (r1, _w1), pipe() as (r2, w2):
            old = tevent_add_fd(sel_ev, None, r1, READ, lambda *args: log.append("old"), None)
            os.dup2(r2, r1)
            tevent_add_fd(sel_ev, None, r1, READ, lambda *args: log.append("new"), None)
            talloc_free(old)
            os.write(w2, b"x")
            tevent_loop_once(sel_ev)
        assert log == ["new"]

    def test_detached_without_a_word_to_the_backend(self, sel_ev: tevent_context) -> None:
        """It does not run, and its registration goes."""
        with pipe() as (_reader, writer):
            fde = tevent_add_fd(sel_ev, None, writer, WRITE, lambda *args: pytest.fail("it ran"), None)
            assert fde is not None
            tevent_common_fd_disarm(fde)
            tevent_loop_once(sel_ev)
            assert tevent_loop_once(sel_ev) == -1
            assert sel_ev.additional_data.registered == {}
            tevent_fd_set_flags(fde, READ)

    def test_a_descriptor_that_the_selector_refuses(self, pair: Any) -> None:
        """It goes to the abort function."""
        selector = selectors.SelectSelector()
        selector.register(pair[0].fileno(), selectors.EVENT_READ)
        ev = over(selector)
        messages = debug_of(ev)
        with aborts() as reasons:
            tevent_add_fd(ev, None, pair[0].fileno(), READ, None, None)
        assert reasons == ["selector refuses a descriptor"]
        assert any("selector refuses descriptor" in text for _, text in messages)
        talloc_free(ev)

    def test_what_others_have_registered_is_ignored(self, pair: Any) -> None:
        """A registration that is none of ours is no event."""
        selector = selectors.SelectSelector()
        selector.register(pair[0].fileno(), selectors.EVENT_WRITE)
        ev = over(selector)
        assert tevent_loop_once(ev) == -1
        talloc_free(ev)

    def test_the_selector_fails(self) -> None:
        """loop_once gives -1 with the errno, EINVAL where there is none."""

        class failing(selectors.SelectSelector):
            error: Exception = OSError(errno.ENOMEM, "no memory")

            def select(self, timeout: float | None = None) -> Any:
                raise self.error

        selector = failing()
        ev = over(selector)
        assert tevent_loop_once(ev) == -1
        assert get_errno() == errno.ENOMEM
        selector.error = ValueError("too large")
        assert tevent_loop_once(ev) == -1
        assert get_errno() == errno.EINVAL
        talloc_free(ev)
