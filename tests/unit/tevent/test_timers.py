# SPDX-License-Identifier: LGPL-3.0-or-later
"""Timers: order, what the handler gets, update, free, cost."""

from __future__ import annotations

from typing import Any

import pytest
from tevent_kit import Clock, Recorder, context, turns

from talloc_py import (
    TALLOC_CTX,
    talloc_free,
    talloc_get_name,
    talloc_new,
    talloc_parent,
    talloc_set_abort_fn,
    talloc_set_destructor,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tevent import (
    tevent_abort_error,
    tevent_add_timer,
    tevent_common_add_timer,
    tevent_common_invoke_timer_handler,
    tevent_common_loop_timer_delay,
    tevent_context,
    tevent_loop_once,
    tevent_loop_wait,
    tevent_re_initialise,
    tevent_timer,
    tevent_timer_get_tag,
    tevent_timer_set_tag,
    tevent_timeval_zero,
    tevent_update_timer,
    timeval,
)

ZERO = timeval(0, 0)


def add(
    ev: tevent_context, tv: tuple[int, int], handler: Any, private_data: Any = None, ctx: Any = None
) -> tevent_timer:
    """A timer that is there."""
    te = tevent_add_timer(ev, ctx, timeval(*tv), handler, private_data)
    assert te is not None
    return te


class TestAdd:
    def test_owner(self, ev: tevent_context, top: TALLOC_CTX, log: Recorder) -> None:
        """mem_ctx, or the context itself."""
        te = add(ev, (1, 0), log.timer)
        assert talloc_parent(te) is ev
        assert talloc_parent(add(ev, (1, 0), log.timer, None, top)) is top
        assert talloc_get_name(te) == "struct tevent_timer"

    def test_fields(self, ev: tevent_context, log: Recorder) -> None:
        """What a backend finds in it."""
        te = add(ev, (1, 2), log.timer, "private")
        assert (te.next_event, te.event_ctx, te.private_data, te.handler_name) == ((1, 2), ev, "private", "timer")
        assert te.handler == log.timer

    def test_memory_limit(self, ev: tevent_context, log: Recorder) -> None:
        """None where a limit forbids it."""
        tight = talloc_new(None)
        assert tight is not None
        talloc_set_memlimit(tight, 1)
        assert tevent_add_timer(ev, tight, ZERO, log.timer, None) is None
        assert not ev.timer_events
        talloc_free(tight)

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ((None, (0, 0), None, None), "next_event must be a timeval, not tuple"),
            ((None, 5, None, None), "next_event must be a timeval, not int"),
            ((None, ZERO, 5, None), "handler must be callable or None, not int"),
            ((5, ZERO, None, None), "talloc chunk"),
        ],
    )
    def test_wrong_types(self, ev: tevent_context, args: Any, message: str) -> None:
        """Each is named."""
        with pytest.raises(TypeError, match=message):
            tevent_add_timer(ev, *args)
        assert not ev.timer_events

    def test_class_is_not_called(self) -> None:
        """Only the function makes timers."""
        with pytest.raises(TypeError, match="made by tevent_add_timer"):
            tevent_timer()

    def test_repr(self, ev: tevent_context, log: Recorder) -> None:
        """It tells when it is due, and when that is over."""
        texts: list[str] = []
        te = add(ev, (5, 6), lambda ev, te, now, p: texts.append(repr(te)))
        assert "due (5, 6)" in repr(te)
        turns(ev, 2)
        assert "running" in texts[0]
        assert "freed" in repr(te)
        te = add(ev, (5, 6), log.timer)
        tevent_re_initialise(ev)
        assert "detached" in repr(te)

    def test_times_are_as_given(self, ev: tevent_context, log: Recorder) -> None:
        """Also those that are not normalised, and after an update."""
        odd = [(0, 0), (0, 7), (5, 999999), (-3, 5), (5, 1000000), (5, 2**63 - 1), (5, -1), (5, -(2**63)), (-3, -5)]
        timers = [add(ev, tv, log.timer) for tv in odd]
        assert [te.next_event for te in timers] == odd
        for te, tv in zip(timers, reversed(odd), strict=True):
            tevent_update_timer(te, timeval(*tv))
        assert [te.next_event for te in timers] == odd[::-1]
        assert [te.next_event for te in ev.timer_events] == sorted(odd)

    @pytest.mark.parametrize("tv", [(1.5, 0), (1, 0.5), ("1", 0), (None, 0)])
    def test_numbers_only(self, ev: tevent_context, log: Recorder, tv: Any) -> None:
        """What is no int is refused, and nothing stays behind."""
        blocks = talloc_total_blocks(ev)
        with pytest.raises(TypeError):
            tevent_add_timer(ev, None, timeval(*tv), log.timer, None)
        assert not ev.timer_events
        assert talloc_total_blocks(ev) == blocks

    def test_a_handler_must_be_callable(self, ev: tevent_context) -> None:
        """Or None."""
        with pytest.raises(TypeError, match="handler must be callable or None, not int"):
            tevent_add_timer(ev, None, timeval(1, 0), 5, None)  # type: ignore[arg-type]

    def test_on_something_dead(self, top: TALLOC_CTX, log: Recorder) -> None:
        """A context or an owner that was freed goes to the abort function; None where that returns."""
        reasons: list[str] = []
        ev, dead, owner = context(top), context(top), talloc_new(top)
        talloc_free(dead)
        talloc_free(owner)
        talloc_set_abort_fn(reasons.append)
        try:
            assert tevent_add_timer(dead, None, timeval(1, 0), log.timer, None) is None
            assert tevent_add_timer(dead, top, timeval(1, 0), log.timer, None) is None
            assert tevent_add_timer(ev, owner, timeval(1, 0), log.timer, None) is None
        finally:
            talloc_set_abort_fn(None)
        assert len(reasons) == 3
        assert all("access after free" in reason for reason in reasons)
        assert not ev.timer_events


