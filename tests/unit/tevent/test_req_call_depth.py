# SPDX-License-Identifier: LGPL-3.0-or-later
"""Call depth and the flow of requests, as the call-depth callback reports it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from req_kit import Bench, opened

from talloc_py import talloc_abort_error, talloc_free, talloc_steal
from tevent import (
    TEVENT_CALL_FLOW_REQ_CANCEL,
    TEVENT_CALL_FLOW_REQ_CLEANUP,
    TEVENT_CALL_FLOW_REQ_CREATE,
    TEVENT_CALL_FLOW_REQ_NOTIFY_CB,
    TEVENT_CALL_FLOW_REQ_QUEUE_ENTER,
    TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE,
    TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER,
    TEVENT_CALL_FLOW_REQ_RESET,
    tevent_loop_once,
    tevent_queue_add,
    tevent_queue_add_entry,
    tevent_queue_add_optimize_empty,
    tevent_queue_create,
    tevent_queue_wait_send,
    tevent_req,
    tevent_req_cancel,
    tevent_req_done,
    tevent_req_error,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_req_set_cleanup_fn,
    tevent_thread_call_depth_cmd,
    tevent_thread_call_depth_reset_from_req,
    tevent_thread_call_depth_set_callback,
    tevent_wakeup_send,
    timeval,
)

bench = pytest.fixture(opened, name="bench")

RESET = TEVENT_CALL_FLOW_REQ_RESET
CREATE = TEVENT_CALL_FLOW_REQ_CREATE
CANCEL = TEVENT_CALL_FLOW_REQ_CANCEL
CLEANUP = TEVENT_CALL_FLOW_REQ_CLEANUP
NOTIFY = TEVENT_CALL_FLOW_REQ_NOTIFY_CB
ENTER = TEVENT_CALL_FLOW_REQ_QUEUE_ENTER
TRIGGER = TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER
LEAVE = TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE


@pytest.fixture(name="flow")
def recorded_flow() -> Iterator[list[Any]]:
    """Everything that is reported: (cmd, req, depth, fname)."""
    flow: list[Any] = []

    def note(private_data: object, cmd: int, req: tevent_req | None, depth: int, fname: str | None) -> None:
        assert private_data == "private"
        assert type(cmd) is tevent_thread_call_depth_cmd
        flow.append((cmd, req, depth, fname))

    tevent_thread_call_depth_set_callback(note, "private")
    yield flow
    tevent_thread_call_depth_set_callback(None, None)


def take(flow: list[Any]) -> list[Any]:
    """What was reported since the last look."""
    seen = flow[:]
    flow.clear()
    return seen


def fired(req: tevent_req) -> None:
    """A callback with a name."""


def cleaned(req: tevent_req, req_state: object) -> None:
    """A cleanup function with a name."""


def triggered(req: tevent_req, private_data: object) -> None:
    """A trigger with a name."""


def test_commands_have_the_numbers_of_c() -> None:
    """The eight commands are numbered from 0."""
    assert [cmd.value for cmd in tevent_thread_call_depth_cmd] == list(range(8))
    commands = [RESET, CREATE, CANCEL, CLEANUP, NOTIFY, ENTER, TRIGGER, LEAVE]
    assert commands == list(range(8))


class TestDepth:
    def test_one_more_than_the_parent_request(self, bench: Bench, flow: list[Any]) -> None:
        """0 without a parent request, else one more; also below a request made without a callback set."""
        top, state = bench.make()
        sub, sub_state = bench.make(state)
        inner, _ = bench.make(sub_state)
        beside, _ = bench.make(top)
        assert take(flow) == [
            (CREATE, top, 0, "make"),
            (CREATE, sub, 1, "make"),
            (CREATE, inner, 2, "make"),
            (CREATE, beside, 0, "make"),
        ]

    def test_kept_while_nobody_listens(self, bench: Bench) -> None:
        """Depths are stored at creation, whether a callback is set or not."""
        _, state = bench.make()
        sub, sub_state = bench.make(state)
        flow: list[Any] = []
        tevent_thread_call_depth_set_callback(lambda *args: flow.append(args[1:]), None)
        inner, _ = bench.make(sub_state)
        tevent_req_set_callback(sub, fired, None)
        tevent_req_done(sub)
        tevent_thread_call_depth_set_callback(None, None)
        assert (CREATE, inner, 2, "make") in flow
        assert (NOTIFY, sub, 0, "fired") in flow

    def test_steal_changes_nothing(self, bench: Bench, flow: list[Any]) -> None:
        """The depth is that of the creation."""
        _, state = bench.make()
        sub, _ = bench.make(state)
        talloc_steal(bench.root, sub)
        take(flow)
        tevent_req_cancel(sub)
        assert take(flow) == [(CANCEL, sub, 1, None)]


class TestCallback:
    def test_reset_goes_to_the_old_one(self, bench: Bench) -> None:
        """Setting a callback reports a reset to the one before, if there is one."""
        first: list[Any] = []
        second: list[Any] = []
        tevent_thread_call_depth_set_callback(lambda *args: first.append(args), 1)
        assert first == []
        tevent_thread_call_depth_set_callback(lambda *args: second.append(args), 2)
        assert first == [(1, RESET, None, 0, "tevent_thread_call_depth_set_callback")]
        assert second == []
        tevent_thread_call_depth_set_callback(None, None)
        assert second == [(2, RESET, None, 0, "tevent_thread_call_depth_set_callback")]
        bench.make()
        tevent_thread_call_depth_set_callback(None, None)
        assert len(first) == len(second) == 1

    def test_belongs_to_the_thread(self, bench: Bench, flow: list[Any]) -> None:
        """What other threads do is reported to their callback alone."""
        other: list[Any] = []

        def work() -> None:
            there = Bench()
            req, _ = there.make()
            tevent_req_cancel(req)
            tevent_thread_call_depth_set_callback(lambda *args: other.append(args[1]), None)
            tevent_req_cancel(req)
            tevent_thread_call_depth_set_callback(None, None)
            there.close()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert take(flow) == []
        assert other == [CANCEL, RESET]
        req, _ = bench.make()
        assert take(flow) == [(CREATE, req, 0, "make")]


class TestFlow:
    def test_finish(self, bench: Bench, flow: list[Any]) -> None:
        """CLEANUP with the cleanup's name, NOTIFY_CB with the callback's name and one level less."""
        _, state = bench.make()
        sub, _ = bench.make(state)
        tevent_req_set_callback(sub, fired, None)
        tevent_req_set_cleanup_fn(sub, cleaned)
        take(flow)
        tevent_req_done(sub)
        assert take(flow) == [(CLEANUP, sub, 1, "cleaned"), (NOTIFY, sub, 0, "fired")]
        tevent_req_done(sub)
        assert take(flow) == [(NOTIFY, sub, 0, "fired")]
        tevent_req_error(sub, 5)
        assert take(flow) == [(CLEANUP, sub, 1, "cleaned"), (NOTIFY, sub, 0, "fired")]

    def test_notify_at_depth_zero(self, bench: Bench, flow: list[Any]) -> None:
        """The depth does not go below 0; without a callback there is no NOTIFY_CB."""
        req, _ = bench.make()
        tevent_req_set_cleanup_fn(req, cleaned)
        take(flow)
        tevent_req_done(req)
        assert take(flow) == [(CLEANUP, req, 0, "cleaned")]
        tevent_req_set_callback(req, fired, None)
        tevent_req_done(req)
        assert take(flow) == [(NOTIFY, req, 0, "fired")]

    def test_without_a_cleanup_function(self, bench: Bench, flow: list[Any]) -> None:
        """Nothing is remembered then: CLEANUP without a name at each finish, at the trigger and at receive."""
        req, _ = bench.make()
        take(flow)
        tevent_req_done(req)
        tevent_req_done(req)
        assert take(flow) == [(CLEANUP, req, 0, None)] * 2
        tevent_req_post(req, bench.ev)
        tevent_loop_once(bench.ev)
        assert take(flow) == [(CLEANUP, req, 0, None), (RESET, None, 0, "_tevent_loop_once")]
        tevent_req_received(req)
        assert take(flow) == [(CLEANUP, req, 0, None)]

    def test_posted_in_progress(self, bench: Bench, flow: list[Any]) -> None:
        """Also the trigger of a request in progress passes the cleanup step if no function was ever set."""
        req, _ = bench.make()
        tevent_req_set_callback(req, fired, None)
        take(flow)
        tevent_req_post(req, bench.ev)
        tevent_loop_once(bench.ev)
        assert take(flow) == [
            (CLEANUP, req, 0, None),
            (NOTIFY, req, 0, "fired"),
            (RESET, None, 0, "_tevent_loop_once"),
        ]
        tevent_req_set_cleanup_fn(req, cleaned)
        tevent_req_post(req, bench.ev)
        tevent_loop_once(bench.ev)
        assert take(flow) == [(NOTIFY, req, 0, "fired"), (RESET, None, 0, "_tevent_loop_once")]

    def test_free_passes_the_cleanup_step(self, bench: Bench, flow: list[Any]) -> None:
        """A free is a receive."""
        req, _ = bench.make()
        take(flow)
        talloc_free(req)
        assert take(flow) == [(CLEANUP, req, 0, None)]

    def test_cancel(self, bench: Bench, flow: list[Any]) -> None:
        """CANCEL with the function's name, or without one."""
        req, _ = bench.make()
        take(flow)
        tevent_req_cancel(req)

        def cancelled(req: tevent_req) -> bool:
            return True

        tevent_req_set_cancel_fn(req, cancelled)
        tevent_req_cancel(req)
        assert take(flow) == [(CANCEL, req, 0, None), (CANCEL, req, 0, "cancelled")]

    def test_library_requests(self, bench: Bench, flow: list[Any]) -> None:
        """The library's own requests are created by the function that the program called."""
        queue = tevent_queue_create(bench.root, "queue")
        assert queue is not None
        wakeup = tevent_wakeup_send(bench.root, bench.ev, timeval(1, 0))
        wait = tevent_queue_wait_send(bench.root, bench.ev, queue)
        assert take(flow) == [
            (CREATE, wakeup, 0, "tevent_wakeup_send"),
            (CREATE, wait, 0, "tevent_queue_wait_send"),
            (ENTER, wait, 0, "tevent_queue_wait_trigger"),
        ]

    def test_every_turn_ends_in_a_reset(self, bench: Bench, flow: list[Any]) -> None:
        """Also a turn without an event."""
        bench.turn()
        assert take(flow) == [(RESET, None, 0, "_tevent_loop_once")]

    def test_reset_from_req(self, bench: Bench, flow: list[Any]) -> None:
        """RESET with the request, its depth and the name of the calling function."""
        _, state = bench.make()
        sub, _ = bench.make(state)
        take(flow)
        assert tevent_thread_call_depth_reset_from_req(sub) is None
        assert take(flow) == [(RESET, sub, 1, "test_reset_from_req")]
        talloc_free(sub)
        take(flow)
        with pytest.raises(talloc_abort_error):
            tevent_thread_call_depth_reset_from_req(sub)
        with pytest.raises(TypeError):
            tevent_thread_call_depth_reset_from_req(None)

    def test_a_lambda_has_a_name_too(self, bench: Bench, flow: list[Any]) -> None:
        """Names are __name__, or the type's name of a callable without one."""
        req, _ = bench.make()
        tevent_req_set_callback(req, lambda req: None, None)
        tevent_req_done(req)

        class Callable:
            def __call__(self, req: tevent_req) -> None:
                pass

        tevent_req_set_callback(req, Callable(), None)
        tevent_req_done(req)
        assert [fname for cmd, _, _, fname in take(flow) if cmd == NOTIFY] == ["<lambda>", "Callable"]


