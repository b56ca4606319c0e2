# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Requests against a small model of their rules.

The model knows numbers and lists only. What happens inside callbacks is a script of the same operations that the test
itself makes; library and model each carry it out for themselves and write what they see to a log of their own. After
every step the two logs, and the states of all requests, have to be equal.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from req_kit import Bench, job_state

from talloc_py import talloc_abort_error, talloc_free, talloc_get_name, talloc_steal, talloc_total_blocks
from tevent import (
    tevent_abort_error,
    tevent_loop_once,
    tevent_req,
    tevent_req_cancel,
    tevent_req_create,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_error,
    tevent_req_nomem,
    tevent_req_notify_callback,
    tevent_req_oom,
    tevent_req_post,
    tevent_req_received,
    tevent_req_reset_endtime,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    timeval,
)

Op = tuple[str, int, int]

DONE, USER_ERROR, TIMED_OUT, NO_MEMORY, RECEIVED = 2, 3, 4, 5, 6

#: What a test or a callback may do to a request: name, which request, a number where one is needed.
OPS = st.tuples(
    st.sampled_from(
        [
            "done",
            "error",
            "oom",
            "nomem",
            "notify",
            "post",
            "defer",
            "undefer",
            "endtime",
            "reset",
            "received",
            "free",
            "cancel",
            "steal",
            "raise",
        ]
    ),
    st.integers(0, 7),
    st.integers(1, 3),
)
#: What a cleanup function may do, always to its own request: C leaves it undefined to free that.
CLEANUP_OPS = st.sampled_from([("done", -1, 0), ("error", -1, 7), ("post", -1, 0), ("defer", -1, 0), ("raise", -1, 0)])
SCRIPTS = st.lists(OPS, max_size=3)


class Boom(Exception):
    """What callbacks raise, in the model and in the library."""


class Refused(Exception):
    """The model's abort."""


class Model:
    """One request as the rules see it."""

    def __init__(self, number: int, home: list[Model]) -> None:
        self.number = number
        self.alive = True
        self.status = 1
        self.error = 0
        self.cleaned = 0
        self.callback: list[Op] | None = None
        self.cleanup: list[Op] | None = None
        self.cancel: list[Op] | None = None
        self.deferred = False
        self.endtime: tuple[int, int] | None = None
        self.trigger = True
        self.destructor = True
        self.has_state = True
        self.on_state: list[Model] = []  # newest first
        self.on_req: list[Model] = []
        self.home = home
        home.insert(0, self)

    def blocks(self) -> int:
        own = 1 + self.trigger + self.has_state + (self.endtime is not None)
        return own + sum(below.blocks() for below in self.on_state + self.on_req)


