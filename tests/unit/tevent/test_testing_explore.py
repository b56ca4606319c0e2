# SPDX-License-Identifier: LGPL-3.0-or-later
"""The search through all orders."""

from __future__ import annotations

import itertools

import pytest

from tevent import tevent_loop_wait, tevent_timeval_current, timeval
from tevent.testing import explore, simulation


def arrivals(world: simulation, count: int) -> list[int]:
    """In which order *count* messages of the same time arrive."""
    ev = world.context()
    arrived: list[int] = []
    for number in range(count):
        world.deliver(ev, 10, lambda number=number: arrived.append(number), f"message {number}")
    tevent_loop_wait(ev)
    return arrived


def test_all_orders_once() -> None:
    """Every order is run, and none twice."""
    seen: list[tuple[int, ...]] = []
    result = explore(lambda world: seen.append(tuple(arrivals(world, 4))))
    assert sorted(seen) == sorted(itertools.permutations(range(4)))
    assert (result.runs, result.complete) == (24, True)


def test_few_departures_first() -> None:
    """The plain order comes first, then those that depart from it at one point, and so on."""
    departures: list[int] = []

    def run(world: simulation) -> None:
        arrivals(world, 4)
        departures.append(sum(number != 0 for number in world.choices))

    explore(run)
    assert departures == sorted(departures)
    assert departures[0] == 0


def test_bounds() -> None:
    """A search that is cut short, by runs or by points, says that these were not all."""
    result = explore(lambda world: arrivals(world, 5), runs_max=10, samples=3)
    assert (result.runs, result.complete) == (13, False)
    result = explore(lambda world: arrivals(world, 4), points_max=1, samples=0)
    assert (result.runs, result.complete) == (4, False)
    assert repr(result) == "<exploration: 4 orders, not all of them>"


def test_no_choice() -> None:
    """Where there is nothing to choose there is one order."""
    result = explore(lambda world: arrivals(world, 1))
    assert (result.runs, result.complete) == (1, True)


def fails_when_4_and_3_come_early(world: simulation) -> None:
    arrived = arrivals(world, 6)
    assert not (arrived.index(4) < arrived.index(1) and arrived.index(3) < arrived.index(0)), arrived


def test_the_simplest_failing_order() -> None:
    """A failure is raised as it is for the simplest order that fails, with the story and how to repeat it."""
    with pytest.raises(AssertionError) as caught:
        explore(fails_when_4_and_3_come_early)
    story, summary = caught.value.__notes__
    assert summary.endswith("chooses [3, 3]")
    assert "message 4" in story
    assert "simulation(replay=[3, 3])" in story
    with pytest.raises(AssertionError), simulation(replay=[3, 3]) as world:
        fails_when_4_and_3_come_early(world)


def test_what_dice_find_is_made_simple() -> None:
    """Where the search was cut short dice go on; what they find loses the departures that it does not need."""

    def run(world: simulation) -> None:
        numbers = [world.choose(3, "x") for _ in range(8)]
        assert 2 not in numbers[5:], numbers

    with pytest.raises(AssertionError) as caught:
        explore(run, runs_max=5, samples=20)
    assert caught.value.__notes__[-1].endswith("chooses [0, 0, 0, 0, 0, 2]")


def test_what_stands_in_between_goes() -> None:
    """Needless choices before the ones that matter go, too; and no order is tried twice for that."""
    seen: list[tuple[int, ...]] = []  # from the first that fails on

    def run(world: simulation) -> None:
        numbers = [world.choose(3, "x") for _ in range(8)]
        found = (1, 2) in itertools.pairwise(numbers)
        if found or seen:
            seen.append(tuple(numbers))
        assert not found, numbers

    with pytest.raises(AssertionError) as caught:
        explore(run, runs_max=5, samples=50)
    assert caught.value.__notes__[-1].endswith("chooses [1, 2]")
    assert len(set(seen)) == len(seen)


def test_shrinking_keeps_to_the_same_failure() -> None:
    """A simpler order that fails in another way does not take the place of the one that was found."""
    found: list[bool] = []

    def run(world: simulation) -> None:
        first, second = world.choose(3, "kind"), world.choose(3, "more")
        if first == 2 and second == 2:
            found.append(True)
            raise KeyError("complicated")
        if first == 2 and second == 0 and found:
            raise ValueError("simple")

    with pytest.raises(KeyError) as caught:
        explore(run, runs_max=1, samples=50)
    assert caught.value.__notes__[-1].endswith("chooses [2, 2]")


def test_worlds_have_the_options() -> None:
    """The options are those of the worlds."""

    def run(world: simulation) -> None:
        assert tevent_timeval_current() == timeval(77, 0)
        assert world.fault("x") == 5

    assert explore(run, start=timeval(77, 0), faults={"x": 5}).complete
