# SPDX-License-Identifier: LGPL-3.0-or-later
"""tevent_queue: requests that take turns."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from req_kit import Bench, children, opened, report, silent_aborts, state_of
from tevent_kit import wrapper_of

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_get_name,
    talloc_new,
    talloc_parent,
    talloc_set_destructor,
    talloc_set_memlimit,
    talloc_steal,
    talloc_total_blocks,
    talloc_total_size,
)
from tevent import (
    TEVENT_EVENT_TRACE_ATTACH,
    TEVENT_EVENT_TRACE_BEFORE_HANDLER,
    TEVENT_EVENT_TRACE_DETACH,
    TEVENT_REQ_DONE,
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_NO_MEMORY,
    TEVENT_REQ_RECEIVED,
    tevent_abort_error,
    tevent_context_init,
    tevent_create_immediate,
    tevent_get_trace_queue_callback,
    tevent_loop_once,
    tevent_queue,
    tevent_queue_add,
    tevent_queue_add_entry,
    tevent_queue_add_optimize_empty,
    tevent_queue_create,
    tevent_queue_entry,
    tevent_queue_entry_get_tag,
    tevent_queue_entry_set_tag,
    tevent_queue_entry_untrigger,
    tevent_queue_length,
    tevent_queue_running,
    tevent_queue_start,
    tevent_queue_stop,
    tevent_queue_wait_recv,
    tevent_queue_wait_send,
    tevent_req,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_in_progress,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_schedule_immediate,
    tevent_set_trace_queue_callback,
)

bench = pytest.fixture(opened, name="bench")


class Line:
    """A queue of a bench whose triggers write their private data to the log."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        queue = tevent_queue_create(bench.root, "line")
        assert queue is not None
        self.queue: tevent_queue = queue

    def trigger(self, req: tevent_req, private_data: object) -> None:
        self.bench.log.append(private_data)

    def add(self, name: str, how: Callable[..., Any] = tevent_queue_add_entry) -> tuple[tevent_req, Any]:
        """A new request whose trigger writes *name*, added; returns it and what adding said."""
        req, _ = self.bench.make()
        return req, how(self.queue, self.bench.ev, req, self.trigger, name)

    @property
    def length(self) -> int:
        return tevent_queue_length(self.queue)


@pytest.fixture(name="line")
def new_line(bench: Bench) -> Line:
    """A fresh queue."""
    return Line(bench)


def immediate(bench: Bench, name: str) -> None:
    """Schedule an immediate event that writes *name* to the log."""
    im = tevent_create_immediate(bench.root)
    assert im is not None
    tevent_schedule_immediate(im, bench.ev, lambda ev, im, private_data: bench.log.append(name), None)


class TestCreate:
    def test_runs_and_is_empty(self, bench: Bench) -> None:
        """A fresh queue is running, empty, and three chunks."""
        queue = tevent_queue_create(bench.root, "name")
        assert type(queue) is tevent_queue
        assert tevent_queue_running(queue) is True
        assert tevent_queue_length(queue) == 0
        assert talloc_parent(queue) is bench.root
        assert talloc_total_blocks(queue) == 3
        assert children(queue) == ["struct tevent_immediate", "name"]
        assert talloc_get_name(queue) == "struct tevent_queue"

    def test_no_name_no_queue(self, bench: Bench) -> None:
        """A name of None gives None and leaves nothing."""
        before = talloc_total_blocks(bench.root)
        assert tevent_queue_create(bench.root, None) is None
        assert talloc_total_blocks(bench.root) == before

    def test_memlimit(self, bench: Bench) -> None:
        """None where a memory limit forbids any of the three chunks; None and False for entries."""
        limited = talloc_new(bench.root)
        queue = tevent_queue_create(bench.root, "name")
        assert queue is not None
        whole = talloc_total_size(queue) + 3 * 96
        for room in range(1, whole, 40):
            talloc_set_memlimit(limited, 96 + room)
            assert tevent_queue_create(limited, "name") is None
            assert talloc_total_blocks(limited) == 1
        talloc_set_memlimit(limited, 0)
        req, _ = bench.make(limited)
        talloc_set_memlimit(limited, 1)
        assert tevent_queue_add(queue, bench.ev, req, None, None) is False
        assert tevent_queue_add_entry(queue, bench.ev, req, None, None) is None
        assert tevent_queue_add_optimize_empty(queue, bench.ev, req, None, None) is None
        assert tevent_queue_length(queue) == 0

    @pytest.mark.parametrize("name", [5, b"bytes", object()])
    def test_wrong_name(self, bench: Bench, name: object) -> None:
        """A name is a string."""
        before = talloc_total_blocks(bench.root)
        with pytest.raises(TypeError):
            tevent_queue_create(bench.root, name)
        assert talloc_total_blocks(bench.root) == before

    def test_classes_cannot_be_called(self) -> None:
        """Queues and entries come from their functions alone."""
        with pytest.raises(TypeError, match="tevent_queue_create"):
            tevent_queue()
        with pytest.raises(TypeError, match="tevent_queue_add"):
            tevent_queue_entry()

    def test_repr(self, line: Line) -> None:
        """repr tells name, state and length, also of a freed queue."""
        line.add("a")
        assert "'line'" in repr(line.queue)
        assert "1" in repr(line.queue)
        talloc_free(line.queue)
        assert "freed" in repr(line.queue)


