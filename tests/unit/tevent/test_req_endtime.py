# SPDX-License-Identifier: LGPL-3.0-or-later
"""The endtime of a request."""

from __future__ import annotations

import pytest
from req_kit import Bench, opened, state_of

from talloc_py import talloc_free, talloc_new, talloc_set_memlimit, talloc_steal, talloc_total_blocks, talloc_total_size
from tevent import (
    TEVENT_REQ_DONE,
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_NO_MEMORY,
    TEVENT_REQ_RECEIVED,
    TEVENT_REQ_TIMED_OUT,
    _sys,
    tevent_context_init,
    tevent_req,
    tevent_req_done,
    tevent_req_get_profile,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_notify_callback,
    tevent_req_post,
    tevent_req_profile_get_stop,
    tevent_req_received,
    tevent_req_reset_endtime,
    tevent_req_set_callback,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    tevent_req_set_profile,
    timeval,
)

bench = pytest.fixture(opened, name="bench")
NEVER = timeval(2**33, 0)


class TestSet:
    def test_true_and_one_timer(self, bench: Bench) -> None:
        """It returns True and adds one timer, a child of the request."""
        req, _ = bench.make(name="a")
        assert tevent_req_set_endtime(req, bench.ev, NEVER) is True
        assert talloc_total_blocks(req) == 4
        assert bench.drain() == 0

    def test_a_second_call_replaces_the_first(self, bench: Bench) -> None:
        """There is one timer: the new endtime alone counts."""
        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert tevent_req_set_endtime(req, bench.ev, NEVER) is True
        assert talloc_total_blocks(req) == 4
        assert bench.drain() == 0
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_TIMED_OUT)]

    @pytest.mark.parametrize("endtime", [None, 5, 5.0, "5"])
    def test_endtime_must_be_a_timeval(self, bench: Bench, endtime: object) -> None:
        """Anything else is refused."""
        req, _ = bench.make(name="a")
        with pytest.raises(TypeError):
            tevent_req_set_endtime(req, bench.ev, endtime)
        assert bench.drain() == 0
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS

    def test_memlimit_finishes_it(self, bench: Bench) -> None:
        """Where a memory limit forbids the timer the request ends with NO_MEMORY, and False is returned."""
        limited = talloc_new(bench.root)
        req, _ = bench.make(limited, name="a")
        used = talloc_total_size(limited) + 96 * talloc_total_blocks(limited)
        talloc_set_memlimit(limited, used)
        assert tevent_req_set_endtime(req, bench.ev, NEVER) is False
        assert bench.take() == [("a", TEVENT_REQ_NO_MEMORY)]


