# SPDX-License-Identifier: LGPL-3.0-or-later
"""The cleanup function: once for each state, in rising order, before the callback."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from req_kit import Bench, job_state, opened, state_of

from talloc_py import talloc_free, talloc_total_blocks
from tevent import (
    TEVENT_REQ_DONE,
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_RECEIVED,
    TEVENT_REQ_USER_ERROR,
    tevent_loop_once,
    tevent_req,
    tevent_req_data,
    tevent_req_default_print,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_oom,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    tevent_req_state,
    timeval,
)

bench = pytest.fixture(opened, name="bench")


def clean(bench: Bench, req: tevent_req) -> None:
    """Let the cleanup function write ("cleanup", state number)."""

    def cleanup(req: tevent_req, req_state: tevent_req_state) -> None:
        assert type(req_state) is tevent_req_state
        assert req_state == state_of(req)
        bench.log.append(("cleanup", int(req_state)))

    tevent_req_set_cleanup_fn(req, cleanup)


def done(req: tevent_req) -> None:
    tevent_req_done(req)


def error(req: tevent_req) -> None:
    tevent_req_error(req, 5)


class TestOncePerState:
    @pytest.mark.parametrize(
        ("steps", "seen"),
        [
            ([done, done], [2]),
            ([done, error], [2, 3]),
            ([error, done], [3]),
            ([error, done, tevent_req_oom], [3, 5]),
            ([tevent_req_oom, error, done], [5]),
            ([done, error, tevent_req_oom, done, error], [2, 3, 5]),
            ([], []),
        ],
    )
    def test_rising_order_only(self, bench: Bench, steps: list[Any], seen: list[int]) -> None:
        """Each state above the last one cleaned is cleaned once, and at last RECEIVED."""
        req, _ = bench.make()
        clean(bench, req)
        for step in steps:
            step(req)
        assert bench.take() == [("cleanup", state) for state in seen]
        tevent_req_received(req)
        assert bench.take() == [("cleanup", 6)]
        tevent_req_received(req)
        talloc_free(req)
        assert bench.take() == []

    def test_timeout_stands_between_error_and_no_memory(self, bench: Bench) -> None:
        """An endtime after an error is cleaned, after a lack of memory it is not."""
        for finish, seen in ((error, [3, 4]), (tevent_req_oom, [5])):
            req, _ = bench.make()
            clean(bench, req)
            finish(req)
            tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
            assert bench.drain() == 1
            assert state_of(req) == 4
            assert bench.take() == [("cleanup", state) for state in seen]

    def test_free_cleans_like_received(self, bench: Bench) -> None:
        """A free in progress calls the cleanup with RECEIVED, once."""
        req, _ = bench.make(name="a")
        clean(bench, req)
        talloc_free(req)
        assert bench.take() == [("cleanup", 6)]


class TestSetting:
    def test_set_after_done(self, bench: Bench) -> None:
        """A function set on a finished request is not called for that state, not even by a post; for RECEIVED it is."""
        req, _ = bench.make()
        tevent_req_done(req)
        clean(bench, req)
        tevent_req_post(req, bench.ev)
        bench.drain()
        assert bench.take() == []
        tevent_req_received(req)
        assert bench.take() == [("cleanup", 6)]

    def test_replaced_after_done(self, bench: Bench) -> None:
        """The same for a replacement; the old one is called no more."""
        req, _ = bench.make()
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(("old", int(req_state))))
        tevent_req_done(req)
        clean(bench, req)
        tevent_req_done(req)
        tevent_req_received(req)
        assert bench.take() == [("old", 2), ("cleanup", 6)]

    def test_set_back_to_a_lower_state(self, bench: Bench) -> None:
        """Setting remembers the present state, also when that is lower than what was cleaned before."""
        req, _ = bench.make()
        clean(bench, req)
        tevent_req_error(req, 1)
        tevent_req_done(req)
        clean(bench, req)
        tevent_req_error(req, 1)
        assert bench.take() == [("cleanup", 3), ("cleanup", 3)]

    def test_none_is_never_called(self, bench: Bench) -> None:
        """None takes the function away."""
        req, _ = bench.make()
        clean(bench, req)
        tevent_req_set_cleanup_fn(req, None)
        tevent_req_done(req)
        tevent_req_received(req)
        assert bench.take() == []

    def test_set_after_received(self, bench: Bench) -> None:
        """A function set on a received request is never called."""
        req, _ = bench.make()
        tevent_req_received(req)
        clean(bench, req)
        tevent_req_received(req)
        talloc_free(req)
        assert bench.take() == []

    def test_replaced_from_within(self, bench: Bench) -> None:
        """A cleanup function may put another one into its place."""
        req, _ = bench.make()

        def first(req: tevent_req, req_state: tevent_req_state) -> None:
            bench.log.append("first")
            clean(bench, req)

        tevent_req_set_cleanup_fn(req, first)
        tevent_req_done(req)
        tevent_req_received(req)
        assert bench.take() == ["first", ("cleanup", 6)]


class TestPlace:
    def test_before_callback_and_deferral(self, bench: Bench) -> None:
        """It runs before the callback, and before a deferred callback is scheduled."""
        req, _ = bench.make(name="a")
        clean(bench, req)
        tevent_req_done(req)
        assert bench.take() == [("cleanup", 2), ("a", 2)]

        req, _ = bench.make(name="a")
        other, _ = bench.make(name="other")

        def post_other(req: tevent_req, req_state: tevent_req_state) -> None:
            tevent_req_post(other, bench.ev)
            tevent_req_set_cleanup_fn(req, None)

        tevent_req_set_cleanup_fn(req, post_other)
        tevent_req_defer_callback(req, bench.ev)
        tevent_req_done(req)
        assert bench.drain() == 2
        assert bench.take() == [("other", 1), ("a", 2)]

    def test_never_for_in_progress(self, bench: Bench) -> None:
        """A posted request in progress runs no cleanup."""
        req, _ = bench.make(name="a")
        clean(bench, req)
        tevent_req_post(req, bench.ev)
        bench.drain()
        assert bench.take() == [("a", 1)]

    def test_on_receive_the_state_still_exists(self, bench: Bench) -> None:
        """With RECEIVED the state is still there; immediate and timer are gone."""
        for end in (tevent_req_received, talloc_free):
            req, state = bench.make()
            tevent_req_set_endtime(req, bench.ev, timeval(1, 0))

            def cleanup(req: tevent_req, req_state: tevent_req_state, state: job_state = state) -> None:
                assert tevent_req_data(req, job_state) is state
                assert talloc_total_blocks(state) == 1
                bench.log.append(int(req_state))

            tevent_req_set_cleanup_fn(req, cleanup)
            end(req)
            assert bench.take() == [6]
            assert bench.drain() == 0

    def test_received_leaves_only_request_and_state(self, bench: Bench) -> None:
        """In the cleanup of received the request has two chunks."""
        req, _ = bench.make()
        assert talloc_total_blocks(req) == 3
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(talloc_total_blocks(req)))
        tevent_req_received(req)
        assert bench.take() == [2]


class TestFinishingInside:
    def test_error_with_a_cleanup_that_calls_done(self, bench: Bench) -> None:
        """The inner call fires, then the outer goes on and fires again; both see DONE."""
        req, _ = bench.make(name="a")
        tevent_req_set_cleanup_fn(req, lambda req, req_state: tevent_req_done(req))
        tevent_req_error(req, 5)
        assert bench.take() == [("a", TEVENT_REQ_DONE)] * 2

    def test_done_with_a_cleanup_that_calls_error_each_time(self, bench: Bench) -> None:
        """Cleanup for DONE, cleanup for USER_ERROR, three callbacks."""
        req, _ = bench.make(name="a")

        def cleanup(req: tevent_req, req_state: tevent_req_state) -> None:
            bench.log.append(("cleanup", int(req_state)))
            tevent_req_error(req, 77)

        tevent_req_set_cleanup_fn(req, cleanup)
        tevent_req_done(req)
        assert bench.take() == [("cleanup", 2), ("cleanup", 3)] + [("a", TEVENT_REQ_USER_ERROR)] * 3
        tevent_req_set_cleanup_fn(req, None)

    def test_the_place_is_that_of_the_outer_finish(self, bench: Bench) -> None:
        """The inner call changes the state for good, but the request counts as finished where the outer call is."""
        req, _ = bench.make()
        tevent_req_set_cleanup_fn(req, lambda req, req_state: tevent_req_done(req))
        tevent_req_error(req, 5); line = sys._getframe().f_lineno  # fmt: skip # noqa: E702
        text = tevent_req_default_print(req, bench.root)
        assert text is not None
        assert "state[2]" in text
        assert text.endswith(f"finish[{__file__}:{line}]")

    def test_free_of_another_request_inside(self, bench: Bench) -> None:
        """A cleanup may free a request that stands beside its own."""
        req, _ = bench.make(name="a")
        other, _ = bench.make(name="other")
        clean(bench, other)
        tevent_req_set_cleanup_fn(req, lambda req, req_state: talloc_free(other) if state_of(req) == 2 else None)
        tevent_req_done(req)
        assert bench.take() == [("cleanup", 6), ("a", 2)]


class Trouble(Exception):
    """What the cleanup functions of the following tests raise."""


class TestRaising:
    def trouble(self, req: tevent_req, req_state: tevent_req_state) -> None:
        raise Trouble

    def test_leaves_through_the_finishing_call(self, bench: Bench) -> None:
        """The state is set; that call does not call back, the next one does and does not clean again."""
        req, _ = bench.make(name="a")
        tevent_req_set_cleanup_fn(req, self.trouble)
        with pytest.raises(Trouble):
            tevent_req_error(req, 5)
        assert state_of(req) is TEVENT_REQ_USER_ERROR
        assert bench.take() == []
        tevent_req_error(req, 5)
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]
        tevent_req_set_cleanup_fn(req, None)

    def test_leaves_through_the_loop(self, bench: Bench) -> None:
        """From an endtime it comes out of the loop; the request has timed out and fired nothing."""
        req, _ = bench.make(name="a")
        tevent_req_set_cleanup_fn(req, self.trouble)
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        with pytest.raises(Trouble):
            tevent_loop_once(bench.ev)
        assert state_of(req) == 4
        assert bench.take() == []
        assert bench.drain() == 0
        tevent_req_set_cleanup_fn(req, None)

    def test_leaves_through_received(self, bench: Bench) -> None:
        """From received it comes out of received; the state is freed all the same."""
        req, _ = bench.make()
        tevent_req_set_cleanup_fn(req, self.trouble)
        with pytest.raises(Trouble):
            tevent_req_received(req)
        assert state_of(req) is TEVENT_REQ_RECEIVED
        assert talloc_total_blocks(req) == 1
        assert talloc_free(req) == 0

    def test_free_reports_it_and_goes_on(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the request is being freed the exception is reported as a destructor's is, and the free succeeds."""
        seen: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda info: seen.append(info.exc_type))
        req, _ = bench.make(name="a")
        before = talloc_total_blocks(bench.root)
        tevent_req_set_cleanup_fn(req, self.trouble)
        assert talloc_free(req) == 0
        assert seen == [Trouble]
        assert talloc_total_blocks(bench.root) == before - 3
        assert bench.take() == []

    def test_free_of_the_owner_frees_the_rest(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception in one request's cleanup keeps no other request alive."""
        seen: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda info: seen.append(info.exc_type))
        outer, state = bench.make()
        for name in "abc":
            sub, _ = bench.make(state, name=name)
            tevent_req_set_cleanup_fn(sub, self.trouble if name == "b" else None)
            if name != "b":
                clean(bench, sub)
        assert talloc_free(outer) == 0
        assert seen == [Trouble]
        assert bench.take() == [("cleanup", 6)] * 2


