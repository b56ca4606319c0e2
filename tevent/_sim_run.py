# SPDX-License-Identifier: LGPL-3.0-or-later
"""
One run of a request in a fresh world, with at most one disturbance, and everything that must hold whatever happens.

A run has a case, which says what is done when.  It stops at the first thing that is wrong: `wrong`, for
`tevent._sim_sweep` to report.
"""

from __future__ import annotations

import sys
from errno import EAGAIN

from talloc_py._chunk import world as talloc_world
from talloc_py.core import TALLOC_CTX, talloc_free, talloc_named_const, talloc_new
from talloc_py.debug import talloc_disable_null_tracking, talloc_enable_null_tracking_no_autofree

from ._request import IN_PROGRESS, RECEIVED
from ._sim import simulation
from ._sim_poison import poisoner
from ._sim_requests import errno_text, status_text
from ._sim_stock import check_clean, stock, take_stock
from .context import tevent_context, tevent_loop_once
from .errno import get_errno
from .immediate import tevent_create_immediate, tevent_schedule_immediate
from .req import (
    tevent_req,
    tevent_req_cancel,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_endtime,
)
from .timed import tevent_add_timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from .timed import timeval

    starter = Callable[[simulation, tevent_context, TALLOC_CTX], "tevent_req | None"]

__all__ = ["case", "fault_from", "run", "sweep_plan", "what_is_wrong"]

#: So many iterations a run has to come to rest when its request is over...
_REST_STEPS: Final = 200
#: ... and so many where the first run has not: its peers go on for ever.
_RESTLESS_STEPS: Final = 30


class what_is_wrong(Exception):
    """What ends a run: something that must hold does not."""


class fault_from:
    """The plan of a run: from one operation on, that one alone or all, answer with *value*."""

    __slots__ = ("ever_after", "first", "only", "value", "world")

    def __init__(self, first: int, value: Any, ever_after: bool, only: Callable[[str], bool]) -> None:
        self.first: int = first
        self.value: Any = value
        self.ever_after: bool = ever_after
        self.only: Callable[[str], bool] = only
        self.world: simulation | None = None

    def __call__(self, number: int, name: str) -> Any:
        """What the operation answers with; None for nothing unusual."""
        if number < self.first or (number > self.first and not self.ever_after):
            return None
        world = self.world
        assert world is not None
        return self.value if world.operations[number].fails and self.only(name) else None


class case:
    """
    What is done in a run.

    Attributes:
        name: For messages, and to ask for this case alone.

        step: After how many iterations `act` is called; -1: never.

        act: What is done then.

        faults: Which operations fail.

        callback: ``"free"``: the callback receives and frees the request, as nearly all do. ``"keep"``: it only
            receives it, and the request is freed behind that iteration. ``"poll"``: there is none, both happen there.

        must_end: Whether the request has to end.

        order: What is chosen in it; None for what the plan says.
    """

    __slots__ = ("act", "callback", "faults", "must_end", "name", "order", "step")

    def __init__(
        self,
        name: str,
        *,
        step: int = -1,
        act: Callable[[run], None] | None = None,
        faults: fault_from | None = None,
        callback: str = "free",
        must_end: bool = True,
        order: list[int] | None = None,
    ) -> None:
        self.name: str = name
        self.step: int = step
        self.act: Callable[[run], None] | None = act
        self.faults: fault_from | None = faults
        self.callback: str = callback
        self.must_end: bool = must_end
        self.order: list[int] | None = order


class sweep_plan:
    """What all runs of a sweep have in common: its arguments."""

    __slots__ = (
        "ends",
        "errnos",
        "finish",
        "operations",
        "orders_max",
        "poison",
        "recv",
        "rest_steps",
        "scene",
        "seed",
        "span_us_max",
        "start",
        "steps_max",
    )

    start: starter
    finish: Callable[[tevent_req], object] | None
    recv: Callable[[tevent_req], object] | None
    errnos: Sequence[Any]
    scene: Callable[[simulation, tevent_context, TALLOC_CTX], object] | None
    operations: Callable[[str], bool]
    orders_max: int
    poison: bool
    rest_steps: int
    seed: int | None
    steps_max: int
    span_us_max: int
    ends: bool

    def __init__(self) -> None:
        self.rest_steps = _REST_STEPS


