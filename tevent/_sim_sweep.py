# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Sweeps: the same request again and again, each time disturbed at another step or by another failing operation.

The first run is not disturbed; it counts the steps, which are the iterations of the loop until the callback, and the
operations that can fail.  Each case then is a run in a world of its own.

Cost: a run takes about as long as the request does; a sweep of all kinds makes 6 runs a step, and 2 runs an operation
and errno.
"""

from __future__ import annotations

from errno import EAGAIN, EBUSY, ECONNRESET, EINTR, ETIMEDOUT, EWOULDBLOCK
from typing import TypedDict

from ._sim_explore import order_search
from ._sim_requests import errno_text
from ._sim_run import case, fault_from, run, sweep_plan, what_is_wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final, Unpack

    from talloc_py.core import TALLOC_CTX

    from ._sim import simulation
    from ._sim_run import starter
    from .context import tevent_context
    from .req import tevent_req

    finisher = Callable[[tevent_req], object]

__all__ = [
    "sweep",
    "sweep_cancel",
    "sweep_errors",
    "sweep_failure",
    "sweep_free",
    "sweep_free_parent",
    "sweep_options",
    "sweep_orders",
    "sweep_recv",
    "sweep_result",
    "sweep_stall",
    "sweep_timeout",
]


#: Errnos after which the same is tried again.
_PASSING: Final = (EAGAIN, EWOULDBLOCK, EINTR)
#: So many choice points of a run are varied.
_POINTS_MAX: Final = 100


class sweep_failure(AssertionError):
    """
    Something that must hold does not hold in one case of a sweep.

    Attributes:
        case: The name of the case, for the option *only*.

        problem: What is wrong, without the story.
    """

    def __init__(self, message: str, case: str, problem: str) -> None:
        super().__init__(message)
        self.case: str = case
        self.problem: str = problem


class sweep_options(TypedDict, total=False):
    """
    The options that all sweeps take.

    Attributes:
        recv: The ``_recv`` function, called with the request alone, to see that it refuses while the request is in
            progress: it raises, or its first result is -1, None, False, an `NTSTATUS` or `WERROR` other than success,
            or a number other than 0 with which nothing comes but None.

        errnos: What operations fail with, each in its turn; also what else the simulated device understands.
            ECONNRESET, ETIMEDOUT and EBUSY unless given.

        operations: Called with the name of an operation: whether it is to fail in its turn. All of them where this is
            not given.

        scene: Called as ``scene(world, ev, mem_ctx)`` before what is there is counted for the first time; what it
            returns is ``world.scene`` for *start*. Without it counting begins behind *start*, where what that has left
            behind itself cannot be told from the surroundings.

        orders_max: So many orders at most; 200 unless given.

        poison: False to let the attributes of freed chunks be read and set, which Python has nothing against, and which
            is a use after free in C.

        seed: For the dice of the worlds; None, the plain order, unless given.

        ends: False for a request that is expected to wait for ever if nobody disturbs it.

        steps_max: So many iterations a run may take.

        span_us_max: So many virtual microseconds, a day unless given.

        only: The name of the one case to run, from a message.
    """

    recv: Callable[[tevent_req], object]
    errnos: Sequence[Any]
    operations: Callable[[str], bool]
    scene: Callable[[simulation, tevent_context, TALLOC_CTX], object]
    orders_max: int
    poison: bool
    seed: int | None
    ends: bool
    steps_max: int
    span_us_max: int
    only: str


class sweep_result:
    """
    What a sweep has done; that it returns means that everything held.

    Attributes:
        steps: How many iterations the undisturbed request takes.

        operations: The names of the operations that can fail.

        cases: The names of the cases that were run.
    """

    __slots__ = ("cases", "operations", "steps")

    def __init__(self) -> None:
        self.steps: int = 0
        self.operations: list[str] = []
        self.cases: list[str] = []

    def __repr__(self) -> str:
        return f"<sweep_result: {len(self.cases)} cases, {self.steps} steps, {len(self.operations)} operations>"


def sweep(start: starter, finish: finisher | None = None, **options: Unpack[sweep_options]) -> sweep_result:
    """
    Disturb a request in every way at every step, and check what must always hold.

    Args:
        start: Called as ``start(world, ev, mem_ctx)`` in a fresh world for each run: begins the request on *ev*, owned
            by *mem_ctx*, and returns it. What else it makes may hang on *mem_ctx*; what plays the other side belongs
            below ``world.top``, where nobody looks for what is left behind.

        finish: Called with the request when it has ended: calls its ``_recv`` function and asserts what must hold, in
            success as well as in failure, for it is also called after each disturbance. Without it
            `tevent_req_received` is called.

        options: See `sweep_options`.

    The kinds of disturbance are those of `sweep_free`, `sweep_free_parent`, `sweep_cancel`, `sweep_timeout`,
    `sweep_stall`, `sweep_errors`, `sweep_orders`, and, where the option *recv* is given, `sweep_recv`.

    After each run this must hold:

    - the callback ran exactly once, or, once the request was freed, never;
    - the request has ended within the limits, unless it was freed;
    - no exception has left the loop, a free, or a destructor; the use of a freed chunk is one, here also the mere use
      of an attribute of a freed state;
    - nothing is there that was not there before: chunks below *mem_ctx*, below *ev* and without an owner, descriptors,
      timers, immediates, queue entries;
    - the loop still runs immediates and timers.

    Raises:
        `sweep_failure`: Something of this did not hold; the message names the case and what to write to run it alone,
        and tells the story. ValueError: there is no case named *only*.
    """
    return _sweep("sweep", [*_KINDS, "orders"], start, finish, options)


def sweep_free(start: starter, finish: finisher | None = None, **options: Unpack[sweep_options]) -> sweep_result:
    """Free the request before each of its steps; for the rest see `sweep`."""
    return _sweep("sweep_free", ["free"], start, finish, options)


def sweep_free_parent(start: starter, finish: finisher | None = None, **options: Unpack[sweep_options]) -> sweep_result:
    """Free the owner of the request, with all that hangs on it, before each of its steps; for the rest see `sweep`."""
    return _sweep("sweep_free_parent", ["parent"], start, finish, options)


def sweep_cancel(start: starter, finish: finisher | None = None, **options: Unpack[sweep_options]) -> sweep_result:
    """Cancel the request before each of its steps; it must still end. For the rest see `sweep`."""
    return _sweep("sweep_cancel", ["cancel"], start, finish, options)


def sweep_timeout(start: starter, finish: finisher | None = None, **options: Unpack[sweep_options]) -> sweep_result:
    """Let the time of the request be over before each of its steps; for the rest see `sweep`."""
    return _sweep("sweep_timeout", ["timeout"], start, finish, options)


def sweep_stall(start: starter, finish: finisher | None = None, **options: Unpack[sweep_options]) -> sweep_result:
    """
    Let the whole process stand still before each step of the request, until all that is under way has arrived.

    All timers are due then too, and run first, as in C: what came in time meets a request that has given up. For the
    rest see `sweep`.
    """
    return _sweep("sweep_stall", ["stall"], start, finish, options)


def sweep_errors(start: starter, finish: finisher | None = None, **options: Unpack[sweep_options]) -> sweep_result:
    """
    Let each operation fail with each of *errnos*: it alone, and it and all behind it. For the rest see `sweep`.

    EAGAIN and EINTR mean that the same will be tried again, so they come only once.

    Operations are those of which a simulated device asks its world, see `simulation.fault`.
    """
    return _sweep("sweep_errors", ["errors"], start, finish, options)


def sweep_orders(start: starter, finish: finisher | None = None, **options: Unpack[sweep_options]) -> sweep_result:
    """
    Let what is ready at the same time come in each order, up to the option *orders_max*; for the rest see `sweep`.

    Those with the fewest departures from the plain order come first, so the first that fails is one of the simplest.
    """
    return _sweep("sweep_orders", ["orders"], start, finish, options)


def sweep_recv(start: starter, finish: finisher | None = None, **options: Unpack[sweep_options]) -> sweep_result:
    """
    Call the option *recv* before each step of the request, while it is in progress, then free the request.

    For the rest see `sweep`.
    """
    if "recv" not in options:
        raise TypeError("sweep_recv() needs the option recv")
    return _sweep("sweep_recv", ["recv"], start, finish, options)


# -- the cases --------------------------------------------------------------------------------------------------------


def _at_each_step(base: run, what: str, act: Callable[[run], None], must_end: bool = True) -> list[case]:
    return [case(f"{what} at step {step}", step=step, act=act, must_end=must_end) for step in range(_steps(base))]


def _free_cases(base: run) -> list[case]:
    return _at_each_step(base, "free", run.free_request)


def _parent_cases(base: run) -> list[case]:
    return _at_each_step(base, "free the parent", run.free_parent)


def _recv_cases(base: run) -> list[case]:
    return _at_each_step(base, "_recv", run.receive_early) if base.plan.recv is not None else []


def _cancel_cases(base: run) -> list[case]:
    return _at_each_step(base, "cancel", run.cancel, base.plan.ends)


def _timeout_cases(base: run) -> list[case]:
    return _at_each_step(base, "time out", run.time_out)


def _stall_cases(base: run) -> list[case]:
    return _at_each_step(base, "stall", run.stall, base.plan.ends)


def _error_cases(base: run) -> list[case]:
    return [
        case(
            _error_name(base, number, value, ever_after),
            faults=fault_from(number, value, ever_after, base.plan.operations),
            must_end=base.plan.ends,
        )
        for number in _operations(base)
        for value in base.plan.errnos
        for ever_after in ((False,) if value in _PASSING else (False, True))
    ]


def _error_name(base: run, number: int, value: Any, ever_after: bool) -> str:
    where = f"from operation {number} on" if ever_after else f"at operation {number}"
    return f"{errno_text(value)} {where} ({base.world.operations[number].name})"


#: The cases of a kind, which are known as soon as the undisturbed run is over.
_KINDS: Final[dict[str, Callable[[run], list[case]]]] = {
    "free": _free_cases,
    "parent": _parent_cases,
    "cancel": _cancel_cases,
    "timeout": _timeout_cases,
    "stall": _stall_cases,
    "errors": _error_cases,
    "recv": _recv_cases,
}
_ORDER: Final = "order "


def _steps(base: run) -> int:
    return base.ended_at or 0


def _operations(base: run) -> list[int]:
    """The numbers of the operations that are to fail."""
    return [
        number
        for number, (name, fails) in enumerate(base.world.operations)
        if fails and number >= base.first_operation and base.plan.operations(name)
    ]


# -- the sweep --------------------------------------------------------------------------------------------------------


def _plan(start: starter, finish: finisher | None, options: sweep_options) -> sweep_plan:
    made = sweep_plan()
    made.start = start
    made.finish = finish
    made.recv = options.get("recv")
    made.errnos = options.get("errnos", (ECONNRESET, ETIMEDOUT, EBUSY))
    made.operations = options.get("operations", lambda _name: True)
    made.scene = options.get("scene")
    made.orders_max = options.get("orders_max", 200)
    made.poison = options.get("poison", True)
    made.seed = options.get("seed")
    made.ends = options.get("ends", True)
    made.steps_max = options.get("steps_max", 1000)
    made.span_us_max = options.get("span_us_max", 86400 * 1_000_000)
    return made


def _sweep(
    function: str, kinds: list[str], start: starter, finish: finisher | None, options: sweep_options
) -> sweep_result:
    this = _sweeper(function, start, finish, options)
    base = run(this.plan, case("undisturbed", callback="keep", must_end=this.plan.ends))
    this.play(base)
    this.result.steps = _steps(base)
    this.result.operations = [base.world.operations[number].name for number in _operations(base)]
    cases = [
        case("undisturbed, freed in the callback", must_end=this.plan.ends),
        case("undisturbed, polled without a callback", callback="poll", must_end=this.plan.ends),
    ]
    cases += [each for kind in kinds if kind in _KINDS for each in _KINDS[kind](base)]
    only = options.get("only")
    if only is not None:
        this.play_only(only, base, cases)
        return this.result
    for each in cases:
        this.play(run(this.plan, each, base.world.story if each.step >= 0 else None))
    if "orders" in kinds:
        this.play_orders(base)
    return this.result


class _sweeper:
    """A sweep under way."""

    def __init__(self, function: str, start: starter, finish: finisher | None, options: sweep_options) -> None:
        self.function: str = function
        self.plan: sweep_plan = _plan(start, finish, options)
        self.result: sweep_result = sweep_result()

    def play(self, this: run) -> None:
        """Play a run; sweep_failure where something is wrong in it."""
        this.play()
        if this.wrong is not None:
            raise self._failure(this, this.wrong) from this.wrong
        self.result.cases.append(this.case.name)

    def play_only(self, name: str, base: run, cases: list[case]) -> None:
        """Play the one case that is called *name*."""
        if name == base.case.name:
            return
        if name.startswith(_ORDER):
            cases = [case(name, order=_numbers(name.removeprefix(_ORDER)), must_end=self.plan.ends)]
        found = [each for each in cases if each.name == name]
        if not found:
            raise ValueError(f"there is no case {name!r}, only {', '.join(each.name for each in (base.case, *cases))}")
        self.play(run(self.plan, found[0], base.world.story if found[0].step >= 0 else None))

    def play_orders(self, base: run) -> None:
        """Play the orders other than the plain one, which the undisturbed run has taken if no dice were thrown."""
        orders = order_search(_POINTS_MAX)
        while orders.waiting and orders.runs < self.plan.orders_max:
            asked = orders.take()
            this = base
            if asked or self.plan.seed is not None:
                this = run(self.plan, case(f"{_ORDER}{asked}", order=asked, must_end=self.plan.ends))
                self.play(this)
            orders.add(asked, this.world.choice_points)

    def _failure(self, this: run, wrong: BaseException) -> sweep_failure:
        told = isinstance(wrong, (what_is_wrong, AssertionError))
        problem = str(wrong) if told else f"{type(wrong).__name__}: {wrong}"
        name, seed = this.case.name, self.plan.seed
        again = f"{self.function}(..., {'' if seed is None else f'seed={seed}, '}only={name!r})"
        return sweep_failure(
            f"{name}: {problem}\nwhat happened, by virtual seconds:\n{this.report}\nto see it again: {again}",
            name,
            problem,
        )


def _numbers(text: str) -> list[int]:
    """The numbers of an order, as the name of its case shows them."""
    return [int(number) for number in text.strip("[]").split(",") if number.strip()]
