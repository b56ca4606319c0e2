# SPDX-License-Identifier: LGPL-3.0-or-later
"""tevent_wakeup_send and tevent_wakeup_recv."""

from __future__ import annotations

import pytest
from req_kit import Bench, opened, silent_aborts, state_of

from talloc_py import (
    talloc_abort_error,
    talloc_free,
    talloc_new,
    talloc_parent,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tevent import (
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_NO_MEMORY,
    TEVENT_REQ_TIMED_OUT,
    _sys,
    tevent_context_init,
    tevent_req,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_error,
    tevent_req_poll,
    tevent_req_received,
    tevent_wakeup_recv,
    tevent_wakeup_send,
    timeval,
)

bench = pytest.fixture(opened, name="bench")


def wakeup(bench: Bench, when: timeval) -> tevent_req:
    """A wakeup whose callback writes (its time, state)."""
    req = tevent_wakeup_send(bench.root, bench.ev, when)
    assert req is not None
    bench.watch(req, f"{when.tv_sec}")
    return req


class TestSend:
    def test_is_a_request_with_an_endtime(self, bench: Bench) -> None:
        """Four chunks, in progress, a child of mem_ctx."""
        req = wakeup(bench, timeval(2**33, 0))
        assert talloc_total_blocks(req) == 4
        assert talloc_parent(req) is bench.root
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS
        assert bench.drain() == 0

    def test_finishes_as_timed_out(self, bench: Bench) -> None:
        """It ends as TIMED_OUT, which recv calls success."""
        req = wakeup(bench, timeval(1, 0))
        assert bench.take() == []
        assert bench.drain() == 1
        assert bench.take() == [("1", TEVENT_REQ_TIMED_OUT)]
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_TIMED_OUT, None)
        assert tevent_wakeup_recv(req) is True

    def test_in_order_of_time(self, bench: Bench) -> None:
        """Earlier ones fire first, equal ones in order of sending, one a turn."""
        for second in (3, 1, 2, 1):
            wakeup(bench, timeval(second, 0))
        assert bench.turn()
        assert [name for name, _ in bench.take()] == ["1"]
        assert bench.drain() == 3
        assert [name for name, _ in bench.take()] == ["1", "2", "3"]

    def test_waits_for_the_wall_clock(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """The time is absolute."""
        now = 5_000_000_000_000
        monkeypatch.setattr(_sys, "time_ns", lambda: now * 1000)
        req = wakeup(bench, timeval(5_000_000, 1))
        assert bench.drain() == 0
        now += 1
        assert bench.drain() == 1
        assert tevent_wakeup_recv(req) is True

    def test_polled(self, bench: Bench) -> None:
        """As short a program as there is."""
        req = wakeup(bench, timeval(0, 0))
        assert tevent_req_poll(req, bench.ev) is True
        assert tevent_wakeup_recv(req) is True

    def test_freed_before_its_time(self, bench: Bench) -> None:
        """Nothing fires."""
        req = wakeup(bench, timeval(1, 0))
        talloc_free(req)
        assert bench.drain() == 0
        assert bench.take() == []

    def test_memlimit(self, bench: Bench) -> None:
        """None where a memory limit forbids the request; without memory for the timer it fails from the loop."""
        limited = talloc_new(bench.root)
        talloc_set_memlimit(limited, 1)
        assert tevent_wakeup_send(limited, bench.ev, timeval(1, 0)) is None
        for room in range(300, 3000, 4):
            talloc_set_memlimit(limited, room)
            req = tevent_wakeup_send(limited, bench.ev, timeval(2**33, 0))
            if req is not None:
                break
        assert req is not None
        assert state_of(req) is TEVENT_REQ_NO_MEMORY
        bench.watch(req, "a")
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_NO_MEMORY)]
        assert tevent_wakeup_recv(req) is False

    def test_bad_input(self, bench: Bench) -> None:
        """Owner, context and time are checked, and nothing is left behind."""
        before = talloc_total_blocks(bench.root)
        for ev, when in ((None, timeval(1, 0)), (bench.ev, None), (bench.ev, 1.5), (bench.root, timeval(1, 0))):
            with pytest.raises(TypeError):
                tevent_wakeup_send(bench.root, ev, when)
            assert talloc_total_blocks(bench.root) == before
        with pytest.raises(TypeError):
            tevent_wakeup_send("text", bench.ev, timeval(1, 0))
        ev = tevent_context_init(None)
        talloc_free(ev)
        with pytest.raises(talloc_abort_error):
            tevent_wakeup_send(bench.root, ev, timeval(1, 0))
        with silent_aborts() as reasons:
            assert tevent_wakeup_send(bench.root, ev, timeval(1, 0)) is None
        assert len(reasons) == 1
        assert talloc_total_blocks(bench.root) == before


class TestRecv:
    def test_true_in_timed_out_alone(self, bench: Bench) -> None:
        """False in progress, finished otherwise, and received."""
        req = wakeup(bench, timeval(1, 0))
        assert tevent_wakeup_recv(req) is False
        tevent_req_done(req)
        assert tevent_wakeup_recv(req) is False
        tevent_req_error(req, 5)
        assert tevent_wakeup_recv(req) is False
        req = wakeup(bench, timeval(1, 0))
        bench.drain()
        assert tevent_wakeup_recv(req) is True
        tevent_req_received(req)
        assert tevent_wakeup_recv(req) is False

    def test_may_be_asked_again(self, bench: Bench) -> None:
        """It neither frees nor receives."""
        req = wakeup(bench, timeval(1, 0))
        bench.drain()
        assert [tevent_wakeup_recv(req) for _ in range(3)] == [True] * 3
        assert talloc_total_blocks(req) == 3

    def test_bad_input(self, bench: Bench) -> None:
        """The request is checked."""
        with pytest.raises(TypeError):
            tevent_wakeup_recv(None)
        req = wakeup(bench, timeval(1, 0))
        talloc_free(req)
        with pytest.raises(talloc_abort_error):
            tevent_wakeup_recv(req)
        with silent_aborts() as reasons:
            assert tevent_wakeup_recv(req) is False
        assert len(reasons) == 1
