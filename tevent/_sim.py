# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A simulated world: a clock of its own, contexts that wait for nothing real, and choices that can be repeated.

Prior art: the virtual clock of `trio.testing.MockClock`, the one simulated process of FoundationDB and TigerBeetle.
What differs: the order of one iteration is that of tevent, and whatever could have come in another order is a choice
that somebody makes: dice, a recorded run, an exhaustive search, Hypothesis.

Cost: an iteration is O(log n) in the timers and O(n) in the deliveries that are under way.
"""

from __future__ import annotations

from bisect import insort
from errno import EAGAIN
from typing import NamedTuple

from talloc_py.core import TALLOC_CTX, talloc_free, talloc_is_parent, talloc_new

from . import _sys
from ._base import NEVER_ENDING, main_of, tevent_context
from ._sim_backend import OPS, be_default
from ._sim_choice import by_replay, by_seed, first_always
from ._sim_requests import errno_text, request_watch
from .context import tevent_common_have_events, tevent_context_init_ops, tevent_loop_once
from .errno import set_errno
from .immediate import tevent_common_loop_immediate
from .timed import tevent_common_loop_timer_delay, tevent_timeval_until, timeval
from .trace import TEVENT_TRACE_AFTER_WAIT, TEVENT_TRACE_BEFORE_WAIT, tevent_trace_point_callback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Final, Self

    from .timed import tevent_timer

__all__ = ["delivery", "fault_point", "simulation", "simulation_limit"]

#: When a world begins unless told otherwise: a round number that no real clock shows.
_START: Final = timeval(1_000_000_000, 0)
_SHOWN_MAX: Final = 60


class fault_point(NamedTuple):
    """
    One operation of which a world was asked whether it should fail.

    Its ``name`` says what was to be done, with its number among those of the same name; ``fails`` whether an errno is
    something that it could fail with.
    """

    name: str
    fails: bool


class simulation_limit(AssertionError):
    """A run that does not come to an end: more iterations or more virtual time than its world allows."""


class delivery:
    """
    Something that is under way to a context: what the readiness of a descriptor is in reality.

    Attributes:
        due_us: When it arrives, in microseconds since the epoch of the virtual clock.

        label: What the story calls it.
    """

    __slots__ = ("due_us", "ev", "fn", "label", "lane", "serial", "world")

    def __init__(
        self,
        world: simulation,
        ev: tevent_context,
        due_us: int,
        serial: int,
        fn: Callable[[], object],
        label: str,
        lane: object,
    ) -> None:
        self.world: simulation = world
        self.ev: tevent_context = ev
        self.due_us: int = due_us
        self.serial: int = serial
        self.fn: Callable[[], object] = fn
        self.label: str = label
        self.lane: object = lane

    def __lt__(self, other: delivery) -> bool:
        return (self.due_us, self.serial) < (other.due_us, other.serial)

    def __repr__(self) -> str:
        return f"<delivery {self.label!r} {'pending' if self.pending else 'over'}>"

    @property
    def pending(self) -> bool:
        """Whether it has neither run nor been cancelled."""
        return self in self.world.deliveries

    def cancel(self) -> None:
        """Let it not arrive; nothing if it has arrived already."""
        if self in self.world.deliveries:
            self.world.deliveries.remove(self)


class _active:
    """The one world that is active in this process."""

    world: simulation | None = None


class simulation:
    """
    A world with its own time, for tests; a context manager.

    While it is active `tevent_timeval_current` and all timers follow its clock, which stands still while code runs and
    jumps when a loop has nothing to do.  Only one can be active in a process.

    Args:
        seed: What the dice start from that choose where there is a choice; None for no dice: what was scheduled first
            comes first.

        start: What the clock shows at first.

        choose: Called as ``choose(n, label)`` where there is a choice, returns one of 0 to n - 1; for example
            ``lambda n, label: data.draw(integers(0, n - 1), label)``. Takes the place of the dice.

        replay: The `choices` of an earlier run, to be repeated; behind them the plain order. Takes the place of both.

        faults: Which operations fail, and how, see `fault`: a mapping, or a function ``(number, name) -> object``.

        default: Whether contexts that are made without naming a backend, by `tevent_context_init`, live in the world
            too: for whole programs, which make their own.

        steps_max: So many iterations of all contexts together, and so many operations, then `simulation_limit`.

        span_us_max: So much virtual time, in microseconds, then `simulation_limit`.

    An exception that leaves the ``with`` block carries a note with the story and with what to write to see it again.

    Attributes:
        top: A chunk for what belongs to the world: peers, networks. Freed at its end, after the contexts.

        scene: Whatever a test likes to put here; the sweeps put there what their ``scene`` function returned.

        story: What has happened: pairs of the virtual time, in microseconds since the start, and a text.

        choice_points: What there was to choose from so far, and what was chosen: triples (n, label, number).

        operations: Every operation that `fault` was asked about, in order.

        steps: How many iterations there were.

        deadlocked: Whether a loop call found that nothing could ever happen any more.
    """

    def __init__(
        self,
        seed: int | None = 0,
        *,
        start: timeval = _START,
        choose: Callable[[int, str], int] | None = None,
        replay: Sequence[int] | None = None,
        faults: Mapping[int | str, Any] | Callable[[int, str], Any] | None = None,
        default: bool = False,
        steps_max: int = 100_000,
        span_us_max: int = 366 * 86400 * 1_000_000,
    ) -> None:
        if choose is None:
            choose = first_always if seed is None else by_seed(seed)
        self._choose: Callable[[int, str], int] = choose if replay is None else by_replay(replay)
        self._start: timeval = start
        self._start_us: int = start[0] * 1000000 + start[1]
        self._now_us: int = self._start_us
        self._faults: Mapping[int | str, Any] | Callable[[int, str], Any] = {} if faults is None else faults
        self._steps_max: int = steps_max
        self._span_us_max: int = span_us_max
        self._default: bool = default
        self._undo: list[Callable[[], None]] = []
        self._clock: Callable[[], int] = _sys.time_ns
        self._serial: int = 0
        self._seen: dict[str, int] = {}
        self._requests: request_watch = request_watch(self.tell)
        self._own_contexts: list[tevent_context] = []
        self.top: TALLOC_CTX
        self.scene: Any = None
        self.contexts: list[tevent_context] = []
        self.deliveries: list[delivery] = []
        self.story: list[tuple[int, str]] = []
        self.choice_points: list[tuple[int, str, int]] = []
        self.operations: list[fault_point] = []
        self.steps: int = 0
        self.deadlocked: bool = False

    # -- begin and end ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if _active.world is not None:
            raise RuntimeError("a simulation is active already: there is one clock in a process")
        if self.steps or self.story:
            raise RuntimeError("this simulation is over: a world is used once")
        top = talloc_new(None)
        assert top is not None  # nothing limits what has no owner
        self.top = top
        _active.world = self
        self._clock = _sys.time_ns
        _sys.time_ns = self._read_clock
        self._requests.begin()
        if self._default:
            self._undo.append(be_default(self))
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                error.add_note(self.report())
            for ev in self._own_contexts:
                if not ev.gone:
                    talloc_free(ev)
            self.deliveries.clear()
            talloc_free(self.top)
        finally:
            for undo in self._undo:
                undo()
            self._requests.end()
            _sys.time_ns = self._clock
            _active.world = None

    @property
    def active(self) -> bool:
        """Whether the world is inside its ``with`` block."""
        return _active.world is self

    def _read_clock(self) -> int:
        return self._now_us * 1000

    # -- contexts -----------------------------------------------------------------------------------------------------

    def context(self, mem_ctx: TALLOC_CTX | None = None) -> tevent_context:
        """
        Make an event context that lives in this world.

        Args:
            mem_ctx: The owner; None to leave it to the world, which frees it at its end.

        Several contexts stand for several processes: where one has nothing to do, a loop call on it lets another one
        have a turn. Its wait timeout is "for ever" at first. It has no descriptors, no signals and no wakeup by other
        threads: an attempt is a RuntimeError.
        """
        if not self.active:
            raise RuntimeError("a context is made inside the `with` block of its simulation")
        ev = tevent_context_init_ops(mem_ctx, OPS, self)
        if ev is None:
            raise MemoryError("a memory limit forbids the context")
        if mem_ctx is None:
            self._own_contexts.append(ev)
        return ev

    def adopt(self, ev: tevent_context) -> None:
        """Let *ev*, which is new or starts afresh, be one of this world; for the backend."""
        self.deliveries[:] = [each for each in self.deliveries if each.ev is not ev]
        if not any(each is ev for each in self.contexts):
            self.contexts.append(ev)
            ev.wait_timeout = timeval(NEVER_ENDING, 0)

    def owns(self, ptr: TALLOC_CTX) -> bool:
        """Whether *ptr* lies below `top`: it belongs to the world, not to what is tested in it."""
        return talloc_is_parent(ptr, self.top) != 0

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> timeval:
        """What the clock shows, as `tevent_timeval_current`."""
        return timeval(*divmod(self._now_us, 1000000))

    @property
    def elapsed_us(self) -> int:
        """Virtual time since the start, in microseconds."""
        return self._now_us - self._start_us

    def advance(self, us: int) -> None:
        """
        Let *us* microseconds pass without running anything, as a handler does that takes long.

        Raises:
            simulation_limit: The world is older than it may become.
        """
        self._now_us += us
        if self.elapsed_us > self._span_us_max:
            raise simulation_limit(
                f"not at an end after {self.elapsed_us / 1e6:g} virtual seconds; {self.outstanding_text()}"
            )

    # -- what happens -------------------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """Add a line to the story."""
        self.story.append((self.elapsed_us, text))

    def deliver(
        self, ev: tevent_context, delay_us: int, fn: Callable[[], object], label: str, *, lane: object = None
    ) -> delivery:
        """
        Let the loop of *ev* call ``fn()`` when *delay_us* microseconds have passed: what comes from outside.

        Args:
            ev: A context of this world.

            delay_us: From now on; 0 for what is ready at once.

            fn: Called from the loop, as the handler of an fd event is: one in an iteration, after immediates and timers
                that are due. What it raises leaves the loop call.

            label: What the story calls it.

            lane: Deliveries of the same lane (any object but None, compared by ``==``) keep their order, also where
                their delays say otherwise: one never overtakes another. Those of different lanes that are ready at the
                same time come in any order, which is a choice.

        Returns:
            A handle, to cancel it. It does not arrive if *ev* is freed before, or was already: devices also say
            good-bye to each other from destructors.

        Raises:
            ValueError: *ev* is not of this world.
        """
        main = main_of(ev)
        if main is not None and main.additional_data is not self:
            raise ValueError(f"{ev!r} is not of this world")
        due_us = self._now_us + max(delay_us, 0)
        if lane is not None:
            due_us = max([due_us, *(each.due_us for each in self.deliveries if each.lane == lane)])
        self._serial += 1
        new = delivery(self, main or ev, due_us, self._serial, fn, label, lane)
        if self.active and main is not None and not main.gone:
            insort(self.deliveries, new)
        return new

    def choose(self, n: int, label: str) -> int:
        """
        One of 0 to *n* - 1, as the chooser of this world decides; not asked where *n* is 1.

        Args:
            n: How many ways there are, at least 1. Number 0 should be the dullest.

            label: What is chosen, for the story.

        Raises:
            ValueError: *n* is less than 1, or the chooser, or the list to be replayed, answers none of them.
        """
        if n < 1:
            raise ValueError(f"there are {n} ways at {label!r}")
        if n == 1:
            return 0
        number = self._choose(n, label)
        if not 0 <= number < n:
            raise ValueError(f"the chooser answered {number}, and there are {n} ways at {label!r}")
        self.choice_points.append((n, label, number))
        self.tell(f"choice {len(self.choice_points) - 1}: {number} of 0..{n - 1}: {label}")
        return number

    @property
    def choices(self) -> list[int]:
        """What was chosen so far, for *replay*."""
        return [number for _, _, number in self.choice_points]

    def fault(self, name: str, default: Any = None, *, fails: bool = True) -> Any:
        """
        Ask whether an operation should fail: what a simulated device does at each of its operations.

        Args:
            name: What is to be done, and on what: ``"a: readv"``. The world numbers those of the same name.

            default: What is returned where nothing is planned.

            fails: Whether the operation can fail with an errno; what can only be lost or late cannot.

        Returns:
            What the plan has for the number of the operation (0 for the first one of the world), for ``"a: readv #2"``
            (0 for the first one of the name), or for ``"a: readv"``, in this order. An int is an errno by convention;
            everything else is between the plan and the device.
        """
        number = len(self.operations)
        if number >= self._steps_max:
            raise simulation_limit(f"not at an end after {number} operations; {self.outstanding_text()}")
        index = self._seen[name] = self._seen.get(name, -1) + 1
        full_name = f"{name} #{index}"
        self.operations.append(fault_point(full_name, fails))
        plan = self._faults
        if callable(plan):
            found = plan(number, full_name)
        else:
            found = plan.get(number, plan.get(full_name, plan.get(name)))
        self.tell(f"operation {number}: {full_name}" + ("" if found is None else f": {errno_text(found)}"))
        return default if found is None else found

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self, until: Callable[[], object] | None = None) -> bool:
        """
        Let the world go on: all contexts take turns.

        Args:
            until: The run ends when this is true; None to run until nothing is left that could happen.

        Returns:
            Whether *until* came true; without it, True.
        """
        while until is None or not until():
            ev = self._next_context()
            if ev is None:
                return until is None
            tevent_loop_once(ev)
        return True

    def iterate(self, ev: tevent_context) -> int:
        """One iteration of *ev*; for the backend."""
        self._begin_step()
        if ev.im_first is not None:
            self.tell("an immediate runs")
            tevent_common_loop_immediate(ev)
            return 0
        te = ev.timers.first()
        if te is not None and te.next_event <= self.now:
            self._run_timer(ev, te)
            return 0
        tevent_trace_point_callback(ev, TEVENT_TRACE_BEFORE_WAIT)
        ready = self._wait(ev, te)
        tevent_trace_point_callback(ev, TEVENT_TRACE_AFTER_WAIT)
        if ready is None:
            set_errno(EAGAIN)
            return -1
        if ready and not ev.gone:
            self._run_one(ev, ready)
        return 0

    def iterate_until_idle(self, ev: tevent_context) -> int:
        """Iterations of *ev* until nothing is left that could happen in the world; for the backend."""
        while tevent_common_have_events(ev) or self._next_time() is not None:
            result = tevent_loop_once(ev)
            if result != 0 or ev.gone:
                return result
        return 0

    def _begin_step(self) -> None:
        if not self.active:
            raise RuntimeError("the simulation that this context lives in is over")
        if self.steps >= self._steps_max:
            raise simulation_limit(f"not at an end after {self.steps} iterations; {self.outstanding_text()}")
        self.steps += 1

    def _wait(self, ev: tevent_context, te: tevent_timer | None) -> list[delivery | tevent_timer] | None:
        """
        Wait for something that *ev*, whose first timer is *te*, can do.

        What is ready at the end, maybe nothing: then another context had a turn, or the wait was over. None where
        *ev* does not wait, or nothing can ever come.
        """
        ready = self._ready(ev)
        if ready:
            return ready
        if ev.wait_us == 0:
            return None
        other = self._other_context(ev)
        if other is not None:
            tevent_loop_once(other)
            return []
        next_us = self._next_time(ev)
        if next_us is None:
            self.deadlocked = True
            self.tell(f"nothing is left that could happen; {self.outstanding_text()}")
            return None
        if te is None and 0 <= ev.wait_us < next_us - self._now_us:
            self.advance(ev.wait_us)
            return []
        self.advance(max(next_us - self._now_us, 0))
        ready = self._ready(ev)
        if te is not None and te.next_event <= self.now:
            ready.append(te)
        return ready

    def _ready(self, ev: tevent_context) -> list[delivery | tevent_timer]:
        """What has arrived for *ev*: of each lane the first."""
        ready: list[delivery | tevent_timer] = []
        lanes: list[object] = []
        for each in self.deliveries:
            if each.due_us > self._now_us:
                break
            if each.ev is ev and each.lane not in lanes:
                ready.append(each)
                if each.lane is not None:
                    lanes.append(each.lane)
        return ready

    def _run_one(self, ev: tevent_context, ready: list[delivery | tevent_timer]) -> None:
        """Run one of what is ready at the end of a wait: a delivery, or a timer that has become due with them."""
        names = [each.label if isinstance(each, delivery) else f"timer {each.handler_name}" for each in ready]
        chosen = ready[self.choose(len(names), " | ".join(names))]
        if not isinstance(chosen, delivery):
            self._run_timer(ev, chosen)
        elif chosen.pending:  # whoever watches the wait may have cancelled it
            self.deliveries.remove(chosen)
            self.tell(chosen.label)
            chosen.fn()

    def _run_timer(self, ev: tevent_context, te: tevent_timer) -> None:
        self.tell(f"timer {te.handler_name} is due")
        tevent_common_loop_timer_delay(ev)

    def _next_context(self) -> tevent_context | None:
        """A context that has something to do, now or at the next time that brings something; None if there is none."""
        busy = self._busy_contexts()
        if not busy:
            next_us = self._next_time()
            if next_us is None:
                return None
            # Any of those that live will do: it waits until then, and lets the others have their turns.
            busy = [ev for ev in self._idle_contexts() if ev.wait_us != 0 and self._next_time_of(ev) == next_us]
        return busy[self.choose(len(busy), "which context goes on")] if busy else None

    def _other_context(self, ev: tevent_context) -> tevent_context | None:
        """A context other than *ev* that has something to do now."""
        busy = self._busy_contexts(ev) if len(self.contexts) > 1 else []
        return busy[self.choose(len(busy), "which other context goes on")] if busy else None

    def _idle_contexts(self) -> list[tevent_context]:
        """The living contexts whose loop does not run at this moment."""
        if any(ev.gone for ev in self.contexts):
            self.contexts = [ev for ev in self.contexts if not ev.gone]
            self.deliveries = [each for each in self.deliveries if not each.ev.gone]
        return [ev for ev in self.contexts if ev.level == 0]

    def _busy_contexts(self, but: tevent_context | None = None) -> list[tevent_context]:
        """Those of them, *but* one, that have something to do at this very time."""
        now_us = self._now_us
        found: list[tevent_context] = []
        for ev in self._idle_contexts():
            next_us = None if ev is but else self._next_time_of(ev)
            if next_us is not None and next_us <= now_us:
                found.append(ev)
        return found

    def _next_time_of(self, ev: tevent_context) -> int | None:
        """When *ev* has something to do, in microseconds since the epoch; None: never."""
        if ev.im_first is not None:
            return self._now_us
        first = next((each.due_us for each in self.deliveries if each.ev is ev), None)
        te = ev.timers.first()
        if te is None:
            return first
        left = tevent_timeval_until(self.now, te.next_event)
        due_us = self._now_us + left[0] * 1000000 + left[1]
        return due_us if first is None else min(first, due_us)

    def _next_time(self, waiting: tevent_context | None = None) -> int | None:
        """
        When something happens next in the world, in microseconds since the epoch; None: never.

        Asked in an iteration of *waiting*. Another context whose handler runs just now can do nothing before that ends.
        """
        able = self._idle_contexts() + ([] if waiting is None else [waiting])
        times = [self._next_time_of(ev) for ev in able]
        return min((time for time in times if time is not None), default=None)

    # -- telling ------------------------------------------------------------------------------------------------------

    @property
    def outstanding(self) -> list[Any]:
        """The requests that were made in this world, are alive, and are not finished."""
        return list(self._requests.outstanding())

    @property
    def called_twice(self) -> list[str]:
        """The labels of the requests whose callback was called again after they had ended."""
        return list(self._requests.called_twice)

    def outstanding_text(self) -> str:
        """Which requests are outstanding, in words."""
        waiting = [self._requests.describe(req) for req in self._requests.outstanding()]
        return "outstanding: " + ", ".join(waiting) if waiting else "no request is outstanding"

    def story_text(self, lines_max: int = _SHOWN_MAX) -> str:
        """The story for people: a line each, with the seconds since the start; only the last *lines_max*."""
        left_out = len(self.story) - lines_max
        lines = [f"({left_out} earlier lines are left out)"] if left_out > 0 else []
        lines += [f"{us / 1e6:12.6f}  {text}" for us, text in self.story[-lines_max:]]
        return "\n".join(lines)

    def replay_text(self) -> str:
        """What to write to see this run again."""
        choices = self.choices
        while choices and choices[-1] == 0:
            choices.pop()  # the plain order, which a replay goes on with by itself
        parts = [f"replay={choices}"]
        if self._start != _START:
            parts.append(f"start={self._start!r}")
        if self._faults:
            parts.append(f"faults={self._faults!r}")
        return f"simulation({', '.join(parts)})"

    def report(self) -> str:
        """The story, the outstanding requests, and how to see it again."""
        return "\n".join(
            (
                "what happened, by virtual seconds:",
                self.story_text(),
                self.outstanding_text(),
                f"to see it again: {self.replay_text()}",
            )
        )
