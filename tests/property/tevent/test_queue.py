# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Queues against a small model of their rules.

Triggers follow a script of the same operations that the test makes. Library and model carry it out each for itself;
after every step their logs, lengths and states have to be equal.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from req_kit import Bench, job_state

from talloc_py import talloc_abort_error, talloc_free, talloc_get_name, talloc_total_blocks
from tevent import (
    tevent_abort_error,
    tevent_loop_once,
    tevent_queue,
    tevent_queue_add,
    tevent_queue_add_entry,
    tevent_queue_add_optimize_empty,
    tevent_queue_create,
    tevent_queue_entry_untrigger,
    tevent_queue_length,
    tevent_queue_running,
    tevent_queue_start,
    tevent_queue_stop,
    tevent_req,
    tevent_req_create,
    tevent_req_set_callback,
    tevent_set_trace_queue_callback,
)

Op = tuple[str, int, int]

#: name, which object, a number: the second object or a choice.
OPS = st.tuples(
    st.sampled_from(
        [
            "add",
            "add_entry",
            "optimize",
            "optimize",
            "blocker",
            "free_entry",
            "free_entry",
            "free_req",
            "free_queue",
            "stop",
            "start",
            "untrigger",
            "callback",
            "raise",
        ]
    ),
    st.integers(0, 5),
    st.integers(0, 5),
)
QUEUES, REQS = 2, 4


class Boom(Exception):
    """What triggers raise."""


class Refused(Exception):
    """The model's abort."""


class Entry:
    """An entry as the rules see it."""

    def __init__(self, number: int, req: Req, queue: Queue, script: list[Op] | None) -> None:
        self.number = number
        self.req = req
        self.queue = queue
        self.script = script
        self.triggered = False
        self.alive = True


class Req:
    """A request: its entries, newest first."""

    def __init__(self) -> None:
        self.alive = True
        self.callback = False
        self.entries: list[Entry] = []


class Queue:
    """A queue: its entries in line."""

    def __init__(self) -> None:
        self.alive = True
        self.running = True
        self.line: list[Entry] = []


