# SPDX-License-Identifier: LGPL-3.0-or-later
"""The end of requests: error queries, received, free, poll and cancel."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from req_kit import Bench, children, job_state, opened, silent_aborts, state_of

from talloc_py import (
    talloc_abort_error,
    talloc_free,
    talloc_free_children,
    talloc_get_name,
    talloc_named_const,
    talloc_new,
    talloc_parent,
    talloc_set_destructor,
    talloc_total_blocks,
)
from tevent import (
    TEVENT_REQ_DONE,
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_NO_MEMORY,
    TEVENT_REQ_RECEIVED,
    TEVENT_REQ_TIMED_OUT,
    TEVENT_REQ_USER_ERROR,
    get_errno,
    set_errno,
    tevent_abort_error,
    tevent_context_init,
    tevent_create_immediate,
    tevent_queue_add,
    tevent_queue_create,
    tevent_queue_length,
    tevent_req,
    tevent_req_cancel,
    tevent_req_data,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_oom,
    tevent_req_poll,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    tevent_req_set_profile,
    tevent_schedule_immediate,
    timeval,
)

bench = pytest.fixture(opened, name="bench")


class TestIsError:
    def test_every_state(self, bench: Bench) -> None:
        """Only DONE is no error; the number is given for USER_ERROR alone."""
        req, _ = bench.make()
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_IN_PROGRESS, None)
        tevent_req_error(req, 42)
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_USER_ERROR, 42)
        tevent_req_oom(req)
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_NO_MEMORY, None)
        tevent_req_set_endtime(req, bench.ev, timeval(0, 0))
        bench.drain()
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_TIMED_OUT, None)
        tevent_req_done(req)
        assert tevent_req_is_error(req) == (False, None, None)
        tevent_req_received(req)
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_RECEIVED, None)

    def test_the_state_is_a_member_of_the_enum(self, bench: Bench) -> None:
        """Not a bare number."""
        req, _ = bench.make()
        assert tevent_req_is_error(req)[1] is TEVENT_REQ_IN_PROGRESS

    def test_in_progress_is_that_state_alone(self, bench: Bench) -> None:
        """is_in_progress is a bool, False in every other state."""
        req, _ = bench.make()
        assert tevent_req_is_in_progress(req) is True
        for finish in (tevent_req_done, tevent_req_oom, tevent_req_received):
            finish(req)
            assert tevent_req_is_in_progress(req) is False


class TestReceived:
    def test_order_of_what_goes(self, bench: Bench) -> None:
        """Timer and immediate, then the state number, the cleanup, and the state with all below it."""
        req, state = bench.make()
        below = talloc_named_const(state, 0, "below")
        talloc_set_destructor(state, lambda state: bench.log.append(("state", int(state_of(req)))))
        talloc_set_destructor(below, lambda below: bench.log.append("below"))
        tevent_req_set_endtime(req, bench.ev, timeval(2**33, 0))
        assert talloc_total_blocks(req) == 5

        def cleanup(req: tevent_req, req_state: object) -> None:
            bench.log.append(("cleanup", children(req)))

        tevent_req_set_cleanup_fn(req, cleanup)
        assert tevent_req_received(req) is None
        assert bench.take() == [("cleanup", ["struct job_state"]), ("state", 6), "below"]

    def test_what_stays(self, bench: Bench) -> None:
        """The request, its other children and its callback stay; of three chunks one is left."""
        req, _ = bench.make(name="a")
        assert talloc_total_blocks(req) == 3
        tevent_req_received(req)
        assert talloc_total_blocks(req) == 1
        other, _ = bench.make()
        talloc_named_const(other, 0, "mine")
        assert tevent_req_set_profile(other)
        tevent_req_received(other)
        assert children(other) == ["struct tevent_req_profile", "mine"]

    def test_subrequests_on_the_state_go(self, bench: Bench) -> None:
        """A subrequest on the state is freed with it, without firing; one on the request stays."""
        req, state = bench.make()
        inner, _ = bench.make(state, name="inner")
        beside, _ = bench.make(req, name="beside")
        tevent_req_set_cleanup_fn(inner, lambda req, req_state: bench.log.append(("cleanup", int(req_state))))
        tevent_req_received(req)
        assert bench.take() == [("cleanup", 6)]
        with pytest.raises(talloc_abort_error):
            tevent_req_is_in_progress(inner)
        assert tevent_req_is_in_progress(beside)

    @pytest.mark.parametrize("end", [tevent_req_received, talloc_free])
    def test_what_dies_with_the_state_still_sees_it(self, bench: Bench, end: Callable[[tevent_req], object]) -> None:
        """A subrequest that goes with the state of its parent can get at that state in its cleanup function."""
        req, state = bench.make()
        inner, _ = bench.make(state)
        tevent_req_set_cleanup_fn(inner, lambda inner, req_state: bench.log.append(tevent_req_data(req, job_state)))
        end(req)
        assert bench.take() == [state]

    def test_twice_is_harmless(self, bench: Bench) -> None:
        """A second received does nothing; a free afterwards cleans nothing again."""
        req, _ = bench.make(name="a")
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(int(req_state)))
        tevent_req_received(req)
        tevent_req_received(req)
        assert talloc_free(req) == 0
        assert bench.take() == [6]

    def test_in_progress_fires_nothing(self, bench: Bench) -> None:
        """Received in progress, with a deferral, an endtime and a post pending: no callback ever."""
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, bench.ev)
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        tevent_req_post(req, bench.ev)
        tevent_req_received(req)
        assert bench.drain() == 0
        assert bench.take() == []

    def test_inside_the_callback(self, bench: Bench) -> None:
        """The usual place: received in the callback, whether called directly, by the trigger or by the timer."""
        for start in (
            tevent_req_done,
            lambda req: tevent_req_post(req, bench.ev),
            lambda req: tevent_req_set_endtime(req, bench.ev, timeval(1, 0)),
        ):
            req, _ = bench.make()

            def fired(req: tevent_req) -> None:
                bench.log.append("fired")
                tevent_req_received(req)

            tevent_req_set_callback(req, fired, None)
            start(req)
            bench.drain()
            assert bench.take() == ["fired"]
            assert state_of(req) is TEVENT_REQ_RECEIVED
            assert talloc_total_blocks(req) == 1

    def test_a_queue_entry_stays(self, bench: Bench) -> None:
        """A received request keeps its place; its trigger still runs, without a state to look at."""
        queue = tevent_queue_create(bench.root, "queue")
        assert queue is not None
        req, _ = bench.make()

        def trigger(req: tevent_req, private_data: object) -> None:
            bench.log.append(private_data)
            with pytest.raises(talloc_abort_error):
                tevent_req_data(req, job_state)

        assert tevent_queue_add(queue, bench.ev, req, trigger, "mine")
        tevent_req_received(req)
        assert tevent_queue_length(queue) == 1
        assert bench.drain() == 1
        assert bench.take() == ["mine"]
        talloc_free(req)
        assert tevent_queue_length(queue) == 0

    def test_a_state_that_refuses_moves_on(self, bench: Bench) -> None:
        """received frees the state as talloc_free does: a veto leaves it where it is."""
        req, state = bench.make()
        talloc_set_destructor(state, lambda state: bench.log.append("asked") or -1)
        tevent_req_received(req)
        assert bench.take() == ["asked"]
        assert talloc_parent(state) is req
        talloc_set_destructor(state, None)


class TestFreedFromWithin:
    def test_cleanup_frees_its_request(self, bench: Bench) -> None:
        """A cleanup function that frees its own request ends the finish sequence there."""
        req, _ = bench.make(name="a")

        def cleanup(req: tevent_req, req_state: int) -> None:
            bench.log.append(int(req_state))
            if req_state != TEVENT_REQ_RECEIVED:
                talloc_free(req)

        tevent_req_set_cleanup_fn(req, cleanup)
        tevent_req_done(req)
        assert bench.take() == [2, 6]

    def test_callback_of_a_nested_finish_frees_the_request(self, bench: Bench) -> None:
        """So does one that finishes it again where the callback frees it."""
        req, _ = bench.make()

        def fired(req: tevent_req) -> None:
            bench.log.append("fired")
            talloc_free(req)

        tevent_req_set_callback(req, fired, None)
        tevent_req_set_cleanup_fn(req, lambda req, req_state: tevent_req_done(req) if req_state == 3 else None)
        tevent_req_error(req, 5)
        assert bench.take() == ["fired"]

    def test_its_children_freed_by_hand(self, bench: Bench) -> None:
        """State, trigger and timer freed through the tree: the request can still be finished, received and freed."""
        req, _ = bench.make(name="a")
        tevent_req_post(req, bench.ev)
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert talloc_total_blocks(req) == 4
        talloc_free_children(req)
        assert talloc_total_blocks(req) == 1
        tevent_req_done(req)
        assert bench.take()[-1] == ("a", 2)
        tevent_req_received(req)
        bench.drain()
        assert talloc_free(req) == 0


class TestFree:
    def test_order(self, bench: Bench) -> None:
        """What received does comes first, then the other children newest first, then the request."""
        req, state = bench.make()
        for name in ("one", "two"):
            chunk = talloc_named_const(req, 0, name)
            talloc_set_destructor(chunk, lambda chunk: bench.log.append(talloc_get_name(chunk)))
        talloc_set_destructor(state, lambda state: bench.log.append("state"))
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(("cleanup", int(req_state))))
        assert talloc_free(req) == 0
        assert bench.take() == [("cleanup", 6), "state", "two", "one"]

    def test_with_subrequests(self, bench: Bench) -> None:
        """The parent's cleanup runs first, then the subrequests go, newest first, each with its own."""
        req, state = bench.make()

        def clean(req: tevent_req, name: str) -> None:
            tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append((name, int(req_state))))

        clean(req, "outer")
        for name in ("first", "second"):
            sub, sub_state = bench.make(state, name="never")
            clean(sub, name)
            inner, _ = bench.make(sub_state, name="never")
            clean(inner, f"{name} inner")
        assert talloc_free(req) == 0
        assert bench.take() == [("outer", 6), ("second", 6), ("second inner", 6), ("first", 6), ("first inner", 6)]

    def test_a_state_that_refuses(self, bench: Bench) -> None:
        """It is asked twice, the free of the request succeeds, and the state moves to the request's parent."""
        owner = talloc_new(bench.root)
        req, state = bench.make(owner)
        talloc_set_destructor(state, lambda state: bench.log.append("asked") or -1)
        assert talloc_free(req) == 0
        assert bench.take() == ["asked", "asked"]
        assert talloc_parent(state) is owner
        with pytest.raises(talloc_abort_error, match="access after free"):
            state_of(req)
        talloc_set_destructor(state, None)

    def test_a_deep_chain(self, bench: Bench) -> None:
        """Thousands of requests, each on the state of the last, are freed without recursion."""
        top, state = bench.make()
        for _ in range(3000):
            _, state = bench.make(state)
        assert talloc_free(top) == 0

    def test_double_free_aborts(self, bench: Bench) -> None:
        """A second free is talloc's use after free."""
        req, _ = bench.make()
        talloc_free(req)
        with pytest.raises(talloc_abort_error, match="access after free"):
            talloc_free(req)


