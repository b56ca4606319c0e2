# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Requests of the library's own: one object that is request, state and queue entry at once.

The operation here is a stand-in for those of tsocket: it does nothing, and says when it is stopped.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from req_kit import Bench, children, opened, silent_aborts, state_of

from talloc_py import (
    talloc_abort_error,
    talloc_free,
    talloc_new,
    talloc_set_destructor,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from talloc_py.core import caller
from tevent import (
    TEVENT_REQ_DONE,
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_RECEIVED,
    TEVENT_REQ_TIMED_OUT,
    tevent_abort_error,
    tevent_context,
    tevent_queue,
    tevent_queue_add,
    tevent_queue_create,
    tevent_queue_entry_get_tag,
    tevent_queue_length,
    tevent_queue_stop,
    tevent_req,
    tevent_req_default_print,
    tevent_req_done,
    tevent_req_get_profile,
    tevent_req_post,
    tevent_req_profile_get_name,
    tevent_req_received,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    tevent_req_set_profile,
    tevent_set_trace_queue_callback,
    tevent_thread_call_depth_set_callback,
    timeval,
)
from tevent._base import check_context
from tevent._request import conclude, new_request, operation, schedule, unschedule
from tevent.queue import queue_operation

bench = pytest.fixture(opened, name="bench")


class Ops:
    """Makes operations that write to the log of a bench."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.tells_stop = True
        self.kind = self.starting_with(None)
        queue = tevent_queue_create(bench.root, "queue")
        assert queue is not None
        self.queue: tevent_queue = queue

    def starting_with(self, start: Callable[[tevent_req], None] | None) -> operation:
        """The kind of operation that does *start* when its turn in a queue has come."""
        return operation("struct some_op_state", self.stop, tevent_context, check_context, start)

    def stop(self, req: tevent_req) -> None:
        if self.tells_stop:
            self.bench.log.append("stop")

    def send(self, mem_ctx: Any = None) -> tevent_req:
        req = new_request(self.bench.root if mem_ctx is None else mem_ctx, caller(1))
        assert req is not None
        req.op = self.kind
        req.op_ev = req.op_target = self.bench.ev
        return req

    def queued(self, name: str) -> tevent_req:
        req = self.send()
        req.op = self.starting_with(lambda req: self.bench.log.append(name))
        assert queue_operation(self.queue, req)
        return req


@pytest.fixture(name="ops")
def new_ops(bench: Bench) -> Ops:
    """Operations of the bench."""
    return Ops(bench)


class TestLife:
    def test_is_one_chunk(self, bench: Bench, ops: Ops) -> None:
        """There is no state and no trigger chunk."""
        req = ops.send()
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS
        assert children(req) == []
        assert talloc_total_blocks(req) == 1

    def test_steps_run_from_the_loop_in_order(self, bench: Bench, ops: Ops) -> None:
        """A step waits as an immediate event like a posted request, and runs once."""
        req, other = ops.send(), ops.send()
        bench.watch(req, "fired")
        for each, name in ((req, "step"), (other, "other")):
            schedule(each, bench.ev, lambda req, name=name: bench.log.append(name))
        assert bench.drain() == 2
        assert bench.take() == ["step", "other"]
        tevent_req_post(req, bench.ev)
        assert bench.drain() == 1
        assert bench.take() == [("fired", 1)]

    def test_unscheduled_step_does_not_run(self, bench: Bench, ops: Ops) -> None:
        """What waits can be taken back, also when somebody has looked meanwhile."""
        from tevent import tevent_set_trace_immediate_callback

        for watched in (False, True):
            if watched:
                tevent_set_trace_immediate_callback(bench.ev, lambda im, point, pd: None, None)
            req = ops.send()
            schedule(req, bench.ev, lambda req: bench.log.append("step"))
            unschedule(req)
            unschedule(req)
            assert bench.drain() == 0
        assert bench.take() == []

    def test_watched_steps_run_too(self, bench: Bench, ops: Ops) -> None:
        """With immediate events traced a step waits in a real one."""
        from tevent import tevent_set_trace_immediate_callback

        points: list[int] = []
        tevent_set_trace_immediate_callback(bench.ev, lambda im, point, pd: points.append(int(point)), None)
        req = ops.send()
        schedule(req, bench.ev, lambda req: bench.log.append("step"))
        assert bench.drain() == 1
        assert bench.take() == ["step"]
        assert points == [0, 2, 1]

    def test_concluding_calls_back(self, bench: Bench, ops: Ops) -> None:
        """An operation that is over is not stopped."""
        req = ops.send()
        bench.watch(req, "fired")
        conclude(req, 2)
        assert bench.take() == [("fired", TEVENT_REQ_DONE)]
        tevent_req_received(req)
        assert bench.take() == []

    @pytest.mark.parametrize("end", [tevent_req_done, tevent_req_received, talloc_free])
    def test_stopped_before_its_end(self, bench: Bench, ops: Ops, end: Callable[[tevent_req], object]) -> None:
        """Whoever ends it from outside stops the operation, once."""
        req = ops.send()
        end(req)
        assert bench.take() == ["stop"]
        if end is tevent_req_received:
            talloc_free(req)
            assert bench.take() == []

    def test_stopped_by_its_endtime(self, bench: Bench, ops: Ops) -> None:
        """So does a timeout, before the state changes."""
        req = ops.send()
        bench.watch(req, "fired")
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        bench.drain()
        assert bench.take() == ["stop", ("fired", TEVENT_REQ_TIMED_OUT)]

    def test_a_users_destructor_stops_it_too(self, bench: Bench, ops: Ops) -> None:
        """A destructor of the user's runs before the operation is stopped; a veto keeps it going."""
        for answer in (-1, 0):
            req = ops.queued("run")
            bench.take()
            schedule(req, bench.ev, lambda req: bench.log.append("never"))
            talloc_set_destructor(req, lambda req, answer=answer: bench.log.append("destructor") or answer)
            assert talloc_free(req) == answer
            if answer:
                assert bench.take() == ["destructor"]
                assert tevent_queue_length(ops.queue) == 1
                tevent_req_received(req)
                assert tevent_queue_length(ops.queue) == 1
                assert talloc_free(req) == 0
                assert bench.take() == ["stop"]
            else:
                assert bench.take() == ["destructor", "stop"]
            assert tevent_queue_length(ops.queue) == 0
            assert bench.drain() == 0

    def test_is_a_parent_request_itself(self, bench: Bench, ops: Ops) -> None:
        """It is its own state: what is made on it is its subrequest, and shows in its profile by C's name."""
        req = ops.send()
        assert tevent_req_set_profile(req)
        sub = ops.send(req)
        profile = tevent_req_get_profile(sub)
        assert profile is not None
        assert tevent_req_profile_get_name(profile) == "struct some_op_state"
        conclude(sub, 2)
        assert tevent_req_get_profile(sub) is None
        assert tevent_req_profile_get_name(profile) == "struct some_op_state"

    def test_text_names_the_state_of_c(self, bench: Bench, ops: Ops) -> None:
        """The printed type is that of C's state, before and after received."""
        req = ops.send()
        for _ in range(2):
            text = tevent_req_default_print(req, bench.root)
            assert text is not None
            assert "state[struct some_op_state ((nil))]" in text
            assert "some_op_state" in repr(req)
            tevent_req_received(req)

    def test_posting_after_received_aborts(self, bench: Bench, ops: Ops) -> None:
        """As with every request."""
        req = ops.send()
        tevent_req_received(req)
        with pytest.raises(tevent_abort_error, match="received"):
            tevent_req_post(req, bench.ev)

    def test_cleanup_function(self, bench: Bench, ops: Ops) -> None:
        """A cleanup function works as on any request."""
        req = ops.send()
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(int(req_state)))
        conclude(req, 2)
        talloc_free(req)
        assert bench.take() == [2, 6]

    def test_a_copy_is_no_request(self, bench: Bench, ops: Ops) -> None:
        """A copy of it is no chunk either."""
        with pytest.raises(talloc_abort_error, match="unknown value"):
            tevent_req_done(copy.copy(ops.send()))