class TestQueue:
    def test_a_queued_request(self, bench: Bench, flow: list[Any]) -> None:
        """ENTER at add, TRIGGER when the immediate runs it, LEAVE when the entry goes."""
        queue = tevent_queue_create(bench.root, "queue")
        assert queue is not None
        _, state = bench.make()
        sub, _ = bench.make(state)
        take(flow)
        entry = tevent_queue_add_entry(queue, bench.ev, sub, triggered, None)
        assert take(flow) == [(ENTER, sub, 1, "triggered")]
        tevent_loop_once(bench.ev)
        assert take(flow)[0] == (TRIGGER, sub, 1, "triggered")
        talloc_free(entry)
        assert take(flow) == [(LEAVE, sub, 1, "triggered")]

    def test_direct_trigger_is_not_reported(self, bench: Bench, flow: list[Any]) -> None:
        """add_optimize_empty on an empty queue: ENTER alone."""
        queue = tevent_queue_create(bench.root, "queue")
        assert queue is not None
        req, _ = bench.make()
        take(flow)
        tevent_queue_add_optimize_empty(queue, bench.ev, req, triggered, None)
        assert take(flow) == [(ENTER, req, 0, "triggered")]
        talloc_free(req)
        assert take(flow) == [(CLEANUP, req, 0, None), (LEAVE, req, 0, "triggered")]

    def test_a_blocker_is_called_null(self, bench: Bench, flow: list[Any]) -> None:
        """A trigger of None has the name NULL."""
        queue = tevent_queue_create(bench.root, "queue")
        assert queue is not None
        req, _ = bench.make()
        take(flow)
        entry = tevent_queue_add_entry(queue, bench.ev, req, None, None)
        tevent_loop_once(bench.ev)
        talloc_free(entry)
        names = [(cmd, fname) for cmd, _, _, fname in take(flow) if cmd != RESET]
        assert names == [(ENTER, "NULL"), (TRIGGER, "NULL"), (LEAVE, "NULL")]

    def test_leave_shows_the_head(self, bench: Bench, flow: list[Any]) -> None:
        """LEAVE reports the head's request and depth with the leaving entry's own function."""
        queue = tevent_queue_create(bench.root, "queue")
        assert queue is not None
        _, state = bench.make()
        head, _ = bench.make(state)
        behind, _ = bench.make()
        tevent_queue_add(queue, bench.ev, head, triggered, None)
        entry = tevent_queue_add_entry(queue, bench.ev, behind, None, None)
        take(flow)
        talloc_free(entry)
        assert take(flow) == [(LEAVE, head, 1, "NULL")]
