# SPDX-License-Identifier: LGPL-3.0-or-later
"""Timers against C's own algorithm: a list, a walk from its end, and the place of the last zero timer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from talloc_py import talloc_free
from tevent import (
    tevent_add_timer,
    tevent_context_init_byname,
    tevent_loop_once,
    tevent_timeval_add,
    tevent_timeval_compare,
    tevent_timeval_until,
    tevent_update_timer,
    timeval,
)

if TYPE_CHECKING:
    from tevent import tevent_context, tevent_timer

#: All of them are in the past, so that every timer is due.
times = st.builds(
    timeval,
    st.sampled_from([-2, -1, 0, 0, 0, 0, 1, 2]),
    st.sampled_from([0, 0, 0, 1, 999999, 1500000, -3]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), times),
        st.tuples(st.just("update"), st.integers(0, 30), times),
        st.tuples(st.just("free"), st.integers(0, 30)),
        st.tuples(st.just("turn")),
    ),
    max_size=60,
)


class Model:
    """The list as C keeps it."""

    def __init__(self) -> None:
        self.timers: list[tuple[timeval, int]] = []
        self.last_zero: int | None = None

    def insert(self, tv: timeval, number: int, zero_rule: bool) -> None:
        if not self.timers:
            self.last_zero = None
        if zero_rule and tv == (0, 0):
            place = 0 if self.last_zero is None else self.place(self.last_zero) + 1
            self.last_zero = number
        else:
            place = len(self.timers)
            while place and tv < self.timers[place - 1][0]:
                place -= 1
        self.timers.insert(place, (tv, number))

    def place(self, number: int) -> int:
        return next(i for i, (_, other) in enumerate(self.timers) if other == number)

    def remove(self, number: int) -> None:
        place = self.place(number)
        if self.last_zero == number:
            self.last_zero = self.timers[place - 1][1] if place else None
        del self.timers[place]


@given(steps)
def test_order_is_that_of_c_s_list(steps: list[Any]) -> None:
    """Any mix of adding, updating, freeing and firing keeps C's order."""
    ev = tevent_context_init_byname(None, "epoll")
    assert ev is not None
    model = Model()
    live: dict[int, tevent_timer] = {}
    fired: list[int] = []

    def handler(ev: tevent_context, te: tevent_timer, now: timeval, number: int) -> None:
        fired.append(number)
        del live[number]

    try:
        for count, step in enumerate(steps):
            if step[0] == "add":
                te = tevent_add_timer(ev, None, step[1], handler, count)
                assert te is not None
                live[count] = te
                model.insert(step[1], count, True)
            elif step[0] == "turn" and live:
                number = model.timers[0][1]
                assert tevent_loop_once(ev) == 0
                model.remove(number)
                assert fired.pop() == number
            elif step[0] != "turn" and live:
                number = sorted(live)[step[1] % len(live)]
                model.remove(number)
                if step[0] == "free":
                    assert talloc_free(live.pop(number)) == 0
                else:
                    tevent_update_timer(live[number], step[2])
                    model.insert(step[2], number, False)
            ev.timers._check_invariants()
            assert [te.private_data for te in ev.timer_events] == [number for _, number in model.timers]
            first = ev.timers.first()
            assert (first is None) == (not model.timers)
            assert first is None or first.private_data == model.timers[0][1]
    finally:
        talloc_free(ev)


seconds = st.integers(0, 2**40)
microseconds = st.integers(0, 999999)
u32 = st.integers(0, 2**32 - 1)
normal = st.builds(timeval, seconds, microseconds)


@given(normal, u32, u32)
def test_add_is_addition(tv: timeval, secs: int, usecs: int) -> None:
    """The result is normalised and exact."""
    later = tevent_timeval_add(tv, secs, usecs)
    assert 0 <= later.tv_usec < 1000000
    assert later.tv_sec * 1000000 + later.tv_usec == (tv.tv_sec + secs) * 1000000 + tv.tv_usec + usecs


@given(normal, normal)
def test_until_is_the_difference(tv1: timeval, tv2: timeval) -> None:
    """Never below zero, and antisymmetric with compare."""
    span = tevent_timeval_until(tv1, tv2)
    assert 0 <= span.tv_usec < 1000000
    us1, us2 = (tv.tv_sec * 1000000 + tv.tv_usec for tv in (tv1, tv2))
    assert span.tv_sec * 1000000 + span.tv_usec == max(us2 - us1, 0)
    assert tevent_timeval_compare(tv1, tv2) == (us1 > us2) - (us1 < us2) == -tevent_timeval_compare(tv2, tv1)