class TestFires:
    def test_times_out_through_the_whole_sequence(self, bench: Bench) -> None:
        """When it fires the state is TIMED_OUT; cleanup, profile and callback follow; the running timer goes last."""
        req, _ = bench.make()
        assert tevent_req_set_profile(req)

        def cleanup(req: tevent_req, req_state: object) -> None:
            bench.log.append(("cleanup", req_state))

        def callback(req: tevent_req) -> None:
            bench.log.append(("callback", talloc_total_blocks(req)))

        tevent_req_set_cleanup_fn(req, cleanup)
        tevent_req_set_callback(req, callback, None)
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert bench.drain() == 1
        assert bench.take() == [("cleanup", TEVENT_REQ_TIMED_OUT), ("callback", 5)]
        assert talloc_total_blocks(req) == 4
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_TIMED_OUT, None)
        profile = tevent_req_get_profile(req)
        assert profile is not None
        assert tevent_req_profile_get_stop(profile)[0] == "tevent_req_timedout"

    @pytest.mark.parametrize("endtime", [timeval(0, 0), timeval(1, 0), timeval(-1, 0)])
    def test_past_times_fire_from_the_loop(self, bench: Bench, endtime: timeval) -> None:
        """A time in the past, zero included, fires in the next turn, never inside the call."""
        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, bench.ev, endtime)
        assert bench.take() == []
        assert bench.turn()
        assert bench.take() == [("a", TEVENT_REQ_TIMED_OUT)]

    def test_a_future_time_fires_when_the_clock_gets_there(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """The time is absolute, and compared with the wall clock."""
        now = 1_000_000_000_000_000
        monkeypatch.setattr(_sys, "time_ns", lambda: now * 1000)
        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, bench.ev, timeval(1_000_000_000, 500_000))
        assert not bench.turn()
        now += 499_999
        assert not bench.turn()
        now += 1
        assert bench.turn()
        assert bench.take() == [("a", TEVENT_REQ_TIMED_OUT)]

    def test_equal_times_fire_in_order_one_a_turn(self, bench: Bench) -> None:
        """Equal endtimes fire in the order of set_endtime; a posted request fires before them."""
        names = ["a", "b", "c"]
        for name in names:
            req, _ = bench.make(name=name)
            tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        posted, _ = bench.make(name="posted")
        tevent_req_post(posted, bench.ev)
        seen = []
        while bench.turn():
            seen.append(bench.take())
        assert seen == [[("posted", 1)], *([(name, 4)] for name in names)]

    def test_over_a_finished_request(self, bench: Bench) -> None:
        """An endtime set on a finished request is accepted and fires over it."""
        req, _ = bench.make(name="a")
        tevent_req_done(req)
        assert tevent_req_set_endtime(req, bench.ev, timeval(1, 0)) is True
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_DONE), ("a", TEVENT_REQ_TIMED_OUT)]

    def test_set_again_in_the_callback(self, bench: Bench) -> None:
        """The callback may set the next endtime."""
        req, _ = bench.make()

        def callback(req: tevent_req) -> None:
            bench.log.append(int(state_of(req)))
            if len(bench.log) < 3:
                tevent_req_set_endtime(req, bench.ev, timeval(1, 0))

        tevent_req_set_callback(req, callback, None)
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert bench.drain() == 3
        assert bench.take() == [4, 4, 4]

    def test_after_received(self, bench: Bench) -> None:
        """Also a received request can be given one; nobody relies on more than its not crashing."""
        req, _ = bench.make(name="a")
        tevent_req_received(req)
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        bench.drain()
        assert talloc_free(req) == 0


class TestDropped:
    @pytest.mark.parametrize("end", [tevent_req_done, tevent_req_received, tevent_req_reset_endtime, talloc_free])
    def test_by_every_end(self, bench: Bench, end: object) -> None:
        """Each way of finishing, received, reset and free drop the timer."""
        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        end(req)  # type: ignore[operator]
        bench.take()
        assert bench.drain() == 0
        assert bench.take() == []

    def test_not_by_notify(self, bench: Bench) -> None:
        """notify_callback keeps it."""
        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        tevent_req_notify_callback(req)
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_IN_PROGRESS), ("a", TEVENT_REQ_TIMED_OUT)]

    def test_reset_in_any_state_and_again(self, bench: Bench) -> None:
        """reset_endtime is allowed without an endtime, twice, and on finished requests."""
        req, _ = bench.make()
        tevent_req_reset_endtime(req)
        tevent_req_set_endtime(req, bench.ev, NEVER)
        for _ in range(2):
            assert tevent_req_reset_endtime(req) is None
            assert talloc_total_blocks(req) == 3
        tevent_req_done(req)
        tevent_req_reset_endtime(req)
        tevent_req_received(req)
        tevent_req_reset_endtime(req)
        assert state_of(req) is TEVENT_REQ_RECEIVED

    def test_by_the_end_of_the_context(self, bench: Bench) -> None:
        """With the context gone the request never times out, and all calls still work."""
        ev = tevent_context_init(None)
        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, ev, timeval(1, 0))
        talloc_free(ev)
        assert tevent_req_is_in_progress(req)
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_TIMED_OUT)]

    def test_moves_with_the_request(self, bench: Bench) -> None:
        """A request that is stolen keeps its endtime."""
        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        talloc_steal(talloc_new(bench.root), req)
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_TIMED_OUT)]

    def test_timer_freed_by_hand(self, bench: Bench) -> None:
        """A timer that somebody freed through the tree does not disturb a later finish."""
        from talloc_py import talloc_free_children

        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        talloc_free_children(req)
        assert bench.drain() == 0
        tevent_req_done(req)
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        assert talloc_free(req) == 0
