# SPDX-License-Identifier: LGPL-3.0-or-later
"""tevent_req_post and tevent_req_defer_callback: callbacks that come from the loop."""

from __future__ import annotations

from typing import Any

import pytest
from req_kit import Bench, job_state, opened, silent_aborts, state_of

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_set_destructor, talloc_total_blocks
from tevent import (
    TEVENT_REQ_DONE,
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_USER_ERROR,
    tevent_abort_error,
    tevent_add_timer,
    tevent_context_init,
    tevent_context_init_ops,
    tevent_create_immediate,
    tevent_find_ops_byname,
    tevent_ops,
    tevent_req,
    tevent_req_create,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_in_progress,
    tevent_req_notify_callback,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    tevent_schedule_immediate,
    tevent_set_trace_immediate_callback,
    timeval,
)

bench = pytest.fixture(opened, name="bench")


@pytest.fixture(params=["plain", "counted", "traced"], autouse=True)
def looked_at(request: pytest.FixtureRequest, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here also with requests that somebody has counted, and with immediate events traced."""
    if request.param == "counted":
        make = bench.make

        def counted(*args: object, **kwargs: object) -> object:
            made = make(*args, **kwargs)  # type: ignore[arg-type]
            assert talloc_total_blocks(made[0]) == 3
            return made

        monkeypatch.setattr(bench, "make", counted)
    elif request.param == "traced":
        tevent_set_trace_immediate_callback(bench.ev, lambda im, point, private_data: None, None)


def immediate(bench: Bench, name: str) -> None:
    """Schedule an immediate event that writes *name* to the log."""
    im = tevent_create_immediate(bench.root)
    assert im is not None
    tevent_schedule_immediate(im, bench.ev, lambda ev, im, private_data: bench.log.append(name), None)


class TestPost:
    def test_returns_the_request_and_changes_nothing(self, bench: Bench) -> None:
        """post gives the request back and only schedules, in any state."""
        req, _ = bench.make(name="a")
        assert tevent_req_post(req, bench.ev) is req
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS
        assert bench.take() == []

    def test_the_usual_end_of_a_send_function(self, bench: Bench) -> None:
        """done, post, and a callback set afterwards: cleanup at done, one callback from the loop."""
        req, _ = bench.make()
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(("cleanup", int(req_state))))
        tevent_req_done(req)
        tevent_req_post(req, bench.ev)
        bench.watch(req, "a")
        assert bench.take() == [("cleanup", 2)]
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_DONE)]

    def test_a_callback_set_before_done_fires_twice(self, bench: Bench) -> None:
        """Once inside done, once from the loop."""
        req, _ = bench.make(name="a")
        tevent_req_done(req)
        tevent_req_post(req, bench.ev)
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_DONE)]

    def test_posting_twice_fires_once_and_later(self, bench: Bench) -> None:
        """There is one trigger: a second post moves it behind what was scheduled since."""
        req, _ = bench.make(name="a")
        tevent_req_post(req, bench.ev)
        immediate(bench, "between")
        tevent_req_post(req, bench.ev)
        immediate(bench, "behind")
        assert bench.drain() == 3
        assert bench.take() == ["between", ("a", TEVENT_REQ_IN_PROGRESS), "behind"]

    def test_posting_again_elsewhere(self, bench: Bench) -> None:
        """A second post to another context moves it there."""
        there = Bench()
        req, _ = bench.make(name="a")
        tevent_req_post(req, bench.ev)
        tevent_req_post(req, there.ev)
        assert bench.drain() == 0
        assert there.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_IN_PROGRESS)]
        there.close()

    def test_by_a_backend_of_the_users(self, bench: Bench) -> None:
        """The callback waits where the context's operations put immediate events."""
        base = tevent_find_ops_byname("standard")
        assert base is not None
        kept: list[Any] = []
        ops = tevent_ops(
            context_init=base.context_init,
            schedule_immediate=lambda im, ev, handler, private_data, name: kept.append((im, ev, handler, private_data)),
            loop_once=base.loop_once,
        )
        there = tevent_context_init_ops(bench.root, ops, None)
        assert there is not None
        req, _ = bench.make(name="a")
        tevent_req_done(req)
        tevent_req_post(req, there)
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        [(im, ev, handler, private_data)] = kept
        assert ev is there
        handler(ev, im, private_data)
        assert bench.take() == [("a", TEVENT_REQ_DONE)]

    def test_in_progress(self, bench: Bench) -> None:
        """A request in progress fires, loses its endtime, runs no cleanup, and can finish normally later."""
        req, _ = bench.make(name="a")
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(("cleanup", int(req_state))))
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        tevent_req_post(req, bench.ev)
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_IN_PROGRESS)]
        assert tevent_req_is_in_progress(req)
        tevent_req_done(req)
        assert bench.take() == [("cleanup", 2), ("a", TEVENT_REQ_DONE)]

    def test_the_state_when_it_runs_counts(self, bench: Bench) -> None:
        """done, post, error: both callbacks see the error."""
        req, _ = bench.make()
        tevent_req_done(req)
        tevent_req_post(req, bench.ev)
        bench.watch(req, "a")
        tevent_req_error(req, 7)
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]

    def test_cleanup_is_not_repeated(self, bench: Bench) -> None:
        """The trigger repeats the finish sequence, but not the cleanup of a state that had it."""
        req, _ = bench.make(name="a")
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(("cleanup", int(req_state))))
        tevent_req_error(req, 1)
        tevent_req_post(req, bench.ev)
        bench.drain()
        assert bench.take() == [("cleanup", 3), ("a", 3), ("a", 3)]

    def test_from_inside_its_own_callback(self, bench: Bench) -> None:
        """A callback run by the trigger may post again: one more callback, in the next turn."""
        req, _ = bench.make()

        def again(req: tevent_req) -> None:
            bench.log.append("fired")
            if len(bench.log) < 3:
                tevent_req_post(req, bench.ev)

        tevent_req_set_callback(req, again, None)
        tevent_req_post(req, bench.ev)
        assert bench.turn()
        assert bench.log == ["fired"]
        assert bench.drain() == 2
        assert bench.take() == ["fired"] * 3

    def test_immediates_come_first_and_in_order(self, bench: Bench) -> None:
        """Posted requests and other immediates are one queue, one per turn, before timers."""
        tevent_add_timer(bench.ev, bench.root, timeval(0, 0), lambda ev, te, now, pd: bench.log.append("timer"), None)
        first, _ = bench.make(name="first")
        second, _ = bench.make(name="second")
        tevent_req_post(second, bench.ev)
        immediate(bench, "immediate")
        tevent_req_post(first, bench.ev)
        seen = []
        while bench.turn():
            seen.append(bench.take())
        assert seen == [[("second", 1)], ["immediate"], [("first", 1)], ["timer"]]

    @pytest.mark.parametrize("done_again", [False, True])
    def test_after_received_aborts(self, bench: Bench, done_again: bool) -> None:
        """The trigger is gone after received, also if somebody finishes the request once more."""
        req, _ = bench.make(name="a")
        tevent_req_received(req)
        if done_again:
            tevent_req_done(req)
            bench.take()
        with pytest.raises(tevent_abort_error, match="received"):
            tevent_req_post(req, bench.ev)
        with silent_aborts() as reasons:
            assert tevent_req_post(req, bench.ev) is req
        assert len(reasons) == 1
        assert bench.drain() == 0
        assert bench.take() == []

    def test_received_drops_a_pending_post(self, bench: Bench) -> None:
        """Received between post and loop: nothing fires."""
        req, _ = bench.make(name="a")
        tevent_req_post(req, bench.ev)
        tevent_req_received(req)
        assert bench.drain() == 0
        assert bench.take() == []

    @pytest.mark.parametrize("done_again", [False, True])
    def test_posted_in_its_cleanup_of_received(self, bench: Bench, done_again: bool) -> None:
        """In the cleanup for RECEIVED the trigger is gone already, also if somebody finishes the request once more."""

        def cleanup(req: tevent_req, req_state: object) -> None:
            if done_again:
                tevent_req_done(req)
            tevent_req_post(req, bench.ev)

        req, _ = bench.make()
        tevent_req_set_cleanup_fn(req, cleanup)
        with pytest.raises(tevent_abort_error, match="received"):
            tevent_req_received(req)

    def test_posted_by_the_destructor_of_its_state(self, bench: Bench) -> None:
        """A state that is freed by hand takes the trigger along as far as posts are concerned."""
        req, state = bench.make(name="a")

        def destructor(state: job_state) -> int:
            with pytest.raises(tevent_abort_error, match="received"):
                tevent_req_post(req, bench.ev)
            return 0

        talloc_set_destructor(state, destructor)
        assert talloc_free(state) == 0
        assert bench.drain() == 0
        assert bench.take() == []

    @pytest.mark.parametrize("below", [False, True])
    def test_posted_by_its_own_destructor(self, bench: Bench, below: bool) -> None:
        """What is posted by a dying request, or by what dies below it, dies with it."""
        req, _ = bench.make(name="a")
        child = talloc_new(req)
        assert child is not None

        def destructor(_ptr: TALLOC_CTX) -> int:
            bench.log.append(tevent_req_post(req, bench.ev) is req)
            return 0

        # The library's own destructor, which ends everything that is on its way, is replaced in both cases.
        talloc_set_destructor(req, lambda _req: 0)
        talloc_set_destructor(child if below else req, destructor)
        assert talloc_free(req) == 0
        assert bench.drain() == 0
        assert bench.take() == [True]

    def test_posted_while_its_state_goes(self, bench: Bench) -> None:
        """Nor can it be posted from what dies with its state, although it is in another state by then."""
        req, state = bench.make(name="a")
        inner, _ = bench.make(state)

        def cleanup(inner: tevent_req, req_state: object) -> None:
            tevent_req_done(req)
            with pytest.raises(tevent_abort_error, match="received"):
                tevent_req_post(req, bench.ev)

        tevent_req_set_cleanup_fn(inner, cleanup)
        tevent_req_received(req)
        assert bench.take() == [("a", 2)]
        assert bench.drain() == 0

    def test_freeing_the_context_before_it_fires(self, bench: Bench) -> None:
        """A request posted on a context that goes never fires; freeing it later is safe."""
        ev = tevent_context_init(None)
        assert ev is not None
        req, _ = bench.make(name="a")
        tevent_req_post(req, ev)
        talloc_free(ev)
        assert bench.take() == []
        assert talloc_total_blocks(req) == 3
        assert talloc_free(req) == 0

    def test_posting_elsewhere_after_the_context_went(self, bench: Bench) -> None:
        """The trigger can be used again with another context."""
        ev = tevent_context_init(None)
        assert ev is not None
        req, _ = bench.make(name="a")
        tevent_req_post(req, ev)
        talloc_free(ev)
        tevent_req_post(req, bench.ev)
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_IN_PROGRESS)]

    def test_a_thousand_requests_fire_in_order(self, bench: Bench) -> None:
        """First in, first out."""
        for number in range(300):
            req, _ = bench.make(name=str(number))
            tevent_req_post(req, bench.ev)
        assert bench.drain() == 300
        assert [name for name, _ in bench.take()] == [str(number) for number in range(300)]


