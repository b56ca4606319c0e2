# SPDX-License-Identifier: LGPL-3.0-or-later
"""The kit finds each bug planted in `machines`, says what is wrong, and has nothing against the right machine."""

from __future__ import annotations

from collections.abc import Callable
from errno import EBUSY
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from shrink_kit import failures_of
from sim_kit import Script, pair

from talloc_py import TALLOC_CTX, talloc_strdup
from tevent import (
    tevent_context,
    tevent_queue_create,
    tevent_req,
    tevent_req_poll,
    tevent_req_set_callback,
)
from tevent.testing import explore, request_machine, simulation, sweep, sweep_failure
from tsocket import tdgram_recvfrom_recv, tdgram_recvfrom_send, tdgram_sendto_send, tstream_context
from tsocket.testing import link, network, strategies

from .machines import ending, ownership, together

#: The same examples each time, with the time that a search for a bug may take.
SEARCH = settings(
    max_examples=3000,
    stateful_step_count=8,
    database=None,
    derandomize=True,
    deadline=None,
    suppress_health_check=[*HealthCheck],
    # Which lines only a failing example runs is not asked here, and takes as long as the rest.
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
FEW = settings(SEARCH, max_examples=40)


def over_stream(
    send: Callable[[TALLOC_CTX, tevent_context, tstream_context, bool], tevent_req | None],
    script: Script,
    finish: Callable[[tevent_req], object],
    **options: Any,
) -> Callable[..., object]:
    """A sweep over a request that is given a stream, whose peer follows *script*."""
    buffer = options.pop("buffer", 65536)

    def check(planted: bool, **only: Any) -> object:
        return sweep(
            lambda world, ev, mem_ctx: send(mem_ctx, ev, world.scene, planted),
            finish,
            scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, script, buffer=buffer),
            **options,
            **only,
        )

    return check


# -- by sweeps --------------------------------------------------------------------------------------------------------


def sweep_chores(planted: bool, **only: Any) -> object:
    """Two naps."""
    return sweep(
        lambda world, ev, mem_ctx: ownership.chores_send(mem_ctx, ev, 2, planted), ownership.simple_recv, **only
    )


def sweep_turn(planted: bool, **only: Any) -> object:
    """A turn in a queue that is free."""
    return sweep(
        lambda world, ev, mem_ctx: ownership.turn_send(mem_ctx, ev, world.scene, planted),
        ownership.simple_recv,
        scene=lambda world, ev, mem_ctx: tevent_queue_create(mem_ctx, "work"),
        **only,
    )


def sweep_call(planted: bool, **only: Any) -> object:
    """A call, and somebody who uses the pool later."""

    def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> ownership.pool:
        shared = ownership.pool_create(world.top)
        world.deliver(ev, 5_000_000, lambda: talloc_strdup(shared, "still here"), "somebody uses the pool")
        return shared

    return sweep(
        lambda world, ev, mem_ctx: ownership.call_send(mem_ctx, ev, world.scene, planted),
        ownership.simple_recv,
        scene=scene,
        **only,
    )


def fetched(req: tevent_req) -> None:
    """What was fetched without an error is what was sent."""
    err, found = ending.reading_recv(req)
    assert found == b"abcd" or err, f"{found!r} instead of what was sent"


def sweep_fetch_recv(planted: bool, **only: Any) -> object:
    """Two ways to receive what was fetched."""
    check = over_stream(
        lambda mem_ctx, ev, stream, _: ending.fetch_send(mem_ctx, ev, stream, False),
        [b"abcd"],
        ending.reading_recv,
        recv=lambda req: ending.fetch_recv(req, planted),
    )
    return check(planted, **only)


class Planted(NamedTuple):
    """A machine under a sweep: what the sweep is, and what it says about the bug."""

    check: Callable[..., object]
    says: str