class Rules:
    """The model."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.queues = [Queue() for _ in range(QUEUES)]
        self.reqs = [Req() for _ in range(REQS)]
        self.entries: list[Entry] = []
        self.pending: list[Queue] = []
        self.scripts: list[list[Op]] = []

    def run(self, op: Op) -> None:
        name, which, number = op
        if name == "raise":
            raise Boom
        try:
            getattr(self, f"do_{name}")(which, number)
        except (Boom, Refused) as error:
            self.log.append((name, type(error).__name__))

    def schedule(self, queue: Queue) -> None:
        if queue in self.pending:
            self.pending.remove(queue)
        self.pending.append(queue)

    def start_head(self, queue: Queue) -> None:
        if queue.running and queue.line and not queue.line[0].triggered:
            self.schedule(queue)

    def trigger(self, entry: Entry) -> None:
        entry.triggered = True
        if entry.script is not None:
            self.log.append(("trigger", entry.number))
            if entry.script:
                self.run(entry.script.pop(0))

    def add(self, which: int, number: int, *, direct: bool, blocker: bool = False) -> None:
        queue, req = self.queues[which % QUEUES], self.reqs[number % REQS]
        if not (queue.alive and req.alive):
            return
        script = None if blocker else (self.scripts.pop(0) if self.scripts else [])
        entry = Entry(len(self.entries), req, queue, script)
        direct = direct and not queue.line and queue.running and not req.callback
        self.entries.append(entry)
        req.entries.insert(0, entry)
        queue.line.append(entry)
        if direct:
            self.trigger(entry)
        else:
            self.start_head(queue)

    def do_add(self, which: int, number: int) -> None:
        self.add(which, number, direct=False)

    do_add_entry = do_add

    def do_optimize(self, which: int, number: int) -> None:
        self.add(which, number, direct=True)

    def do_blocker(self, which: int, number: int) -> None:
        self.add(which, number, direct=number % 2 == 1, blocker=True)

    def do_free_entry(self, which: int, number: int) -> None:
        living = [entry for entry in self.entries if entry.alive]
        if living:
            self.free(living[which % len(living)])

    def free(self, entry: Entry) -> None:
        entry.alive = False
        entry.req.entries.remove(entry)
        entry.queue.line.remove(entry)
        self.start_head(entry.queue)

    def do_free_req(self, which: int, number: int) -> None:
        req = self.reqs[which % REQS]
        if req.alive:
            while req.entries:
                self.free(req.entries[0])
            req.alive = False

    def do_free_queue(self, which: int, number: int) -> None:
        queue = self.queues[which % QUEUES]
        if queue.alive:
            queue.running = False
            while queue.line:
                self.free(queue.line[0])
            queue.alive = False
            if queue in self.pending:
                self.pending.remove(queue)

    def do_stop(self, which: int, number: int) -> None:
        self.queues[which % QUEUES].running = False

    def do_start(self, which: int, number: int) -> None:
        queue = self.queues[which % QUEUES]
        if queue.alive and not queue.running:
            queue.running = True
            self.start_head(queue)

    def do_untrigger(self, which: int, number: int) -> None:
        living = [entry for entry in self.entries if entry.alive]
        if living:
            entry = living[which % len(living)]
            if entry.queue.running or entry.queue.line[0] is not entry:
                raise Refused
            entry.triggered = False

    def do_callback(self, which: int, number: int) -> None:
        self.reqs[which % REQS].callback = number % 2 == 1

    def turn(self) -> None:
        if not self.pending:
            self.log.append("idle")
            return
        queue = self.pending.pop(0)
        if queue.running and queue.line and not queue.line[0].triggered:
            try:
                self.trigger(queue.line[0])
            except Boom:
                self.log.append(("turn", "Boom"))


class Library:
    """The same with the library."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.log = self.bench.log
        self.scripts: list[list[Op]] = []
        self.queues: list[tevent_queue] = []
        self.reqs: list[tevent_req] = []
        for number in range(QUEUES):
            queue = tevent_queue_create(self.bench.root, f"queue {number}")
            assert queue is not None
            self.queues.append(queue)
        for _ in range(REQS):
            req, _state = tevent_req_create(self.bench.root, job_state)
            assert req is not None
            self.reqs.append(req)
        self.entries: list[Any] = []

    @staticmethod
    def alive(chunk: Any) -> bool:
        try:
            talloc_get_name(chunk)
        except talloc_abort_error:
            return False
        return True

    def run(self, op: Op) -> None:
        name, which, number = op
        if name == "raise":
            raise Boom
        try:
            getattr(self, f"do_{name}")(which, number)
        except Boom:
            self.log.append((name, "Boom"))
        except tevent_abort_error:
            self.log.append((name, "Refused"))

    def add(self, how: Any, which: int, number: int, blocker: bool = False) -> None:
        queue, req = self.queues[which % QUEUES], self.reqs[number % REQS]
        if not (self.alive(queue) and self.alive(req)):
            return
        place = len(self.entries)
        self.entries.append(None)
        script = [] if blocker or not self.scripts else self.scripts.pop(0)

        def trigger(triggered: tevent_req, private_data: object) -> None:
            assert triggered is req
            self.log.append(("trigger", private_data))
            if script:
                self.run(script.pop(0))

        # The trace callback is the one to see the entry before a direct run of the trigger needs it.
        def attached(qe: Any, point: int, private_data: object) -> None:
            if point == 0 and self.entries[place] is None:
                self.entries[place] = qe

        tevent_set_trace_queue_callback(self.bench.ev, attached, None)
        try:
            how(queue, self.bench.ev, req, None if blocker else trigger, place)
        finally:
            tevent_set_trace_queue_callback(self.bench.ev, None, None)

    def do_add(self, which: int, number: int) -> None:
        self.add(tevent_queue_add, which, number)

    def do_add_entry(self, which: int, number: int) -> None:
        self.add(tevent_queue_add_entry, which, number)

    def do_optimize(self, which: int, number: int) -> None:
        self.add(tevent_queue_add_optimize_empty, which, number)

    def do_blocker(self, which: int, number: int) -> None:
        self.add(tevent_queue_add_optimize_empty if number % 2 else tevent_queue_add, which, number, True)

    def do_free_entry(self, which: int, number: int) -> None:
        living = [entry for entry in self.entries if self.alive(entry)]
        if living:
            assert talloc_free(living[which % len(living)]) == 0

    def do_free_req(self, which: int, number: int) -> None:
        if self.alive(self.reqs[which % REQS]):
            assert talloc_free(self.reqs[which % REQS]) == 0

    def do_free_queue(self, which: int, number: int) -> None:
        if self.alive(self.queues[which % QUEUES]):
            assert talloc_free(self.queues[which % QUEUES]) == 0

    def do_stop(self, which: int, number: int) -> None:
        if self.alive(self.queues[which % QUEUES]):
            tevent_queue_stop(self.queues[which % QUEUES])

    def do_start(self, which: int, number: int) -> None:
        if self.alive(self.queues[which % QUEUES]):
            tevent_queue_start(self.queues[which % QUEUES])

    def do_untrigger(self, which: int, number: int) -> None:
        living = [entry for entry in self.entries if self.alive(entry)]
        if living:
            tevent_queue_entry_untrigger(living[which % len(living)])

    def do_callback(self, which: int, number: int) -> None:
        if self.alive(self.reqs[which % REQS]):
            fn = (lambda req: None) if number % 2 else None
            tevent_req_set_callback(self.reqs[which % REQS], fn, None)

    def turn(self) -> None:
        try:
            if tevent_loop_once(self.bench.ev) != 0:
                self.log.append("idle")
        except Boom:
            self.log.append(("turn", "Boom"))


