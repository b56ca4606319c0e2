# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What `growth.py` and its scenarios share.

A scenario does something with so many items, in steps; each step's cost for one item is what must not grow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from harness import Stopwatch

SIZES = (1_000, 10_000, 30_000, 100_000)


class Steps:
    """Takes the time of each step of a scenario."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.total: dict[str, float] = {}
        self.times = 0

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """What is done inside is the step *name*."""
        watch = Stopwatch()
        yield
        self.total[name] = self.total.get(name, 0.0) + watch.cost(self.size).cpu

    def costs(self) -> dict[str, float]:
        """Microseconds of CPU for one item, by step."""
        return {name: total / self.times for name, total in self.total.items()}


class Scenario(NamedTuple):
    """A function of the steps and a size; sizes that make sense; steps that must grow, with the reason of each."""

    run: Callable[[Steps, int], object]
    sizes: tuple[int, ...]
    grows: dict[str, str]


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *sizes: int, grows: dict[str, str] | None = None
) -> Callable[[Callable[[Steps, int], object]], Callable[[Steps, int], object]]:
    """Enter a function; its docstring, one line, is the scenario's name."""

    def enter(function: Callable[[Steps, int], object]) -> Callable[[Steps, int], object]:
        assert function.__doc__ is not None
        SCENARIOS[function.__doc__.rstrip(".")] = Scenario(function, sizes or SIZES, grows or {})
        return function

    return enter


def measure(name: str, size: int, items: int = 20_000) -> dict[str, float]:
    """The cost of each step of a scenario at one size, repeated for so many *items*, after a first time in vain."""
    run = SCENARIOS[name].run
    run(Steps(min(size, 300)), min(size, 300))
    steps = Steps(size)
    while steps.times == 0 or steps.times * size < items:
        run(steps, size)
        steps.times += 1
    return steps.costs()
