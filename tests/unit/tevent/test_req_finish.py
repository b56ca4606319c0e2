# SPDX-License-Identifier: LGPL-3.0-or-later
"""Finishing requests: done, error, oom, nomem, notify; what happens in which order, and twice."""

from __future__ import annotations

import errno

import pytest
from req_kit import Bench, job_state, opened, state_of

from talloc_py import TALLOC_CTX, talloc_abort_error, talloc_free, talloc_new, talloc_steal, talloc_total_blocks
from tevent import (
    TEVENT_REQ_DONE,
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_NO_MEMORY,
    TEVENT_REQ_USER_ERROR,
    tevent_loop_once,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_create,
    tevent_req_data,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_get_profile,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_nomem,
    tevent_req_notify_callback,
    tevent_req_oom,
    tevent_req_post,
    tevent_req_profile_get_status,
    tevent_req_profile_get_stop,
    tevent_req_set_callback,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    tevent_req_set_profile,
    timeval,
)

bench = pytest.fixture(opened, name="bench")


class TestEndings:
    def test_done(self, bench: Bench) -> None:
        """done: the state is DONE and the callback runs inside the call."""
        req, _ = bench.make(name="a")
        assert tevent_req_done(req) is None
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        assert tevent_req_is_error(req) == (False, None, None)
        assert not tevent_req_is_in_progress(req)
        assert bench.drain() == 0

    def test_error(self, bench: Bench) -> None:
        """error: USER_ERROR with the number, True."""
        req, _ = bench.make(name="a")
        assert tevent_req_error(req, errno.EPIPE) is True
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_USER_ERROR, errno.EPIPE)

    def test_oom(self, bench: Bench) -> None:
        """oom: NO_MEMORY."""
        req, _ = bench.make(name="a")
        assert tevent_req_oom(req) is None
        assert bench.take() == [("a", TEVENT_REQ_NO_MEMORY)]
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_NO_MEMORY, None)

    def test_nomem_of_none(self, bench: Bench) -> None:
        """nomem of None: NO_MEMORY and True."""
        req, _ = bench.make(name="a")
        assert tevent_req_nomem(None, req) is True
        assert bench.take() == [("a", TEVENT_REQ_NO_MEMORY)]

    @pytest.mark.parametrize("p", [0, "", [], False, object()])
    def test_nomem_of_something(self, bench: Bench, p: object) -> None:
        """nomem of anything but None, empty things included, is False and nothing happens."""
        req, _ = bench.make(name="a")
        assert tevent_req_nomem(p, req) is False
        assert bench.take() == []
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS

    def test_error_zero_does_nothing(self, bench: Bench) -> None:
        """error 0 is no error: False, no change, not even of the place where it was finished."""
        req, _ = bench.make(name="a")
        assert tevent_req_set_profile(req)
        assert tevent_req_error(req, 0) is False
        assert tevent_req_error(req, 2**64) is False
        assert bench.take() == []
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS
        profile = tevent_req_get_profile(req)
        assert profile is not None
        assert tevent_req_profile_get_stop(profile) == (None, timeval(0, 0))

    @pytest.mark.parametrize(
        ("given", "kept"),
        [(1, 1), (2**63 + 1, 2**63 + 1), (-1, 2**64 - 1), (2**64 + 7, 7), (-(2**63), 2**63), (True, 1)],
    )
    def test_error_is_an_unsigned_64_bit_number(self, bench: Bench, given: int, kept: int) -> None:
        """The error is reduced modulo 2**64."""
        req, _ = bench.make()
        assert tevent_req_error(req, given) is True
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_USER_ERROR, kept)

    @pytest.mark.parametrize("error", [None, "5", 5.0, OSError(5)])
    def test_error_must_be_a_number(self, bench: Bench, error: object) -> None:
        """An error that is no int is refused, and the request goes on."""
        req, _ = bench.make(name="a")
        with pytest.raises(TypeError):
            tevent_req_error(req, error)
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS
        assert bench.take() == []

    def test_callback_runs_before_the_call_returns(self, bench: Bench) -> None:
        """The callback sees the final state, and done returns after it."""
        req, _ = bench.make(name="callback")
        tevent_req_done(req)
        bench.log.append("returned")
        assert bench.take() == [("callback", TEVENT_REQ_DONE), "returned"]

    def test_without_a_callback(self, bench: Bench) -> None:
        """A request without a callback finishes silently."""
        req, _ = bench.make()
        tevent_req_done(req)
        assert state_of(req) is TEVENT_REQ_DONE

    def test_the_callback_gets_the_request(self, bench: Bench) -> None:
        """The only argument of the callback is the request; the private data comes from there."""
        req, _ = bench.make()
        outer, outer_state = bench.make()

        def done(subreq: tevent_req) -> None:
            assert subreq is req
            assert tevent_req_callback_data(subreq, tevent_req) is outer
            assert tevent_req_data(outer, job_state) is outer_state
            bench.log.append("done")

        tevent_req_set_callback(req, done, outer)
        tevent_req_done(req)
        assert bench.take() == ["done"]


