# SPDX-License-Identifier: LGPL-3.0-or-later
"""The simulated world, for any program of timers and deliveries, and any choices."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from tevent import tevent_add_timer, tevent_loop_wait, tevent_timeval_add
from tevent.testing import simulation


class event(NamedTuple):
    """Something that happens after a delay; then what follows from it begins."""

    kind: str  # "timer", "delivery", or the name of a lane
    delay_us: int
    cancels: int | None  # the number of an event that it cancels, if that is under way
    then: list[event]


def events() -> st.SearchStrategy[list[event]]:
    """Programs: events that lead to others."""
    kinds = st.sampled_from(["timer", "delivery", "lane a", "lane b"])
    few = st.integers(0, 3)  # the same times now and then
    leaf = st.builds(event, kinds, few, st.none() | few, st.just([]))
    tree = st.recursive(
        leaf, lambda then: st.builds(event, kinds, few, st.none() | few, st.lists(then, max_size=3)), max_leaves=12
    )
    return st.lists(tree, max_size=6)


class player:
    """Plays a program in a world and writes down what happened."""

    def __init__(self, world: simulation, program: list[event]) -> None:
        self.world = world
        self.ev = world.context()
        self.under_way: dict[int, object] = {}
        self.made: list[tuple[str, int]] = []  # kind and due time, in the order of making
        self.cancelled: set[int] = set()
        self.happened: list[tuple[int, int]] = []  # number and time
        self.begin(program)
        assert tevent_loop_wait(self.ev) == 0

    def begin(self, program: list[event]) -> None:
        for each in program:
            number = len(self.made)
            self.made.append((each.kind, self.world.elapsed_us + each.delay_us))
            if each.kind == "timer":
                when = tevent_timeval_add(self.world.now, 0, each.delay_us)
                tevent_add_timer(self.ev, self.ev, when, lambda *_, n=number, e=each: self.happens(n, e), None)
            else:
                lane = None if each.kind == "delivery" else each.kind
                self.under_way[number] = self.world.deliver(
                    self.ev, each.delay_us, lambda n=number, e=each: self.happens(n, e), str(number), lane=lane
                )

    def happens(self, number: int, this: event) -> None:
        self.happened.append((number, self.world.elapsed_us))
        self.under_way.pop(number, None)
        if this.cancels in self.under_way:
            assert this.cancels is not None
            self.under_way.pop(this.cancels).cancel()  # type: ignore[attr-defined]
            self.cancelled.add(this.cancels)
        self.begin(this.then)


@given(events(), st.data())
def test_everything_happens_once_and_in_time(program: list[event], data: st.DataObject) -> None:
    """What is not cancelled happens once, at its time and not before; only what shares a lane may be later."""
    with simulation(choose=lambda n, label: data.draw(st.integers(0, n - 1), label)) as world:
        played = player(world, program)
    assert sorted([number for number, _ in played.happened] + list(played.cancelled)) == list(range(len(played.made)))
    assert [time for _, time in played.happened] == sorted(time for _, time in played.happened)
    for number, time in played.happened:
        kind, due = played.made[number]
        assert time == due or (kind.startswith("lane") and time > due)


@given(events(), st.integers(0, 5))
def test_lanes_keep_their_order(program: list[event], seed: int) -> None:
    """In a lane nothing overtakes what was sent before it."""
    with simulation(seed) as world:
        played = player(world, program)
    for lane in ("lane a", "lane b"):
        numbers = [number for number, _ in played.happened if played.made[number][0] == lane]
        assert numbers == sorted(numbers)


@given(events(), st.integers(0, 5))
def test_a_replay_is_the_same_run(program: list[event], seed: int) -> None:
    """The choices of a run make it once more, story and all; so does its seed."""
    stories: list[object] = []
    choices: list[int] = []
    for arguments in ({"seed": seed}, {"seed": seed}, {"replay": choices}):
        with simulation(**arguments) as world:  # type: ignore[arg-type]
            played = player(world, program)
        choices[:] = world.choices
        stories.append((world.story, played.happened))
    assert stories[0] == stories[1] == stories[2]