class TestOrder:
    def test_one_at_a_time_in_order(self, bench: Bench, line: Line) -> None:
        """Only the head is triggered, from the loop; the next one when the head's entry is freed."""
        a, _ = line.add("a")
        b, _ = line.add("b")
        c, entry = line.add("c")
        assert line.length == 3
        assert bench.take() == []
        assert bench.drain() == 1
        assert bench.take() == ["a"]
        talloc_free(a)
        assert bench.take() == []
        assert line.length == 2
        assert bench.drain() == 1
        assert bench.take() == ["b"]
        talloc_free(b)
        assert bench.drain() == 1
        assert bench.take() == ["c"]
        assert talloc_free(entry) == 0
        assert line.length == 0
        assert bench.drain() == 0
        assert tevent_req_is_in_progress(c)

    def test_n_requests_cost_n_turns(self, bench: Bench, line: Line) -> None:
        """Each trigger is one immediate event."""
        for number in range(50):
            req, _ = bench.make()
            tevent_queue_add(line.queue, bench.ev, req, lambda req, pd: talloc_free(req), number)
        assert bench.drain() == 50
        assert line.length == 0

    def test_results_of_adding(self, bench: Bench, line: Line) -> None:
        """add says True, the others give the entry, a child of the request and not of queue or state."""
        a, said = line.add("a", tevent_queue_add)
        assert said is True
        b, entry = line.add("b")
        c, other = line.add("c", tevent_queue_add_optimize_empty)
        for req, made in ((b, entry), (c, other)):
            assert type(made) is tevent_queue_entry
            assert talloc_parent(made) is req
        assert children(a) == ["struct tevent_queue_entry", "struct job_state", "struct tevent_immediate"]
        assert talloc_total_blocks(line.queue) == 3

    def test_finishing_and_receiving_do_not_move_on(self, bench: Bench, line: Line) -> None:
        """A finished or received request holds the queue until its entry is freed."""
        a, _ = line.add("a")
        line.add("b")
        bench.drain()
        tevent_req_done(a)
        tevent_req_received(a)
        assert bench.drain() == 0
        assert bench.take() == ["a"]
        assert line.length == 2
        talloc_free(a)
        assert bench.drain() == 1
        assert bench.take() == ["b"]

    def test_adding_while_one_works(self, bench: Bench, line: Line) -> None:
        """An add behind a triggered head schedules nothing."""
        line.add("a")
        bench.drain()
        line.add("b")
        assert bench.drain() == 0
        assert bench.take() == ["a"]

    def test_a_waiting_one_leaves(self, bench: Bench, line: Line) -> None:
        """A request freed while waiting just leaves the line; in the middle, at the end or at the head."""
        reqs = {name: line.add(name)[0] for name in "abcde"}
        talloc_free(reqs["c"])
        talloc_free(reqs["e"])
        talloc_free(reqs["a"])
        assert line.length == 2
        assert bench.drain() == 1
        assert bench.take() == ["b"]
        talloc_free(reqs["b"])
        bench.drain()
        assert bench.take() == ["d"]

    def test_add_moves_a_pending_start_back(self, bench: Bench, line: Line) -> None:
        """Adding, or freeing one that is not the head, while the head waits for its trigger delays it."""
        line.add("a")
        immediate(bench, "one")
        _, entry = line.add("b")
        immediate(bench, "two")
        assert bench.turn()
        assert bench.take() == ["one"]
        talloc_free(entry)
        assert bench.drain() == 2
        assert bench.take() == ["two", "a"]

    def test_the_same_request_twice(self, bench: Bench, line: Line) -> None:
        """A request may stand in a queue more than once; all its entries go with it."""
        req, first = line.add("first")
        tevent_queue_add(line.queue, bench.ev, req, line.trigger, "second")
        other, _ = line.add("other")
        assert line.length == 3
        bench.drain()
        talloc_free(first)
        bench.drain()
        assert bench.take() == ["first", "second"]
        talloc_free(req)
        bench.drain()
        assert bench.take() == ["other"]
        assert line.length == 1
        talloc_free(other)

    def test_a_request_in_two_queues(self, bench: Bench, line: Line) -> None:
        """Each queue has its own turn for it."""
        other = Line(bench)
        req, _ = line.add("line")
        tevent_queue_add(other.queue, bench.ev, req, other.trigger, "other")
        assert bench.drain() == 2
        assert bench.take() == ["line", "other"]
        talloc_free(req)
        assert (line.length, other.length) == (0, 0)

    def test_immediate_stands_on_the_heads_context(self, bench: Bench, line: Line) -> None:
        """Entries may name different contexts: each trigger runs on its own head's."""
        there = Bench()
        a, _ = line.add("a")
        b, _ = bench.make()
        tevent_queue_add(line.queue, there.ev, b, line.trigger, "b")
        assert there.drain() == 0
        assert bench.drain() == 1
        talloc_free(a)
        assert bench.drain() == 0
        assert there.drain() == 1
        assert bench.take() == ["a", "b"]
        there.close()

    def test_a_context_that_went(self, bench: Bench, line: Line) -> None:
        """Freeing a head's context before its entry touches nothing freed; the entry just never runs."""
        ev = tevent_context_init(None)
        assert ev is not None
        a, _ = bench.make()
        b, _ = bench.make()
        tevent_queue_add(line.queue, ev, a, line.trigger, "a")
        tevent_queue_add(line.queue, ev, b, line.trigger, "b")
        talloc_free(ev)
        talloc_free(a)
        assert line.length == 1
        c, _ = line.add("c")
        talloc_free(b)
        assert bench.drain() == 1
        assert bench.take() == ["c"]
        talloc_free(c)

    def test_a_stolen_request_keeps_its_place(self, bench: Bench, line: Line) -> None:
        """The entry moves with the request."""
        a, _ = line.add("a")
        owner = talloc_new(bench.root)
        talloc_steal(owner, a)
        bench.drain()
        assert bench.take() == ["a"]
        talloc_free(owner)
        assert line.length == 0