class TestSequence:
    def test_order(self, bench: Bench) -> None:
        """Timer freed, state set, cleanup, profile stopped, callback: in this order."""
        req, _ = bench.make()
        assert tevent_req_set_endtime(req, bench.ev, timeval(2**33, 0))
        assert tevent_req_set_profile(req)
        profile = tevent_req_get_profile(req)
        assert profile is not None

        def look(who: str) -> None:
            stopped = tevent_req_profile_get_stop(profile)[0] is not None
            blocks = talloc_total_blocks(req)  # request, state, immediate, profile; a timer would be the fifth
            bench.log.append((who, blocks, int(state_of(req)), stopped))

        tevent_req_set_cleanup_fn(req, lambda req, req_state: look("cleanup"))
        tevent_req_set_callback(req, lambda req: look("callback"), None)
        tevent_req_error(req, 9)
        assert bench.take() == [("cleanup", 4, 3, False), ("callback", 4, 3, True)]
        assert tevent_req_profile_get_status(profile) == (0, TEVENT_REQ_USER_ERROR, 9)

    def test_no_guard_against_finishing_twice(self, bench: Bench) -> None:
        """Every call runs the whole sequence; the last state wins, the error number stays behind a later done."""
        req, _ = bench.make(name="a")
        assert tevent_req_set_profile(req)
        tevent_req_done(req)
        tevent_req_done(req)
        assert bench.take() == [("a", TEVENT_REQ_DONE)] * 2
        tevent_req_error(req, 5)
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]
        tevent_req_done(req)
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        assert tevent_req_is_error(req) == (False, None, None)
        profile = tevent_req_get_profile(req)
        assert profile is not None
        assert tevent_req_profile_get_status(profile) == (0, TEVENT_REQ_DONE, 5)

    def test_nested_finish_from_the_callback(self, bench: Bench) -> None:
        """A callback that finishes its request again is called inside itself."""
        req, _ = bench.make()

        def callback(req: tevent_req) -> None:
            bench.log.append(("in", int(state_of(req))))
            if state_of(req) is TEVENT_REQ_DONE:
                tevent_req_error(req, 1)
            bench.log.append(("out", int(state_of(req))))

        tevent_req_set_callback(req, callback, None)
        tevent_req_done(req)
        assert bench.take() == [("in", 2), ("in", 3), ("out", 3), ("out", 3)]


class TestNotify:
    def test_calls_back_in_any_state(self, bench: Bench) -> None:
        """notify_callback calls the callback and changes nothing, in progress or finished."""
        req, _ = bench.make(name="a")
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append("cleanup"))
        assert tevent_req_notify_callback(req) is None
        assert bench.take() == [("a", TEVENT_REQ_IN_PROGRESS)]
        tevent_req_error(req, 1)
        assert bench.take() == ["cleanup", ("a", TEVENT_REQ_USER_ERROR)]
        tevent_req_notify_callback(req)
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]

    def test_keeps_the_endtime(self, bench: Bench) -> None:
        """The timer stays and fires later."""
        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        tevent_req_notify_callback(req)
        assert bench.take() == [("a", TEVENT_REQ_IN_PROGRESS)]
        assert bench.drain() == 1
        assert bench.take() == [("a", 4)]

    def test_is_deferred_like_a_finish(self, bench: Bench) -> None:
        """With a deferral the notification is posted."""
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, bench.ev)
        tevent_req_notify_callback(req)
        assert bench.take() == []
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_IN_PROGRESS)]

    def test_without_a_callback(self, bench: Bench) -> None:
        """Without a callback nothing happens."""
        req, _ = bench.make()
        tevent_req_notify_callback(req)
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS


#: What a callback may free: the request, what it hangs on, everything.
VICTIMS = ["request", "owner", "outer state", "outer request", "root"]


class _Nest:
    """A request on the state of another, below an owner; with a callback that frees one of them."""

    def __init__(self, bench: Bench, victim: str) -> None:
        self.root: TALLOC_CTX = talloc_new(None)
        self.owner = talloc_new(self.root)
        outer, outer_state = tevent_req_create(self.owner, job_state)
        assert outer is not None
        req, _ = tevent_req_create(outer_state, job_state)
        assert req is not None
        self.req = req
        self.target: TALLOC_CTX = {
            "request": req,
            "owner": self.owner,
            "outer state": outer_state,
            "outer request": outer,
            "root": self.root,
        }[victim]
        self.bench = bench
        tevent_req_set_callback(req, self.callback, None)

    def callback(self, req: tevent_req) -> None:
        self.bench.log.append("callback")
        assert talloc_free(self.target) == 0

    def check_and_close(self) -> None:
        """The request is dead; free the rest."""
        assert self.bench.take() == ["callback"]
        with pytest.raises(talloc_abort_error, match="access after free"):
            tevent_req_is_in_progress(self.req)
        if self.target is not self.root:
            talloc_free(self.root)


@pytest.mark.parametrize("victim", VICTIMS)
class TestCallbackFrees:
    """After the callback nothing touches the request: it may free what it likes."""

    def test_inside_done(self, bench: Bench, victim: str) -> None:
        """Freed inside the finishing call."""
        nest = _Nest(bench, victim)
        tevent_req_done(nest.req)
        nest.check_and_close()

    def test_inside_error_oom_and_nomem(self, bench: Bench, victim: str) -> None:
        """The other endings as well; their results are still right."""
        nest = _Nest(bench, victim)
        assert tevent_req_error(nest.req, 1) is True
        nest.check_and_close()
        nest = _Nest(bench, victim)
        tevent_req_oom(nest.req)
        nest.check_and_close()
        nest = _Nest(bench, victim)
        assert tevent_req_nomem(None, nest.req) is True
        nest.check_and_close()

    def test_from_the_immediate(self, bench: Bench, victim: str) -> None:
        """Freed while the posted immediate runs."""
        nest = _Nest(bench, victim)
        tevent_req_post(nest.req, bench.ev)
        assert bench.drain() == 1
        nest.check_and_close()

    def test_from_the_real_immediate(self, bench: Bench, victim: str) -> None:
        """Freed while a trigger that somebody has looked at runs."""
        nest = _Nest(bench, victim)
        assert talloc_total_blocks(nest.req) == 3
        tevent_req_post(nest.req, bench.ev)
        assert talloc_total_blocks(nest.req) == 3
        assert bench.drain() == 1
        nest.check_and_close()

    def test_from_the_timer(self, bench: Bench, victim: str) -> None:
        """Freed while the endtime's timer runs."""
        nest = _Nest(bench, victim)
        tevent_req_set_endtime(nest.req, bench.ev, timeval(0, 0))
        assert bench.drain() == 1
        nest.check_and_close()

    def test_inside_notify(self, bench: Bench, victim: str) -> None:
        """Freed inside notify_callback."""
        nest = _Nest(bench, victim)
        tevent_req_notify_callback(nest.req)
        nest.check_and_close()

    def test_with_everything_set(self, bench: Bench, victim: str) -> None:
        """Freed with timer, cleanup, profile and deferral in play."""
        nest = _Nest(bench, victim)
        tevent_req_set_profile(nest.req)
        tevent_req_set_endtime(nest.req, bench.ev, timeval(2**33, 0))
        tevent_req_set_cleanup_fn(nest.req, lambda req, req_state: None)
        tevent_req_defer_callback(nest.req, bench.ev)
        tevent_req_done(nest.req)
        assert bench.take() == []
        bench.drain()
        nest.check_and_close()


class Trouble(Exception):
    """What the callbacks of the following tests raise."""


def _trouble(req: tevent_req) -> None:
    raise Trouble