SWEPT = {
    "use after free in a callback": Planted(sweep_chores, "'left' of a chores_state is used, which was freed"),
    "missing cleanup": Planted(
        over_stream(ownership.answer_send, [b"x"], ownership.simple_recv), "'blinks' of a answer_state is used"
    ),
    "queue entry leak": Planted(sweep_turn, r"(?s)free at step 0.*tevent_queue_wait_send#2 has its turn in the queue"),
    "timeout race": Planted(
        over_stream(ownership.ask_send, [b"yes", 6], ownership.simple_recv, buffer=3), "freed a second time"
    ),
    "free in a destructor": Planted(sweep_call, "'struct pool' was freed at"),
    "error after success": Planted(
        over_stream(ending.greeting_send, [b"OK"], ending.reading_recv), "the callback runs once more: call 2"
    ),
    "double callback": Planted(
        over_stream(ending.command_send, [b"a!b!"], ending.reading_recv), "the callback runs once more: call 2"
    ),
    "end that is not posted": Planted(
        over_stream(ending.empty_send, [], ending.reading_recv), "nothing is left that could end the request"
    ),
    "error swallowed": Planted(over_stream(ending.fetch_send, [b"abcd"], fetched), "instead of what was sent"),
    "result too early": Planted(sweep_fetch_recv, "of a request in progress returned"),
    "cancelled without end": Planted(
        over_stream(ending.patient_send, [b"x"], ending.reading_recv),
        "(?s)cancel at step.*nothing is left that could end the request",
    ),
    "unbounded retry": Planted(
        over_stream(ending.stubborn_send, [b"x"], ending.reading_recv, steps_max=200),
        "ECONNRESET at operation .*: the request does not end",
    ),
}


@pytest.mark.parametrize("planted", SWEPT.values(), ids=SWEPT)
class TestSweeps:
    def test_found(self, planted: Planted) -> None:
        """A sweep finds the bug and says what it is; its message tells how to see it again."""
        with pytest.raises(sweep_failure, match=planted.says) as found:
            planted.check(True)
        with pytest.raises(sweep_failure) as again:
            planted.check(True, only=found.value.case)
        assert str(again.value) == str(found.value)

    def test_twin(self, planted: Planted) -> None:
        """It has nothing against the same machine without the bug."""
        planted.check(False)


# -- by looking for orders --------------------------------------------------------------------------------------------


def lines(planted: bool) -> object:
    """Read a line, however it is cut on its way."""

    def run(world: simulation) -> None:
        ev = world.context()
        stream = pair(world, ev, world.top, [b"ping\n"], cut=True)
        req = together.line_send(world.top, ev, stream, planted)
        assert req is not None
        assert tevent_req_poll(req, ev)
        assert together.line_recv(req) == (0, b"ping\n")

    return explore(run)


class TestOrders:
    def test_found(self) -> None:
        """One cut is enough to find a short read, and the story says where it was."""
        with pytest.raises(AssertionError, match=r"b'p") as found:
            lines(True)
        notes = "\n".join(found.value.__notes__)
        assert "near reads 1" in notes
        assert "simulation(replay=[" in notes

    def test_twin(self) -> None:
        """Reading up to the end of the line is right, wherever it is cut."""
        lines(False)


# -- by Hypothesis ----------------------------------------------------------------------------------------------------


class takes(request_machine):
    """Letters, and those who want them."""

    planted: ClassVar[bool] = False
    ends = False  # without a letter

    def scene(self) -> None:
        self.box = together.mailbox_create(self.mem_ctx)

    def start(self, draw: Any) -> tevent_req | None:
        return together.take_send(self.mem_ctx, self.ev, self.box, self.planted)

    @rule()
    def put(self) -> None:
        """Put in a letter, and let everything come to rest: nobody waits beside it."""
        together.mailbox_put(self.box, "letter")
        self.world.run()
        assert not (self.box.letters and self.in_progress), "somebody waits beside a letter"