class TestQueued:
    def test_runs_at_once_on_an_empty_queue(self, bench: Bench, ops: Ops) -> None:
        """Directly, and it stays in the queue until it is freed."""
        a = ops.queued("a")
        b = ops.queued("b")
        assert bench.take() == ["a"]
        assert tevent_queue_length(ops.queue) == 2
        tevent_req_received(a)
        assert tevent_queue_length(ops.queue) == 2
        assert bench.drain() == 0
        talloc_free(a)
        assert bench.drain() == 1
        assert bench.take()[-1] == "b"
        talloc_free(b)
        assert tevent_queue_length(ops.queue) == 0

    def test_among_entries_of_users(self, bench: Bench, ops: Ops) -> None:
        """Operations and users' entries take turns in one line, and leave it anywhere."""
        ops.tells_stop = False
        head, _ = bench.make()
        tevent_queue_add(ops.queue, bench.ev, head, None, None)
        waiting = [ops.queued(name) for name in "abc"]
        user, _ = bench.make()
        tevent_queue_add(ops.queue, bench.ev, user, lambda req, pd: bench.log.append(pd), "user")
        last = ops.queued("last")
        talloc_free(waiting[1])
        bench.drain()
        for req in (head, waiting[0], waiting[2], user, last):
            talloc_free(req)
            bench.drain()
        assert bench.take() == ["a", "c", "user", "last"]

    def test_a_look_makes_the_entry(self, bench: Bench, ops: Ops) -> None:
        """Counting chunks shows an entry, which has the operation's place in line from then on."""
        ops.tells_stop = False
        first, second, third = (ops.queued(name) for name in "abc")
        for req in (second, first, third):
            assert children(req) == ["struct tevent_queue_entry"]
            assert talloc_total_blocks(req) == 2
        assert tevent_queue_length(ops.queue) == 3
        for req in (first, second, third):
            talloc_free(req)
            bench.drain()
        assert bench.take() == ["a", "b", "c"]
        assert tevent_queue_length(ops.queue) == 0

    def test_the_entry_shown_is_an_ordinary_one(self, bench: Bench, ops: Ops) -> None:
        """A trace callback sees it with a tag of 0, at each of its points; freeing the queue frees it."""
        points: list[Any] = []
        tevent_set_trace_queue_callback(
            bench.ev, lambda qe, point, pd: points.append((int(point), tevent_queue_entry_get_tag(qe))), None
        )
        ops.queued("a")
        waiting = ops.queued("b")
        assert points == [(0, 0), (2, 0), (0, 0)]
        talloc_free(waiting)
        assert points[3:] == [(1, 0)]
        talloc_free(ops.queue)
        assert points[4:] == [(1, 0)]

    def test_freeing_the_queue(self, bench: Bench, ops: Ops) -> None:
        """The operations stay in progress and are never run."""
        tevent_queue_stop(ops.queue)
        reqs = [ops.queued(name) for name in "abc"]
        assert talloc_total_blocks(reqs[1]) == 2
        talloc_free(ops.queue)
        assert bench.drain() == 0
        assert bench.take() == []
        for req in reqs:
            assert state_of(req) is TEVENT_REQ_IN_PROGRESS
            assert talloc_total_blocks(req) == 1
            assert talloc_free(req) == 0

    def test_a_dead_queue(self, bench: Bench, ops: Ops) -> None:
        """A freed queue is a use after free, another type a TypeError."""
        req = ops.send()
        talloc_free(ops.queue)
        with pytest.raises(talloc_abort_error):
            queue_operation(ops.queue, req)
        req = ops.send()
        with silent_aborts() as reasons:
            assert not queue_operation(ops.queue, req)
        assert len(reasons) == 1
        req = ops.send()
        with pytest.raises(TypeError):
            queue_operation(talloc_new(bench.root), req)  # type: ignore[arg-type]

    def test_flow(self, bench: Bench, ops: Ops) -> None:
        """ENTER, TRIGGER and LEAVE name the operation's function."""

        def run(req: tevent_req) -> None:
            """Nothing."""

        flow: list[Any] = []
        tevent_thread_call_depth_set_callback(lambda pd, cmd, req, depth, fname: flow.append((int(cmd), fname)), None)
        head, _ = bench.make()
        tevent_queue_add(ops.queue, bench.ev, head, None, None)
        req = ops.send()
        req.op = ops.starting_with(run)
        queue_operation(ops.queue, req)
        talloc_free(head)
        bench.drain()
        talloc_free(req)
        tevent_thread_call_depth_set_callback(None, None)
        assert [step for step in flow if step[1] == "run"] == [(5, "run"), (6, "run"), (7, "run")]

    def test_received_in_line(self, bench: Bench, ops: Ops) -> None:
        """A received operation keeps its place until it is freed."""
        req = ops.queued("a")
        tevent_req_received(req)
        assert state_of(req) is TEVENT_REQ_RECEIVED
        assert tevent_queue_length(ops.queue) == 1
        assert talloc_total_blocks(req) == 2
        talloc_free(req)
        assert tevent_queue_length(ops.queue) == 0


