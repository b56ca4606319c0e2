# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Who chooses where a simulated world has more than one way to go on.

A chooser is a function ``(n, label) -> int`` that returns one of 0 to n - 1. 0 always stands for what comes first in
the plain order: what was scheduled for the earliest time, and of those the one that was scheduled first.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    chooser = Callable[[int, str], int]

__all__ = ["another_run", "by_replay", "by_seed", "first_always"]


class another_run(ValueError):
    """What is to be repeated does not fit: the run has less to choose from than the one that was recorded."""


def first_always(_n: int, _label: str) -> int:
    """The plain order."""
    return 0


def by_seed(seed: int) -> chooser:
    """A chooser that throws dice: the same ones for the same *seed*, in every version of Python."""
    from random import Random

    dice = Random(seed)

    def choose(n: int, _label: str) -> int:
        # Of all methods of Random only this one is promised to give the same numbers for ever.
        return int(dice.random() * n)

    return choose


def by_replay(numbers: Sequence[int]) -> chooser:
    """A chooser that repeats the *numbers* of an earlier run, and goes on in the plain order behind them."""
    left = list(reversed(numbers))

    def choose(n: int, label: str) -> int:
        number = left.pop() if left else 0
        if not 0 <= number < n:
            raise another_run(
                f"the run is not the one that was recorded: of the {n} ways at {label!r} number {number} is to be taken"
            )
        return number

    return choose