class Queues(RuleBasedStateMachine):
    """Random operations on two queues and four requests."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Rules()
        self.library = Library()

    def teardown(self) -> None:
        self.library.bench.close()

    @rule(script=st.lists(OPS, max_size=3))
    def plan(self, script: list[Op]) -> None:
        """What the next trigger to be added will do when it runs."""
        self.model.scripts.append(list(script))
        self.library.scripts.append(list(script))

    @rule(op=OPS.filter(lambda op: op[0] != "raise"))
    def operation(self, op: Op) -> None:
        self.model.run(op)
        self.library.run(op)

    # Rules are drawn with equal chances; what is interesting in sequences has rules of its own.

    @rule(how=st.sampled_from(["add", "optimize"]), which=st.sampled_from([0, 0, 0, 1]), number=st.integers(0, 3))
    def add(self, how: str, which: int, number: int) -> None:
        self.operation((how, which, number))

    @rule(number=st.integers(0, 3), on=st.integers(0, 1))
    def callback_then_add(self, number: int, on: int) -> None:
        self.operation(("callback", number, on))
        self.operation(("optimize", 1, number))

    @rule(name=st.sampled_from(["stop", "start", "untrigger"]))
    def stop_or_start(self, name: str) -> None:
        self.operation((name, 0, 0))

    @rule(name=st.sampled_from(["free_entry", "free_req"]), which=st.sampled_from([0, 0, 1, 2]))
    def free(self, name: str, which: int) -> None:
        self.operation((name, which, 0))

    @rule(name=st.sampled_from(["add", "optimize"]))
    def freed_before_its_turn(self, name: str) -> None:
        """An entry comes and goes, so that its immediate meets the next one."""
        self.operation(("add", 0, 0))
        self.operation(("free_entry", 0, 0))
        self.operation((name, 0, 1))

    @rule(times=st.integers(1, 3))
    def turn(self, times: int) -> None:
        for _ in range(times):
            self.model.turn()
            self.library.turn()

    @rule(number=st.integers(0, REQS - 1))
    def count(self, number: int) -> None:
        model = self.model.reqs[number]
        if model.alive:
            assert talloc_total_blocks(self.library.reqs[number]) == 3 + len(model.entries)

    @invariant()
    def logs_are_equal(self) -> None:
        assert self.library.bench.take() == self.model.log
        self.model.log.clear()
        self.library.log = self.library.bench.log

    @invariant()
    def queues_are_equal(self) -> None:
        for model, queue in zip(self.model.queues, self.library.queues, strict=True):
            assert self.library.alive(queue) == model.alive
            if model.alive:
                assert tevent_queue_length(queue) == len(model.line)
                assert tevent_queue_running(queue) == model.running
        for model_req, req in zip(self.model.reqs, self.library.reqs, strict=True):
            assert self.library.alive(req) == model_req.alive


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=60, stateful_step_count=40)