class TestBlocker:
    def test_blocks_until_freed(self, bench: Bench, line: Line) -> None:
        """An entry without a trigger becomes head like another, does nothing, and blocks until it is freed."""
        blocker, _ = bench.make()
        assert tevent_queue_add(line.queue, bench.ev, blocker, None, None)
        line.add("a")
        assert bench.drain() == 1
        assert bench.take() == []
        talloc_free(blocker)
        assert bench.drain() == 1
        assert bench.take() == ["a"]

    def test_directly(self, bench: Bench, line: Line) -> None:
        """On an empty queue with add_optimize_empty it is triggered at once, without an immediate."""
        blocker, _ = bench.make()
        entry = tevent_queue_add_optimize_empty(line.queue, bench.ev, blocker, None, None)
        line.add("a")
        assert bench.drain() == 0
        talloc_free(entry)
        assert bench.drain() == 1
        assert bench.take() == ["a"]


class TestOptimizeEmpty:
    def test_runs_inside_the_call(self, bench: Bench, line: Line) -> None:
        """On an empty running queue the trigger runs directly; the length is 1 by then."""
        req, _ = bench.make()
        seen = []
        entry = tevent_queue_add_optimize_empty(
            line.queue, bench.ev, req, lambda req, pd: seen.append((pd, line.length)), "mine"
        )
        assert seen == [("mine", 1)]
        assert type(entry) is tevent_queue_entry
        assert bench.drain() == 0

    @pytest.mark.parametrize("how", [tevent_queue_add, tevent_queue_add_entry])
    def test_the_others_never_do(self, bench: Bench, line: Line, how: Callable[..., object]) -> None:
        """add and add_entry leave it to the loop."""
        line.add("a", how)
        assert bench.take() == []
        assert bench.drain() == 1

    def test_not_with_a_callback(self, bench: Bench, line: Line) -> None:
        """A request with a callback waits for the loop, so that it is not called inside."""
        req, _ = bench.make(name="fired")
        tevent_queue_add_optimize_empty(line.queue, bench.ev, req, line.trigger, "a")
        assert bench.take() == []
        assert bench.drain() == 1
        assert bench.take() == ["a"]

    def test_not_when_others_wait(self, bench: Bench, line: Line) -> None:
        """Behind others it queues, whether they were triggered or not."""
        line.add("a")
        line.add("b", tevent_queue_add_optimize_empty)
        assert bench.take() == []
        assert bench.drain() == 1
        line.add("c", tevent_queue_add_optimize_empty)
        assert bench.take() == ["a"]

    def test_not_when_stopped(self, bench: Bench, line: Line) -> None:
        """A stopped queue only takes it in."""
        tevent_queue_stop(line.queue)
        line.add("a", tevent_queue_add_optimize_empty)
        assert bench.drain() == 0
        tevent_queue_start(line.queue)
        assert bench.take() == []
        assert bench.drain() == 1
        assert bench.take() == ["a"]

    def test_the_trigger_may_finish_the_request(self, bench: Bench, line: Line) -> None:
        """done inside the direct run."""
        req, _ = bench.make()
        tevent_queue_add_optimize_empty(line.queue, bench.ev, req, lambda req, pd: tevent_req_done(req), None)
        assert state_of(req) is TEVENT_REQ_DONE
        assert line.length == 1

    def test_the_trigger_may_free_the_request(self, bench: Bench, line: Line) -> None:
        """Freed inside the direct run: the queue is empty again, the entry returned is dead."""
        req, _ = bench.make()
        entry = tevent_queue_add_optimize_empty(line.queue, bench.ev, req, lambda req, pd: talloc_free(req), None)
        assert line.length == 0
        with pytest.raises(talloc_abort_error, match="access after free"):
            talloc_get_name(entry)  # type: ignore[arg-type]

    def test_the_trigger_may_free_the_queue(self, bench: Bench, line: Line) -> None:
        """The request stays in progress."""
        req, _ = bench.make()
        tevent_queue_add_optimize_empty(line.queue, bench.ev, req, lambda req, pd: talloc_free(line.queue), None)
        assert tevent_req_is_in_progress(req)
        assert talloc_total_blocks(req) == 3
        assert bench.drain() == 0

    def test_nested_add_queues(self, bench: Bench, line: Line) -> None:
        """A second one added by the trigger sees a length of 1 and waits."""
        inner, _ = bench.make()

        def trigger(req: tevent_req, private_data: object) -> None:
            bench.log.append("outer")
            tevent_queue_add_optimize_empty(line.queue, bench.ev, inner, line.trigger, "inner")
            bench.log.append("back")

        outer, _ = bench.make()
        tevent_queue_add_optimize_empty(line.queue, bench.ev, outer, trigger, None)
        assert bench.take() == ["outer", "back"]
        assert bench.drain() == 0
        talloc_free(outer)
        assert bench.drain() == 1
        assert bench.take() == ["inner"]

    def test_nested_add_after_freeing_runs_directly(self, bench: Bench, line: Line) -> None:
        """If the trigger has freed its own request before, the second one runs directly, inside the first."""

        def trigger(req: tevent_req, private_data: object) -> None:
            bench.log.append("outer")
            talloc_free(req)
            line.add("inner", tevent_queue_add_optimize_empty)
            bench.log.append("back")

        outer, _ = bench.make()
        tevent_queue_add_optimize_empty(line.queue, bench.ev, outer, trigger, None)
        assert bench.take() == ["outer", "inner", "back"]
        assert line.length == 1

    def test_a_stale_immediate_does_not_run_it_again(self, bench: Bench, line: Line) -> None:
        """An immediate pending from an entry that went may find a head that runs already: it leaves it alone."""
        a, _ = line.add("a")
        talloc_free(a)
        line.add("b", tevent_queue_add_optimize_empty)
        assert bench.take() == ["b"]
        bench.drain()
        assert bench.take() == []