class TestDefer:
    def test_only_the_callback_waits(self, bench: Bench) -> None:
        """State and cleanup are final at once; the callback comes from the loop."""
        req, _ = bench.make(name="a")
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(("cleanup", int(req_state))))
        assert tevent_req_defer_callback(req, bench.ev) is None
        tevent_req_done(req)
        assert not tevent_req_is_in_progress(req)
        assert bench.take() == [("cleanup", 2)]
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_DONE)]

    def test_holds_for_one_call(self, bench: Bench) -> None:
        """The second finish calls directly."""
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, bench.ev)
        tevent_req_done(req)
        bench.drain()
        bench.take()
        tevent_req_done(req)
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        assert bench.drain() == 0

    def test_none_clears_it(self, bench: Bench) -> None:
        """Deferring to None undoes a deferral."""
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, bench.ev)
        tevent_req_defer_callback(req, None)
        tevent_req_done(req)
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        assert bench.drain() == 0

    def test_set_again_before_the_trigger(self, bench: Bench) -> None:
        """Deferred once more after done: the first turn calls nothing, the second does."""
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, bench.ev)
        tevent_req_done(req)
        tevent_req_defer_callback(req, bench.ev)
        assert bench.turn()
        assert bench.take() == []
        assert bench.turn()
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        assert bench.drain() == 0

    def test_defer_and_post_are_one_callback(self, bench: Bench) -> None:
        """defer, done, post: the same trigger, so one callback."""
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, bench.ev)
        tevent_req_done(req)
        tevent_req_post(req, bench.ev)
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_DONE)]

    def test_error_between_deferral_and_loop(self, bench: Bench) -> None:
        """The trigger looks at the state when it runs."""
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, bench.ev)
        tevent_req_done(req)
        tevent_req_error(req, 3)
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]

    def test_on_another_context(self, bench: Bench) -> None:
        """The callback comes from the loop of the context given."""
        there = Bench()
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, there.ev)
        tevent_req_done(req)
        assert bench.drain() == 0
        assert there.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        there.close()

    def test_to_a_context_that_went(self, bench: Bench) -> None:
        """A context freed between deferral and finish is a use after free when the deferral becomes due."""
        from talloc_py import talloc_abort_error

        ev = tevent_context_init(None)
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, ev)
        talloc_free(ev)
        with pytest.raises(talloc_abort_error, match="access after free"):
            tevent_req_done(req)
        assert not tevent_req_is_in_progress(req)
        assert bench.take() == []

    def test_after_received_aborts(self, bench: Bench) -> None:
        """A deferral that becomes due after received has no trigger."""
        req, _ = bench.make(name="a")
        tevent_req_defer_callback(req, bench.ev)
        tevent_req_received(req)
        with pytest.raises(tevent_abort_error, match="received"):
            tevent_req_notify_callback(req)

    def test_two_requests_deferred_in_one_turn(self, bench: Bench) -> None:
        """They fire in the order of finishing, one a turn."""
        made = [tevent_req_create(bench.root, type_) for type_ in [type(bench.make()[1])] * 2]
        for name, (req, _) in zip("ab", made, strict=True):
            assert req is not None
            bench.watch(req, name)
            tevent_req_defer_callback(req, bench.ev)
        for req, _ in reversed(made):
            assert req is not None
            tevent_req_done(req)
        assert bench.turn()
        assert bench.take() == [("b", 2)]
        assert bench.turn()
        assert bench.take() == [("a", 2)]
