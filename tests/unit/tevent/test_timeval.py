# SPDX-License-Identifier: LGPL-3.0-or-later
"""Arithmetic of times."""

from __future__ import annotations

import copy
import inspect
import pickle
import time
import typing
from typing import Any

import pytest
from tevent_kit import Clock

from tevent import (
    tevent_common_no_timeout,
    tevent_common_timeout_msec,
    tevent_timeval_add,
    tevent_timeval_compare,
    tevent_timeval_current,
    tevent_timeval_current_ofs,
    tevent_timeval_is_zero,
    tevent_timeval_set,
    tevent_timeval_until,
    tevent_timeval_zero,
    timeval,
)

U32 = 2**32


class TestTimeval:
    def test_is_a_named_tuple(self) -> None:
        """Fields by name and place, compared by value."""
        tv = timeval(tv_sec=1, tv_usec=2)
        assert (tv.tv_sec, tv.tv_usec) == tv == timeval(1, 2)
        assert timeval._fields == ("tv_sec", "tv_usec")
        assert timeval.__module__ == "tevent.timed"

    def test_behaves_like_any_named_tuple(self) -> None:
        """Everything that `typing.NamedTuple` gives a class."""
        tv = timeval._make(iter((1, 2)))
        assert tv._replace(tv_usec=5) == (1, 5)
        assert type(tv._replace()) is timeval
        assert tv._asdict() == {"tv_sec": 1, "tv_usec": 2}
        assert repr(tv) == "timeval(tv_sec=1, tv_usec=2)"
        assert typing.get_type_hints(timeval) == {"tv_sec": int, "tv_usec": int}
        assert str(inspect.signature(timeval)) == "(tv_sec, tv_usec)"
        for twin in (copy.copy(tv), copy.deepcopy(tv), pickle.loads(pickle.dumps(tv))):  # our own
            assert type(twin) is timeval
            assert twin == tv
        match tv:
            case timeval(sec, tv_usec=usec):
                assert (sec, usec) == (1, 2)
        with pytest.raises(ValueError, match=r"Got unexpected field names: \['usec'\]"):
            tv._replace(usec=1)
        with pytest.raises(AttributeError):
            tv.tv_sec = 5  # type: ignore[misc]
        with pytest.raises(AttributeError):
            tv.other = 5  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            timeval(1)  # type: ignore[call-arg]

    def test_zero(self) -> None:
        """Zero is (0, 0), and nothing else is."""
        assert tevent_timeval_zero() == (0, 0)
        assert tevent_timeval_is_zero(timeval(0, 0))
        assert not tevent_timeval_is_zero(timeval(0, 1))
        assert not tevent_timeval_is_zero(timeval(-1, 0))

    @pytest.mark.parametrize(
        ("tv1", "tv2", "result"),
        [
            ((1, 2), (1, 2), 0),
            ((1, 1), (1, 2), -1),
            ((2, 0), (1, 9), 1),
            ((0, 5), (1, 0), -1),
            ((1, 2000000), (2, 0), -1),
        ],
    )
    def test_compare(self, tv1: tuple[int, int], tv2: tuple[int, int], result: int) -> None:
        """By seconds, then microseconds, without normalising."""
        assert tevent_timeval_compare(timeval(*tv1), timeval(*tv2)) == result
        assert tevent_timeval_compare(timeval(*tv2), timeval(*tv1)) == -result

    def test_set_does_not_normalise(self) -> None:
        """The numbers are taken as they are, modulo 2**32."""
        assert tevent_timeval_set(3, 2000000) == (3, 2000000)
        assert tevent_timeval_set(-1, U32 + 5) == (U32 - 1, 5)

    @pytest.mark.parametrize(
        ("tv", "secs", "usecs", "result"),
        [
            ((5, 999999), 1, 1, (7, 0)),
            ((5, 0), 0, 3500000, (8, 500000)),
            ((0, 2500000), 0, 0, (2, 500000)),
            ((5, -2500000), 0, 0, (3, -500000)),
            ((0, 0), U32 + 1, U32 + 2, (1, 2)),
        ],
    )
    def test_add_normalises(self, tv: tuple[int, int], secs: int, usecs: int, result: tuple[int, int]) -> None:
        """Whole seconds are carried over, rounding towards zero as C does."""
        assert tevent_timeval_add(timeval(*tv), secs, usecs) == result

    @pytest.mark.parametrize(
        ("tv1", "tv2", "result"),
        [
            ((5, 999999), (6, 1), (0, 2)),
            ((5, 1), (6, 3), (1, 2)),
            ((6, 1), (5, 999999), (0, 0)),
            ((5, 5), (5, 5), (0, 0)),
            ((1, 0), (1, 3000000), (0, 3000000)),
        ],
    )
    def test_until(self, tv1: tuple[int, int], tv2: tuple[int, int], result: tuple[int, int]) -> None:
        """The difference, never below zero."""
        assert tevent_timeval_until(timeval(*tv1), timeval(*tv2)) == result

    def test_current_is_the_wall_clock(self) -> None:
        """The same clock as time.time()."""
        before = time.time_ns() // 1000
        now = tevent_timeval_current()
        after = time.time_ns() // 1000
        assert before <= now.tv_sec * 1000000 + now.tv_usec <= after
        assert isinstance(now, timeval)
        assert 0 <= now.tv_usec < 1000000

    def test_current_ofs(self, clock: Clock) -> None:
        """An offset from now."""
        clock.us = 7_999_999
        assert tevent_timeval_current() == (7, 999999)
        assert tevent_timeval_current_ofs(1, 1000001) == (10, 0)

    @pytest.mark.parametrize("bad", [(1, 2), [1, 2], 5, None])
    def test_other_pairs_are_refused(self, bad: Any) -> None:
        """Only a timeval is a time."""
        for call in (
            lambda: tevent_timeval_compare(bad, timeval(0, 0)),
            lambda: tevent_timeval_compare(timeval(0, 0), bad),
            lambda: tevent_timeval_is_zero(bad),
            lambda: tevent_timeval_add(bad, 0, 0),
            lambda: tevent_timeval_until(bad, timeval(0, 0)),
            lambda: tevent_common_no_timeout(bad),
            lambda: tevent_common_timeout_msec(bad),
        ):
            with pytest.raises(TypeError, match="must be a timeval"):
                call()


class TestTimeouts:
    def test_markers(self) -> None:
        """One marker says not to wait, one says to wait for ever."""
        assert tevent_common_no_timeout(timeval(0, 2147483647))
        assert not tevent_common_no_timeout(timeval(0, 0))
        assert tevent_common_timeout_msec(timeval(0, 2147483647)) == 0
        assert tevent_common_timeout_msec(timeval(2147483647, 0)) == -1

    @pytest.mark.parametrize(
        ("tv", "msec"), [((0, 0), 0), ((0, 1), 1), ((0, 1000), 1), ((0, 1001), 2), ((30, 0), 30000)]
    )
    def test_milliseconds_are_rounded_up(self, tv: tuple[int, int], msec: int) -> None:
        """So that no timer fires early."""
        assert tevent_common_timeout_msec(timeval(*tv)) == msec