class TestLateLook:
    """What exists only for a look is made whatever stands in the way."""

    def test_a_trace_callback_set_while_operations_wait(self, bench: Bench, ops: Ops) -> None:
        """Operations that entered the line unseen leave it seen, each alone."""
        ops.tells_stop = False
        first, second, third = (ops.queued(name) for name in "abc")
        seen: list[int] = []
        tevent_set_trace_queue_callback(bench.ev, lambda qe, point, pd: seen.append(int(point)), None)
        talloc_free(second)
        assert tevent_queue_length(ops.queue) == 2
        assert seen == [1]
        talloc_free(first)
        bench.drain()
        assert seen == [1, 1, 2]
        tevent_set_trace_queue_callback(bench.ev, None, None)
        talloc_free(third)
        assert tevent_queue_length(ops.queue) == 0
        assert bench.take() == ["a", "c"]

    def test_an_exhausted_memory_limit(self, bench: Bench, ops: Ops) -> None:
        """A limit does not keep trigger and entry from a count, and is not charged for them."""
        limited = talloc_new(bench.root)
        req, _ = bench.make(limited)
        operation = ops.send(limited)
        operation.op = ops.starting_with(lambda req: None)
        queue_operation(ops.queue, operation)
        talloc_set_memlimit(limited, 1)
        assert talloc_total_blocks(req) == 3
        assert talloc_total_blocks(operation) == 2
        assert talloc_free(req) == 0
        assert talloc_free(operation) == 0
        assert tevent_queue_length(ops.queue) == 0
        assert talloc_free(limited) == 0

    def test_a_raising_trace_callback_while_an_operation_leaves(
        self, bench: Bench, ops: Ops, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It leaves all the same, and is received."""
        seen: list[Any] = []
        monkeypatch.setattr("sys.unraisablehook", lambda info: seen.append(info.exc_type))
        req = ops.queued("a")

        def trouble(qe: object, point: int, private_data: object) -> None:
            raise KeyError

        tevent_set_trace_queue_callback(bench.ev, trouble, None)
        assert talloc_free(req) == 0
        assert seen == [KeyError]
        assert bench.take() == ["a", "stop"]
        assert tevent_queue_length(ops.queue) == 0
        tevent_set_trace_queue_callback(bench.ev, None, None)
