# SPDX-License-Identifier: LGPL-3.0-or-later
"""An area's generator behind Hypothesis, which then looks for short programs that differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from .program import Area, Pair
from .real import Real

T = TypeVar("T")


class Drawn:
    """Choices that Hypothesis makes, remembers and simplifies."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def integer(self, low: int, high: int) -> int:
        """One of *low* to *high*."""
        return self._data.draw(st.integers(low, high))

    def pick(self, items: Sequence[T]) -> T:
        """One of *items*."""
        return self._data.draw(st.sampled_from(items))

    def chance(self, percent: int) -> bool:
        """True in about *percent* of the cases."""
        return self._data.draw(st.integers(0, 99)) >= 100 - percent


def machine(area: type[Area], real: Real) -> type[RuleBasedStateMachine]:
    """A state machine whose one step is the area's next line."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.area = area()
            self.pair = Pair(self.area, real)

        @rule(data=st.data())
        def line(self, data: st.DataObject) -> None:
            if not self.pair.over:
                line = self.area.next_line(Drawn(data))
                self.area.saw(line, self.pair.run(line))

        def teardown(self) -> None:
            if self.pair.over:
                self.pair.close()
            else:
                self.pair.end()

    return Machine


def search(area: type[Area], real: Real, *, programs: int, lines: int) -> None:
    """Let Hypothesis try *programs* programs of up to *lines* lines; raises the shortest Divergence it finds."""
    run_state_machine_as_test(
        machine(area, real),
        settings=settings(
            max_examples=programs,
            stateful_step_count=lines,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