class run:
    """A run, while it goes on and afterwards."""

    __slots__ = (
        "before",
        "calls",
        "case",
        "ended_at",
        "ev",
        "expected",
        "first_operation",
        "gone",
        "mem_ctx",
        "plan",
        "poisoner",
        "problem",
        "report",
        "req",
        "steps",
        "world",
        "wrong",
    )

    ev: tevent_context
    mem_ctx: TALLOC_CTX
    req: tevent_req
    before: stock

    def __init__(self, plan: sweep_plan, this: case, expected: list[tuple[int, str]] | None = None) -> None:
        self.plan: sweep_plan = plan
        self.case: case = this
        self.calls: int = 0
        #: The request was freed, by the run or by its own callback.
        self.gone: bool = False
        #: Iterations so far, and when the request had ended; None: it has not.
        self.steps: int = 0
        self.ended_at: int | None = None
        #: The number of the first operation that does not belong to the scene.
        self.first_operation: int = 0
        #: What was raised into the code under test.
        self.problem: BaseException | None = None
        self.poisoner: poisoner = poisoner(self._heard)
        #: The story up to the disturbance has to be the beginning of this one.
        self.expected: list[tuple[int, str]] | None = expected
        self.wrong: BaseException | None = None
        self.report: str = ""
        self.world: simulation = simulation(
            plan.seed,
            replay=this.order,
            faults=this.faults,
            steps_max=4 * plan.steps_max + 1000,
            span_us_max=100 * plan.span_us_max,
        )
        if this.faults is not None:
            this.faults.world = self.world

    # -- the whole ----------------------------------------------------------------------------------------------------

    def play(self) -> run:
        """Do it; what is wrong is left in `wrong`, and how it came to that in `report`."""
        unraised: list[BaseException] = []
        hook = sys.unraisablehook
        tracked = talloc_world.null is not None
        sys.unraisablehook = lambda unraisable: _keep(unraised, unraisable.exc_value)
        talloc_enable_null_tracking_no_autofree()
        try:
            self._play(unraised)
        finally:
            sys.unraisablehook = hook
            if not tracked:
                talloc_disable_null_tracking()
        return self

    def _play(self, unraised: list[BaseException]) -> None:
        mem_ctx = talloc_named_const(None, 0, "mem_ctx")
        assert mem_ctx is not None
        self.mem_ctx = mem_ctx
        with self.world:
            try:
                self._in_world()
                self._check_quiet(unraised)
            except Exception as error:
                self._went_wrong(error)
            except BaseException as error:  # a test runner's own: it goes on to that
                error.add_note(f"in the case {self.case.name!r} of a sweep")
                raise
        if self.wrong is None and unraised:  # when the world was freed
            self._went_wrong(unraised[0])

    def _went_wrong(self, error: BaseException) -> None:
        self.wrong = error
        self.report = self.world.story_text()
        self.gone = True
        try:
            # What is left may hold something of the system's.
            if is_alive(self.mem_ctx):
                talloc_free(self.mem_ctx)
        except Exception:
            pass  # it is broken already, and what was first is told

    def _check_quiet(self, unraised: list[BaseException]) -> None:
        if self.problem is not None:
            raise self.problem
        if unraised:
            raise what_is_wrong(f"an exception in a destructor: {unraised[0]!r}") from unraised[0]

    def _in_world(self) -> None:
        self._begin()
        if self.case.step >= 0:
            self._disturb()
        if not self.gone:
            self._until_over()
        if not self.gone and self.ended_at is not None:
            self.free_request()
        self._come_to_rest()
        self._check_all()

    # -- begin --------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        world, plan = self.world, self.plan
        self.ev = ev = world.context()
        mem_ctx = self.mem_ctx
        if plan.scene is not None:
            world.scene = plan.scene(world, ev, mem_ctx)
            self.first_operation = len(world.operations)
            self.before = take_stock(mem_ctx, ev, ev=ev, but=(world.top,))
        req = plan.start(world, ev, mem_ctx)
        if type(req) is not tevent_req:
            raise what_is_wrong(f"start() returned {req!r}, not a request")
        self.req = req
        if plan.scene is None:
            self.before = take_stock(mem_ctx, ev, ev=ev, but=(world.top, req))
        if self.case.callback != "poll":
            tevent_req_set_callback(req, self._called, None)

    def _called(self, req: tevent_req) -> None:
        try:
            self._call(req)
        except BaseException as problem:
            self._heard(problem)
            raise

    def _call(self, req: tevent_req) -> None:
        self.calls += 1
        self.world.tell("the callback of the request runs")
        if self.gone:
            raise what_is_wrong("the callback runs after the request was freed")
        if self.calls > 1:
            raise what_is_wrong(f"the callback runs once more: call {self.calls}; the request {status_text(req)}")
        self._receive()
        if self.case.callback == "free" and not self.gone:
            self.free_request()

    def _receive(self) -> None:
        """What a caller does when the request has ended."""
        req = self.req
        self.ended_at = self.steps
        self._watch(req)
        if self.plan.finish is not None:
            self.plan.finish(req)
        if not is_alive(req):
            self.gone = True
        elif req.status != RECEIVED:
            # Not every _recv function does so: its caller frees the request at once.
            tevent_req_received(req)
        self.poisoner.poison()

    # -- going on -----------------------------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """One iteration; False where nothing is left that could happen."""
        self.steps += 1
        result = tevent_loop_once(self.ev)
        if self.problem is not None:
            raise self.problem
        if result == 0:
            return True
        if get_errno() != EAGAIN:
            raise what_is_wrong(f"tevent_loop_once() failed with {errno_text(get_errno())}")
        return False

    def _is_over(self) -> bool:
        return self.gone or self.calls > 0 or (self.case.callback == "poll" and self.req.status != IN_PROGRESS)

    def _disturb(self) -> None:
        for _ in range(self.case.step):
            self._turn()
        self._compare()
        assert self.case.act is not None
        self.world.tell(f"now: {self.case.name}")
        self.case.act(self)

    def _compare(self) -> None:
        """Without a disturbance so far, the run must be the one that was planned."""
        if self.expected is None:
            return
        for planned, event in zip(self.expected, self.world.story, strict=False):  # one of them is not over yet
            if event != planned:
                raise what_is_wrong(
                    f"two runs of start() differ: {planned[1]!r} at {planned[0] / 1e6:g} s became {event[1]!r} at "
                    f"{event[0] / 1e6:g} s; whatever it does must depend on the world alone"
                )

    def _until_over(self) -> None:
        plan = self.plan
        while not self._is_over():
            if not self._turn():
                if self.case.must_end:
                    raise what_is_wrong(f"nothing is left that could end the request; {self.world.outstanding_text()}")
                self.ended_at = self.steps - 1
                return
            if self.steps > plan.steps_max or self.world.elapsed_us > plan.span_us_max:
                raise what_is_wrong(
                    f"the request does not end: {self.steps} iterations and {self.world.elapsed_us / 1e6:g} virtual "
                    f"seconds so far; {self.world.outstanding_text()}"
                )
        if self.case.callback == "poll":
            self._receive()

    def _come_to_rest(self) -> None:
        for _ in range(self.plan.rest_steps):
            if not self._turn():
                return
        self.plan.rest_steps = _RESTLESS_STEPS

    def free_request(self) -> None:
        """Free the request: no callback may run from now on, and nobody may touch what was its own."""
        self.gone = True
        self._watch(self.req)
        if talloc_free(self.req) != 0:
            raise what_is_wrong("talloc_free() of the request was refused")
        self.poisoner.poison()

    def _watch(self, root: TALLOC_CTX) -> None:
        if self.plan.poison:
            self.poisoner.watch(root)

    def _heard(self, problem: BaseException) -> None:
        """Note what is raised into the code under test, should that catch it."""
        self.problem = self.problem or problem

    # -- disturbances -------------------------------------------------------------------------------------------------

    def free_parent(self) -> None:
        """Free the owner of the request."""
        self.gone = True
        self._watch(self.mem_ctx)
        if talloc_free(self.mem_ctx) != 0:
            raise what_is_wrong("talloc_free() of the owner of the request was refused")
        self.poisoner.poison()
        if self.req._talloc_chunk.obj is self.req:
            raise what_is_wrong("the request survives its owner")

    def cancel(self) -> None:
        """Cancel the request; whatever the answer is, it goes on to its end."""
        answer = tevent_req_cancel(self.req)
        self.world.tell(f"tevent_req_cancel() returned {answer}")

    def time_out(self) -> None:
        """Let the request have no time left."""
        tevent_req_set_endtime(self.req, self.ev, self.world.now)

    def stall(self) -> None:
        """Let the process stand still until all that is under way has come and all timers are due: they are first."""
        times = [each.due_us for each in self.world.deliveries]
        times += [te.next_event[0] * 1000000 + te.next_event[1] for te in self.ev.timer_events]
        now_us = self.world.now[0] * 1000000 + self.world.now[1]
        self.world.advance(max([now_us, *times]) - now_us)

    def receive_early(self) -> None:
        """Call ``_recv`` while the request is in progress: it must refuse; then free the request."""
        recv = self.plan.recv
        assert recv is not None
        self._watch(self.req)
        try:
            result = recv(self.req)
        except (RuntimeError, OSError) as error:  # the abort functions raise the one, awaiting code the other
            self.world.tell(f"_recv raised {error!r}")
        else:
            self.world.tell(f"_recv returned {result!r}")
            if not _refused(result):
                raise what_is_wrong(f"_recv of a request in progress returned {result!r}, as if it had succeeded")
        self.free_request()

    # -- the end ------------------------------------------------------------------------------------------------------

    def _check_all(self) -> None:
        twice = self.world.called_twice
        if twice:
            raise what_is_wrong(f"the callback of {twice[0]} ran again after it had been told of the end")
        self._check_loop()
        roots = [self.ev] + ([self.mem_ctx] if is_alive(self.mem_ctx) else [])
        check_clean(self.before, take_stock(*roots, ev=self.ev, but=(self.world.top,)))
        if is_alive(self.mem_ctx):
            talloc_free(self.mem_ctx)

    def _check_loop(self) -> None:
        """The loop must still run an immediate and a timer."""
        ran: list[str] = []
        owner = talloc_new(None)
        im = tevent_create_immediate(owner)
        assert owner is not None
        assert im is not None

        def immediate(_ev: tevent_context, _im: object, _data: object) -> None:
            ran.append("immediate")

        def timer(_ev: tevent_context, _te: object, _now: timeval, _data: object) -> None:
            ran.append("timer")

        tevent_schedule_immediate(im, self.ev, immediate, None)
        tevent_add_timer(self.ev, owner, self.world.now, timer, None)
        for _ in range(_REST_STEPS):  # enough for what peers do in between
            if len(ran) == 2 or not self._turn():
                break
        talloc_free(owner)
        if len(ran) != 2:
            raise what_is_wrong(f"the loop does not work any more: of an immediate and a timer it ran {ran}")


def is_alive(ptr: TALLOC_CTX) -> bool:
    """Whether *ptr* is not freed."""
    return ptr._talloc_chunk.obj is ptr


def _keep(errors: list[BaseException], error: BaseException | None) -> None:
    if error is not None:
        errors.append(error)


def _refused(result: object) -> bool:
    """Whether what a ``_recv`` function returned says that it failed."""
    results: tuple[object, ...] = result if isinstance(result, tuple) else (result,)  # pyright: ignore[reportUnknownVariableType]
    first = results[0] if results else None
    if first is None or first is False or first == -1:
        return True
    if first is True or not isinstance(first, int) or first == 0:
        return False
    # An errno, where nothing but None comes with it; an NTSTATUS or a WERROR, whatever comes with it.
    return type(first) is not int or all(other is None for other in results[1:])
