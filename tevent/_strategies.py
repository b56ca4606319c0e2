# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Hypothesis strategies for simulated worlds; `tevent.testing.strategies`, with the extra ``testing``.

House rule of these strategies: what is dull is small, so that examples shrink to "nothing special happens".
"""

from __future__ import annotations

from hypothesis import strategies as st

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DataObject, DrawFn, SearchStrategy

__all__ = ["delays_us", "drawn_from", "schedules"]

_HOUR_US = 3600 * 1_000_000


def drawn_from(data: DataObject) -> Callable[[int, str], int]:
    """A chooser for `simulation` that draws each choice from *data*, what ``hypothesis.strategies.data()`` gives."""

    def choose(n: int, label: str) -> int:
        return data.draw(st.integers(0, n - 1), label=label)

    return choose


@st.composite
def schedules(draw: DrawFn) -> Callable[[int, str], int]:
    """
    Choosers: whatever could happen in another order, or in another way, does.

        @given(schedules())
        def test_any_order(choose):
            with simulation(choose=choose) as world:
                ...

    The choices are drawn while the world runs, and a failing example prints them with what there was to choose from.
    They shrink to the plain order, in which everything comes as it was scheduled and nothing goes wrong.
    """
    return drawn_from(draw(st.data()))


def delays_us(max_value: int = _HOUR_US) -> SearchStrategy[int]:
    """Durations in microseconds: none, the shortest, round ones, and any others up to *max_value*."""
    round_ones = [0, 1, *(10**n for n in range(3, 10))]
    return st.sampled_from([each for each in round_ones if each <= max_value]) | st.integers(0, max_value)
