# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Our own streams and datagrams over real descriptors, disturbed at each step, each of their system calls failing.

What passes by itself (EAGAIN, EINTR ...) has to be survived with the right result; whatever else a call fails with must
be what the request ends with; and nothing may be left behind.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from errno import ECONNRESET, ENOMEM, EPIPE
from typing import Any

import pytest
from bsd_sweep import NOTHING, act, anything, exact, stage, sweep_bsd
from stream_kit import LengthPrefixed, tcp_sockets

from talloc_py import talloc_free
from tevent import tevent_queue_create, tevent_req, tevent_req_poll, tevent_req_set_callback
from tsocket import (
    tstream_bsd_existing_socket,
    tstream_bsd_optimize_readv,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
    tstream_writev_recv,
    tstream_writev_send,
)

PDU = b"\0\0\0\3abc"
#: More than the buffers of any pair below take.
BIG = bytes(range(256)) * 64


class pipe_end:
    """The other end of a pipe, with as much of a socket's methods as is needed."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def setblocking(self, flag: bool) -> None:
        os.set_blocking(self.fd, flag)

    def send(self, data: bytes) -> int:
        return os.write(self.fd, data)

    def recv(self, size: int) -> bytes:
        return os.read(self.fd, size)

    def close(self) -> None:
        if self.fd != -1:
            os.close(self.fd)
            self.fd = -1


def unix_pair(_writes: bool) -> tuple[int, Any]:
    """A unix socket with a small buffer, and its peer."""
    mine, peer = socket.socketpair()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return mine.detach(), peer


def tcp_pair(_writes: bool) -> tuple[int, Any]:
    """A TCP socket and its peer."""
    mine, peer = tcp_sockets()
    return mine.detach(), peer


def pipe_pair(writes: bool) -> tuple[int, Any]:
    """An end of a small pipe, and the other one."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    mine, other = (writer, reader) if writes else (reader, writer)
    return mine, pipe_end(other)


PAIRS = {"unix": unix_pair, "tcp": tcp_pair, "pipe": pipe_pair}
OVER = pytest.mark.parametrize("kind", PAIRS)
#: Where it is known how much a write can get rid of before its reader reads.
OVER_SMALL = pytest.mark.parametrize("kind", ["unix", "pipe"])


def stream_scene(
    kind: str, moves: Callable[[Any], Iterator[object]], writes: bool = False, optimize: bool = False
) -> Callable[[stage], None]:
    """A scene: a stream, and what its peer does."""

    def scene(on: stage) -> None:
        fd, peer = PAIRS[kind](writes)
        os.set_blocking(fd, False)
        on.peer(peer)
        ret, on.target = tstream_bsd_existing_socket(on.mem_ctx, fd)
        assert ret == 0
        tstream_bsd_optimize_readv(on.target, optimize)
        on.moves = moves(peer)

    return scene


def sends(*pieces: bytes | None) -> Callable[[Any], Iterator[object]]:
    """The peer sends these, one after the other; None: it closes."""

    def moves(peer: Any) -> Iterator[object]:
        for piece in pieces:
            yield peer.close() if piece is None else peer.send(piece)

    return moves


def takes(size: int) -> Callable[[Any], Iterator[object]]:
    """The peer reads until it has got that many bytes, or there are no more."""

    def moves(peer: Any) -> Iterator[object]:
        left = size
        while left:
            try:
                part = peer.recv(1 << 20)
            except BlockingIOError:
                yield NOTHING
                continue
            if not part:
                return
            left -= len(part)
            yield part

    return moves


def received(ret: int, err: int, wanted: int) -> int:
    """The errno of an operation that ends with *wanted*, or with -1 and an errno."""
    assert (ret, err) == (wanted, 0) or (ret == -1 and err > 0), (ret, err)
    return err


def of_either(_err: int) -> frozenset[int]:
    """There is no memory for the one ahead, or for the one under test."""
    return frozenset((0, ENOMEM))


class TestTransfers:
    @OVER
    @pytest.mark.parametrize("optimize", [False, True], ids=["", "optimized"])
    def test_readv(self, kind: str, optimize: bool) -> None:
        """A read in pieces."""

        def start(on: stage) -> tevent_req | None:
            on.more = [bytearray(3), bytearray(4)]
            return tstream_readv_send(on.owner, on.ev, on.target, on.more)

        def finish(on: stage, req: tevent_req) -> int:
            err = received(*tstream_readv_recv(req), 7)
            assert err or b"".join(on.more) == PDU
            return err

        names = sweep_bsd(act(stream_scene(kind, sends(PDU[:2], PDU[2:5], PDU[5:]), optimize=optimize), start, finish))
        assert sum("(read)" in name for name in names) >= 24

    @OVER
    def test_end_of_the_stream(self, kind: str) -> None:
        """A read that hears of the end instead of its last byte."""

        def start(on: stage) -> tevent_req | None:
            return tstream_readv_send(on.owner, on.ev, on.target, [bytearray(3)])

        def finish(on: stage, req: tevent_req) -> int:
            ret, err = tstream_readv_recv(req)
            assert ret == -1
            return 0 if err == EPIPE else err

        sweep_bsd(act(stream_scene(kind, sends(b"ab", None)), start, finish, {"poll": anything}))

    @OVER_SMALL
    def test_writev(self, kind: str) -> None:
        """A write that has to wait for its reader."""

        def start(on: stage) -> tevent_req | None:
            return tstream_writev_send(on.owner, on.ev, on.target, [b"begin", BIG])

        def finish(on: stage, req: tevent_req) -> int:
            return received(*tstream_writev_recv(req), 5 + len(BIG))

        names = sweep_bsd(act(stream_scene(kind, takes(5 + len(BIG)), writes=True), start, finish))
        assert sum("(write)" in name for name in names) >= 16

    @OVER
    def test_disconnect(self, kind: str) -> None:
        """A disconnect, when there was a read before; what close(2) says is its result."""

        def scene(on: stage) -> None:
            stream_scene(kind, sends(b"x"))(on)
            req = tstream_readv_send(on.owner, on.ev, on.target, [bytearray(1)])
            assert req is not None
            next(on.moves)
            assert tevent_req_poll(req, on.ev)
            talloc_free(req)

        sweep_bsd(
            act(
                scene,
                lambda on: tstream_disconnect_send(on.owner, on.ev, on.target),
                lambda on, req: received(*tstream_disconnect_recv(req), 0),
                {"close": exact},
            )
        )

    @OVER
    def test_monitor(self, kind: str) -> None:
        """A monitor does not hear of data, but of the end."""

        def finish(on: stage, req: tevent_req) -> int:
            ret, err = tstream_monitor_recv(req)
            assert ret == -1
            return 0 if err in (EPIPE, ECONNRESET) else err

        sweep_bsd(
            act(
                stream_scene(kind, sends(b"data", None)),
                lambda on: tstream_monitor_send(on.owner, on.ev, on.target),
                finish,
                {"poll": anything},
            )
        )


class TestHelpers:
    @OVER
    def test_readv_pdu(self, kind: str) -> None:
        """A PDU of two vectors, the second of which is looked for at once."""

        def start(on: stage) -> tevent_req | None:
            on.more = LengthPrefixed()
            return tstream_readv_pdu_send(on.owner, on.ev, on.target, on.more.next_vector, None)

        def finish(on: stage, req: tevent_req) -> int:
            err = received(*tstream_readv_pdu_recv(req), 7)
            assert err or bytes(on.more.body) == PDU[4:]
            return err

        sweep_bsd(act(stream_scene(kind, sends(PDU[:2], PDU[2:5], PDU[5:])), start, finish))

    @OVER
    def test_readv_pdu_queue(self, kind: str) -> None:
        """A PDU behind another one, which is not disturbed but can fail, too."""

        def start(on: stage) -> tevent_req | None:
            queue = tevent_queue_create(on.target, "reads")
            assert queue is not None
            first = LengthPrefixed()
            ahead = tstream_readv_pdu_queue_send(on.target, on.ev, on.target, queue, first.next_vector, None)
            assert ahead is not None
            tevent_req_set_callback(ahead, lambda req: talloc_free(req), None)
            on.more = LengthPrefixed()
            return tstream_readv_pdu_queue_send(on.owner, on.ev, on.target, queue, on.more.next_vector, None)

        def finish(on: stage, req: tevent_req) -> int:
            return received(*tstream_readv_pdu_queue_recv(req), 7)

        scene = stream_scene(kind, sends(PDU[:6], PDU[6:] + PDU))
        sweep_bsd(act(scene, start, finish, {"fd event": of_either}))

    @OVER_SMALL
    def test_writev_queue(self, kind: str) -> None:
        """A write behind another one, which has to wait for its reader."""

        def start(on: stage) -> tevent_req | None:
            queue = tevent_queue_create(on.target, "writes")
            assert queue is not None
            ahead = tstream_writev_queue_send(on.target, on.ev, on.target, queue, [BIG])
            assert ahead is not None
            tevent_req_set_callback(ahead, lambda req: talloc_free(req), None)
            return tstream_writev_queue_send(on.owner, on.ev, on.target, queue, [b"behind"])

        def finish(on: stage, req: tevent_req) -> int:
            return received(*tstream_writev_queue_recv(req), 6)

        sweep_bsd(act(stream_scene(kind, takes(len(BIG) + 6), writes=True), start, finish, {"fd event": of_either}))
