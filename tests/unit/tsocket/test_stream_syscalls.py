# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which system calls an operation makes: what upstream makes, and no more."""

from __future__ import annotations

import select
from collections import Counter
from errno import EPIPE
from typing import Any

import pytest
from stream_kit import BIG, LengthPrefixed, Loop, framed, pdu, readv, writev

import tevent._sys
from talloc_py import talloc_free
from tevent import tevent_queue_create, tevent_req_set_callback
from tsocket import (
    _sys,
    tstream_bsd_optimize_readv,
    tstream_pending_bytes,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_readv_pdu_recv,
    tstream_readv_recv,
    tstream_unix_socketpair,
    tstream_writev_queue_send,
    tstream_writev_recv,
)


class CountingEpoll:
    """An epoll object that counts its calls."""

    calls: Counter[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.epoll = select.epoll(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.epoll, name)
        if name not in ("poll", "register", "modify", "unregister"):
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            CountingEpoll.calls["epoll_wait" if name == "poll" else "epoll_ctl"] += 1
            return real(*args, **kwargs)

        return call


@pytest.fixture
def calls(monkeypatch):
    """Counts of the system calls that streams and the loop make from here on."""
    counts = CountingEpoll.calls = Counter()
    monkeypatch.setattr(tevent._sys, "epoll", CountingEpoll)
    for name in ("readv", "writev", "bytes_readable", "poll"):
        real = getattr(_sys, name)

        def call(*args: Any, name: str = name, real: Any = real) -> Any:
            counts[name] += 1
            return real(*args)

        monkeypatch.setattr(_sys, name, call)
    return counts


@pytest.fixture
def turn_until(top, calls):
    """A loop over the counting epoll object, and a function that turns it until a request has called back."""
    loop = Loop(top, "epoll")

    def run(req, recv):
        seen = loop.watch(req, recv, free=True)
        while not seen.calls:
            assert loop.turn()
        return seen.result

    return loop, run


class TestSystemCalls:
    def test_a_steady_read_is_one_wait_and_one_readv(self, top, unix, calls, turn_until):
        """Interest in reading is left on: after the first read no epoll_ctl."""
        loop, run = turn_until
        unix.peer.send(b"abc")
        assert run(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv) == (1, 0)
        for _ in range(2):
            calls.clear()
            assert run(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv) == (1, 0)
            assert calls == {"epoll_wait": 1, "readv": 1}

    def test_a_write_is_one_writev(self, top, unix, calls, turn_until):
        """The loop neither waits nor registers anything."""
        loop, run = turn_until
        assert run(writev(loop, top, unix.stream, b"a", b"b"), tstream_writev_recv) == (2, 0)
        assert calls == {"writev": 1}

    def test_an_optimised_read_is_one_readv(self, top, unix, calls, turn_until):
        """No wait."""
        loop, run = turn_until
        tstream_bsd_optimize_readv(unix.stream, True)
        unix.peer.send(b"abc")
        assert run(readv(loop, top, unix.stream, bytearray(3)), tstream_readv_recv) == (3, 0)
        assert calls == {"readv": 1}

    def test_a_pdu_that_is_there_is_one_wait_and_a_readv_for_each_vector(self, top, unix, calls, turn_until):
        """Later vectors look at once."""
        loop, run = turn_until
        unix.peer.send(b"x" + framed(b"body"))
        assert run(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv) == (1, 0)
        calls.clear()
        reader = LengthPrefixed()
        assert run(pdu(loop, top, unix.stream, reader.next_vector), tstream_readv_pdu_recv) == (8, 0)
        assert calls == {"epoll_wait": 1, "readv": 2}

    def test_a_blocked_write_adds_and_removes_its_interest(self, top, unix, calls, turn_until):
        """Two epoll_ctl beside the first registration, however many pieces it takes."""
        loop, run = turn_until
        unix.peer.send(b"x")
        assert run(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv) == (1, 0)
        calls.clear()
        seen = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        unix.drain_until(loop, lambda: seen.calls)
        loop.settle()
        assert seen.result == (len(BIG), 0)
        assert calls["epoll_ctl"] == 2

    def test_unsolicited_data_costs_two_changes(self, top, unix, calls, turn_until):
        """One epoll_ctl drops the interest, one gets it back."""
        loop, run = turn_until
        unix.peer.send(b"a")
        assert run(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv) == (1, 0)
        calls.clear()
        unix.peer.send(b"b")
        loop.settle()
        assert calls["epoll_ctl"] == 1
        assert calls["readv"] == 0
        assert run(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv) == (1, 0)
        assert calls["epoll_ctl"] == 2

    def test_pending_bytes_polls_only_when_there_are_none(self, unix, calls):
        """One ioctl, and a poll for 0."""
        assert tstream_pending_bytes(unix.stream) == 0
        assert calls == {"bytes_readable": 1, "poll": 1}
        unix.peer.send(b"a")
        calls.clear()
        assert tstream_pending_bytes(unix.stream) == 1
        assert calls == {"bytes_readable": 1}

    def test_a_stored_error_costs_no_transfer(self, top, unix, calls, turn_until):
        """Reads, writes and pending_bytes of a failed stream answer by themselves; only a read waits for its turn."""
        loop, run = turn_until
        unix.peer.close()
        assert run(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv) == (-1, EPIPE)
        loop.settle()
        calls.clear()
        assert run(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv) == (-1, EPIPE)
        assert run(writev(loop, top, unix.stream, b"x"), tstream_writev_recv) == (-1, EPIPE)
        assert calls == {"epoll_ctl": 1, "epoll_wait": 1}
        assert tstream_pending_bytes(unix.stream) == -1
        assert calls == {"epoll_ctl": 1, "epoll_wait": 1}

    def test_a_queued_round_trip_of_pdus(self, top, calls):
        """Four readv, two writev, two waits and six turns for a request and its answer, both ends in one loop."""
        loop = Loop(top, "epoll")
        _, one, two = tstream_unix_socketpair(top, top)
        queues = {stream: tevent_queue_create(top, "line") for stream in (one, two)}
        left = 10
        turns = []

        def read_pdu(stream):
            reader = LengthPrefixed()

            def done(req):
                nonlocal left
                assert tstream_readv_pdu_queue_recv(req) == (7, 0)
                talloc_free(req)
                read_pdu(stream)
                left -= stream is one
                if stream is one:
                    turns.append((loop.count, dict(calls)))
                if left:
                    write_pdu(stream, reader.body)

            req = tstream_readv_pdu_queue_send(top, loop.ev, stream, reads[stream], reader.next_vector, None)
            tevent_req_set_callback(req, done, None)

        def write_pdu(stream, body):
            req = tstream_writev_queue_send(top, loop.ev, stream, queues[stream], [framed(body)])
            tevent_req_set_callback(req, lambda r: talloc_free(r), None)

        reads = {stream: tevent_queue_create(top, "line") for stream in (one, two)}
        read_pdu(one)
        read_pdu(two)
        write_pdu(one, b"abc")
        while left:
            loop.turn()
        (turn1, before), (turn2, after) = turns[4:6]
        assert turn2 - turn1 == 6
        made = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        assert made == {"readv": 4, "writev": 2, "epoll_wait": 2}