class TestStopStart:
    def test_stopped_only_takes_in(self, bench: Bench, line: Line) -> None:
        """A stopped queue appends; freeing schedules nothing."""
        assert tevent_queue_stop(line.queue) is None
        assert tevent_queue_running(line.queue) is False
        a, _ = line.add("a")
        line.add("b")
        talloc_free(a)
        assert bench.drain() == 0
        assert line.length == 1
        assert tevent_queue_start(line.queue) is None
        assert tevent_queue_running(line.queue) is True
        assert bench.drain() == 1
        assert bench.take() == ["b"]

    def test_a_pending_immediate_fires_into_nothing(self, bench: Bench, line: Line) -> None:
        """Stopped between add and loop: the turn is used up, nothing is triggered."""
        line.add("a")
        tevent_queue_stop(line.queue)
        assert bench.drain() == 1
        assert bench.take() == []
        tevent_queue_start(line.queue)
        assert bench.drain() == 1
        assert bench.take() == ["a"]

    def test_emptied_before_the_immediate(self, bench: Bench, line: Line) -> None:
        """An immediate that finds an empty queue uses up its turn."""
        a, _ = line.add("a")
        talloc_free(a)
        assert bench.drain() == 1
        assert bench.take() == []

    def test_stop_and_start_before_the_immediate(self, bench: Bench, line: Line) -> None:
        """Still one trigger."""
        line.add("a")
        tevent_queue_stop(line.queue)
        tevent_queue_start(line.queue)
        assert bench.drain() == 1
        assert bench.take() == ["a"]

    def test_start_of_a_running_queue_does_nothing(self, bench: Bench, line: Line) -> None:
        """Not even moving the pending immediate."""
        line.add("a")
        immediate(bench, "behind")
        tevent_queue_start(line.queue)
        assert bench.drain() == 2
        assert bench.take() == ["a", "behind"]

    def test_start_of_an_empty_queue(self, bench: Bench, line: Line) -> None:
        """Nothing is scheduled."""
        tevent_queue_stop(line.queue)
        tevent_queue_start(line.queue)
        assert bench.drain() == 0

    def test_a_triggered_head_stays_triggered(self, bench: Bench, line: Line) -> None:
        """Stop and start do not run it again."""
        line.add("a")
        bench.drain()
        tevent_queue_stop(line.queue)
        tevent_queue_start(line.queue)
        assert bench.drain() == 0
        assert bench.take() == ["a"]

    def test_stop_while_one_works(self, bench: Bench, line: Line) -> None:
        """The working one goes on; the next waits for start."""
        a, _ = line.add("a")
        line.add("b")
        bench.drain()
        tevent_queue_stop(line.queue)
        talloc_free(a)
        assert bench.drain() == 0
        tevent_queue_start(line.queue)
        assert bench.drain() == 1
        assert bench.take() == ["a", "b"]


class TestUntrigger:
    def test_runs_again_after_start(self, bench: Bench, line: Line) -> None:
        """In the trigger: stop, untrigger; later start: the trigger runs again."""
        req, _ = bench.make()
        entries: list[tevent_queue_entry] = []

        def trigger(req: tevent_req, private_data: object) -> None:
            bench.log.append(len(bench.log))
            if len(bench.log) == 1:
                tevent_queue_stop(line.queue)
                assert tevent_queue_entry_untrigger(entries[0]) is None

        entry = tevent_queue_add_entry(line.queue, bench.ev, req, trigger, None)
        assert entry is not None
        entries.append(entry)
        assert bench.drain() == 1
        tevent_queue_start(line.queue)
        assert bench.drain() == 1
        assert bench.take() == [0, 1]
        tevent_queue_stop(line.queue)
        tevent_queue_start(line.queue)
        assert bench.drain() == 0

    def test_aborts_while_running(self, bench: Bench, line: Line) -> None:
        """A running queue is the abort function; nothing changes if that returns."""
        _, entry = line.add("a")
        bench.drain()
        with pytest.raises(tevent_abort_error):
            tevent_queue_entry_untrigger(entry)
        with silent_aborts() as reasons:
            tevent_queue_entry_untrigger(entry)
        assert len(reasons) == 1
        tevent_queue_stop(line.queue)
        tevent_queue_start(line.queue)
        assert bench.drain() == 0

    def test_aborts_if_not_the_head(self, bench: Bench, line: Line) -> None:
        """Only the head can be untriggered."""
        line.add("a")
        _, entry = line.add("b")
        tevent_queue_stop(line.queue)
        with pytest.raises(tevent_abort_error):
            tevent_queue_entry_untrigger(entry)

    def test_untriggered_head_waits_like_any(self, bench: Bench, line: Line) -> None:
        """Untriggering what was not triggered changes nothing."""
        _, entry = line.add("a")
        tevent_queue_stop(line.queue)
        tevent_queue_entry_untrigger(entry)
        tevent_queue_start(line.queue)
        assert bench.drain() == 1
        assert bench.take() == ["a"]

    def test_after_the_queue_went(self, bench: Bench, line: Line) -> None:
        """The entry is dead then."""
        _, entry = line.add("a")
        talloc_free(line.queue)
        with pytest.raises(talloc_abort_error, match="access after free"):
            tevent_queue_entry_untrigger(entry)