class Rules:
    """The model: all requests, the pending events, the log."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.root: list[Model] = []
        self.all: list[Model] = []
        self.posted: list[Model] = []
        self.clock = 0

    def create(self, where: int, on_state: bool) -> None:
        home = self.root
        if where < len(self.all) and self.all[where].alive:
            owner = self.all[where]
            if on_state and owner.has_state:
                home = owner.on_state
            elif not on_state:
                home = owner.on_req
        self.all.append(Model(len(self.all), home))

    def run(self, op: Op, own: int = 0) -> None:
        name, which, number = op
        if name == "raise":
            raise Boom
        target = self.all[own if which < 0 else which % len(self.all)]
        if not target.alive:
            return
        try:
            getattr(self, f"do_{name}")(target, number)
        except (Boom, Refused) as error:
            self.log.append((name, type(error).__name__))

    def do_done(self, req: Model, number: int) -> None:
        self.finish(req, DONE)

    def do_error(self, req: Model, number: int) -> None:
        req.error = number
        self.finish(req, USER_ERROR)

    def do_oom(self, req: Model, number: int) -> None:
        self.finish(req, NO_MEMORY)

    do_nomem = do_oom

    def do_notify(self, req: Model, number: int) -> None:
        self.notify(req)

    def do_post(self, req: Model, number: int) -> None:
        if not req.trigger:
            raise Refused
        if req in self.posted:
            self.posted.remove(req)
        self.posted.append(req)

    def do_defer(self, req: Model, number: int) -> None:
        req.deferred = True

    def do_undefer(self, req: Model, number: int) -> None:
        req.deferred = False

    def do_endtime(self, req: Model, number: int) -> None:
        self.clock += 1
        req.endtime = number, self.clock

    def do_reset(self, req: Model, number: int) -> None:
        req.endtime = None

    def do_cancel(self, req: Model, number: int) -> None:
        if req.cancel is None:
            self.log.append(("cancel", req.number, False))
            return
        self.script(req, req.cancel)
        self.log.append(("cancel", req.number, True))

    def do_steal(self, req: Model, number: int) -> None:
        req.home.remove(req)
        req.home = self.root
        req.home.insert(0, req)

    def do_received(self, req: Model, number: int) -> None:
        req.destructor = False
        self.receive(req)

    def do_free(self, req: Model, number: int) -> None:
        if req.destructor:
            self.receive(req)
        req.home.remove(req)
        while req.on_state:
            self.do_free(req.on_state[0], 0)
        while req.on_req:
            self.do_free(req.on_req[0], 0)
        req.alive = False
        req.endtime = None
        if req in self.posted:
            self.posted.remove(req)

    def receive(self, req: Model) -> None:
        req.cancel = None
        req.trigger = False
        if req in self.posted:
            self.posted.remove(req)
        req.endtime = None
        req.status = RECEIVED
        self.clean(req)
        req.has_state = False
        while req.on_state:
            self.do_free(req.on_state[0], 0)

    def finish(self, req: Model, status: int) -> None:
        req.endtime = None
        req.status = status
        self.clean(req)
        if req.alive:
            self.notify(req)

    def clean(self, req: Model) -> None:
        if req.cleaned >= req.status or req.cleanup is None:
            return
        req.cleaned = req.status
        self.log.append(("cleanup", req.number, req.status))
        if req.status != RECEIVED:
            self.script(req, req.cleanup)

    def notify(self, req: Model) -> None:
        if req.deferred:
            req.deferred = False
            self.do_post(req, 0)
        elif req.callback is not None:
            self.log.append(("fired", req.number, req.status))
            self.script(req, req.callback)

    def script(self, req: Model, script: list[Op]) -> None:
        if script:
            self.run(script.pop(0), req.number)

    def turn(self) -> None:
        try:
            if self.posted:
                req = self.posted.pop(0)
                self.finish(req, req.status)
                return
            timers = [req for req in self.all if req.endtime is not None]
            if timers:
                self.finish(min(timers, key=lambda req: req.endtime or (0, 0)), TIMED_OUT)
                return
            self.log.append("idle")
        except (Boom, Refused) as error:
            self.log.append(("turn", type(error).__name__))


class Library:
    """The same with the library."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.log = self.bench.log
        self.all: list[tevent_req] = []
        self.states: list[job_state] = []

    def alive(self, number: int) -> bool:
        try:
            talloc_get_name(self.all[number])
        except talloc_abort_error:
            return False
        return True

    def create(self, where: int, on_state: bool) -> None:
        owner: Any = self.bench.root
        if where < len(self.all) and self.alive(where):
            owner = self.all[where]
            if on_state:
                owner = self.states[where]
                try:
                    talloc_get_name(owner)
                except talloc_abort_error:
                    owner = self.bench.root
        req, state = tevent_req_create(owner, job_state)
        assert req is not None
        self.all.append(req)
        self.states.append(state)

    def run(self, op: Op, own: int = 0) -> None:
        name, which, number = op
        if name == "raise":
            raise Boom
        target = own if which < 0 else which % len(self.all)
        if not self.alive(target):
            return
        try:
            getattr(self, f"do_{name}")(self.all[target], number)
        except Boom:
            self.log.append((name, "Boom"))
        except tevent_abort_error:
            self.log.append((name, "Refused"))

    def do_done(self, req: tevent_req, number: int) -> None:
        tevent_req_done(req)

    def do_error(self, req: tevent_req, number: int) -> None:
        assert tevent_req_error(req, number) is True

    def do_oom(self, req: tevent_req, number: int) -> None:
        tevent_req_oom(req)

    def do_nomem(self, req: tevent_req, number: int) -> None:
        assert tevent_req_nomem(req, req) is False
        assert tevent_req_nomem(None, req) is True

    def do_notify(self, req: tevent_req, number: int) -> None:
        tevent_req_notify_callback(req)

    def do_post(self, req: tevent_req, number: int) -> None:
        assert tevent_req_post(req, self.bench.ev) is req

    def do_defer(self, req: tevent_req, number: int) -> None:
        tevent_req_defer_callback(req, self.bench.ev)

    def do_undefer(self, req: tevent_req, number: int) -> None:
        tevent_req_defer_callback(req, None)

    def do_endtime(self, req: tevent_req, number: int) -> None:
        assert tevent_req_set_endtime(req, self.bench.ev, timeval(number, 0)) is True

    def do_reset(self, req: tevent_req, number: int) -> None:
        tevent_req_reset_endtime(req)

    def do_received(self, req: tevent_req, number: int) -> None:
        tevent_req_received(req)

    def do_free(self, req: tevent_req, number: int) -> None:
        assert talloc_free(req) == 0

    def do_cancel(self, req: tevent_req, number: int) -> None:
        self.log.append(("cancel", self.all.index(req), tevent_req_cancel(req)))

    def do_steal(self, req: tevent_req, number: int) -> None:
        talloc_steal(self.bench.root, req)

    def turn(self) -> None:
        try:
            if tevent_loop_once(self.bench.ev) != 0:
                self.log.append("idle")
        except Boom:
            self.log.append(("turn", "Boom"))
        except tevent_abort_error:
            self.log.append(("turn", "Refused"))


