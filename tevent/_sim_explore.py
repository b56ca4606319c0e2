# SPDX-License-Identifier: LGPL-3.0-or-later
"""
All orders in which a simulated world can go on, up to a bound; and of those that fail the simplest.

An order is the list of what was chosen at each choice point; behind its end everything goes on in the plain order.
From an order that was run those that depart from it at one later point are made, which meets each order exactly once.
Those with few departures come first: few bugs need more than two (the observation behind delay-bounded scheduling,
Emmi, Qadeer and Rakamarić 2011), and a search that is cut short has then seen the likely ones.

Where the search was cut short, some orders that dice have chosen are run too, for what hides deep; of one that fails
the needless departures are taken away again.

Cost: as many runs as there are orders, or `runs_max` and `samples`.
"""

from __future__ import annotations

from collections import deque
from typing import TypedDict

from ._sim import simulation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Unpack

    from .timed import timeval

    order = list[int]
    runner = Callable[[simulation], object]

__all__ = ["exploration", "explore", "order_search", "world_options"]

_SHRINKS_MAX = 500


class world_options(TypedDict, total=False):
    """What `explore` hands on to each `simulation`; described there."""

    start: timeval
    faults: Mapping[int | str, Any]
    steps_max: int
    span_us_max: int


class exploration:
    """
    What `explore` has done; that it returns means that no order failed.

    Attributes:
        runs: How many orders were run.

        complete: Whether these were all.
    """

    __slots__ = ("complete", "runs")

    def __init__(self, runs: int, complete: bool) -> None:
        self.runs: int = runs
        self.complete: bool = complete

    def __repr__(self) -> str:
        return f"<exploration: {self.runs} orders, {'all' if self.complete else 'not all'} of them>"


def explore(
    run: runner, *, runs_max: int = 2000, points_max: int = 100, samples: int = 100, **options: Unpack[world_options]
) -> exploration:
    """
    Run a test in all orders, up to a bound.

    Args:
        run: Called with an active world, once an order; makes its contexts, and raises where something is wrong. What
            it does must depend on the world alone.

        runs_max: So many orders at most. Those with the fewest departures from the plain order come first.

        points_max: Only the first so many choice points of a run are varied.

        samples: So many orders are thrown with dice where those that were run are not all.

        options: For the worlds, see `simulation`.

    Raises:
        What *run* raised in the simplest order that fails in the same way; its notes tell the story and what to write
        to see it again.
    """
    orders = order_search(points_max)
    while orders.waiting and orders.runs < runs_max:
        asked = orders.take()
        this = _attempt(run, simulation(replay=asked, **options))
        if this.error is not None:
            _raise_simplest(run, this, orders.runs, options)
        orders.add(asked, this.points)
    if orders.complete:
        return exploration(orders.runs, True)
    for seed in range(samples):
        this = _attempt(run, simulation(seed, **options))
        if this.error is not None:
            _raise_simplest(run, this, orders.runs + seed + 1, options)
    return exploration(orders.runs + samples, False)


class order_search:
    """The orders that are still to be run, those with the fewest departures first."""

    __slots__ = ("cut", "points_max", "runs", "waiting")

    def __init__(self, points_max: int) -> None:
        self.points_max: int = points_max
        self.waiting: deque[order] = deque([[]])
        self.runs: int = 0
        #: There was a run with more choice points than are varied.
        self.cut: bool = False

    @property
    def complete(self) -> bool:
        """Whether all orders were run."""
        return not self.waiting and not self.cut

    def take(self) -> order:
        """The order to be run next."""
        self.runs += 1
        return self.waiting.popleft()

    def add(self, asked: order, points: list[tuple[int, str, int]]) -> None:
        """Add those that depart from an order that was run at one point behind those that were *asked* for."""
        self.cut = self.cut or len(points) > self.points_max
        chosen = [number for _, _, number in points]
        for place in range(len(asked), min(len(chosen), self.points_max)):
            for number in range(1, points[place][0]):
                self.waiting.append([*chosen[:place], number])


class _attempt:
    """One run: what there was to choose, and how it ended."""

    __slots__ = ("error", "points")

    def __init__(self, run: runner, world: simulation) -> None:
        self.error: Exception | None = None
        try:
            with world:
                run(world)
        except Exception as error:
            self.error = error
        self.points: list[tuple[int, str, int]] = world.choice_points

    @property
    def order(self) -> order:
        """What was chosen, without what the plain order would have chosen at the end anyway."""
        return _trimmed([number for _, _, number in self.points])


def _trimmed(numbers: order) -> order:
    end = len(numbers)
    while end and numbers[end - 1] == 0:
        end -= 1
    return numbers[:end]


def _raise_simplest(run: runner, failed: _attempt, runs: int, options: world_options) -> None:
    """Make the order of a failed run simpler as long as it fails in the same way, then raise what it fails with."""
    best = failed
    tried = {tuple(best.order)}
    left = _SHRINKS_MAX
    better = True
    while better and left:
        better = False
        for simpler in _simpler(best.order):
            if tuple(simpler) in tried or not left:
                continue
            tried.add(tuple(simpler))
            left -= 1
            again = _attempt(run, simulation(replay=simpler, **options))
            if type(again.error) is type(failed.error) and _size(again.order) < _size(best.order):
                best = again
                better = True
                break
    error = best.error
    assert error is not None
    error.add_note(f"the simplest of the orders that fail, found after {runs} runs, chooses {best.order}")
    raise error


def _size(numbers: order) -> tuple[int, int, order]:
    """How complicated an order is: by its departures, then by its length."""
    return sum(number != 0 for number in numbers), len(numbers), numbers


def _simpler(numbers: order) -> Iterator[order]:
    """Orders that are a little simpler."""
    for place, number in enumerate(numbers):
        if number:
            yield _trimmed([*numbers[:place], 0, *numbers[place + 1 :]])
    for place in range(len(numbers)):
        yield _trimmed(numbers[:place] + numbers[place + 1 :])
    for place, number in enumerate(numbers):
        if number > 1:
            yield [*numbers[:place], number - 1, *numbers[place + 1 :]]