class TestFreeing:
    def test_the_queue(self, bench: Bench, line: Line) -> None:
        """The entries go, the requests stay in progress and are never triggered."""
        reqs = [line.add(name)[0] for name in "abc"]
        assert talloc_free(line.queue) == 0
        assert bench.drain() == 0
        assert bench.take() == []
        for req in reqs:
            assert tevent_req_is_in_progress(req)
            assert talloc_total_blocks(req) == 3
            talloc_free(req)

    def test_the_queue_inside_a_trigger(self, bench: Bench, line: Line) -> None:
        """Safe in the middle of a trigger, and while another waits."""
        req, _ = bench.make()
        tevent_queue_add(line.queue, bench.ev, req, lambda req, pd: bench.log.append(talloc_free(line.queue)), None)
        line.add("b")
        assert bench.drain() == 1
        assert bench.take() == [0]

    def test_entry_inside_its_trigger(self, bench: Bench, line: Line) -> None:
        """The next one is triggered by an immediate, never directly."""
        entries: list[Any] = []
        req, _ = bench.make()

        def trigger(req: tevent_req, private_data: object) -> None:
            talloc_free(entries[0])
            bench.log.append("freed")

        entries.append(tevent_queue_add_entry(line.queue, bench.ev, req, trigger, None))
        line.add("b")
        assert bench.turn()
        assert bench.take() == ["freed"]
        assert bench.drain() == 1
        assert bench.take() == ["b"]

    def test_everything_inside_a_trigger(self, bench: Bench, line: Line) -> None:
        """A trigger may free the tree that holds request and queue."""
        owner = talloc_new(None)
        queue = tevent_queue_create(owner, "queue")
        assert queue is not None
        req, _ = bench.make(owner)
        tevent_queue_add(queue, bench.ev, req, lambda req, pd: bench.log.append(talloc_free(owner)), None)
        assert bench.drain() == 1
        assert bench.take() == [0]

    def test_request_and_queue_on_one_owner(self, bench: Bench) -> None:
        """Freed together in either order of creation."""
        for queue_first in (True, False):
            owner = talloc_new(bench.root)
            queue = tevent_queue_create(owner, "queue") if queue_first else None
            reqs = [bench.make(owner)[0] for _ in range(3)]
            if queue is None:
                queue = tevent_queue_create(owner, "queue")
            assert queue is not None
            for req in reqs:
                tevent_queue_add(queue, bench.ev, req, lambda req, pd: bench.log.append("never"), None)
            assert talloc_free(owner) == 0
            assert bench.drain() == 0
        assert bench.take() == []

    def test_entries_whose_destructor_was_replaced(self, bench: Bench, line: Line) -> None:
        """A user's destructor on an entry cannot hang the free of the queue, nor leave a dead entry in line."""
        for answer in (0, -1):
            line = Line(bench)
            req, entry = line.add("a")
            line.add("b")
            talloc_set_destructor(entry, lambda entry, answer=answer: answer)
            assert talloc_free(line.queue) == 0
            assert bench.drain() == 0
            talloc_set_destructor(entry, None) if answer else None
            talloc_free(req)
        assert bench.take() == []

    def test_a_freed_queue_is_collected(self, bench: Bench, line: Line) -> None:
        """Neither entries nor requests hold on to a freed queue."""
        req, _ = line.add("a")

        class Mark:
            pass

        mark = Mark()
        gone = weakref.ref(mark)
        tevent_queue_add(line.queue, bench.ev, req, line.trigger, mark)
        talloc_free(req)
        del mark
        gc.collect()
        assert gone() is None


class Trouble(Exception):
    """What the triggers of the following tests raise."""


class TestRaisingTrigger:
    def trouble(self, req: tevent_req, private_data: object) -> None:
        raise Trouble

    def test_from_the_loop(self, bench: Bench, line: Line) -> None:
        """The exception leaves the loop; the head counts as triggered, and the line moves on when it goes."""
        a, _ = bench.make()
        tevent_queue_add(line.queue, bench.ev, a, self.trouble, None)
        line.add("b")
        with pytest.raises(Trouble):
            tevent_loop_once(bench.ev)
        assert bench.drain() == 0
        assert line.length == 2
        talloc_free(a)
        assert bench.drain() == 1
        assert bench.take() == ["b"]

    def test_from_the_direct_run(self, bench: Bench, line: Line) -> None:
        """The exception leaves add_optimize_empty; the entry stands in the queue and goes with its request."""
        a, _ = bench.make()
        with pytest.raises(Trouble):
            tevent_queue_add_optimize_empty(line.queue, bench.ev, a, self.trouble, None)
        assert line.length == 1
        talloc_free(a)
        assert line.length == 0