class Requests(RuleBasedStateMachine):
    """Random operations on a handful of nested requests."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Rules()
        self.library = Library()
        self.create(0, False)

    def teardown(self) -> None:
        self.library.bench.close()

    @rule(where=st.integers(0, 7), on_state=st.booleans())
    def create(self, where: int, on_state: bool) -> None:
        if len(self.model.all) < 8:
            self.model.create(where, on_state)
            self.library.create(where, on_state)

    @rule(number=st.integers(0, 7), script=SCRIPTS)
    def set_callback(self, number: int, script: list[Op]) -> None:
        if number < len(self.model.all) and self.model.all[number].alive:
            self.model.all[number].callback = list(script)
            mine = list(script)

            def fired(req: tevent_req) -> None:
                failed, state, _ = tevent_req_is_error(req)
                self.library.log.append(("fired", number, int(state) if failed and state is not None else DONE))
                if mine:
                    self.library.run(mine.pop(0), number)

            tevent_req_set_callback(self.library.all[number], fired, None)

    @rule(number=st.integers(0, 7), script=st.lists(CLEANUP_OPS, max_size=2))
    def set_cleanup(self, number: int, script: list[Op]) -> None:
        if number < len(self.model.all) and self.model.all[number].alive:
            model = self.model.all[number]
            model.cleanup = list(script)
            model.cleaned = model.status
            mine = list(script)

            def cleanup(req: tevent_req, req_state: int) -> None:
                self.library.log.append(("cleanup", number, int(req_state)))
                if req_state != RECEIVED and mine:
                    self.library.run(mine.pop(0), number)

            tevent_req_set_cleanup_fn(self.library.all[number], cleanup)

    @rule(number=st.integers(0, 7), script=SCRIPTS)
    def set_cancel(self, number: int, script: list[Op]) -> None:
        if number < len(self.model.all) and self.model.all[number].alive:
            self.model.all[number].cancel = list(script)
            mine = list(script)

            def cancel(req: tevent_req) -> bool:
                if mine:
                    self.library.run(mine.pop(0), number)
                return True

            tevent_req_set_cancel_fn(self.library.all[number], cancel)

    @rule(op=OPS.filter(lambda op: op[0] != "raise"))
    def operation(self, op: Op) -> None:
        self.model.run(op)
        self.library.run(op)

    # Rules are drawn with equal chances; what is interesting in sequences has rules of its own.

    @rule(ops=st.lists(OPS.filter(lambda op: op[0] != "raise"), min_size=1, max_size=4))
    def operations(self, ops: list[Op]) -> None:
        for op in ops:
            self.operation(op)

    @rule(name=st.sampled_from(["post", "defer", "endtime", "done", "error"]), number=st.integers(0, 2))
    def on_the_eldest(self, name: str, number: int) -> None:
        self.operation((name, number, number + 1))

    @rule(name=st.sampled_from(["post", "defer", "endtime"]))
    def twice_around_another(self, name: str) -> None:
        for number in (0, 1, 0):
            self.operation((name, number, 2))

    @rule(times=st.integers(1, 3))
    def turn(self, times: int) -> None:
        for _ in range(times):
            self.model.turn()
            self.library.turn()

    @rule()
    def count(self) -> None:
        """Counting chunks makes those that exist only for a look; nothing else may change by it."""
        total = sum(req.blocks() for req in self.model.root)
        rest = 1 + talloc_total_blocks(self.library.bench.ev)
        assert talloc_total_blocks(self.library.bench.root) == rest + total

    @invariant()
    def logs_are_equal(self) -> None:
        assert self.library.bench.take() == self.model.log
        self.model.log.clear()
        self.library.log = self.library.bench.log

    @invariant()
    def states_are_equal(self) -> None:
        for model, req in zip(self.model.all, self.library.all, strict=True):
            assert self.library.alive(model.number) == model.alive
            if model.alive:
                failed, state, error = tevent_req_is_error(req)
                assert (failed, state) == ((False, None) if model.status == DONE else (True, model.status))
                assert error == (model.error if model.status == USER_ERROR else None)


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=60, stateful_step_count=40)