class bells(request_machine):
    """Those who wait for a bell."""

    planted: ClassVar[bool] = False
    ends = False  # as long as nobody rings

    def scene(self) -> None:
        self.bell = together.bell_create(self.mem_ctx, self.planted)

    def start(self, draw: Any) -> tevent_req | None:
        return together.hear_send(self.mem_ctx, self.ev, self.bell)

    @rule(data=st.data())
    def ring(self, data: Any) -> None:
        """Ring: all hear it."""
        self._data = data
        together.bell_ring(self.bell)
        assert not self.in_progress, "somebody did not hear the bell"


class chats(request_machine):
    """Several who talk at the same time."""

    planted: ClassVar[bool] = False
    errnos: ClassVar[Any] = ()

    def scene(self) -> None:
        stream = pair(self.world, self.ev, self.mem_ctx, [1] * 50, buffer=1)
        self.chat = together.chat_create(self.mem_ctx, stream)

    def start(self, draw: Any) -> tevent_req | None:
        return together.say_send(self.mem_ctx, self.ev, self.chat, b"aha", self.planted)

    def finish(self, req: tevent_req) -> None:
        err = together.say_recv(req)
        assert err != EBUSY, "a word was lost: EBUSY"


MACHINES = {
    "lost wake-up": (takes, "somebody waits beside a letter", ["begin_request", "put"]),
    "reentrancy": (bells, "somebody did not hear", ["begin_request", "begin_request", "ring"]),
    "EBUSY": (chats, "EBUSY", ["begin_request", "begin_request"]),
}


@pytest.mark.parametrize(("machine", "says", "steps"), MACHINES.values(), ids=MACHINES)
class TestMachines:
    def test_found(self, machine: type[Any], says: str, steps: list[str]) -> None:
        """Hypothesis finds the bug each time, and the way there in as few steps as there can be before long."""
        wrong = type("wrong", (machine,), {"planted": True})
        for text, rules in failures_of(wrong, SEARCH):
            assert says in text
            if rules == steps:
                break

    def test_twin(self, machine: type[Any], says: str, steps: list[str]) -> None:
        """It finds nothing in the right machine."""
        run_state_machine_as_test(machine, settings=FEW)


def quiz(planted: bool, faults: list[Any]) -> None:
    """Ask two questions, one after the other; an answer that is not there in time is none."""
    with simulation(None) as world:
        ev = world.context()
        net = network(world, link=link(latency_us=1000), faults=faults)
        near, far = net.dgram_pair(world.top, "near", "far")

        def serve() -> None:
            req = tdgram_recvfrom_send(world.top, ev, far)
            assert req is not None
            tevent_req_set_callback(req, answer, None)

        def answer(req: tevent_req) -> None:
            _, _, data, _ = tdgram_recvfrom_recv(req, world.top)
            if data is not None:
                tdgram_sendto_send(world.top, ev, far, bytes(data) + b"!", None)
                serve()

        serve()
        for question in (b"a", b"b"):
            req = together.quiz_send(world.top, ev, near, question, planted)
            assert req is not None
            if tevent_req_poll(req, ev):
                err, found = together.quiz_recv(req)
                assert err or found == question + b"!", f"{found!r} is no answer to {question!r}"


class TestDatagrams:
    def test_found(self) -> None:
        """Hypothesis finds that an answer came twice, and says so in one fault."""

        @given(strategies.fault_plans(strategies.dgram_faults(["near", "far"])))
        @SEARCH
        def search(faults: list[Any]) -> None:
            quiz(True, faults)

        with pytest.raises(AssertionError, match=r"b'a!' is no answer to b'b'") as found:
            search()
        assert [line for line in found.value.__notes__ if "faults=[fault(" in line and line.count("fault(") == 1]

    @given(strategies.fault_plans(strategies.dgram_faults(["near", "far"])))
    @FEW
    def test_twin(self, faults: list[Any]) -> None:
        """Whoever compares questions is not deceived."""
        quiz(False, faults)