class TestWait:
    def test_fires_when_the_turn_comes_and_holds(self, bench: Bench, line: Line) -> None:
        """It fires from the loop, also on an empty queue, then holds the queue until it is freed."""
        wait = tevent_queue_wait_send(bench.root, bench.ev, line.queue)
        assert wait is not None
        bench.watch(wait, "turn")
        line.add("behind")
        assert bench.take() == []
        assert tevent_req_is_in_progress(wait)
        assert line.length == 2
        assert bench.drain() == 1
        assert bench.take() == [("turn", TEVENT_REQ_DONE)]
        assert tevent_queue_wait_recv(wait) is True
        assert state_of(wait) is TEVENT_REQ_RECEIVED
        assert line.length == 2
        assert bench.drain() == 0
        talloc_free(wait)
        assert bench.drain() == 1
        assert bench.take() == ["behind"]

    def test_recv_twice(self, bench: Bench, line: Line) -> None:
        """Only the first says True."""
        wait = tevent_queue_wait_send(bench.root, bench.ev, line.queue)
        assert wait is not None
        bench.drain()
        assert tevent_queue_wait_recv(wait) is True
        assert tevent_queue_wait_recv(wait) is False

    def test_recv_too_early(self, bench: Bench, line: Line) -> None:
        """In progress, or failed: False, and received."""
        for error in (0, 5):
            wait = tevent_queue_wait_send(bench.root, bench.ev, line.queue)
            assert wait is not None
            tevent_req_error(wait, error)
            assert tevent_queue_wait_recv(wait) is False
            assert state_of(wait) is TEVENT_REQ_RECEIVED
            talloc_free(wait)

    def test_waits_behind_others(self, bench: Bench, line: Line) -> None:
        """It has its place in the line."""
        a, _ = line.add("a")
        wait = tevent_queue_wait_send(bench.root, bench.ev, line.queue)
        assert wait is not None
        assert talloc_total_blocks(wait) == 4
        bench.drain()
        assert tevent_req_is_in_progress(wait)
        talloc_free(a)
        bench.drain()
        assert state_of(wait) is TEVENT_REQ_DONE

    def test_the_queue_goes(self, bench: Bench, line: Line) -> None:
        """It is never done then."""
        wait = tevent_queue_wait_send(bench.root, bench.ev, line.queue)
        assert wait is not None
        talloc_free(line.queue)
        assert bench.drain() == 0
        assert state_of(wait) is TEVENT_REQ_IN_PROGRESS

    def test_memlimit(self, bench: Bench, line: Line) -> None:
        """None where a memory limit forbids the request; without memory for the entry it fails, from the loop."""
        limited = talloc_new(bench.root)
        talloc_set_memlimit(limited, 1)
        assert tevent_queue_wait_send(limited, bench.ev, line.queue) is None
        req = None
        for room in range(300, 3000, 4):
            talloc_set_memlimit(limited, room)
            req = tevent_queue_wait_send(limited, bench.ev, line.queue)
            if req is not None:
                break
        assert req is not None
        assert state_of(req) is TEVENT_REQ_NO_MEMORY
        assert line.length == 0
        bench.watch(req, "a")
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_NO_MEMORY)]
        assert tevent_queue_wait_recv(req) is False

    def test_bad_input(self, bench: Bench, line: Line) -> None:
        """Queue, context and owner are checked; nothing is left behind."""
        before = talloc_total_blocks(bench.root)
        for ev, queue in ((None, line.queue), (bench.ev, None), (line.queue, bench.ev), (bench.ev, "queue")):
            with pytest.raises(TypeError):
                tevent_queue_wait_send(bench.root, ev, queue)
            assert talloc_total_blocks(bench.root) == before
        dead = tevent_queue_create(bench.root, "dead")
        talloc_free(dead)
        with pytest.raises(talloc_abort_error):
            tevent_queue_wait_send(bench.root, bench.ev, dead)
        assert talloc_total_blocks(bench.root) == before
        with silent_aborts() as reasons:
            tevent_queue_wait_send(bench.root, bench.ev, dead)
        assert len(reasons) == 1
        with pytest.raises(TypeError):
            tevent_queue_wait_recv(None)
        req, _ = bench.make()
        talloc_free(req)
        with silent_aborts() as reasons:
            assert tevent_queue_wait_recv(req) is False
        assert len(reasons) == 1


class TestTags:
    def test_a_number_of_64_bits(self, line: Line) -> None:
        """0 at first, any number modulo 2**64 afterwards; survives the trigger."""
        _, entry = line.add("a")
        assert tevent_queue_entry_get_tag(entry) == 0
        for tag, kept in ((5, 5), (2**64 + 7, 7), (-1, 2**64 - 1)):
            assert tevent_queue_entry_set_tag(entry, tag) is None
            assert tevent_queue_entry_get_tag(entry) == kept
        line.bench.drain()
        assert tevent_queue_entry_get_tag(entry) == 2**64 - 1

    def test_none(self) -> None:
        """No entry: setting is ignored, getting gives 0."""
        assert tevent_queue_entry_set_tag(None, 5) is None
        assert tevent_queue_entry_get_tag(None) == 0

    def test_bad_input(self, line: Line) -> None:
        """Anything else is checked."""
        _, entry = line.add("a")
        with pytest.raises(TypeError):
            tevent_queue_entry_set_tag(entry, "5")
        for wrong in ("entry", line.queue):
            with pytest.raises(TypeError):
                tevent_queue_entry_get_tag(wrong)
            with pytest.raises(TypeError):
                tevent_queue_entry_set_tag(wrong, 1)
        talloc_free(entry)
        with pytest.raises(talloc_abort_error):
            tevent_queue_entry_get_tag(entry)
        with silent_aborts() as reasons:
            tevent_queue_entry_set_tag(entry, 1)
            assert tevent_queue_entry_get_tag(entry) == 0
            tevent_queue_entry_untrigger(entry)
        assert len(reasons) == 3