class TestRaisingCallback:
    @pytest.mark.parametrize(
        ("finish", "state"),
        [
            (lambda req: tevent_req_done(req), 2),
            (lambda req: tevent_req_error(req, 5), 3),
            (lambda req: tevent_req_oom(req), 5),
            (lambda req: tevent_req_nomem(None, req), 5),
            (lambda req: tevent_req_notify_callback(req), 1),
        ],
    )
    def test_leaves_through_the_finishing_call(self, bench: Bench, finish: object, state: int) -> None:
        """The exception comes out of the finishing call; state, cleanup and profile are final, nothing is freed."""
        req, _ = bench.make()
        assert tevent_req_set_profile(req)
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(("cleanup", int(req_state))))
        tevent_req_set_callback(req, _trouble, None)
        with pytest.raises(Trouble):
            finish(req)  # type: ignore[operator]
        assert bench.take() == ([] if state == 1 else [("cleanup", state)])
        assert state_of(req) == state
        profile = tevent_req_get_profile(req)
        assert profile is not None
        assert tevent_req_profile_get_status(profile)[1] == (0 if state == 1 else state)
        assert talloc_free(req) == 0

    def test_leaves_through_the_loop(self, bench: Bench) -> None:
        """From the immediate it comes out of the loop; the trigger is used up and works again."""
        req, _ = bench.make()
        tevent_req_done(req)
        tevent_req_post(req, bench.ev)
        tevent_req_set_callback(req, _trouble, None)
        with pytest.raises(Trouble):
            tevent_loop_once(bench.ev)
        assert bench.drain() == 0
        bench.watch(req, "a")
        tevent_req_post(req, bench.ev)
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_DONE)]

    def test_leaves_through_the_loop_from_a_timer(self, bench: Bench) -> None:
        """From the endtime it comes out of the loop as well; the request has timed out."""
        req, _ = bench.make()
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        tevent_req_set_callback(req, _trouble, None)
        with pytest.raises(Trouble):
            tevent_loop_once(bench.ev)
        assert state_of(req) == 4
        assert bench.drain() == 0

    def test_no_other_event_is_lost(self, bench: Bench) -> None:
        """The next posted request fires in the next turn."""
        bad, _ = bench.make()
        good, _ = bench.make(name="good")
        for req in (bad, good):
            tevent_req_post(req, bench.ev)
        tevent_req_set_callback(bad, _trouble, None)
        with pytest.raises(Trouble):
            tevent_loop_once(bench.ev)
        assert bench.drain() == 1
        assert bench.take() == [("good", TEVENT_REQ_IN_PROGRESS)]

    def test_from_a_nested_request(self, bench: Bench) -> None:
        """It passes through every finishing call on its way: the outer requests are not finished."""
        outer, outer_state = bench.make(name="outer")
        inner, _ = bench.make(outer_state)

        def inner_done(subreq: tevent_req) -> None:
            raise Trouble

        tevent_req_set_callback(inner, inner_done, outer)
        with pytest.raises(Trouble):
            tevent_req_done(inner)
        assert state_of(outer) is TEVENT_REQ_IN_PROGRESS
        assert bench.take() == []


class TestFreeNeverFires:
    @pytest.mark.parametrize(
        "before",
        [
            lambda req, ev: None,
            lambda req, ev: tevent_req_post(req, ev),
            lambda req, ev: (tevent_req_defer_callback(req, ev), tevent_req_done(req)),
            lambda req, ev: tevent_req_set_endtime(req, ev, timeval(1, 0)),
        ],
        ids=["in progress", "posted", "deferred", "endtime"],
    )
    def test_free(self, bench: Bench, before: object) -> None:
        """Freeing a request calls no callback, and what was pending dies with it."""
        req, _ = bench.make(name="a")
        before(req, bench.ev)  # type: ignore[operator]
        assert talloc_free(req) == 0
        assert bench.drain() == 0
        assert bench.take() == []

    def test_free_with_the_owner(self, bench: Bench) -> None:
        """The same when the owner is freed, also after a steal."""
        owner = talloc_new(bench.root)
        req, _ = bench.make(name="a")
        tevent_req_post(req, bench.ev)
        talloc_steal(owner, req)
        talloc_free(owner)
        assert bench.drain() == 0
        assert bench.take() == []