class TestFiring:
    def test_once_and_then_freed(self, ev: tevent_context, top: TALLOC_CTX, log: Recorder) -> None:
        """Whoever owns it."""
        te = add(ev, (1, 0), log.timer, "ran", top)
        turns(ev, 3)
        assert log.take() == ["ran"]
        assert te._talloc_chunk.obj is None

    def test_current_time(self, ev: tevent_context, clock: Clock) -> None:
        """When the loop found it due; zero for a zero timer, without a look at the clock."""
        times: list[timeval] = []
        clock.us = 1_234_567_891
        add(ev, (1000, 0), lambda ev, te, now, p: times.append(now))
        add(ev, (0, 0), lambda ev, te, now, p: times.append(now))
        turns(ev, 1)
        assert clock.looked == 0
        turns(ev, 1)
        assert times == [(0, 0), (1234, 567891)]
        assert all(type(now) is timeval for now in times)

    def test_user_s_destructor_is_dropped(self, ev: tevent_context, log: Recorder) -> None:
        """It is not called when the library frees the timer."""
        te = add(ev, (0, 0), log.timer, "ran")
        talloc_set_destructor(te, lambda ptr: log.calls.append("destructor") or 0)
        turns(ev, 2)
        assert log.take() == ["ran"]
        assert te._talloc_chunk.obj is None

    def test_not_due(self, ev: tevent_context, clock: Clock, log: Recorder) -> None:
        """A microsecond early is early."""
        add(ev, (2000, 1), log.timer, "ran")
        clock.us = 2_000_000_000
        turns(ev, 2)
        assert log.take() == []
        clock.us += 1
        turns(ev, 2)
        assert log.take() == ["ran"]

    def test_without_handler(self, ev: tevent_context, aborts: list[str]) -> None:
        """Accepted; if it would fire it aborts, and is gone."""
        te = add(ev, (0, 0), None)
        assert tevent_loop_once(ev) == 0
        assert aborts == ["event without a handler"]
        assert te._talloc_chunk.obj is None

    def test_wall_clock_going_back(self, ev: tevent_context, clock: Clock, log: Recorder) -> None:
        """Timers follow the wall clock, also backwards."""
        add(ev, (500, 0), log.timer, "ran")
        clock.us = 499_000_000
        turns(ev, 2)
        assert log.take() == []
        clock.us = 500_000_000
        turns(ev, 2)
        assert log.take() == ["ran"]


