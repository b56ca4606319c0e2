# SPDX-License-Identifier: LGPL-3.0-or-later
"""The simulated world: its clock, its loop, its choices, its story."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from tevent_kit import wrapper_of

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_set_destructor, talloc_set_memlimit, talloc_steal
from tevent import (
    TEVENT_FD_READ,
    _sys,
    get_errno,
    set_errno,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_backend_list,
    tevent_context,
    tevent_context_init,
    tevent_context_init_byname,
    tevent_context_set_wait_timeout,
    tevent_create_immediate,
    tevent_loop_once,
    tevent_loop_wait,
    tevent_queue_create,
    tevent_queue_wait_send,
    tevent_re_initialise,
    tevent_req,
    tevent_req_cancel,
    tevent_req_create,
    tevent_req_poll,
    tevent_schedule_immediate,
    tevent_set_trace_callback,
    tevent_thread_call_depth_set_callback,
    tevent_threaded_context_create,
    tevent_timeval_current,
    tevent_timeval_current_ofs,
    tevent_wakeup_recv,
    tevent_wakeup_send,
    timeval,
)
from tevent import trace as tevent_trace
from tevent.testing import simulation, simulation_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class nothing_state(TALLOC_CTX):
    """A request that never ends."""


def note(log: list[str], text: str) -> Callable[..., None]:
    """A handler of any kind that writes *text* down."""
    return lambda *_: log.append(text)


def never_send(mem_ctx: TALLOC_CTX) -> tevent_req:
    req, _ = tevent_req_create(mem_ctx, nothing_state)
    assert req is not None
    return req


@pytest.fixture
def world() -> Iterator[simulation]:
    """A world without dice."""
    with simulation(None) as made:
        yield made


@pytest.fixture
def log() -> list[str]:
    """What handlers have written."""
    return []


class TestClock:
    def test_an_hour_passes_at_once(self, world: simulation) -> None:
        """A timer in an hour fires in one iteration, and the clock has moved by just that hour."""
        ev = world.context()
        before = tevent_timeval_current()
        req = tevent_wakeup_send(ev, ev, tevent_timeval_current_ofs(3600, 0))
        assert req is not None
        assert tevent_req_poll(req, ev)
        assert tevent_timeval_current() == timeval(before.tv_sec + 3600, before.tv_usec)
        assert tevent_wakeup_recv(req)
        assert world.elapsed_us == 3600 * 1000000

    def test_it_stands_still(self, world: simulation) -> None:
        """While code runs the clock does not move, unless it is told to."""
        first = tevent_timeval_current()
        assert tevent_timeval_current() == first == world.now
        world.advance(1500000)
        assert tevent_timeval_current() == timeval(first.tv_sec + 1, first.tv_usec + 500000)

    def test_start(self) -> None:
        """The clock begins where it is told to."""
        with simulation(start=timeval(5, 7)) as world:
            assert tevent_timeval_current() == timeval(5, 7)
            assert world.replay_text() == "simulation(replay=[], start=timeval(tv_sec=5, tv_usec=7))"

    def test_put_back(self) -> None:
        """The clock of the machine is back after the world, also after one that ended by an exception."""
        clock = _sys.time_ns
        with pytest.raises(KeyError), simulation():
            assert _sys.time_ns is not clock
            raise KeyError
        assert _sys.time_ns is clock

    def test_one_at_a_time(self, world: simulation) -> None:
        """A second world inside is refused, and leaves the first as it is."""
        with pytest.raises(RuntimeError, match="active already"), simulation():
            pass
        assert world.active
        assert tevent_timeval_current() == world.now

    def test_used_once(self) -> None:
        """A world that is over does not begin again."""
        world = simulation()
        with world:
            tevent_loop_once(world.context())
        assert not world.active
        with pytest.raises(RuntimeError, match="is over"), world:
            pass


class TestOrder:
    def test_of_one_iteration(self, world: simulation, log: list[str]) -> None:
        """Immediates come before timers that are due, those before deliveries, and each has an iteration of its own."""
        ev = world.context()
        world.deliver(ev, 0, note(log, "delivery"), "d")
        tevent_add_timer(ev, ev, world.now, note(log, "timer"), None)
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_schedule_immediate(im, ev, note(log, "immediate"), None)
        for count in range(1, 4):
            assert tevent_loop_once(ev) == 0
            assert len(log) == count
        assert log == ["immediate", "timer", "delivery"]
        assert world.elapsed_us == 0

    def test_the_clock_jumps_to_what_comes_first(self, world: simulation, log: list[str]) -> None:
        """Deliveries and timers run in the order of their times, and the clock shows each time meanwhile."""
        ev = world.context()
        times: list[int] = []
        world.deliver(ev, 30, lambda: times.append(world.elapsed_us), "late")
        world.deliver(ev, 10, lambda: times.append(world.elapsed_us), "early")
        tevent_add_timer(ev, ev, tevent_timeval_current_ofs(0, 20), lambda *_: times.append(world.elapsed_us), None)
        assert tevent_loop_wait(ev) == 0
        assert times == [10, 20, 30]

    def test_a_race_is_a_choice(self, log: list[str]) -> None:
        """A delivery and a timer that become due at the same time can come in both orders."""
        for replay, expected in (([0], ["delivery", "timer"]), ([1], ["timer", "delivery"])):
            log.clear()
            with simulation(replay=replay) as world:
                ev = world.context()
                world.deliver(ev, 10, note(log, "delivery"), "d")
                tevent_add_timer(ev, ev, tevent_timeval_current_ofs(0, 10), note(log, "timer"), None)
                assert tevent_loop_wait(ev) == 0
                assert world.choice_points == [(2, "d | timer <lambda>", replay[0])]
            assert log == expected

    def test_timer_at_its_time(self, world: simulation, log: list[str]) -> None:
        """A timer that is due already does not race: it comes first, as in C."""
        ev = world.context()
        world.deliver(ev, 10, note(log, "delivery"), "d")
        tevent_add_timer(ev, ev, tevent_timeval_current_ofs(0, 10), note(log, "timer"), None)
        world.advance(10)
        tevent_loop_wait(ev)
        assert log == ["timer", "delivery"]
        assert world.choices == []

    def test_points_of_the_wait(self, world: simulation, log: list[str]) -> None:
        """Who watches the loop sees where it waits, before the one handler that runs then; not where it does not."""
        ev = world.context()
        cancelled = world.deliver(ev, 20, note(log, "never"), "cancelled while it is waited for")

        def watch(point: Any, _data: object) -> None:
            log.append(point.name)
            if world.elapsed_us == 20:
                cancelled.cancel()

        world.deliver(ev, 10, note(log, "delivery"), "d")
        tevent_add_timer(ev, ev, timeval(0, 0), note(log, "timer"), None)
        tevent_set_trace_callback(ev, watch, None)
        begin, end = "TEVENT_TRACE_BEFORE_LOOP_ONCE", "TEVENT_TRACE_AFTER_LOOP_ONCE"
        waits = ["TEVENT_TRACE_BEFORE_WAIT", "TEVENT_TRACE_AFTER_WAIT"]
        for expected in ([begin, "timer", end], [begin, *waits, "delivery", end], [begin, *waits, end]):
            assert tevent_loop_once(ev) == 0
            assert log == expected
            log.clear()
        assert tevent_loop_once(ev) == -1
        assert log == [begin, *waits, end]

    def test_odd_times(self, world: simulation, log: list[str]) -> None:
        """A timer whose microseconds are more than a second fires, and ends the wait."""
        ev = world.context()
        sec = world.now.tv_sec
        tevent_add_timer(ev, ev, timeval(sec, 5_000_000), note(log, "odd"), None)
        tevent_add_timer(ev, ev, timeval(0, 0), note(log, "zero"), None)
        assert tevent_loop_wait(ev) == 0
        assert log == ["zero", "odd"]


class TestWaiting:
    def test_a_loop_call_that_fails(self, world: simulation) -> None:
        """tevent_loop_wait() ends with what its iteration returned."""
        ev = world.context()
        tevent_context_set_wait_timeout(ev, 0)
        world.deliver(ev, 5, lambda: None, "later")
        assert tevent_loop_wait(ev) == -1
        assert get_errno() == errno.EAGAIN

    def test_nothing_left(self, world: simulation) -> None:
        """Where nothing can happen any more an iteration fails with EAGAIN, and the story names who waits."""
        ev = world.context()
        req = never_send(ev)
        set_errno(0)
        assert not tevent_req_poll(req, ev)
        assert get_errno() == errno.EAGAIN
        assert world.deadlocked
        assert world.outstanding == [req]
        assert (
            "nothing is left that could happen; outstanding: never_send#1 (struct nothing_state" in world.story[-1][1]
        )

    def test_without_waiting(self, world: simulation, log: list[str]) -> None:
        """With a wait timeout of 0 the clock does not jump: an iteration fails where nothing is ready now."""
        ev = world.context()
        tevent_context_set_wait_timeout(ev, 0)
        world.deliver(ev, 0, note(log, "now"), "now")
        world.deliver(ev, 5, note(log, "later"), "later")
        assert tevent_loop_once(ev) == 0
        assert tevent_loop_once(ev) == -1
        assert get_errno() == errno.EAGAIN
        assert (log, world.elapsed_us, world.deadlocked) == (["now"], 0, False)

    def test_wait_timeout(self, world: simulation, log: list[str]) -> None:
        """An iteration waits no longer than the wait timeout says."""
        ev = world.context()
        tevent_context_set_wait_timeout(ev, 2)
        world.deliver(ev, 5_000_000, note(log, "late"), "late")
        assert [tevent_loop_once(ev) for _ in range(2)] == [0, 0]
        assert (log, world.elapsed_us) == ([], 4_000_000)
        assert tevent_loop_once(ev) == 0
        assert (log, world.elapsed_us) == (["late"], 5_000_000)

    def test_loop_wait_waits_for_deliveries(self, world: simulation, log: list[str]) -> None:
        """tevent_loop_wait() goes on while something is under way, though the context has no event for it."""
        ev = world.context()
        world.deliver(ev, 5, lambda: world.deliver(ev, 5, note(log, "second"), "2"), "1")
        assert tevent_loop_wait(ev) == 0
        assert log == ["second"]

    def test_limits(self) -> None:
        """A run without an end fails: by its iterations, by its time, by its operations; who waits is named."""

        def again(ev: tevent_context, *_: Any) -> None:
            tevent_add_timer(ev, ev, tevent_timeval_current_ofs(1, 0), again, None)

        for limits, text in (({"steps_max": 50}, "50 iterations"), ({"span_us_max": 5_500_000}, "6 virtual seconds")):
            with (
                pytest.raises(simulation_limit, match=f"{text}; outstanding: never_send#1"),
                simulation(None, **limits) as world,
            ):
                ev = world.context()
                never_send(ev)
                again(ev)
                tevent_loop_wait(ev)
        with pytest.raises(simulation_limit, match="3 operations"), simulation(steps_max=3) as world:
            for _ in range(4):
                world.fault("dev: work")

    def test_what_a_handler_raises_leaves_the_loop(self, world: simulation, log: list[str]) -> None:
        """An exception of a delivery leaves tevent_loop_once(); the loop goes on afterwards."""
        ev = world.context()
        world.deliver(ev, 0, lambda: {}["nothing"], "bad")
        world.deliver(ev, 0, note(log, "good"), "good")
        with pytest.raises(KeyError):
            tevent_loop_once(ev)
        assert tevent_loop_once(ev) == 0
        assert log == ["good"]


class TestDeliveries:
    def test_cancel(self, world: simulation, log: list[str]) -> None:
        """A delivery that is cancelled does not arrive; one that has arrived can be cancelled without effect."""
        ev = world.context()
        one = world.deliver(ev, 5, note(log, "one"), "one")
        two = world.deliver(ev, 5, note(log, "two"), "two")
        one.cancel()
        assert (repr(one), repr(two)) == ("<delivery 'one' over>", "<delivery 'two' pending>")
        tevent_loop_wait(ev)
        two.cancel()
        assert log == ["two"]

    def test_lanes_keep_their_order(self) -> None:
        """Deliveries of one lane arrive in the order in which they were sent, whatever delay and dice say."""
        for seed in range(20):
            arrived: list[str] = []
            with simulation(seed) as world:
                ev = world.context()
                for lane in ("a", "b"):
                    for number, delay in enumerate((10, 5, 10)):
                        world.deliver(ev, delay, note(arrived, f"{lane}{number}"), lane, lane=lane)
                tevent_loop_wait(ev)
            for lane in ("a", "b"):
                assert [text for text in arrived if text[0] == lane] == [f"{lane}{number}" for number in range(3)]

    def test_freed_context(self, world: simulation, log: list[str]) -> None:
        """What is under way to a context that is freed does not arrive, and nobody waits for it."""
        ev = world.context()
        gone = world.context()
        world.deliver(gone, 5, note(log, "never"), "never")
        talloc_free(gone)
        assert tevent_loop_wait(ev) == 0
        assert (log, world.elapsed_us) == ([], 0)

    def test_started_afresh(self, world: simulation, log: list[str]) -> None:
        """tevent_re_initialise() forgets what was under way; the context stays usable."""
        ev = world.context()
        world.deliver(ev, 5, note(log, "old"), "old")
        assert tevent_re_initialise(ev) == 0
        world.deliver(ev, 5, note(log, "new"), "new")
        tevent_loop_wait(ev)
        assert log == ["new"]

    def test_wrapper(self, world: simulation, log: list[str]) -> None:
        """What is delivered to a wrapper arrives by its main context; when that is gone it does not arrive."""
        ev = world.context()
        wrapper = wrapper_of(ev)
        world.deliver(wrapper, 5, note(log, "arrives"), "x")
        tevent_loop_wait(ev)
        assert log == ["arrives"]
        owner = talloc_new(None)
        talloc_steal(owner, wrapper)
        talloc_free(ev)
        assert not world.deliver(wrapper, 5, note(log, "never"), "x").pending
        talloc_free(owner)

    def test_foreign_context(self, world: simulation) -> None:
        """A context that is not of this world gets no deliveries, one that is freed already none that arrive."""
        with pytest.raises(RuntimeError, match="inside the `with` block"):
            simulation().context()
        ev = tevent_context_init(None)
        assert ev is not None
        with pytest.raises(ValueError, match="is not of this world"):
            world.deliver(ev, 0, lambda: None, "x")
        talloc_free(ev)
        ev = world.context()
        talloc_free(ev)
        assert not world.deliver(ev, 0, lambda: None, "x").pending


class TestSeveralContexts:
    def test_a_loop_call_lets_the_others_go_on(self, world: simulation, log: list[str]) -> None:
        """Whoever waits on one context gets the answer that another one gives in its own time."""
        client, server = world.context(), world.context()

        def ask() -> None:
            world.deliver(server, 10, lambda: world.deliver(client, 10, note(log, "answer"), "answer"), "question")

        ask()
        assert tevent_loop_wait(client) == 0
        assert (log, world.elapsed_us) == (["answer"], 20)

    def test_who_goes_on_is_a_choice(self) -> None:
        """Two contexts that are ready at the same time can go on in both orders."""
        seen: set[tuple[str, ...]] = set()
        for number in range(2):
            arrived: list[str] = []
            with simulation(replay=[number]) as world:
                for name in ("a", "b"):
                    world.deliver(world.context(), 10, note(arrived, name), name)
                assert world.run()
                assert world.choice_points[0] == (2, "which context goes on", number)
            seen.add(tuple(arrived))
        assert seen == {("a", "b"), ("b", "a")}

    def test_immediates_of_another_one(self, world: simulation, log: list[str]) -> None:
        """An immediate of another context runs before the clock moves."""
        ev, other = world.context(), world.context()
        im = tevent_create_immediate(other)
        assert im is not None
        tevent_schedule_immediate(im, other, lambda *_: log.append(f"immediate at {world.elapsed_us}"), None)
        tevent_add_timer(ev, ev, tevent_timeval_current_ofs(1, 0), note(log, "timer"), None)
        tevent_loop_wait(ev)
        assert log == ["immediate at 0", "timer"]

    def test_run_until(self, world: simulation, log: list[str]) -> None:
        """run() stops when its condition is true, and says whether that came."""
        ev = world.context()
        for number in range(3):
            world.deliver(ev, number, note(log, str(number)), str(number))
        assert world.run(lambda: len(log) == 2)
        assert log == ["0", "1"]
        assert not world.run(lambda: len(log) == 4)
        assert log == ["0", "1", "2"]

    def test_not_inside_itself(self, world: simulation, log: list[str]) -> None:
        """A context whose handler runs is not stepped by what that handler waits for elsewhere."""
        outer, inner = world.context(), world.context()

        def handler() -> None:
            tevent_add_timer(inner, inner, tevent_timeval_current_ofs(1, 0), note(log, "inner"), None)
            tevent_loop_once(inner)
            log.append("handler ends")

        world.deliver(outer, 0, handler, "first")
        world.deliver(outer, 0, note(log, "second"), "second")
        tevent_loop_wait(outer)
        assert log == ["inner", "handler ends", "second"]


class TestChoices:
    @staticmethod
    def shuffled(**arguments: Any) -> tuple[list[str], simulation]:
        arrived: list[str] = []
        with simulation(**arguments) as world:
            ev = world.context()
            for number in range(6):
                world.deliver(ev, 10, note(arrived, str(number)), str(number))
            tevent_loop_wait(ev)
        return arrived, world

    def test_same_seed_same_run(self) -> None:
        """The same seed gives the same order and the same story; other seeds give others."""
        one, first = self.shuffled(seed=3)
        two, second = self.shuffled(seed=3)
        assert one == two
        assert first.story == second.story
        assert len({tuple(self.shuffled(seed=seed)[0]) for seed in range(20)}) > 10

    def test_plain_order(self) -> None:
        """Without dice things come in the order in which they were scheduled."""
        assert self.shuffled(seed=None)[0] == list("012345")

    def test_replay(self) -> None:
        """The choices of a run repeat it, and what it prints is enough for that."""
        arrived, world = self.shuffled(seed=5)
        again, _ = self.shuffled(replay=world.choices)
        assert again == arrived
        with eval(world.replay_text()) as same:
            assert same.choose(6, "0 | 1 | 2 | 3 | 4 | 5") == world.choices[0]

    def test_replay_of_something_else(self) -> None:
        """A list of choices that does not fit is refused with a sentence."""
        with pytest.raises(ValueError, match="not the one that was recorded: of the 6 ways"):
            self.shuffled(replay=[6])

    def test_own_chooser(self) -> None:
        """Who brings a chooser is asked at each choice, with its label."""
        asked: list[tuple[int, str]] = []

        def choose(n: int, label: str) -> int:
            asked.append((n, label))
            return n - 1

        arrived, world = self.shuffled(choose=choose)
        assert arrived == list("543210")
        assert asked[0] == (6, "0 | 1 | 2 | 3 | 4 | 5")
        assert [n for n, _ in asked] == [6, 5, 4, 3, 2]
        assert world.choices == [5, 4, 3, 2, 1]

    def test_bad_answers(self, world: simulation) -> None:
        """No way at all, and an answer that is none of the ways, are errors; the only way is no choice."""
        with pytest.raises(ValueError, match="there are 0 ways"):
            world.choose(0, "x")
        assert world.choose(1, "x") == 0
        assert world.choices == []

    def test_bad_chooser(self) -> None:
        """A chooser that answers none of the ways is told so."""
        with pytest.raises(ValueError, match="the chooser answered 2"), simulation(choose=lambda *_: 2) as world:
            world.choose(2, "x")


class TestFaults:
    def test_by_number_and_by_name(self) -> None:
        """A plan names an operation by its number, by its name and count, or by its name alone, in this order."""
        plan = {0: errno.EIO, "a: read #1": errno.EPIPE, "b: read": "cut"}
        with simulation(faults=plan) as world:
            names = ["a: read", "a: read", "a: read", "b: read", "b: read"]
            assert [world.fault(name) for name in names] == [errno.EIO, errno.EPIPE, None, "cut", "cut"]
            assert [point.name for point in world.operations][2:4] == ["a: read #2", "b: read #0"]
            assert "operation 1: a: read #1: EPIPE" in world.story_text()
            assert f"faults={plan!r}" in world.replay_text()

    def test_by_function(self) -> None:
        """A plan that is a function is asked with number and name; None is nothing unusual."""
        with simulation(faults=lambda number, name: errno.EIO if number == 1 else None) as world:
            assert world.fault("x", 5) == 5
            assert world.fault("x", 5, fails=False) == errno.EIO
            assert world.operations == [("x #0", True), ("x #1", False)]


class TestStory:
    def test_a_failure_tells_it(self) -> None:
        """What leaves the world carries the story, who waits, and how to see it again."""
        with pytest.raises(AssertionError) as caught, simulation(1) as world:
            ev = world.context()
            never_send(ev)
            for number in range(3):
                world.deliver(ev, 2_500_000, lambda: None, f"message {number}")
            tevent_loop_wait(ev)
            raise AssertionError("wrong")
        (told,) = caught.value.__notes__
        assert "    2.500000  message 0" in told
        assert "never_send#1 begins" in told
        assert "outstanding: never_send#1 (struct nothing_state, made at " in told
        assert f"to see it again: simulation(replay={world.choices})" in told

    def test_long_ones_are_cut(self, world: simulation) -> None:
        """Only the end of a long story is shown, and how much is left out."""
        for number in range(5):
            world.tell(f"line {number}")
        assert world.story_text(2).splitlines() == [
            "(3 earlier lines are left out)",
            "    0.000000  line 3",
            "    0.000000  line 4",
        ]

    def test_requests(self, world: simulation) -> None:
        """Requests are numbered; their begin, their end and who is called are told."""
        ev = world.context()
        req = tevent_wakeup_send(ev, ev, world.now)
        assert req is not None
        assert tevent_req_poll(req, ev)
        talloc_free(req)
        assert [text for _, text in world.story] == ["tevent_wakeup_send#1 begins", "timer _timed_out is due"]
        assert world.outstanding == []

    def test_queues_and_cancellations(self, world: simulation) -> None:
        """That a request enters a queue, has its turn, and is asked to give up, is told."""
        ev = world.context()
        queue = tevent_queue_create(world.top, "line")
        assert queue is not None
        req = tevent_queue_wait_send(world.top, ev, queue)
        assert req is not None
        tevent_req_cancel(req)
        tevent_loop_wait(ev)
        name = "tevent_queue_wait_send#1"
        assert [text for _, text in world.story] == [
            f"{name} begins",
            f"{name} enters a queue",
            f"{name} is asked to give up",
            "an immediate runs",
            f"{name} has its turn in the queue",
        ]

    def test_the_watcher_of_before_is_kept(self) -> None:
        """Who watched the flow of calls before is told on, and has it for himself again afterwards."""
        heard: list[int] = []
        watchers = tevent_trace.request_watchers

        def watch(_data: object, cmd: int, _req: object, _depth: int, _name: object) -> None:
            heard.append(cmd)

        tevent_thread_call_depth_set_callback(watch, None)
        try:
            with simulation() as world:
                never_send(world.top)
            assert tevent_trace.TEVENT_CALL_FLOW_REQ_CREATE in heard
            heard.clear()
            top = talloc_new(None)
            assert top is not None
            never_send(top)
            talloc_free(top)
            assert tevent_trace.TEVENT_CALL_FLOW_REQ_CREATE in heard
        finally:
            tevent_thread_call_depth_set_callback(None, None)
        assert tevent_trace.request_watchers == watchers


class TestOwnership:
    def test_the_end(self) -> None:
        """The world frees its own contexts, then what belongs to it; a context of somebody else stays his."""
        order: list[str] = []
        top = talloc_new(None)
        with simulation() as world:
            ev, other = world.context(), world.context(top)
            for name, owner in (("context", ev), ("top", world.top), ("other", other)):
                child = talloc_new(owner)
                talloc_set_destructor(child, lambda _, name=name: order.append(name))
            assert world.owns(talloc_new(talloc_new(world.top)))  # type: ignore[arg-type]
            assert not world.owns(child)  # type: ignore[arg-type]
        assert order == ["context", "top"]
        with pytest.raises(RuntimeError, match="the simulation that this context lives in is over"):
            tevent_loop_once(other)
        talloc_free(top)
        assert order == ["context", "top", "other"]

    def test_default(self) -> None:
        """A program that makes its context itself lives in a world that is the default; afterwards all is as before."""
        backends = tevent_backend_list(None)
        with simulation(default=True) as world:
            ev = tevent_context_init(world.top)
            assert ev is not None
            req = tevent_wakeup_send(ev, ev, tevent_timeval_current_ofs(3600, 0))
            assert req is not None
            assert tevent_req_poll(req, ev)
            assert world.elapsed_us == 3600 * 1000000
            named = tevent_context_init_byname(world.top, "epoll")
            assert named is not None
            assert named.ops is not ev.ops
        assert list(tevent_backend_list(None)) == list(backends)
        ev = tevent_context_init(None)
        assert ev is not None
        assert not isinstance(ev.additional_data, simulation)
        talloc_free(ev)
        with simulation() as world:
            ev = tevent_context_init(world.top)
            assert ev is not None
            assert ev not in world.contexts

    def test_memory_limit(self, world: simulation) -> None:
        """A memory limit that forbids the context is an error of Python's, as nobody looks for None in a test."""
        top = talloc_new(None)
        assert top is not None
        talloc_set_memlimit(top, 1)
        with pytest.raises(MemoryError):
            world.context(top)
        talloc_free(top)

    def test_no_descriptors(self, world: simulation) -> None:
        """Descriptors, signals and threads are refused with a sentence."""
        ev = world.context()
        with pytest.raises(RuntimeError, match="descriptor 0 with handler <lambda>: a simulated context has no"):
            tevent_add_fd(ev, ev, 0, TEVENT_FD_READ, lambda *_: None, None)
        with pytest.raises(RuntimeError, match="signal 10 with handler <lambda>: a simulated context has no signals"):
            tevent_add_signal(ev, ev, 10, 0, lambda *_: None, None)
        with pytest.raises(RuntimeError, match="immediates of other threads"):
            tevent_threaded_context_create(ev, ev)
