# SPDX-License-Identifier: LGPL-3.0-or-later
"""Queued writes: whatever is added, freed, stopped and started in between, the order of the line is kept."""

from __future__ import annotations

import contextlib
import itertools
import socket
from errno import EINVAL

from hypothesis import given, settings
from hypothesis import strategies as st
from stream_kit import Loop, Wire, drain, scratch

from talloc_py import talloc_free, talloc_new
from tevent import (
    tevent_queue_create,
    tevent_queue_length,
    tevent_queue_start,
    tevent_queue_stop,
    tevent_req,
    tevent_req_callback_data_void,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
)
from tsocket import tstream_writev_queue_recv, tstream_writev_queue_send

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3)),
        st.tuples(st.just("free"), st.integers(0, 10)),
        st.tuples(st.just("turn"), st.integers(1, 3)),
        st.tuples(st.just("stop"), st.just(0)),
        st.tuples(st.just("start"), st.just(0)),
        st.tuples(st.just("hold"), st.integers(0, 1)),
    ),
    max_size=60,
)


class Line:
    """A queue of writes on a socket pair, and the model of it: the requests in the line, in order."""

    def __init__(self) -> None:
        self.top = talloc_new(None)
        sock, self.peer = socket.socketpair()
        self.wire = Wire(self.top, sock, self.peer)
        self.loop = Loop(self.top)
        self.queue = tevent_queue_create(self.top, "line")
        self.line: list[tevent_req] = []
        self.payload: dict[int, bytes] = {}
        self.called: dict[int, int] = {}
        self.written = b""
        self.hold = False
        self.count = 0

    def close(self) -> None:
        """Free everything."""
        talloc_free(self.top)
        self.peer.close()

    def number(self, req: tevent_req) -> int:
        return tevent_req_callback_data_void(req)

    def add(self, size: int) -> None:
        """One more write; of a size of 0 it is one that fails."""
        n = self.count
        self.count += 1
        self.payload[n] = bytes([n % 256]) * size
        req = tstream_writev_queue_send(self.top, self.loop.ev, self.wire.stream, self.queue, [self.payload[n]])
        assert req is not None
        assert tevent_req_is_in_progress(req)
        tevent_req_set_callback(req, self.done, n)
        self.line.append(req)

    def done(self, req: tevent_req) -> None:
        """The callback of every write: only the head of the line may be called, once."""
        n = self.number(req)
        assert req is self.line[0]
        self.called[n] = self.called.get(n, 0) + 1
        assert self.called[n] == 1
        size = len(self.payload[n])
        assert tstream_writev_queue_recv(req) == ((size, 0) if size else (-1, EINVAL))
        if not self.hold:
            self.free(req)

    def free(self, req: tevent_req) -> None:
        self.line.remove(req)
        talloc_free(req)

    def check(self) -> None:
        """What holds after every step."""
        assert tevent_queue_length(self.queue) == len(self.line)
        got = drain(self.peer)
        self.written += got
        for req in self.line[1:]:
            assert self.number(req) not in self.called

    def run(self, operations: list[tuple[str, int]]) -> None:
        for name, value in operations:
            if name == "add":
                self.add(value)
            elif name == "free" and self.line:
                self.free(self.line[value % len(self.line)])
            elif name == "turn":
                for _ in range(value):
                    self.loop.turn()
            elif name == "stop":
                tevent_queue_stop(self.queue)
            elif name == "start":
                tevent_queue_start(self.queue)
            elif name == "hold":
                self.hold = bool(value)
            self.check()


@given(operations=OPERATIONS)
@settings(max_examples=200)
def test_the_line_is_served_in_order(operations):
    """Only the head is called back; each once; the peer gets the writes in the order of the line, each whole."""
    line = Line()
    try:
        line.run(operations)
        tevent_queue_start(line.queue)
        line.hold = False
        for req in [req for req in line.line if line.number(req) in line.called]:
            line.free(req)
        line.loop.settle(20_000)
        line.check()
        assert line.line == []
        numbers = [key for key, _ in itertools.groupby(line.written)]
        assert numbers == sorted(numbers)
        done = [n for n in line.called if line.payload[n]]
        assert set(done) <= set(numbers)
        assert done == sorted(done)
        for n in numbers:
            # A write is a single small one, so it went out whole, also if its request was freed before the callback.
            assert line.written.count(bytes([n])) == len(line.payload[n])
    finally:
        line.close()


@given(
    sizes=st.lists(st.integers(1, 600_000), min_size=1, max_size=5),
    frees=st.lists(st.integers(0, 4), max_size=3),
    reads=st.lists(st.integers(1, 300_000), min_size=1, max_size=10),
)
@settings(max_examples=50)
def test_blocked_writes_never_mix(sizes, frees, reads):
    """Large writes through a queue, some freed half way: the bytes of each are a prefix of it, in order."""
    sock, peer = socket.socketpair()
    with peer, scratch() as top:
        wire = Wire(top, sock, peer)
        loop = Loop(top)
        queue = tevent_queue_create(top, "line")
        line: dict[int, tevent_req] = {}
        complete: list[int] = []

        def done(req: tevent_req) -> None:
            n = tevent_req_callback_data_void(req)
            assert tstream_writev_queue_recv(req) == (sizes[n], 0)
            complete.append(n)
            talloc_free(line.pop(n))

        for n, size in enumerate(sizes):
            line[n] = tstream_writev_queue_send(top, loop.ev, wire.stream, queue, [bytes([n]) * size])
            tevent_req_set_callback(line[n], done, n)
        got = b""
        victims = iter(frees)
        for size in itertools.chain(reads, itertools.repeat(1 << 20)):
            with contextlib.suppress(BlockingIOError):
                got += peer.recv(size)
            loop.turn()
            loop.turn()
            victim = next(victims, None)
            if victim in line:
                talloc_free(line.pop(victim))
            if not line and not loop.settle(20_000):
                break
        got += drain(peer)
        runs = [(key, len(list(group))) for key, group in itertools.groupby(got)]
        assert [key for key, _ in runs] == sorted({key for key, _ in runs})
        lengths = dict(runs)
        assert complete == sorted(complete)
        for n, size in enumerate(sizes):
            assert lengths.get(n, 0) <= size
            if n in complete:
                assert lengths[n] == size
