# SPDX-License-Identifier: LGPL-3.0-or-later
"""The base class for state machines: it passes what is right, finds each planted bug, and shrinks it to a few steps."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from shrink_kit import failure_of, failures_of

from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from tevent import (
    tevent_req,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_unix_error,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_timeval_current_ofs,
    tevent_wakeup_recv,
    tevent_wakeup_send,
)
from tevent.testing import request_machine, simulation, strategies

QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much]
#: Enough to find what is planted here, each time; it ends with the first failure.
SEARCH = settings(
    max_examples=5000,
    stateful_step_count=6,
    database=None,
    derandomize=True,
    deadline=None,
    suppress_health_check=QUIET,
)
FEW = settings(max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=QUIET)


class job(TALLOC_CTX):
    """The state of a request that wakes up some times, and asks its world in between."""

    machine: Any
    left: int


class jobs(request_machine):
    """Requests that take some steps, the last one of which may fail."""

    errnos: ClassVar[Any] = (5,)

    def start(self, draw: Any) -> tevent_req | None:
        req, state = tevent_req_create(self.mem_ctx, job)
        assert req is not None
        state.machine = self
        state.left = draw(st.integers(0, 3), label="steps")
        if not state.left:
            tevent_req_done(req)
            return tevent_req_post(req, self.ev)
        self.next_step(req, state)
        return req

    def next_step(self, req: tevent_req, state: job) -> None:
        """Wait once more."""
        subreq = tevent_wakeup_send(state, self.ev, tevent_timeval_current_ofs(1, 0))
        assert subreq is not None
        tevent_req_set_callback(subreq, self.step_over, req)

    def step_over(self, subreq: tevent_req) -> None:
        """Go on, or end."""
        req: tevent_req = subreq.pvt
        state = tevent_req_data(req, job)
        tevent_wakeup_recv(subreq)
        talloc_free(subreq)
        err = self.world.fault("job: step")
        if err:
            tevent_req_error(req, err)
            return
        state.left -= 1
        if state.left:
            self.next_step(req, state)
        else:
            tevent_req_done(req)

    def finish(self, req: tevent_req) -> None:
        tevent_req_is_unix_error(req)
        tevent_req_received(req)


class TestGood:
    def test_passes(self) -> None:
        """Nothing is reported on requests that do all right."""
        run_state_machine_as_test(jobs, settings=FEW)

    def test_rules_of_ones_own(self) -> None:
        """They stand beside those of the class, and may hand it requests."""
        ran: set[str] = set()

        class more(jobs):
            def scene(self) -> None:
                talloc_new(self.mem_ctx)
                ran.add("scene")

            @precondition(lambda self: len(self.in_progress) < 3)
            @rule(seconds=st.integers(0, 3))
            def sleep(self, seconds: int) -> None:
                when = tevent_timeval_current_ofs(seconds, 0)
                self.track(tevent_wakeup_send(self.mem_ctx, self.ev, when), tevent_wakeup_recv)
                ran.add("sleep")

            @invariant()
            def few(self) -> None:
                assert len(self.in_progress) <= 4
                ran.add("invariant")

        run_state_machine_as_test(more, settings=FEW)
        assert ran == {"scene", "sleep", "invariant"}

    def test_requests_that_wait_for_ever(self) -> None:
        """They are fine where the machine says so."""

        class endless(request_machine):
            ends = False

            def start(self, draw: Any) -> tevent_req | None:
                return tevent_req_create(self.mem_ctx, job)[0]

        run_state_machine_as_test(endless, settings=FEW)

        class forgotten(endless):
            ends = True

        assert re.search(r"request \d never ends", failure_of(forgotten, SEARCH).text)

    def test_what_the_scene_keeps(self) -> None:
        """A machine that undoes its scene may keep in it what it likes meanwhile."""

        class keeping(jobs):
            def scene(self) -> None:
                self.kept = talloc_new(self.mem_ctx)

            def start(self, draw: Any) -> tevent_req | None:
                talloc_new(self.kept)
                return super().start(draw)

        class undoing(keeping):
            def leave(self) -> bool:
                talloc_free(self.kept)
                return True

        run_state_machine_as_test(undoing, settings=FEW)
        assert "left behind: " in failure_of(keeping, SEARCH).text

    def test_start_is_needed(self) -> None:
        """The class says what is missing."""
        with pytest.raises(NotImplementedError, match=r"start\(\)"):
            run_state_machine_as_test(request_machine, settings=SEARCH)

    def test_the_world_is_left_behind_in_order(self) -> None:
        """After a failure the next world can begin."""
        failure_of(called_twice, SEARCH)
        with simulation():
            pass


# -- planted bugs -----------------------------------------------------------------------------------------------------


class called_twice(jobs):
    """Ends once more when it has ended."""

    def step_over(self, subreq: tevent_req) -> None:
        req: tevent_req = subreq.pvt
        super().step_over(subreq)
        if req.status != 1 and req._talloc_chunk.obj is req:
            tevent_req_done(req)


class left_behind(jobs):
    """Makes a chunk on its owner, where nobody frees it."""

    def next_step(self, req: tevent_req, state: job) -> None:
        talloc_new(self.mem_ctx)
        super().next_step(req, state)


class used_after_free(jobs):
    """Owns its subrequest the wrong way: it comes back when the request is gone."""

    def next_step(self, req: tevent_req, state: job) -> None:
        subreq = tevent_wakeup_send(self.mem_ctx, self.ev, tevent_timeval_current_ofs(1, 0))
        assert subreq is not None
        tevent_req_set_callback(subreq, self.step_over, req)


class lost_error(jobs):
    """Forgets to end when a step fails."""

    def step_over(self, subreq: tevent_req) -> None:
        req: tevent_req = subreq.pvt
        state = tevent_req_data(req, job)
        talloc_free(subreq)
        if self.world.fault("job: step"):
            return
        state.left -= 1
        if state.left:
            self.next_step(req, state)
        else:
            tevent_req_done(req)


class cancelled_badly(jobs):
    """Ends when it is cancelled, and lets its step go on."""

    def start(self, draw: Any) -> tevent_req | None:
        req = super().start(draw)
        assert req is not None
        tevent_req_set_cancel_fn(req, self.cancel)
        return req

    def cancel(self, req: tevent_req) -> bool:
        """The bug: nothing is freed."""
        tevent_req_error(req, 125)
        return True

    def finish(self, req: tevent_req) -> None:
        """As a callback does that only looks."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "said", "shortest"),
    [
        (called_twice, "runs once more", 2),
        (left_behind, "left behind: ", 2),
        (used_after_free, "access after free", 2),
        (lost_error, "never ends", 3),
        (cancelled_badly, "runs once more", 3),
    ],
)
def test_finds_and_shrinks(machine: type[jobs], said: str, shortest: int) -> None:
    """Every search finds the planted bug, names it, and tells it as a story; one of them as the shortest there is."""
    for text, rules in failures_of(machine, SEARCH):
        assert said in text
        assert "what happened, by virtual seconds:" in text
        if len(rules) <= shortest:
            assert rules.count("begin_request") == 1, rules
            assert ("faults={0: 5})" in text) == (machine is lost_error)
            assert ("request 0 never ends" in text) == (machine is lost_error)
            break


def test_schedules_shrink_to_the_plain_order() -> None:
    """Of all the orders that fail the one with the fewest departures is found."""
    found: list[list[int]] = []

    @settings(SEARCH)
    @given(strategies.schedules())
    def race(choose: Any) -> None:
        with simulation(choose=choose) as world:
            ev = world.context()
            order: list[str] = []
            for name in "abcd":
                world.deliver(ev, 0, lambda name=name: order.append(name), name)  # type: ignore[misc]
            world.run()
            found.append(world.choices)
            assert order.index("c") < order.index("d")

    with pytest.raises(AssertionError):
        race()
    assert sum(map(bool, found[-1])) == 1