class TestFinishingWhileFreed:
    def test_nothing_is_left_behind(self, bench: Bench) -> None:
        """A cleanup that finishes its dying request does not keep it alive, and leaves no event behind."""
        req, _ = bench.make()
        before = talloc_total_blocks(bench.root)

        def cleanup(req: tevent_req, req_state: tevent_req_state) -> None:
            bench.log.append(int(req_state))
            if req_state is TEVENT_REQ_RECEIVED:
                tevent_req_done(req)

        tevent_req_set_cleanup_fn(req, cleanup)
        assert talloc_free(req) == 0
        assert bench.take() == [6]
        assert bench.drain() == 0
        assert talloc_total_blocks(bench.root) == before - 3

    def test_an_endtime_set_there_dies_too(self, bench: Bench) -> None:
        """So does an endtime that the cleanup sets."""
        req, _ = bench.make(name="a")
        tevent_req_set_cleanup_fn(
            req, lambda req, req_state: tevent_req_set_endtime(req, bench.ev, timeval(1, 0)) and None
        )
        assert talloc_free(req) == 0
        assert bench.drain() == 0
        assert bench.take() == []

    def test_callback_may_run_but_not_free(self, bench: Bench) -> None:
        """A callback fired by such a finish finds a request whose free does nothing more."""
        req, _ = bench.make()
        tevent_req_set_callback(req, lambda req: bench.log.append(talloc_free(req)), None)
        tevent_req_set_cleanup_fn(req, lambda req, req_state: tevent_req_done(req))
        assert talloc_free(req) == 0
        assert bench.take() == [-1]


def test_state_numbers_do_not_leak(bench: Bench) -> None:
    """What a cleanup function gets is a member of the enum, not a bare number."""
    req, _ = bench.make()
    tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(req_state))
    tevent_req_done(req)
    tevent_req_received(req)
    assert [type(state) for state in bench.log] == [tevent_req_state] * 2
    assert bench.take() == [TEVENT_REQ_DONE, TEVENT_REQ_RECEIVED]
    assert state_of(req) is not TEVENT_REQ_IN_PROGRESS