class TestOrder:
    def order(self, ev: tevent_context, log: Recorder) -> str:
        """In which order the timers fire."""
        turns(ev, 20)
        return "".join(log.take())

    def test_by_time_then_by_adding(self, ev: tevent_context, log: Recorder) -> None:
        """Ascending, and stable."""
        for tv, name in (((3, 0), "d"), ((1, 5), "b"), ((1, 0), "a"), ((1, 5), "c"), ((3, 0), "e")):
            add(ev, tv, log.timer, name)
        assert self.order(ev, log) == "abcde"

    def test_compared_as_pairs(self, ev: tevent_context, log: Recorder) -> None:
        """Not normalised: more than a million microseconds do not make a later second."""
        for tv, name in (((2, 0), "c"), ((1, 5000000), "b"), ((1, 7), "a"), ((3, -1), "d")):
            add(ev, tv, log.timer, name)
        assert self.order(ev, log) == "abcd"

    def test_zero_timers_first(self, ev: tevent_context, log: Recorder) -> None:
        """In order of adding, ahead of all others."""
        for tv, name in (((0, 1), "d"), ((0, 0), "a"), ((0, 0), "b"), ((5, 0), "e"), ((0, 0), "c")):
            add(ev, tv, log.timer, name)
        assert self.order(ev, log) == "abcde"

    def test_zero_overtakes_one_updated_to_zero(self, ev: tevent_context, log: Recorder) -> None:
        """A zero, B updated to zero, C zero: A C B."""
        add(ev, (0, 0), log.timer, "A")
        b = add(ev, (9, 0), log.timer, "B")
        tevent_update_timer(b, ZERO)
        add(ev, (0, 0), log.timer, "C")
        assert self.order(ev, log) == "ACB"

    def test_zero_overtakes_negative_times(self, ev: tevent_context, log: Recorder) -> None:
        """A zero timer that finds no other goes to the very head; a negative time before it goes ahead of it."""
        add(ev, (-5, 0), log.timer, "N")
        add(ev, (0, 0), log.timer, "Z")
        assert self.order(ev, log) == "ZN"
        add(ev, (0, 0), log.timer, "Z")
        add(ev, (-5, 0), log.timer, "N")
        add(ev, (0, 0), log.timer, "Y")
        assert self.order(ev, log) == "NZY"

    def test_after_the_last_zero_timer_is_gone(self, ev: tevent_context, log: Recorder) -> None:
        """As C remembers the one before it in the list, whatever that is."""
        z = add(ev, (0, 0), log.timer, "Z")
        add(ev, (-5, 0), log.timer, "N")
        talloc_free(z)
        add(ev, (0, 0), log.timer, "Y")
        assert self.order(ev, log) == "NY"

    def test_without_the_zero_rule(self, ev: tevent_context, log: Recorder) -> None:
        """tevent_common_add_timer() inserts by time alone."""
        add(ev, (0, 0), log.timer, "A")
        te = tevent_common_add_timer(ev, None, ZERO, log.timer, "B", "name")
        assert te is not None
        assert te.handler_name == "name"
        add(ev, (0, 0), log.timer, "C")
        assert self.order(ev, log) == "ACB"

    def test_zero_timer_added_again_by_its_handler(self, ev: tevent_context, log: Recorder) -> None:
        """Once an iteration, behind the zero timers that wait."""
        left = [3]

        def again(ev: tevent_context, te: tevent_timer, now: timeval, private_data: object) -> None:
            log.calls.append("a")
            left[0] -= 1
            if left[0]:
                add(ev, (0, 0), again)

        add(ev, (0, 0), again)
        add(ev, (0, 0), log.timer, "b")
        assert self.order(ev, log) == "abaa"