class TestTrace:
    def watch(self, bench: Bench, line: Line) -> None:
        def note(qe: tevent_queue_entry, point: int, private_data: object) -> None:
            if point == TEVENT_EVENT_TRACE_ATTACH:
                assert tevent_queue_entry_get_tag(qe) == 0
                tevent_queue_entry_set_tag(qe, line.length + 1)
            bench.log.append((private_data, int(point), tevent_queue_entry_get_tag(qe), line.length))

        tevent_set_trace_queue_callback(bench.ev, note, "trace")

    def test_setting_and_getting(self, bench: Bench) -> None:
        """One callback for each context; at first none."""
        assert tevent_get_trace_queue_callback(bench.ev) == (None, None)

        def note(qe: object, point: object, private_data: object) -> None:
            """Nothing."""

        tevent_set_trace_queue_callback(bench.ev, note, "private")
        assert tevent_get_trace_queue_callback(bench.ev) == (note, "private")
        tevent_set_trace_queue_callback(bench.ev, None, None)
        assert tevent_get_trace_queue_callback(bench.ev) == (None, None)

    def test_life_of_an_entry(self, bench: Bench, line: Line) -> None:
        """ATTACH before it counts, BEFORE_HANDLER before the trigger, DETACH while it still counts."""
        self.watch(bench, line)
        a, _ = line.add("a")
        assert bench.take() == [("trace", TEVENT_EVENT_TRACE_ATTACH, 1, 0)]
        bench.drain()
        assert bench.take() == [("trace", TEVENT_EVENT_TRACE_BEFORE_HANDLER, 1, 1), "a"]
        talloc_free(a)
        assert bench.take() == [("trace", TEVENT_EVENT_TRACE_DETACH, 1, 1)]

    def test_direct_runs_and_blockers_too(self, bench: Bench, line: Line) -> None:
        """BEFORE_HANDLER also comes for them."""
        self.watch(bench, line)
        a, _ = line.add("a", tevent_queue_add_optimize_empty)
        assert [item if isinstance(item, str) else item[1] for item in bench.take()] == [0, 2, "a"]
        blocker, _ = bench.make()
        tevent_queue_add(line.queue, bench.ev, blocker, None, None)
        talloc_free(a)
        bench.take()
        bench.drain()
        assert [item[1] for item in bench.take()] == [2]

    def test_not_through_a_wrapper(self, bench: Bench, line: Line) -> None:
        """As in C an entry that names a wrapper context is traced nowhere: there is no callback on it."""
        self.watch(bench, line)
        wrapper = wrapper_of(bench.ev)
        req, _ = bench.make()
        tevent_queue_add(line.queue, wrapper, req, lambda req, private_data: bench.log.append("trigger"), None)
        assert bench.drain() == 1
        talloc_free(req)
        assert bench.take() == ["trigger"]
        talloc_free(wrapper)

    def test_detach_goes_to_the_heads_context(self, bench: Bench, line: Line) -> None:
        """An entry that leaves from behind is reported to the context of the head."""
        there = Bench()
        self.watch(bench, line)
        a, _ = line.add("a")
        b, _ = bench.make()
        tevent_queue_add(line.queue, there.ev, b, None, None)
        bench.take()
        talloc_free(b)
        assert [item[1:3] for item in bench.take()] == [(1, 0)]
        there.close()
        talloc_free(a)

    def test_of_a_freed_queue(self, bench: Bench, line: Line) -> None:
        """Every entry of a freed queue is reported as it goes."""
        self.watch(bench, line)
        line.add("a")
        line.add("b")
        bench.take()
        talloc_free(line.queue)
        assert [item[1:3] for item in bench.take()] == [(1, 1), (1, 2)]

    def test_wrong_types(self, bench: Bench) -> None:
        """Context and callback are checked."""
        with pytest.raises(TypeError):
            tevent_set_trace_queue_callback(None, None, None)
        with pytest.raises(TypeError):
            tevent_set_trace_queue_callback(bench.ev, 5, None)


CALLS: dict[str, Callable[[Any, Bench, tevent_req], object]] = {
    "add": lambda queue, bench, req: tevent_queue_add(queue, bench.ev, req, None, None),
    "add_entry": lambda queue, bench, req: tevent_queue_add_entry(queue, bench.ev, req, None, None),
    "add_optimize_empty": lambda queue, bench, req: tevent_queue_add_optimize_empty(queue, bench.ev, req, None, None),
    "start": lambda queue, bench, req: tevent_queue_start(queue),
    "stop": lambda queue, bench, req: tevent_queue_stop(queue),
    "length": lambda queue, bench, req: tevent_queue_length(queue),
    "running": lambda queue, bench, req: tevent_queue_running(queue),
}