class TestPoll:
    def test_runs_the_loop_until_finished(self, bench: Bench) -> None:
        """True as soon as the request is finished, and no turn more."""
        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        later, _ = bench.make(name="later")
        tevent_req_set_endtime(later, bench.ev, timeval(2, 0))
        assert tevent_req_poll(req, bench.ev) is True
        assert bench.take() == [("a", TEVENT_REQ_TIMED_OUT)]

    def test_finished_already(self, bench: Bench) -> None:
        """A finished request makes no turn at all; a deferred callback is not waited for."""
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, bench.ev)
        tevent_req_done(req)
        assert tevent_req_poll(req, bench.ev) is True
        assert bench.take() == []
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_DONE)]

    def test_nothing_to_do(self, bench: Bench) -> None:
        """With a wait timeout of 0 and nothing to do: False, EAGAIN."""
        req, _ = bench.make(name="a")
        set_errno(0)
        assert tevent_req_poll(req, bench.ev) is False
        assert get_errno() == errno.EAGAIN
        assert tevent_req_is_in_progress(req)

    def test_inside_a_handler(self, bench: Bench) -> None:
        """Polling inside a handler is nesting: the abort function, then False with ELOOP; the loop works on."""
        req, _ = bench.make(name="a")
        im = tevent_create_immediate(bench.root)
        assert im is not None

        def nested(ev: object, im: object, private_data: object) -> None:
            with pytest.raises(tevent_abort_error, match="nesting"):
                tevent_req_poll(req, bench.ev)
            with silent_aborts() as reasons:
                assert tevent_req_poll(req, bench.ev) is False
            assert get_errno() == errno.ELOOP
            bench.log.append(len(reasons))

        tevent_schedule_immediate(im, bench.ev, nested, None)
        assert bench.turn()
        assert bench.take() == [1]
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert tevent_req_poll(req, bench.ev) is True

    def test_request_freed_while_polling(self, bench: Bench) -> None:
        """A request that its own callback frees ends the poll as a use after free, not in an endless loop."""
        req, _ = bench.make()
        tevent_req_set_callback(req, talloc_free, None)
        tevent_req_post(req, bench.ev)
        with pytest.raises(talloc_abort_error, match="access after free"):
            tevent_req_poll(req, bench.ev)
        req, _ = bench.make()
        tevent_req_set_callback(req, talloc_free, None)
        tevent_req_post(req, bench.ev)
        with silent_aborts() as reasons:
            assert tevent_req_poll(req, bench.ev) is False
        assert len(reasons) == 1

    def test_request_with_a_destructor_freed_while_polling(self, bench: Bench) -> None:
        """Also where the user's destructor has taken the place of the library's."""
        req, _ = bench.make()
        talloc_set_destructor(req, lambda dying: 0)
        tevent_req_set_callback(req, talloc_free, None)
        tevent_req_post(req, bench.ev)
        with pytest.raises(talloc_abort_error, match="access after free"):
            tevent_req_poll(req, bench.ev)

    def test_wrong_context_is_refused_also_for_a_finished_request(self, bench: Bench) -> None:
        """The arguments are checked before the state."""
        req, _ = bench.make()
        tevent_req_done(req)
        with pytest.raises(TypeError):
            tevent_req_poll(req, None)
        ev = tevent_context_init(None)
        talloc_free(ev)
        with pytest.raises(talloc_abort_error):
            tevent_req_poll(req, ev)