class TestUpdate:
    def test_moves_and_keeps_the_chunk(self, ev: tevent_context, log: Recorder, clock: Clock) -> None:
        """Same chunk, same tag."""
        te = add(ev, (9, 0), log.timer, "a")
        tevent_timer_set_tag(te, 7)
        add(ev, (5, 0), log.timer, "b")
        tevent_update_timer(te, timeval(3, 0))
        assert te.next_event == (3, 0)
        assert tevent_timer_get_tag(te) == 7
        turns(ev, 3)
        assert log.take() == ["a", "b"]

    def test_goes_behind_equal_times(self, ev: tevent_context, log: Recorder) -> None:
        """Also when the time is unchanged."""
        te = add(ev, (3, 0), log.timer, "a")
        add(ev, (3, 0), log.timer, "b")
        tevent_update_timer(te, timeval(3, 0))
        turns(ev, 3)
        assert log.take() == ["b", "a"]

    def test_in_its_own_handler(self, ev: tevent_context, aborts: list[str]) -> None:
        """A use after free in C: abort."""
        add(ev, (0, 0), lambda ev, te, now, p: tevent_update_timer(te, timeval(5, 0)))
        assert tevent_loop_once(ev) == 0
        assert aborts == ["tevent_timer use after free"]
        assert not ev.timer_events

    def test_to_and_from_odd_times(self, ev: tevent_context, log: Recorder, clock: Clock) -> None:
        """A timer with more microseconds than a second has is due with its second, wherever it was before."""
        clock.us = 6_000_000 - 1
        for first, then in (((5, 0), (5, 2000000)), ((5, 2000000), (6, 0)), ((0, 0), (6, -1)), ((-1, 0), (6, 0))):
            te = add(ev, (7, 0), log.timer, "due")
            tevent_update_timer(te, timeval(*first))
            tevent_update_timer(te, timeval(*then))
            assert tevent_common_loop_timer_delay(ev) != ZERO or then == (6, -1)
            clock.us += 1
            assert log.calls or tevent_common_loop_timer_delay(ev) == ZERO
            clock.us -= 1
            assert log.take() == ["due"]

    def test_in_its_own_handler_raises_by_default(self, ev: tevent_context) -> None:
        """The error leaves the loop."""
        add(ev, (0, 0), lambda ev, te, now, p: tevent_update_timer(te, timeval(5, 0)))
        with pytest.raises(tevent_abort_error, match="tevent_timer use after free"):
            tevent_loop_once(ev)

    def test_wrong_types(self, ev: tevent_context, log: Recorder) -> None:
        """A timer and a timeval."""
        te = add(ev, (0, 0), log.timer)
        with pytest.raises(TypeError, match="next_event must be a timeval"):
            tevent_update_timer(te, 5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="te must be a tevent_timer"):
            tevent_update_timer(ev, ZERO)  # type: ignore[arg-type]
        talloc_free(te)
        with pytest.raises(RuntimeError, match="access after free"):
            tevent_update_timer(te, ZERO)


class TestFree:
    def test_before_firing(self, ev: tevent_context, log: Recorder) -> None:
        """It is cancelled."""
        for tv in ((0, 0), (1, 0), (2**40, 0)):
            assert talloc_free(add(ev, tv, log.timer)) == 0
        turns(ev, 3)
        assert log.take() == []

    def test_another_due_one_from_a_handler(self, ev: tevent_context, log: Recorder) -> None:
        """That one does not run."""
        add(ev, (1, 0), lambda *_: talloc_free(other))
        other = add(ev, (1, 0), log.timer, "never")
        turns(ev, 3)
        assert log.take() == []

    def test_in_its_own_handler(self, ev: tevent_context, log: Recorder) -> None:
        """-1, harmless; a second time aborts."""
        te = add(ev, (0, 0), lambda ev, te, now, p: log.calls.append(talloc_free(te)))
        turns(ev, 2)
        assert log.take() == [-1]
        assert te._talloc_chunk.obj is None

    def test_twice_in_its_own_handler(self, ev: tevent_context, aborts: list[str]) -> None:
        """The second one aborts."""
        te = add(ev, (0, 0), lambda ev, te, now, p: [talloc_free(te), talloc_free(te)])
        turns(ev, 2)
        assert aborts == ["tevent_timer double free"]
        assert te._talloc_chunk.obj is None

    def test_parent_in_the_handler(self, ev: tevent_context, top: TALLOC_CTX, log: Recorder, aborts: list[str]) -> None:
        """It returns 0, and the busy timer goes when the handler returns."""
        parent = talloc_new(top)
        assert parent is not None
        te = add(ev, (0, 0), lambda *_: log.calls.append(talloc_free(parent)), None, parent)
        turns(ev, 2)
        assert log.take() == [0]
        assert te._talloc_chunk.obj is None
        assert aborts == []


