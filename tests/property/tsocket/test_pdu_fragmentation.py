# SPDX-License-Identifier: LGPL-3.0-or-later
"""However a stream of bytes is cut into pieces, the same PDUs come out of it."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
from collections.abc import Iterator
from errno import EPIPE
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from stream_kit import LengthPrefixed, Loop, Wire, framed, scratch

from tevent import tevent_queue_create
from tsocket import (
    iovec,
    tstream_bsd_optimize_readv,
    tstream_context,
    tstream_pending_bytes,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
)

#: Sizes of PDU bodies: often empty or tiny, sometimes larger than one read takes.
BODIES = st.lists(st.one_of(st.integers(0, 9), st.integers(0, 400), st.integers(60_000, 70_000)), max_size=7)


class Reader:
    """
    Reads one PDU, laid out in vectors as *layout* says.

    A PDU is a length of four bytes and a body.  The length is read in one or two vectors, the body in several vectors
    of several elements, with empty ones strewn in.
    """

    def __init__(self, layout: random.Random) -> None:
        self.layout = layout
        self.head = bytearray(4)
        self.body = bytearray()
        self.steps = self.vectors()

    def split(self, view: memoryview) -> Iterator[memoryview]:
        """*view* in pieces."""
        while len(view):
            size = self.layout.choice((1, 3, len(view), max(1, len(view) // 2)))
            yield view[:size]
            view = view[size:]

    def vectors(self) -> Iterator[list[Any]]:
        """The vectors of the PDU, one after the other."""
        if self.layout.random() < 0.5:
            yield [self.head]
        else:
            yield [memoryview(self.head)[:1]]
            yield [bytearray(), memoryview(self.head)[1:]]
        self.body = bytearray(int.from_bytes(self.head, "big"))
        vector: list[Any] = []
        for count, piece in enumerate(self.split(memoryview(self.body))):
            vector.append(iovec(piece, len(piece)) if self.layout.random() < 0.5 else piece)
            if self.layout.random() < 0.2:
                vector.append(bytearray())
            if self.layout.random() < 0.4 or len(vector) > 900 or count > 3000:
                yield vector
                vector = []
        if vector:
            yield vector

    def next_vector(self, stream: tstream_context, private_data: object, mem_ctx: object) -> tuple[int, Any]:
        return 0, next(self.steps, None)


@given(
    sizes=BODIES,
    cuts=st.lists(st.integers(1, 5000), max_size=40),
    turns=st.lists(st.integers(0, 4), min_size=1, max_size=10),
    optimised=st.booleans(),
    layout=st.randoms(use_true_random=False),
)
@settings(max_examples=150)
def test_any_cut_gives_the_same_pdus(sizes, cuts, turns, optimised, layout):
    """Pieces of any size, with any number of turns of the loop between them, read with vectors of any layout."""
    sock, peer = socket.socketpair()
    with peer, scratch() as top:
        wire = Wire(top, sock, peer)
        loop = Loop(top)
        tstream_bsd_optimize_readv(wire.stream, optimised)
        queue = tevent_queue_create(top, "pdus")
        bodies = [bytes(n % 251 for n in range(size)) for size in sizes]
        readers = [Reader(layout) for _ in bodies]
        seen = []
        for reader in readers:
            req = tstream_readv_pdu_queue_send(top, loop.ev, wire.stream, queue, reader.next_vector, None)
            seen.append(loop.watch(req, tstream_readv_pdu_queue_recv, free=True))
        data = memoryview(b"".join(framed(body) for body in bodies))
        turn = itertools.cycle(turns)
        for cut in itertools.chain(cuts, itertools.repeat(40_000)):
            if not len(data):
                break
            with contextlib.suppress(BlockingIOError):
                data = data[peer.send(data[:cut]) :]
            for _ in range(next(turn)):
                loop.turn()
            if cut == 40_000:
                loop.settle(20_000)
        loop.settle(20_000)
        assert [s.result for s in seen] == [(len(body) + 4, 0) for body in bodies]
        assert [bytes(reader.body) for reader in readers] == bodies
        assert tstream_pending_bytes(wire.stream) == 0


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=5),
    missing=st.integers(1, 60),
    step=st.booleans(),
)
@settings(max_examples=100)
def test_a_stream_that_ends_early_gives_whole_pdus_then_epipe(sizes, missing, step):
    """All PDUs before the end come out; the one that is cut off, or missing, fails with EPIPE; so does what follows."""
    sock, peer = socket.socketpair()
    with peer, scratch() as top:
        wire = Wire(top, sock, peer)
        loop = Loop(top)
        queue = tevent_queue_create(top, "pdus")
        bodies = [bytes([n]) * size for n, size in enumerate(sizes)]
        data = b"".join(framed(body) for body in bodies)
        sent = data[: max(0, len(data) - missing)]
        results: list[tuple[int, int]] = []
        for _ in bodies:
            reader = LengthPrefixed()
            req = tstream_readv_pdu_queue_send(top, loop.ev, wire.stream, queue, reader.next_vector, None)
            loop.watch(req, lambda r: results.append(tstream_readv_pdu_queue_recv(r)), free=True)
        for n in range(0, len(sent), 7 if step else 1000):
            peer.send(sent[n : n + (7 if step else 1000)])
            if step:
                loop.settle()
        peer.close()
        loop.settle()
        whole = 0
        left = len(sent)
        for body in bodies:
            if left < len(body) + 4:
                break
            left -= len(body) + 4
            whole += 1
        assert results == [(len(body) + 4, 0) for body in bodies[:whole]] + [(-1, EPIPE)] * (len(bodies) - whole)
