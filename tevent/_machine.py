# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A base class for state machines of Hypothesis that test pairs of ``foo_send`` and ``foo_recv``.

The machine owns a simulated world.  Its rules begin requests, turn the loop, let time pass, free, cancel and time out
requests and let operations fail, in whatever order Hypothesis thinks of; what must hold for every request is checked
after each rule, what must be gone at the end.
"""

from __future__ import annotations

import sys
from errno import ECONNRESET, EINTR, ETIMEDOUT

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from talloc_py.core import TALLOC_CTX, talloc_free, talloc_new

from ._request import IN_PROGRESS
from ._sim import simulation
from ._sim_stock import check_clean, take_stock
from ._strategies import delays_us
from .context import tevent_context, tevent_loop_once
from .req import tevent_req, tevent_req_cancel, tevent_req_received, tevent_req_set_callback, tevent_req_set_endtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar

    from hypothesis.strategies import DataObject

    from ._sim_stock import stock

    Draw = Callable[..., Any]

__all__ = ["request_machine", "tracked"]

_SPAN_US = 3600 * 1_000_000


class tracked:
    """
    A request of a machine, and what became of it.

    Attributes:
        req: The request; not to be touched once `freed`.

        calls: How often its callback ran.

        freed: It is freed, by a rule or by its callback.
    """

    __slots__ = ("calls", "finish", "freed", "number", "req")

    def __init__(self, number: int, req: tevent_req, finish: Callable[[tevent_req], object]) -> None:
        self.number: int = number
        self.req: tevent_req = req
        self.finish: Callable[[tevent_req], object] = finish
        self.calls: int = 0
        self.freed: bool = False

    @property
    def waits(self) -> bool:
        """Whether it is in progress."""
        return not self.freed and self.req.status == IN_PROGRESS


class _faults_of:
    """
    The faults of a machine's world: what was to fail next has failed then, at the numbers that it shows.

    Attributes:
        next: What the next operation fails with; None while nothing is planned.
    """

    __slots__ = ("_happened", "next", "world")

    world: simulation

    def __init__(self) -> None:
        self._happened: dict[int, Any] = {}
        self.next: Any = None

    def __bool__(self) -> bool:
        return bool(self._happened)

    def __repr__(self) -> str:
        return repr(self._happened)

    def __call__(self, number: int, _name: str) -> Any:
        """What operation *number* fails with."""
        if not self.world.operations[number].fails:
            return None
        planned, self.next = self.next, None
        if planned is not None:
            self._happened[number] = planned
        return planned


class request_machine(RuleBasedStateMachine):
    """
    Derive from it, say how a request begins, and run the class as a test.

        class lookups(request_machine):
            def scene(self):
                self.net = network(self.world)
                ...

            def start(self, draw):
                name = draw(st.text(min_size=1), label="name")
                return lookup_send(self.mem_ctx, self.ev, name)

            def finish(self, req):
                err, found = lookup_recv(req, None)
                ...

        TestLookups = lookups.TestCase

    Rules and invariants of your own stand beside those of this class, which all have to do with a request that `start`
    has begun, or one handed to `track`:  a rule can begin one, turn the loop once, let it run until nothing is left to
    do, let time pass as if the process stood still, free, cancel or time out a request, and let the next operation on
    the network fail.

    What must hold: a callback runs exactly once, or, once the request was freed, never; nothing that was not there
    before is there at the end, be it a chunk, a timer, an immediate, a queue entry or a descriptor; and every request
    ends when the world is left alone, unless `ends` is false.

    Attributes:
        requests_max: So many requests are in progress at most.

        errnos: What an operation is made to fail with; also what else the simulated device understands.

        ends: Whether a request must end by itself.

        world: The world.

        ev: A context of it.

        mem_ctx: The owner of what is under test. What plays the other side belongs below ``world.top``.
    """

    requests_max: ClassVar[int] = 4
    errnos: ClassVar[Sequence[Any]] = (ECONNRESET, ETIMEDOUT, EINTR)
    ends: ClassVar[bool] = True

    world: simulation
    ev: tevent_context
    mem_ctx: TALLOC_CTX

    def __init__(self) -> None:
        super().__init__()
        self._data: DataObject | None = None
        self._faults: _faults_of = _faults_of()
        self._bare: stock | None = None
        self._before: stock | None = None
        self.requests: list[tracked] = []
        self.world = self._faults.world = simulation(choose=self._choose, faults=self._faults)
        self.world.__enter__()
        self.ev = self.world.context()
        mem_ctx = talloc_new(None)
        assert mem_ctx is not None  # nothing limits what has no owner
        self.mem_ctx = mem_ctx

    # -- to be overridden ---------------------------------------------------------------------------------------------

    def scene(self) -> None:
        """Make what is there before the first request; nothing of it counts as left behind, and nothing is chosen."""

    def leave(self) -> bool:
        """
        Free what `scene` has made, and return True; for things that keep something of their own after a request.

        At the end everything is compared with what was there before `scene` then.
        """
        return False

    def start(self, draw: Draw) -> tevent_req | None:
        """
        Begin a request that belongs to `mem_ctx`.

        Args:
            draw: Called as ``draw(strategy, label=...)`` for whatever the request is given.
        """
        raise NotImplementedError("a request_machine says in start() how a request begins")

    def finish(self, req: tevent_req) -> object:
        """Receive *req* in its callback, and assert what must hold then, in success as well as in failure."""
        tevent_req_received(req)
        return None

    # -- for rules of one's own ---------------------------------------------------------------------------------------

    def track(self, req: tevent_req | None, finish: Callable[[tevent_req], object] | None = None) -> tracked:
        """Watch over *req*, whose callback belongs to the machine from now on; *finish* takes the place of `finish`."""
        assert req is not None, "the _send function returned None"
        found = tracked(len(self.requests), req, finish or self.finish)
        self.requests.append(found)
        tevent_req_set_callback(req, self._called, found)
        return found

    @property
    def in_progress(self) -> list[tracked]:
        """The requests that have neither ended nor been freed."""
        return [each for each in self.requests if each.waits]

    def _called(self, req: tevent_req) -> None:
        # Not tevent_req_callback_data(): what is tracked is no chunk.
        found = next(each for each in self.requests if each.req is req)
        found.calls += 1
        assert not found.freed, f"request {found.number} was freed, and its callback runs"
        assert found.calls == 1, f"the callback of request {found.number} runs once more"
        assert not found.waits, f"the callback of request {found.number} runs, and it is in progress"
        found.finish(req)
        if not found.freed and self.world.choose(2, f"the callback of request {found.number} frees it"):
            self._free(found)

    def _free(self, found: tracked) -> None:
        found.freed = True
        assert talloc_free(found.req) == 0, f"request {found.number} cannot be freed"

    # -- what Hypothesis decides --------------------------------------------------------------------------------------

    def _choose(self, n: int, label: str) -> int:
        # At the end nobody draws any more: everything goes its plain way.
        return 0 if self._data is None else self._data.draw(st.integers(0, n - 1), label=label)

    def _pick(self, some: list[tracked], label: str) -> tracked:
        return some[self._choose(len(some), label)] if len(some) > 1 else some[0]

    # -- rules --------------------------------------------------------------------------------------------------------

    @initialize()
    def _begin_scene(self) -> None:
        self._bare = take_stock(self.mem_ctx, ev=self.ev)
        self.scene()
        self._before = take_stock(self.mem_ctx, ev=self.ev)

    @precondition(lambda self: len(self.in_progress) < self.requests_max)
    @rule(data=st.data())
    def begin_request(self, data: DataObject) -> None:
        """Begin a request."""
        self._data = data
        self.track(self.start(data.draw))

    @rule(data=st.data())
    def turn_the_loop(self, data: DataObject) -> None:
        """One iteration, which may wait."""
        self._data = data
        tevent_loop_once(self.ev)

    @rule(data=st.data())
    def run_until_idle(self, data: DataObject) -> None:
        """Go on until nothing is left that could happen."""
        self._data = data
        self.world.run()

    @rule(us=delays_us(_SPAN_US))
    def stand_still(self, us: int) -> None:
        """Time passes, and nothing is done."""
        self.world.advance(us)

    @precondition(lambda self: any(not each.freed for each in self.requests))
    @rule(data=st.data())
    def free_request(self, data: DataObject) -> None:
        """Free a request, in progress, ended or called back."""
        self._data = data
        self._free(self._pick([each for each in self.requests if not each.freed], "which request is freed"))

    @precondition(lambda self: self.in_progress)
    @rule(data=st.data())
    def cancel_request(self, data: DataObject) -> None:
        """Cancel a request in progress."""
        self._data = data
        tevent_req_cancel(self._pick(self.in_progress, "which request is cancelled").req)

    @precondition(lambda self: self.in_progress)
    @rule(data=st.data())
    def time_out_request(self, data: DataObject) -> None:
        """The time of a request in progress is over."""
        self._data = data
        tevent_req_set_endtime(self._pick(self.in_progress, "which request times out").req, self.ev, self.world.now)

    @precondition(lambda self: self._faults.next is None and self.errnos)
    @rule(data=st.data())
    def fail_next_operation(self, data: DataObject) -> None:
        """The next operation fails."""
        self._faults.next = data.draw(st.sampled_from(self.errnos), label="errno")

    # -- the end ------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Let everything end, and look what is left."""
        # Hypothesis calls this also while an exception of a rule is on its way.
        error = sys.exc_info()[1]
        try:
            if error is None:
                self._end()
        except BaseException as wrong:
            error = wrong
            raise
        finally:
            self._data = None
            self.world.__exit__(None if error is None else type(error), error, None)
            talloc_free(self.mem_ctx)

    def _end(self) -> None:
        self._data = self._faults.next = None
        self.world.run()
        for each in self.requests:
            if not each.freed:
                assert each.calls == 1 or not self.ends, f"request {each.number} never ends"
                self._free(each)
        self.world.run()
        assert not self.world.called_twice, f"called back twice: {', '.join(self.world.called_twice)}"
        before = self._before
        if self.leave():
            self.world.run()
            before = self._bare
        if before is not None:
            check_clean(before, take_stock(self.mem_ctx, ev=self.ev))