class TestTags:
    def test_tags(self, ev: tevent_context, log: Recorder) -> None:
        """A 64-bit number, 0 at first; None gives 0."""
        te = add(ev, (5, 0), log.timer)
        assert tevent_timer_get_tag(te) == 0
        tevent_timer_set_tag(te, -1)
        assert tevent_timer_get_tag(te) == 2**64 - 1
        tevent_timer_set_tag(None, 5)
        assert tevent_timer_get_tag(None) == 0
        with pytest.raises(TypeError, match="te must be a tevent_timer"):
            tevent_timer_get_tag(ev)  # type: ignore[arg-type]


class TestForBackends:
    def test_add_timer_is_asked_for_each_time(self, top: TALLOC_CTX, log: Recorder) -> None:
        """A backend may replace the operation at any time."""
        ev = context(top)
        add(ev, (1, 0), log.timer, "first")
        ops, own = ev.ops.add_timer, []
        ev.ops.add_timer = lambda *args: own.append(args[-1]) or ops(*args)  # type: ignore[func-returns-value]
        try:
            te = add(ev, (2, 0), log.timer, "second")
        finally:
            ev.ops.add_timer = ops
        assert own == ["timer"]
        assert [each.private_data for each in ev.timer_events] == ["first", "second"]
        assert te.created[0].co_name == "add"

    def test_invoke(self, ev: tevent_context, top: TALLOC_CTX, log: Recorder) -> None:
        """It runs with the time it is given, and is gone; a detached one does not run."""
        times: list[Any] = []
        te = add(ev, (2**40, 0), lambda ev, te, now, p: times.append(now))
        assert tevent_common_invoke_timer_handler(te, timeval(7, 8)) == (0, True)
        assert times == [(7, 8)]
        assert te._talloc_chunk.obj is None
        detached = add(ev, (0, 0), log.timer, None, top)
        tevent_re_initialise(ev)
        assert tevent_common_invoke_timer_handler(detached, ZERO) == (0, False)
        assert log.take() == []


class TestReturningAborts:
    def test_dead_timers(self, ev: tevent_context, log: Recorder) -> None:
        """Where talloc's abort function returns, a dead timer is like none."""
        reasons: list[str] = []
        te = add(ev, (5, 0), log.timer)
        talloc_free(te)
        talloc_set_abort_fn(reasons.append)
        try:
            tevent_update_timer(te, ZERO)
            tevent_timer_set_tag(te, 5)
            assert tevent_timer_get_tag(te) == 0
        finally:
            talloc_set_abort_fn(None)
        assert len(reasons) == 3
        assert not ev.timer_events


class TestCost:
    def test_cancelled_timers_are_swept(self, top: TALLOC_CTX, log: Recorder) -> None:
        """Timers that come and go leave nothing behind."""
        ev = context(top)
        keep = add(ev, (2**40, 0), log.timer)
        for i in range(1000):
            talloc_free(add(ev, (2**41 + i, 0), log.timer))
            ev.timers._check_invariants()
        assert len(ev.timers.heap) <= 65
        talloc_free(keep)
        assert tevent_loop_wait(ev) == 0

    def test_comparisons_grow_slowly(self, top: TALLOC_CTX, log: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
        """Inserting n timers in the worst order takes n log n comparisons, not n times n."""
        from tevent import timed

        class counted(int):
            count = 0

            def __lt__(self, other: int) -> bool:
                counted.count += 1
                return int.__lt__(self, other)

        real = timed.heappush
        monkeypatch.setattr(timed, "heappush", lambda heap, key: real(heap, counted(key)))
        ev = context(top)
        for i in range(2000):
            add(ev, (10**6 - i, 0), log.timer)
        assert 2000 < counted.count < 2000 * 25
        assert tevent_timeval_zero() == ZERO

    def test_many(self, top: TALLOC_CTX, clock: Clock) -> None:
        """All fire, in order."""
        ev = context(top)
        fired: list[int] = []
        count = 5000
        for i in range(count):
            add(ev, (1, (i * 7919) % count), lambda ev, te, now, p: fired.append(p), (i * 7919) % count)
        assert tevent_loop_wait(ev) == 0
        assert fired == sorted(fired)
        assert len(fired) == count