@pytest.mark.parametrize("name", CALLS)
class TestBadQueues:
    def test_freed(self, bench: Bench, name: str) -> None:
        """A freed queue is a use after free; if the abort function returns nothing is done."""
        queue = tevent_queue_create(bench.root, "queue")
        talloc_free(queue)
        req, _ = bench.make()
        with pytest.raises(talloc_abort_error, match="access after free"):
            CALLS[name](queue, bench, req)
        with silent_aborts() as reasons:
            assert CALLS[name](queue, bench, req) in (None, False, 0)
        assert len(reasons) == 1
        assert talloc_total_blocks(req) == 3

    @pytest.mark.parametrize("wrong", [None, "queue", 5, tevent_queue])
    def test_wrong_type(self, bench: Bench, name: str, wrong: object) -> None:
        """What is no queue is refused."""
        req, _ = bench.make()
        with pytest.raises(TypeError, match="tevent_queue"):
            CALLS[name](wrong, bench, req)
        assert talloc_total_blocks(req) == 3


@pytest.mark.parametrize("how", [tevent_queue_add, tevent_queue_add_entry, tevent_queue_add_optimize_empty])
class TestBadAdding:
    def test_arguments(self, bench: Bench, line: Line, how: Callable[..., object]) -> None:
        """Context, request and trigger are checked before anything is done."""
        req, _ = bench.make()
        dead: list[TALLOC_CTX] = [bench.make()[0]]
        other = tevent_context_init(None)
        assert other is not None
        dead.append(other)
        for chunk in dead:
            talloc_free(chunk)
        for ev in (None, req, "ev"):
            with pytest.raises(TypeError, match="tevent_context"):
                how(line.queue, ev, req, None, None)
        for wrong in (None, bench.ev, 5):
            with pytest.raises(TypeError, match="tevent_req"):
                how(line.queue, bench.ev, wrong, None, None)
        for trigger in ("trigger", 5):
            with pytest.raises(TypeError):
                how(line.queue, bench.ev, req, trigger, None)
        with pytest.raises(talloc_abort_error):
            how(line.queue, bench.ev, dead[0], None, None)
        with pytest.raises(talloc_abort_error):
            how(line.queue, dead[1], req, None, None)
        with silent_aborts() as reasons:
            assert how(line.queue, bench.ev, dead[0], None, None) in (None, False)
        assert len(reasons) == 1
        assert line.length == 0
        assert talloc_total_blocks(req) == 3


def test_many_entries_leave_in_constant_time_each(bench: Bench, line: Line) -> None:
    """Thousands of entries come and go without a look at the others: the report of the queue stays its own."""
    reqs = [line.add(str(number))[0] for number in range(3000)]
    assert line.length == 3000
    for req in reqs[1::2]:
        talloc_free(req)
    assert line.length == 1500
    assert report(line.queue).count("\n") == 3
    assert bench.drain() == 1
    assert bench.take() == ["0"]
    tevent_req_set_callback(reqs[0], None, None)


class TestRaisingTrace:
    """A trace callback that raises does not spoil the line."""

    @pytest.fixture(autouse=True)
    def _unraisable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[Any] = []
        monkeypatch.setattr("sys.unraisablehook", lambda info: self.seen.append(info.exc_type))

    def raise_at(self, bench: Bench, where: int) -> None:
        def trouble(qe: tevent_queue_entry, point: int, private_data: object) -> None:
            if point == where:
                raise Trouble

        tevent_set_trace_queue_callback(bench.ev, trouble, None)

    def test_at_attach(self, bench: Bench, line: Line) -> None:
        """The exception leaves the add; nothing was added."""
        self.raise_at(bench, TEVENT_EVENT_TRACE_ATTACH)
        req, _ = bench.make()
        for how in (tevent_queue_add, tevent_queue_add_entry, tevent_queue_add_optimize_empty):
            with pytest.raises(Trouble):
                how(line.queue, bench.ev, req, line.trigger, "a")
        assert line.length == 0
        assert talloc_total_blocks(req) == 3

    def test_at_detach(self, bench: Bench, line: Line) -> None:
        """The exception is reported as a destructor's; the entry leaves all the same, and the next has its turn."""
        self.raise_at(bench, TEVENT_EVENT_TRACE_DETACH)
        a, _ = line.add("a")
        line.add("b")
        bench.drain()
        assert talloc_free(a) == 0
        assert self.seen == [Trouble]
        assert line.length == 1
        assert bench.drain() == 1
        assert bench.take() == ["a", "b"]

    def test_at_detach_of_a_freed_queue(self, bench: Bench, line: Line) -> None:
        """Every entry goes."""
        self.raise_at(bench, TEVENT_EVENT_TRACE_DETACH)
        reqs = [line.add(name)[0] for name in "abc"]
        assert talloc_free(line.queue) == 0
        assert self.seen == [Trouble] * 3
        for req in reqs:
            assert talloc_total_blocks(req) == 3
        assert bench.drain() == 0

    def test_from_the_loop(self, bench: Bench, line: Line) -> None:
        """Before the handler: it leaves the loop, and the line goes on when the head is freed."""
        self.raise_at(bench, TEVENT_EVENT_TRACE_BEFORE_HANDLER)
        a, _ = line.add("a")
        line.add("b")
        with pytest.raises(Trouble):
            tevent_loop_once(bench.ev)
        tevent_set_trace_queue_callback(bench.ev, None, None)
        talloc_free(a)
        assert bench.drain() == 1
        assert bench.take() == ["b"]