class TestCancel:
    def test_without_a_function(self, bench: Bench) -> None:
        """False, and nothing happens."""
        req, _ = bench.make(name="a")
        assert tevent_req_cancel(req) is False
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS
        assert bench.take() == []

    @pytest.mark.parametrize("answer", [True, False])
    def test_returns_what_the_function_says(self, bench: Bench, answer: bool) -> None:
        """The function gets the request; its answer is the result; the state does not change by itself."""
        req, _ = bench.make(name="a")

        def cancel(asked: tevent_req) -> bool:
            assert asked is req
            bench.log.append("asked")
            return answer

        tevent_req_set_cancel_fn(req, cancel)
        assert tevent_req_cancel(req) is answer
        assert tevent_req_cancel(req) is answer
        assert bench.take() == ["asked", "asked"]
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS

    def test_finishing_inside(self, bench: Bench) -> None:
        """A cancel function that finishes the request does so through the normal callback."""
        req, _ = bench.make(name="a")

        def cancel(req: tevent_req) -> bool:
            tevent_req_defer_callback(req, bench.ev)
            return tevent_req_error(req, errno.ECANCELED)

        tevent_req_set_cancel_fn(req, cancel)
        assert tevent_req_cancel(req) is True
        assert bench.take() == []
        bench.drain()
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]
        assert tevent_req_is_error(req)[2] == errno.ECANCELED

    def test_in_any_state_until_received(self, bench: Bench) -> None:
        """Also a finished request asks its function; after received there is none."""
        req, _ = bench.make()
        tevent_req_set_cancel_fn(req, lambda req: True)
        for finish in (tevent_req_done, tevent_req_oom):
            finish(req)
            assert tevent_req_cancel(req) is True
        tevent_req_received(req)
        assert tevent_req_cancel(req) is False

    def test_none_takes_the_function_away(self, bench: Bench) -> None:
        """A function of None is none."""
        req, _ = bench.make()
        tevent_req_set_cancel_fn(req, lambda req: True)
        tevent_req_set_cancel_fn(req, None)
        assert tevent_req_cancel(req) is False

    def test_freeing_inside(self, bench: Bench) -> None:
        """A cancel function may free the request."""
        req, _ = bench.make(name="a")
        tevent_req_set_cancel_fn(req, lambda req: talloc_free(req) == 0)
        assert tevent_req_cancel(req) is True
        assert bench.take() == []

    def test_raising(self, bench: Bench) -> None:
        """An exception of the function passes to the caller; nothing else happens."""
        req, _ = bench.make(name="a")

        def trouble(req: tevent_req) -> bool:
            raise KeyError

        tevent_req_set_cancel_fn(req, trouble)
        with pytest.raises(KeyError):
            tevent_req_cancel(req)
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS
